import csv
import errno
import os

import numpy as np
import pytest

from opalign.dataset.table import SpectraTable
from opalign.errors import StorageError
from opalign.prediction import write_predictions
from opalign.prediction.report import SUMMARY_COLUMNS
from opalign.spectrum.optical import OpticalSpectrum


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_everything_is_written(predictor, crystals, tmp_path):
    report = write_predictions(predictor, crystals[:2], tmp_path / "out")
    assert files(tmp_path / "out") == {
        "spectra.parquet",
        "summary.csv",
        *(f"csv/{name}_{level}.csv" for name in ("MgO", "CaS") for level in ("rpa", "ipa")),
        *(f"plots/{name}.png" for name in ("MgO", "CaS")),
    }
    assert all(path.exists() for path in report.written)
    assert (tmp_path / "out" / "plots" / "MgO.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_opens_as_any_other(predictor, crystals, tmp_path):
    write_predictions(predictor, crystals, tmp_path, plots=False)
    table = SpectraTable.open(tmp_path / "spectra.parquet")
    table.validate()
    assert predictor.name in table.source
    for row, prediction in enumerate(predictor.predict(crystals)):
        assert table.ids[row] == prediction.id
        assert table.structure(row).matches(prediction.structure)
        for level, spectrum in prediction.spectra.items():
            found = table.spectrum(row, level)
            # Tables hold single precision.
            np.testing.assert_allclose(found.epsilon, spectrum.epsilon, rtol=1e-6, atol=1e-6)
            assert found.provenance == spectrum.provenance
            assert found.broadening == spectrum.broadening
        assert table.scalar("band_gap_eV")[row] == prediction.band_gap


def test_csv_comes_back_as_the_spectrum(predictor, crystals, tmp_path):
    write_predictions(predictor, crystals[:1], tmp_path, plots=False)
    (prediction,) = predictor.predict(crystals[:1])
    found = OpticalSpectrum.from_csv(tmp_path / "csv" / "MgO_ipa.csv")
    np.testing.assert_array_equal(found.epsilon, prediction.spectra["ipa"].epsilon)


def test_summary(predictor, crystals, tmp_path):
    write_predictions(predictor, crystals, tmp_path, plots=False)
    rows = read_rows(tmp_path / "summary.csv")
    assert tuple(rows[0]) == SUMMARY_COLUMNS
    for row, prediction in zip(rows, predictor.predict(crystals), strict=True):
        assert row["id"] == prediction.id
        assert row["formula"] == prediction.formula
        assert float(row["onset_eV"]) == pytest.approx(prediction.onset_energy, rel=1e-5)
        assert float(row["band_gap_eV"]) == pytest.approx(prediction.band_gap, rel=1e-5)
        nearest = prediction.nearest[0]
        assert row["nearest_training_materials"].startswith(f"{nearest.id} ({nearest.formula}); ")
        assert float(row["relative_distance"]) == pytest.approx(
            nearest.relative_distance, rel=1e-4, abs=1e-5
        )
        assert row["warnings"] == "; ".join(prediction.warnings)


def test_same_input_same_bytes(predictor, crystals, tmp_path):
    write_predictions(predictor, crystals, tmp_path / "a", plots=False)
    write_predictions(predictor, crystals, tmp_path / "b", plots=False)
    names = files(tmp_path / "a")
    assert names == files(tmp_path / "b")
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_a_failure_file_of_an_earlier_run_goes(predictor, crystals, tmp_path):
    write_predictions(predictor, [tmp_path / "absent.cif", crystals[0]], tmp_path, plots=False)
    (row,) = read_rows(tmp_path / "failures.csv")
    assert row["file"] == str(tmp_path / "absent.cif")
    write_predictions(predictor, crystals[:1], tmp_path, plots=False)
    assert not (tmp_path / "failures.csv").exists()


def test_all_bad_writes_the_reasons_alone(predictor, tmp_path):
    report = write_predictions(predictor, tmp_path / "absent.cif", tmp_path / "out")
    assert report.rows == []
    assert files(tmp_path / "out") == {"failures.csv"}


def test_progress_hears_of_every_structure(predictor, crystals, tmp_path):
    heard = []
    sources = [crystals[0], tmp_path / "absent.cif", crystals[1]]
    write_predictions(predictor, sources, tmp_path, plots=False, on_progress=heard.append)
    assert len(heard) == 3


@pytest.mark.parametrize("room_for", [0, 1, 3, 6])
def test_a_full_disk_leaves_no_half_file(predictor, crystals, tmp_path, monkeypatch, room_for):
    written = 0
    fsync = os.fsync

    def full(descriptor):
        nonlocal written
        written += 1
        if written > room_for:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            write_predictions(predictor, crystals[:3], tmp_path / "out", plots=False)
    left = files(tmp_path / "out")
    assert len(left) == room_for
    for name in left:
        assert name.startswith("csv/")
        OpticalSpectrum.from_csv(tmp_path / "out" / name)


def test_interrupted_work_is_kept(predictor, crystals, tmp_path):
    done = []

    def stop_after_two(outcome):
        done.append(outcome)
        if len(done) == 2:
            raise KeyboardInterrupt

    report = write_predictions(
        predictor, crystals, tmp_path, plots=False, on_progress=stop_after_two
    )
    assert report.interrupted
    assert len(read_rows(tmp_path / "summary.csv")) == len(report.rows) == 2
    assert len(SpectraTable.open(tmp_path / "spectra.parquet")) == 2


def test_out_that_is_a_file(predictor, crystals, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(StorageError, match="cannot be made"):
        write_predictions(predictor, crystals, tmp_path / "out")
