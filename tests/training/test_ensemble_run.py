"""Ensembles: cross-validated, calibrated, trained, and one checkpoint of it all."""

import json
import shutil

import numpy as np
import pytest
import torch

import opalign.training.calibration as calibration_module
import opalign.training.cross_validation as module
import opalign.training.ensemble_run as run_module
from opalign.dataset.table import SpectraTable
from opalign.errors import ConfigurationError
from opalign.model.checkpoint import load_checkpoint
from opalign.training.baselines import baselines as real_baselines
from opalign.training.config_file import read_config
from opalign.training.cross_validation import cross_validate
from opalign.training.ensemble import expand, member_configs
from opalign.training.ensemble_run import is_ensemble, train_ensemble
from opalign.training.run import train

EVERYTHING = {"method": "fractions", "fractions": [1, 0, 0]}


@pytest.fixture
def in_this_process(monkeypatch, silent):
    """Train here instead of in processes, count the runs, and need few materials."""
    started = []

    def run(jobs, processes, report):
        for job in jobs:
            started.append(job.name)
            train(read_config(job.config), job.folder, resume=True, console=silent)
            report(job, 0.0)

    for one in (module, run_module):
        monkeypatch.setattr(one, "run_jobs", run)
    monkeypatch.setattr(module, "baselines", lambda *a: real_baselines(*a, trees=5))
    # Eight materials do not make 90 %; half can be had from three outside the tested fold.
    quantile = calibration_module.conformal_quantile
    monkeypatch.setattr(
        calibration_module, "conformal_quantile", lambda scores, level: quantile(scores, 0.5)
    )
    return started


@pytest.fixture
def two_levels(tiny):
    def make(**changes):
        return tiny(epochs=1, data__levels=["rpa", "ipa"], **changes)

    return make


def test_seeds_and_names():
    from opalign.training.config_file import parse_config

    config = parse_config({"data": {"tables": "t.parquet"}, "seed": 4})
    found = member_configs("a", config, 3)
    assert {name: one.seed for name, one in found.items()} == {"a": 4, "a-seed5": 5, "a-seed6": 6}
    configs, ensembles = expand({"a": config, "b": config}, 2)
    assert list(configs) == ["a", "a-seed5", "b", "b-seed5"]
    assert ensembles == {"a-ensemble": ("a", "a-seed5"), "b-ensemble": ("b", "b-seed5")}
    assert expand({"a": config}, 1) == ({"a": config}, {})
    for taken in ("a-seed5", "a-ensemble"):
        with pytest.raises(ConfigurationError, match=taken):
            expand({"a": config, taken: config}, 2)


def test_from_cross_validation_to_calibrated_checkpoint(
    two_levels, tmp_path, silent, in_this_process
):
    crossed = tmp_path / "cv"
    options = {"folds": 2, "members": 2, "calibrate": True, "console": silent}
    found = cross_validate({"one": two_levels()}, None, crossed, **options)
    assert len(in_this_process) == 4

    # The ensemble's prediction is the mean of its members', and it is scored beside them.
    tables = {name: SpectraTable.open(path) for name, path in found.predictions.items()}
    members = [tables[name].isotropic_imaginary("rpa") for name in ("one", "one-seed1")]
    np.testing.assert_allclose(
        tables["one-ensemble"].isotropic_imaginary("rpa"), np.mean(members, axis=0), atol=1e-6
    )
    assert {"one", "one-seed1", "one-ensemble"} <= set(found.summary["method"])
    (report,) = found.calibrations
    assert report.calibration.members == 2
    assert all(path.is_file() for path in report.files)

    # Errors that the calibration was made of are those of that mean.
    errors = report.per_material[report.per_material["level"] == "rpa"].set_index("material_id")
    rows = found.per_material
    scored = rows[
        (rows["method"] == "one-ensemble")
        & (rows["level"] == "rpa")
        & (rows["broadening"] == "Gaussian σ = 0.1 eV")
    ].set_index("material_id")
    np.testing.assert_allclose(
        errors["error"].sort_index(), 1.0 - scored["similarity"].sort_index(), atol=1e-5
    )

    in_this_process.clear()
    config = two_levels(
        data__split=EVERYTHING, cross_validated={"folder": str(crossed), "method": "one"}
    )
    result = train_ensemble(config, tmp_path / "out", members=2, console=silent)
    assert in_this_process == ["member 1", "member 2"]
    checkpoint = load_checkpoint(result.checkpoint)
    assert checkpoint.members == 2
    assert checkpoint.calibration == report.calibration
    figures = {row["level"] for row in checkpoint.metrics["cross_validation"]}
    assert figures == {"rpa", "ipa"}
    assert "ensemble of 2 networks" in checkpoint.card
    assert "## Uncertainty" in checkpoint.card
    assert is_ensemble(tmp_path / "out")

    # Members are the runs with these seeds, and nothing else.
    alone = load_checkpoint(tmp_path / "out" / "members" / "2" / "checkpoint")
    for name, value in alone.model.state_dict().items():
        torch.testing.assert_close(checkpoint.model.members[1].state_dict()[name], value)

    in_this_process.clear()
    again = train_ensemble(None, tmp_path / "out", resume=True, console=silent)
    assert again.was_finished
    assert in_this_process == []


def test_a_stopped_ensemble_goes_on(two_levels, tmp_path, silent, in_this_process):
    out = tmp_path / "out"
    train_ensemble(two_levels(), out, members=3, console=silent)
    whole = load_checkpoint(out / "checkpoint").identifier
    for name in ("result.json", "members/3/result.json"):
        (out / name).unlink()
    shutil.rmtree(out / "checkpoint")
    in_this_process.clear()
    train_ensemble(None, out, resume=True, console=silent)
    assert in_this_process == ["member 3"]
    assert load_checkpoint(out / "checkpoint").identifier == whole
    # Half of the materials are held out, and the ensemble predicts them.
    assert json.loads((out / "result.json").read_text())["test"]["rpa"]["materials"] > 0


def test_what_does_not_fit_is_refused(two_levels, tmp_path, silent, in_this_process):
    out = tmp_path / "out"
    with pytest.raises(ConfigurationError, match="no number of members"):
        train_ensemble(two_levels(), out, console=silent)
    assert not out.exists(), "a run that could not begin must not stand in the way"
    train_ensemble(two_levels(), out, members=2, console=silent)
    with pytest.raises(ConfigurationError, match="has 2 members"):
        train_ensemble(None, out, members=3, resume=True, console=silent)
    single = tmp_path / "single"
    train(two_levels(), single, console=silent)
    with pytest.raises(ConfigurationError, match="single network"):
        train_ensemble(two_levels(), single, members=2, resume=True, console=silent)


def test_figures_of_single_networks_are_not_taken_for_the_ensembles(
    two_levels, tmp_path, silent, in_this_process
):
    crossed = tmp_path / "cv"
    cross_validate({"one": two_levels()}, None, crossed, folds=2, console=silent)
    config = two_levels(
        data__split=EVERYTHING, cross_validated={"folder": str(crossed), "method": "one"}
    )
    with pytest.raises(ConfigurationError, match="no figures of a method 'one-ensemble'"):
        train_ensemble(config, tmp_path / "out", members=2, console=silent)
    assert not (tmp_path / "out").exists()


def test_training_does_not_start_from_an_ensemble(two_levels, tmp_path, silent, in_this_process):
    train_ensemble(two_levels(), tmp_path / "out", members=2, console=silent)
    initial = {"checkpoint": str(tmp_path / "out" / "checkpoint"), "allow_seen": True}
    with pytest.raises(ConfigurationError, match="ensemble of 2 networks"):
        train(two_levels(initial=initial), tmp_path / "next", console=silent)
