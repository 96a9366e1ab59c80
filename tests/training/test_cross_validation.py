import json
import shutil

import pandas as pd
import pytest

import opalign.training.cross_validation as module
from opalign.dataset.table import SpectraTable
from opalign.errors import ConfigurationError
from opalign.spectrum.broadening import Broadening
from opalign.training.baselines import baselines as real_baselines
from opalign.training.config_file import read_config
from opalign.training.cross_validation import cross_validate
from opalign.training.processes import Job, run_jobs
from opalign.training.run import train


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(module, "baselines", lambda *a: real_baselines(*a, trees=5))


@pytest.fixture
def in_this_process(monkeypatch, silent):
    """Train here instead of in processes, and count the runs."""
    started = []

    def run(jobs, processes, report):
        for job in jobs:
            started.append(job.name)
            train(read_config(job.config), job.folder, resume=True, console=silent)
            report(job, 0.0)

    monkeypatch.setattr(module, "run_jobs", run)
    return started


def test_methods_and_baselines_on_the_same_materials(
    tiny, tmp_path, silent, in_this_process, spectra_path
):
    configs = {"one": tiny(epochs=1), "wide": tiny(epochs=1, data__broadening__width=0.3)}
    found = cross_validate(configs, None, tmp_path, folds=2, console=silent)
    assert len(in_this_process) == 4

    table = SpectraTable.open(spectra_path)
    predictions = SpectraTable.open(found.predictions["one"])
    assert sorted(predictions.ids) == sorted(table.ids)

    rows = found.per_material
    narrow = rows[rows["broadening"] == "Gaussian σ = 0.1 eV"]
    wide = rows[rows["broadening"] == "Gaussian σ = 0.3 eV"]
    names = {"one", "mean spectrum", "nearest composition", "randomised trees", "ipa taken as rpa"}
    assert set(narrow["method"]) == names, "a broader model has no say at a narrower line"
    assert set(wide["method"]) == names | {"wide"}
    for _, group in rows.groupby(["method", "broadening"]):
        assert sorted(group["material_id"]) == sorted(table.ids)

    # Polymorphs are tested in one fold, and no model has seen either.
    fold = narrow[narrow["method"] == "one"].set_index("material_id")["fold"]
    assert fold["rocksalt-MgO"] == fold["cscl-MgO"]
    plan = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    for split in plan["folds"]:
        assert ("cscl-CaS" in split["test"]) == ("rocksalt-CaS" in split["test"])

    summary = pd.read_csv(tmp_path / "summary.csv")
    assert len(summary) == len(names) * 2 + 1
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "| nearest composition |" in text
    assert "broadened" in text


def test_finished_runs_are_kept_and_methods_can_join(tiny, tmp_path, silent, in_this_process):
    first = cross_validate({"one": tiny(epochs=1)}, None, tmp_path, folds=2, console=silent)
    in_this_process.clear()
    second = cross_validate(
        {"one": tiny(epochs=1), "two": tiny(epochs=1, seed=1)},
        None,
        tmp_path,
        folds=2,
        console=silent,
    )
    assert in_this_process == ["two, fold 1", "two, fold 2"]
    column = ["material_id", "similarity"]
    one, again = (
        f.per_material[f.per_material["method"] == "one"][column].reset_index(drop=True)
        for f in (first, second)
    )
    pd.testing.assert_frame_equal(one, again)
    with pytest.raises(ConfigurationError, match="other folds"):
        cross_validate({"one": tiny(epochs=1)}, None, tmp_path, folds=3, console=silent)


def test_without_validation_materials(tiny, tmp_path, silent, in_this_process):
    found = cross_validate(
        {"one": tiny(epochs=1)},
        None,
        tmp_path,
        folds=2,
        validation_fraction=0.0,
        broadenings=(Broadening("gaussian", 0.1),),
        console=silent,
    )
    assert set(found.per_material["broadening"]) == {"Gaussian σ = 0.1 eV"}


def test_different_tables_or_grids_are_not_compared(
    tiny, tmp_path, silent, in_this_process, scalars_path
):
    with pytest.raises(ConfigurationError, match="different tables"):
        cross_validate({"one": tiny(), "two": tiny(data__tables=str(scalars_path))}, None, tmp_path)
    small = tiny(epochs=1, model__grid={"start": 0.0, "stop": 10.0, "num": 51})
    with pytest.raises(ConfigurationError, match="different energy grids"):
        cross_validate(
            {"one": tiny(epochs=1), "two": small}, None, tmp_path, folds=2, console=silent
        )


@pytest.mark.slow
@pytest.mark.long
def test_runs_in_processes(tiny, tmp_path, silent):
    """One whole run and one that fails, side by side."""
    from opalign.training.config_file import write_config

    path = write_config(tmp_path / "good.yaml", tiny(epochs=1))
    done = []
    good = Job("good", path, tmp_path / "good", tmp_path / "good.log")
    run_jobs([good], 2, lambda job, seconds: done.append(job.name))
    assert done == ["good"]
    assert (tmp_path / "good" / "result.json").is_file()
    assert "epoch 1/1" in good.log.read_text(encoding="utf-8")

    wrong = tmp_path / "bad.yaml"
    wrong.write_text("data: {tables: nowhere.parquet}\nepoch: 3\n", encoding="utf-8")
    bad = Job("bad", wrong, tmp_path / "bad", tmp_path / "bad.log")
    with pytest.raises(ConfigurationError, match=r"run bad failed(?s:.*)did you mean 'epochs'"):
        run_jobs([bad], 2, lambda job, seconds: None)


def test_finished_runs_of_another_configuration_are_not_taken_for_this_one(
    tiny, tmp_path, silent, in_this_process
):
    cross_validate({"one": tiny(epochs=1)}, None, tmp_path, folds=2, console=silent)
    moved = tmp_path / "moved.parquet"
    shutil.copy(tiny().data.tables[0], moved)
    elsewhere = tiny(epochs=1, data__tables=str(moved), num_threads=2)
    in_this_process.clear()
    cross_validate({"one": elsewhere}, None, tmp_path, folds=2, console=silent)
    assert in_this_process == [], "the same table elsewhere makes no other run"
    before = (tmp_path / "runs" / "one" / "fold_1.yaml").read_text(encoding="utf-8")
    with pytest.raises(ConfigurationError, match="another epochs"):
        cross_validate({"one": tiny(epochs=2)}, None, tmp_path, folds=2, console=silent)
    assert (tmp_path / "runs" / "one" / "fold_1.yaml").read_text(encoding="utf-8") == before


def test_a_plan_that_cannot_be_read_is_named(tiny, tmp_path, silent):
    (tmp_path / "plan.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"plan\.json: cannot be read"):
        cross_validate({"one": tiny()}, None, tmp_path, folds=2, console=silent)
