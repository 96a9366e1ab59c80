from pathlib import Path

import pytest
import yaml

from opalign.errors import ConfigurationError
from opalign.ladder.config import DirectConfig, TransferConfig
from opalign.ladder.config_file import read_ladder_config

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "ladder").glob("*.yaml"))


def test_a_file_names_its_tables_relative_to_itself(tmp_path):
    path = tmp_path / "climb.yaml"
    path.write_text(
        yaml.safe_dump({"tables": "t.parquet", "pretraining": {"table": "more/s.parquet"}}),
        encoding="utf-8",
    )
    config = read_ladder_config(path, ["steps=7"])
    assert config.tables == (tmp_path / "t.parquet",)
    assert config.pretraining.table == tmp_path / "more" / "s.parquet"
    assert config.steps == 7


def test_defaults_compare_the_four_strategies(small):
    from opalign.ladder.config import LadderConfig

    config = LadderConfig(tables="t.parquet")
    assert list(config.strategies) == ["direct", "transfer", "multi_fidelity", "delta"]
    assert isinstance(config.strategies["direct"], DirectConfig)
    assert isinstance(config.strategies["transfer"], TransferConfig)
    assert config.strategies["direct"].tuning is not None, "direct learning is tuned by default"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples(path):
    config = read_ladder_config(path)
    assert (config.cheap, config.costly) == ("ipa", "rpa")
    # One folder can hold both.
    first = read_ladder_config(EXAMPLES[0])
    assert (config.model, config.steps) == (first.model, first.steps)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cheap": "rpa"}, "cheap and costly are both rpa"),
        ({"sizes": [0.0, 1.0]}, "sizes are shares"),
        ({"model": {"head": {"kind": "vector"}}}, "share the physical head"),
        ({"model": {"head": {"kind": "physical", "components": 3}}}, "few components"),
        ({"loss": {"target": "log_absorption"}}, "compared as Im ε"),
        ({"optimizer": {"schedule": "plateau"}}, "no plateau"),
        ({"strategies": {"../up": {"kind": "direct"}}}, "letters, digits"),
        ({"strategies": {"x": {"kind": "direct", "scalars": True}}}, "name a pretraining table"),
        ({"stepss": 3}, "did you mean 'steps'"),
    ],
)
def test_contradictions_are_named(small, changes, message):
    with pytest.raises(ConfigurationError, match=message):
        small(**changes)
