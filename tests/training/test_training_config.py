import pytest
import yaml

from opalign.errors import ConfigurationError
from opalign.model.config import OptimateConfig
from opalign.training.config import NetworkConfig
from opalign.training.config_file import (
    differing_keys,
    parse_config,
    read_config,
    to_yaml,
    write_config,
)

MINIMAL = {"data": {"tables": "spectra.parquet"}}


def written(tmp_path, content) -> str:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


def test_yaml_round_trip(tmp_path, tiny):
    config = tiny(
        loss__kind="huber",
        data__split={"method": "fold", "fold": 2, "folds": 3},
        pretraining={"table": str(tmp_path / "scalars.parquet")},
    )
    assert read_config(write_config(tmp_path / "run.yaml", config)) == config


def test_every_default_is_in_the_yaml():
    text = to_yaml(parse_config(MINIMAL))
    for key in ("learning_rate", "neighbors", "hidden_features", "band_gap_weight", "averaging"):
        if key != "neighbors":  # the graph follows from the encoder unless it is given
            assert f"{key}:" in text


@pytest.mark.parametrize(
    ("content", "place", "guess"),
    [
        ({"epoch": 3}, "epoch", "epochs"),
        ({"optimizer": {"learningrate": 1e-3}}, "optimizer.learningrate", "learning_rate"),
        ({"model": {"graph": {"neighbours": 12}}}, "model.graph.neighbours", "neighbors"),
        (
            {"model": {"encoder": {"architecture": "alignn", "hiden_features": 8}}},
            "hiden_features",
            "hidden_features",
        ),
    ],
)
def test_a_misspelt_key_is_named_with_what_was_meant(content, place, guess):
    with pytest.raises(ConfigurationError) as caught:
        parse_config({**MINIMAL, **content})
    assert place in str(caught.value)
    assert f"did you mean {guess!r}" in str(caught.value)


def test_several_mistakes_are_named_at_once():
    with pytest.raises(ConfigurationError, match=r"(?s)epochs.*batch_size"):
        parse_config({**MINIMAL, "epochs": 0, "batch_size": "many"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"head": {"kind": "vector", "target": "log_absorption"}}}, "loss.target alike"),
        ({"model": {"head": {"kind": "vector"}}}, "neither gap nor static"),
        ({"data": {"tables": "a", "split": {"method": "fold", "fold": 6, "folds": 5}}}, "count"),
        ({"pretraining": {"table": "a"}, "initial": {"checkpoint": "b"}}, "not from both"),
    ],
)
def test_settings_that_contradict_each_other(content, message):
    with pytest.raises(ConfigurationError, match=message):
        parse_config({**MINIMAL, **content})


def test_paths_are_relative_to_the_file_and_know_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECTRA", str(tmp_path / "data"))
    content = {"data": {"tables": ["a.parquet", "$SPECTRA/b.parquet"]}}
    tables = read_config(written(tmp_path, content)).data.tables
    assert tables == (tmp_path / "a.parquet", tmp_path / "data" / "b.parquet")
    monkeypatch.delenv("SPECTRA")
    with pytest.raises(ConfigurationError, match="not set"):
        read_config(written(tmp_path, content))


def test_overrides(tmp_path):
    path = written(tmp_path, MINIMAL)
    config = read_config(path, ["optimizer.learning_rate=1e-3", "epochs=7", "averaging=null"])
    assert config.optimizer.learning_rate == 1e-3
    assert config.epochs == 7
    assert config.averaging is None
    with pytest.raises(ConfigurationError, match="did you mean 'epochs'"):
        read_config(path, ["epoch=7"])
    with pytest.raises(ConfigurationError, match="key=value"):
        read_config(path, ["epochs"])


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "data: [unclosed\n"])
def test_a_file_that_holds_no_configuration(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"run\.yaml"):
        read_config(path)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"absent\.yaml"):
        read_config(tmp_path / "absent.yaml")


def test_differing_keys(tiny):
    assert differing_keys(tiny(), tiny()) == []
    assert differing_keys(tiny(), tiny(epochs=9, loss__kind="l1")) == ["epochs", "loss.kind"]


def test_the_graph_follows_the_encoder():
    assert NetworkConfig(encoder=OptimateConfig()).graph_settings.kind == "radius"
    assert NetworkConfig(encoder=OptimateConfig()).graph_settings.cutoff == 5.0
    assert NetworkConfig().graph_settings.angles


def test_a_kind_that_is_not_named():
    with pytest.raises(ConfigurationError, match="the key 'architecture' is missing"):
        parse_config({"data": {"tables": "t.parquet"}, "model": {"encoder": {"gcn_layers": 1}}})
