"""The configuration of an explanation: one cut, known keys, paths that lead somewhere."""

import pytest
from pydantic import ValidationError

from opalign.errors import ConfigurationError
from opalign.explain.config import ExplainConfig, TargetConfig
from opalign.explain.config_file import explain_config, write_explain_config


def test_number_and_distance_exclude_each_other():
    with pytest.raises(ValidationError, match="exclude"):
        ExplainConfig(model="alignn", table="t.parquet", number=3, distance=1.0)


def test_a_list_needs_a_column():
    with pytest.raises(ValidationError, match="needs a column"):
        TargetConfig(kind="list")


def test_what_is_written_is_read_back_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = {"model": "optimate", "cross_validation": "cv", "role": "architecture"}
    given = {"model": "alignn", "table": "t.parquet", "number": 4, "other_models": [other]}
    config = explain_config(None, given)
    assert config.table == tmp_path / "t.parquet"
    path = write_explain_config(tmp_path / "out" / "config.yaml", config)
    monkeypatch.chdir("/")
    assert explain_config(path) == config
    assert config.other_models[0].cross_validation == tmp_path / "cv"


def test_the_command_line_comes_before_the_file_and_overrides_before_both(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("model: alignn\ntable: t.parquet\nnumber: 3\ndraws: 5\ntarget: {level: ipa}\n")
    config = explain_config(path, {"number": 4}, ["draws=7", "target.kind=pdos"])
    assert (config.number, config.draws) == (4, 7)
    assert (config.target.kind, config.target.level) == ("pdos", "ipa")
    assert config.table == tmp_path / "t.parquet"


def test_a_model_by_name_is_no_path_and_a_folder_is_a_whole_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alignn").mkdir()
    (tmp_path / "mine").mkdir()
    assert explain_config(None, {"model": "alignn", "table": "t"}).model == "alignn"
    assert explain_config(None, {"model": "mine", "table": "t"}).model == str(tmp_path / "mine")


def test_a_misspelt_key_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match="did you mean 'number'"):
        explain_config(None, {"model": "alignn", "table": "t", "numbr": 3})
    with pytest.raises(ConfigurationError, match="did you mean 'column'"):
        explain_config(None, {"model": "alignn", "table": "t", "target": {"colum": "x"}})
