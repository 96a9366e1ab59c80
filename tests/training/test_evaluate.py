import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from opalign.dataset.table import SpectraTable
from opalign.dataset.write import write_table
from opalign.errors import ConfigurationError, DatasetError
from opalign.model.checkpoint import load_checkpoint
from opalign.spectrum.broadening import Broadening
from opalign.training import figures
from opalign.training.evaluate import compare, evaluate
from opalign.training.run import train

from .conftest import spoiled, write_spectra


@pytest.fixture(scope="module")
def run(spectra_path, tmp_path_factory):
    import io

    from rich.console import Console

    from opalign.training.config_file import parse_config

    from .conftest import tiny_settings

    settings = tiny_settings(
        spectra_path,
        epochs=2,
        data__levels=["rpa", "ipa"],
        data__split={"method": "fractions", "fractions": [0.5, 0.1, 0.4], "seed": 0},
    )
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    return train(parse_config(settings), folder, console=Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def evaluated(run, spectra_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    return evaluate(
        run.checkpoint, spectra_path, folder, broadenings=(Broadening("gaussian", 0.3),)
    )


@pytest.fixture
def no_figures(monkeypatch):
    monkeypatch.setattr(figures, "draw_figures", lambda *arguments: [])


def test_only_held_out_materials_are_scored(run, evaluated):
    splits = load_checkpoint(run.checkpoint).splits
    rows = evaluated.per_material
    assert set(rows["material_id"]) == set(splits["test"])
    assert set(rows["part"]) == {"test"}
    assert set(rows["level"]) == {"rpa", "ipa"}
    # What the run said of itself on the same materials.
    for level in ("rpa", "ipa"):
        summary = evaluated.summary[level]["Gaussian σ = 0.1 eV"]
        assert summary["similarity"]["median"] == pytest.approx(
            run.metrics["test"][level]["similarity"]["median"], rel=1e-6
        )


def test_training_materials_are_labelled(run, spectra_path, tmp_path, no_figures):
    found = evaluate(run.checkpoint, spectra_path, tmp_path, part="all")
    splits = load_checkpoint(run.checkpoint).splits
    part = dict(zip(found.per_material["material_id"], found.per_material["part"], strict=True))
    assert part == {m: p for p in ("train", "validation", "test") for m in splits[p]}
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert f"{len(splits['train'])} of these materials were used in training" in text


def test_files(evaluated):
    assert {path.name for path in evaluated.files} == {
        "predictions.parquet", "per_material.csv", "metrics.json", "summary.md",
        *(f"{level}_{name}.png" for level in ("rpa", "ipa")
          for name in ("largest_errors", "similarity_deciles", "onset_parity")),
    }  # fmt: skip
    rows = pd.read_csv(evaluated.folder / "per_material.csv")
    assert rows["material_id"].notna().all()
    narrow = rows[rows["broadening"] == "Gaussian σ = 0.1 eV"]
    wide = rows[rows["broadening"] == "Gaussian σ = 0.3 eV"]
    assert len(narrow) == len(wide) > 0
    assert narrow["onset_eV_reference"].notna().all()
    assert wide["onset_eV_reference"].isna().all()
    metrics = json.loads((evaluated.folder / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["levels"]["rpa"]) == {"Gaussian σ = 0.1 eV", "Gaussian σ = 0.3 eV"}
    assert "Onsets left out" in (evaluated.folder / "summary.md").read_text(encoding="utf-8")


def test_figures_show_something(evaluated):
    for path in evaluated.files:
        if path.suffix == ".png":
            pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
            assert len(pixels) > 100_000
            # The reference's black; the prediction's vermilion or the parity plot's blue.
            assert (pixels == (0, 0, 0)).all(axis=1).any()
            color = (0, 114, 178) if "parity" in path.name else (213, 94, 0)
            assert (np.abs(pixels.astype(int) - color).sum(axis=1) < 30).any()


def test_the_largest_errors_of_each_quartile():
    frame = pd.DataFrame({"mae": [0.8, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]})
    assert figures._largest_of_quartiles(frame) == [
        ("quartile 1", 2), ("quartile 1", 1), ("quartile 2", 4), ("quartile 2", 3),
        ("quartile 3", 6), ("quartile 3", 5), ("quartile 4", 0), ("quartile 4", 7),
    ]  # fmt: skip


def test_the_deciles_of_similarity():
    frame = pd.DataFrame({"similarity": np.linspace(0.0, 1.0, 11)[::-1]})
    assert figures._deciles(frame) == [(f"decile {n}", 10 - n) for n in range(1, 10)]


def test_a_table_as_its_own_prediction_is_perfect(spectra_path):
    """The references themselves, given as predictions."""
    table = SpectraTable.open(spectra_path)
    rows, summary = compare(table, [table])["rpa"]
    assert (rows["similarity"] == 1.0).all()
    assert list(rows["material_id"]) == table.ids
    assert summary["onset_eV"]["r2"] == 1.0


def test_unknown_gaps_are_left_out(run, tmp_path):
    test = load_checkpoint(run.checkpoint).splits["test"]
    table = SpectraTable.open(write_spectra(tmp_path / "table.parquet", gap_unknown=test[0]))
    _, summary = compare(SpectraTable.open(run.predictions("test")), [table])["rpa"]
    assert np.isfinite(summary["band_gap_eV"]["absolute_error"]["mean"])


def test_an_unrelated_table_is_refused(run, spectra_path, scalars_path, tmp_path):
    with pytest.raises(ConfigurationError, match="none of the checkpoint's"):
        evaluate(run.checkpoint, scalars_path, tmp_path)
    with pytest.raises(DatasetError, match="none of the predicted levels"):
        evaluate(run.predictions("test"), scalars_path, tmp_path)


def test_predictions_alone_do_not_say_what_was_trained_on(run, spectra_path, tmp_path, no_figures):
    found = evaluate(run.predictions("test"), spectra_path, tmp_path)
    assert set(found.per_material["part"]) == {"unknown"}
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert text.startswith("# Evaluation: predicted materials")


def test_the_table_gives_median_and_mean_of_every_error(evaluated):
    text = (evaluated.folder / "summary.md").read_text(encoding="utf-8")
    figures_of = evaluated.summary["rpa"]["Gaussian σ = 0.1 eV"]
    for errors in (
        figures_of["similarity"],
        figures_of["mae"],
        figures_of["mse"],
        figures_of["onset_eV"]["absolute_error"],
        figures_of["static_dielectric_relative_error"],
        figures_of["band_gap_eV"]["absolute_error"],
    ):
        assert f"| {errors['median']:.3f} ({errors['mean']:.3f}) |" in text


def test_a_broken_table_is_named(run, spectra_path, tmp_path):
    path = spoiled(spectra_path, tmp_path / "spoiled.parquet", float("nan"))
    with pytest.raises(DatasetError, match="rocksalt-SrO"):
        evaluate(run.checkpoint, path, tmp_path / "out", part="all")


def test_a_polymorph_under_another_id_is_not_called_unseen(run, spectra_path, tmp_path, no_figures):
    table = SpectraTable.open(spectra_path)
    rows = [{**row, "material_id": f"other-{row['material_id']}"} for row in table.rows()]
    path = write_table(tmp_path / "renamed.parquet", table.schema, rows)
    found = evaluate(run.checkpoint, path, tmp_path / "out", part="all")
    splits = load_checkpoint(run.checkpoint).splits
    part = dict(zip(found.per_material["material_id"], found.per_material["part"], strict=True))
    assert part == {
        f"other-{m}": "training formula" if m in splits["train"] else "unseen" for m in table.ids
    }
    text = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert f"{len(splits['train'])} of these materials share their formula" in text
