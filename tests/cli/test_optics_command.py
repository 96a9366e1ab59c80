import csv
import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from opalign.cli.main import app
from opalign.dataset.schema import LevelInfo, ScalarInfo, TableSchema
from opalign.dataset.write import write_table
from opalign.spectrum.analysis import OpticsConfig
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum

runner = CliRunner()
GRID = EnergyGrid(0.0, 12.0, 241)
MGO = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)


def spectrum_of(gap=2.0, level="rpa"):
    edge = np.sqrt(np.maximum(GRID.values - gap, 0.0))
    imaginary = 4.0 * edge * np.exp(-(((GRID.values - gap) / 4.0) ** 2))
    return OpticalSpectrum.from_imaginary(GRID, imaginary, level)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "sample.csv"
    spectrum_of().to_csv(path)
    return path


@pytest.fixture
def table(tmp_path):
    """Two materials with gaps of 2 and 3 eV, at two levels, with lines of 2 meV."""
    info = LevelInfo(
        broadening=Broadening("lorentzian", 0.002), components=("mean",), has_real=True
    )
    schema = TableSchema(
        grid=GRID,
        levels={"ipa": info, "rpa": info},
        scalars={"direct_gap_eV": ScalarInfo(unit="eV"), "band_gap_eV": ScalarInfo(unit="eV")},
    )
    rows = []
    for name, gap in (("mp-1", 2.0), ("mp-2", 3.0)):
        row = {"material_id": name, "structure": MGO, "direct_gap_eV": gap, "band_gap_eV": gap}
        for level in ("ipa", "rpa"):
            row[f"{level}_re_mean"] = spectrum_of(gap).epsilon_real
            row[f"{level}_im_mean"] = spectrum_of(gap).epsilon_imaginary
        rows.append(row)
    return write_table(tmp_path / "table.parquet", schema, rows)


def optics(*arguments):
    return runner.invoke(app, ["optics", *map(str, arguments)])


def summary(folder):
    with (folder / "summary.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_writes_a_report(file, tmp_path):
    out = tmp_path / "out"
    done = optics(file, "--out", out)
    assert done.exit_code == 0, done.output
    (row,) = summary(out)
    assert row["name"] == "sample"
    assert float(row["onset_eV"]) == pytest.approx(spectrum_of().onset_energy(), rel=1e-5)
    assert (out / "report.html").is_file()
    assert (out / "plots" / "sample_overview.png").is_file()
    assert OpticsConfig.model_validate_json((out / "config.json").read_text()) == OpticsConfig()
    assert "report.html" in done.stdout


def test_options_reach_the_analysis(file, tmp_path):
    out = tmp_path / "out"
    done = optics(
        file, "-o", out, "--no-plots", "--gap", 2.0, "--fundamental-gap", 1.9, "--scissor", 0.5,
        "--broaden", 0.05, "--threshold", 3.0, "--wavelength", 633, "--wavelength", 800,
        "--thickness", 250, "--coherent", "--scattering", 300, "--temperature", 300,
        "--max-energy", 8,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    config = OpticsConfig.model_validate_json((out / "config.json").read_text())
    assert config == OpticsConfig(
        direct_gap=2.0, fundamental_gap=1.9, scissor=0.5, broadening=0.05, threshold=3.0,
        wavelengths=(633.0, 800.0), thickness=250.0, coherence="coherent", scattering=300.0,
        temperature=300.0, max_energy=8.0,
    )  # fmt: skip
    (row,) = summary(out)
    assert float(row["refractive_index_633nm"]) > 1.0
    assert "Gaussian σ = 0.05 eV" in row["broadening"]


def test_tables_bring_gaps_structures_and_levels(table, tmp_path):
    out = tmp_path / "out"
    done = optics(table, "--out", out, "--no-plots")
    assert done.exit_code == 0, done.output
    assert [row["name"] for row in summary(out)] == [
        "MgO mp-1 ipa", "MgO mp-1 rpa", "MgO mp-2 ipa", "MgO mp-2 rpa",
    ]  # fmt: skip

    done = optics(table, "--material", "mp-2", "--level", "rpa", "--out", out, "--no-plots")
    assert done.exit_code == 0, done.output
    (row,) = summary(out)
    assert row["name"] == "MgO mp-2"
    assert float(row["onset_eV"]) == pytest.approx(3.0, abs=GRID.step)
    content = json.loads((out / "summary.json").read_text(encoding="utf-8"))["spectra"][0]
    assert content["config"]["direct_gap"] == 3.0
    assert content["quantities"]["f_sum_error"]["value"] is not None


def test_bad_files_are_skipped_and_told(file, table, tmp_path):
    out = tmp_path / "out"
    bad = tmp_path / "bad.csv"
    bad.write_text("energy_eV,epsilon_real,epsilon_imaginary\n0,1,0\n1,nonsense,0\n")
    done = optics(
        tmp_path / "absent.xml", bad, table, file, "--material", "mp-9", "--out", out, "--no-plots"
    )
    assert done.exit_code == 0, done.output
    assert [row["name"] for row in summary(out)] == ["sample"]
    with (out / "failures.csv").open(encoding="utf-8", newline="") as stream:
        failures = {row["source"]: row["reason"] for row in csv.DictReader(stream)}
    assert set(failures) == {
        str(tmp_path / "absent.xml"), str(bad), f"{table}, mp-9",
    }  # fmt: skip
    assert all(failures.values())
    assert sum(line.startswith("skipped") for line in done.stderr.splitlines()) == 3


def test_nothing_usable_is_an_error(tmp_path):
    done = optics(tmp_path / "absent.xml", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "no file gave a spectrum" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--material", "mp-1"), "table"),
        (("--thickness", "-1"), "thickness"),
        (("--fundamental-gap", "1.0"), "direct one"),
        (("--structure", "absent.cif"), "absent.cif"),
    ],
)
def test_wrong_wishes_are_told_before_anything_is_done(file, tmp_path, arguments, message):
    done = optics(file, "--out", tmp_path / "out", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "out" / "summary.csv").exists()


def test_a_shift_that_closes_one_gap_spares_the_others(table, tmp_path):
    out = tmp_path / "out"
    done = optics(table, "--level", "rpa", "--scissor", "-2.5", "--out", out, "--no-plots")
    assert done.exit_code == 0, done.output
    assert [row["name"] for row in summary(out)] == ["MgO mp-2"]
    assert "MgO mp-1" in (out / "failures.csv").read_text(encoding="utf-8")


def test_interrupted_runs_keep_what_is_done(table, tmp_path, monkeypatch):
    from opalign.spectrum import analysis

    real, calls = analysis.analyse, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(analysis, "analyse", interrupted)
    done = optics(table, "--out", tmp_path / "out", "--no-plots")
    assert done.exit_code == 130
    assert len(summary(tmp_path / "out")) == 2


def test_a_vasp_run(opalign_data, tmp_path):
    run = opalign_data / "vasp_mgse" / "MgSe_absorption_vasprun.xml.gz"
    done = optics(run, "--out", tmp_path, "--no-plots")
    assert done.exit_code == 0, done.output
    (row,) = summary(tmp_path)
    assert row["name"] == "MgSe_absorption_vasprun"
    assert row["optical_class"] == "isotropic"
    # Gap of the run's own eigenvalues, 2.529 eV; pymatgen's SLME at 500 nm is 5.96745 %, of the
    # energies as VASP rounds them.
    assert float(row["slme_percent"]) == pytest.approx(5.96745, rel=1e-4)
    assert float(row["static_dielectric"]) == pytest.approx(5.4311, abs=1e-4)
    assert abs(float(row["f_sum_error"])) < 0.03
