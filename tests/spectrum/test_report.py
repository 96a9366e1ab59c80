"""The folder of a report: whole, true to the numbers, and safe whatever a spectrum is called."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from opalign.errors import StorageError
from opalign.spectrum.analysis import OpticsConfig, analyse
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.report import Failed, open_report_folder, summary_csv

GRID = EnergyGrid(0.0, 12.0, 241)


@pytest.fixture
def spectrum():
    edge = np.sqrt(np.maximum(GRID.values - 2.0, 0.0))
    imaginary = 4.0 * edge * np.exp(-(((GRID.values - 2.0) / 4.0) ** 2))
    return OpticalSpectrum.from_imaginary(GRID, imaginary, "rpa", material_id="mp-1")


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_all_files_are_there_and_say_the_same(spectrum, tmp_path):
    config = OpticsConfig(thickness=800.0)
    report = analyse(spectrum, config, name="MgSe")
    writer = open_report_folder(tmp_path / "out", config)
    writer.add(report)
    written = writer.finish()
    folder = tmp_path / "out"
    figures = ("overview", "epsilon", "nk", "absorption", "reflectivity", "loss", "tauc", "colours")
    assert names(folder) == {
        "config.json", "summary.csv", "summary.json", "report.html", "csv/MgSe.csv",
        *(f"plots/MgSe_{name}.png" for name in figures),
    }  # fmt: skip
    assert {path.name for path in written} == {path.name for path in folder.iterdir()}

    assert OpticsConfig.model_validate_json((folder / "config.json").read_text()) == config
    (row,) = csv.DictReader((folder / "summary.csv").read_text(encoding="utf-8").splitlines())
    content = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    (found,) = content["spectra"]
    for quantity in report.quantities:
        assert found["quantities"][quantity.key]["value"] == quantity.value
        if isinstance(quantity.value, float):
            assert float(row[quantity.key]) == pytest.approx(quantity.value, rel=1e-5)
    assert "urbach_energy_eV: " in row["undefined"]
    again = OpticalSpectrum.from_csv(folder / "csv" / "MgSe.csv")
    np.testing.assert_array_equal(again.epsilon, report.spectrum.epsilon)


def test_the_page_shows_every_number_and_every_figure(spectrum, tmp_path):
    writer = open_report_folder(tmp_path, OpticsConfig())
    for name in ("first", "second"):
        writer.add(analyse(spectrum, name=name))
    writer.failures.append(Failed("bad.xml", "it is <broken>"))
    writer.finish()
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    for quantity in writer.reports[0].quantities:
        assert quantity.shown in text
    links = re.findall(r'(?:src|href)="([^"#]+)"', text)
    assert len(links) == 2 * 8 + 2
    assert all((tmp_path / link).is_file() for link in links)
    assert "it is &lt;broken&gt;" in text
    assert "http" not in text


def test_tensors_are_written_whole(spectrum, tmp_path):
    tensor = replace(spectrum, epsilon=np.eye(3) * spectrum.epsilon[:, None, None])
    writer = open_report_folder(tmp_path, OpticsConfig(), figures=".svg")
    writer.add(analyse(tensor, name="t"))
    writer.finish()
    again = OpticalSpectrum.from_csv(tmp_path / "csv" / "t_tensor.csv")
    np.testing.assert_array_equal(again.epsilon, tensor.epsilon)
    assert (tmp_path / "plots" / "t_tensor.svg").is_file()


def test_names_become_safe_and_distinct_files(spectrum, tmp_path):
    writer = open_report_folder(tmp_path, OpticsConfig(), figures=None)
    for name in ("../../etc/<b>", "a b", "a/b", "…", "x" * 300):
        writer.add(analyse(spectrum, name=name))
    writer.finish()
    assert {path.name for path in (tmp_path / "csv").iterdir()} == {
        "etc_b.csv", "a_b.csv", "a_b_2.csv", "spectrum.csv", f"{'x' * 80}.csv",
    }  # fmt: skip
    assert "<b>" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not (tmp_path / "plots").exists()


def test_failures_are_listed_and_old_ones_forgotten(spectrum, tmp_path):
    writer = open_report_folder(tmp_path, OpticsConfig(), figures=None)
    writer.failures.append(Failed("bad.csv", "no energies"))
    writer.finish()
    assert names(tmp_path) == {"config.json", "failures.csv"}
    assert "bad.csv,no energies" in (tmp_path / "failures.csv").read_text(encoding="utf-8")
    writer = open_report_folder(tmp_path, OpticsConfig(), figures=None)
    writer.add(analyse(spectrum))
    writer.finish()
    assert "failures.csv" not in names(tmp_path)


def test_summary_has_a_column_for_what_only_some_have(spectrum):
    reports = [
        analyse(spectrum, name="plain"),
        analyse(spectrum, OpticsConfig(direct_gap=2.0, scissor=0.5), name="shifted"),
    ]
    plain, shifted = csv.DictReader(summary_csv(reports).splitlines())
    assert plain["scissor_f_sum_change"] == ""
    assert shifted["scissor_f_sum_change"] != ""


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be made"):
        open_report_folder(tmp_path / "file" / "folder", OpticsConfig())
