import json

import pytest

import opalign.training.cross_validation as module
from opalign.errors import ConfigurationError
from opalign.training.baselines import baselines as real_baselines
from opalign.training.config_file import read_config
from opalign.training.cross_validation import cross_validate
from opalign.training.run import train

EVERYTHING = {"method": "fractions", "fractions": (1.0, 0.0, 0.0), "seed": 0}


@pytest.fixture
def crossed(tiny, tmp_path, silent, monkeypatch):
    """Cross-validate a tiny method called ``one`` in this process; return the finding."""

    def run(jobs, processes, report):
        for job in jobs:
            train(read_config(job.config), job.folder, resume=True, console=silent)

    monkeypatch.setattr(module, "run_jobs", run)
    monkeypatch.setattr(module, "baselines", lambda *a: real_baselines(*a, trees=5))
    configs = {"one": tiny(epochs=1)}
    return cross_validate(configs, None, tmp_path / "crossed", folds=2, console=silent)


def reporting(tiny, folder, **changes):
    return tiny(
        data__split=EVERYTHING,
        cross_validated={"folder": folder, "method": "one"},
        **{"epochs": 1, **changes},
    )


def test_a_model_of_everything_reports_the_figures_of_its_cross_validation(
    tiny, crossed, tmp_path, silent
):
    result = train(reporting(tiny, crossed.folder), tmp_path / "all", console=silent)
    rows = result.metrics["cross_validation"]
    expected = crossed.summary[crossed.summary["method"] == "one"]
    assert [row["similarity_median"] for row in rows] == pytest.approx(
        list(expected["similarity_median"])
    )
    assert {row["broadening"] for row in rows} == set(expected["broadening"])
    kept = json.loads((result.checkpoint / "metrics.json").read_text(encoding="utf-8"))
    assert kept["cross_validation"] == rows
    card = (result.checkpoint / "README.md").read_text(encoding="utf-8")
    assert f"| {rows[0]['similarity_median']:.3f} |" in card
    assert "no material is left to test them on" in card


def test_figures_of_another_method_are_refused_before_training(tiny, crossed, tmp_path, silent):
    config = reporting(tiny, crossed.folder, optimizer__learning_rate=0.123)
    with pytest.raises(ConfigurationError, match="learning_rate"):
        train(config, tmp_path / "other", console=silent)
    with pytest.raises(ConfigurationError, match="no finished cross-validation"):
        train(reporting(tiny, tmp_path / "absent"), tmp_path / "none", console=silent)


def test_a_summary_without_the_method_is_refused(tiny, crossed, tmp_path, silent):
    """The card would otherwise say that nothing was held out."""
    path = crossed.folder / "summary.csv"
    summary = crossed.summary
    summary[summary["method"] != "one"].to_csv(path, index=False)
    with pytest.raises(ConfigurationError, match="no figures of a method 'one'"):
        train(reporting(tiny, crossed.folder), tmp_path / "unnamed", console=silent)


def test_figures_of_another_table_are_refused(tiny, crossed, tmp_path, silent):
    plan = crossed.folder / "plan.json"
    content = json.loads(plan.read_text(encoding="utf-8"))
    content["tables"] = ["0" * 64]
    plan.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"content of data\.tables"):
        train(reporting(tiny, crossed.folder), tmp_path / "moved", console=silent)
