import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from opalign.cli.dataset import app
from opalign.dataset.table import SpectraTable, concatenate
from opalign.errors import DatasetError


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_info_tells_what_a_table_declares(table):
    result = invoke("info", table.path)
    assert result.exit_code == 0, result.output
    for text in (
        "4 materials, 3 reduced formulas",
        "0 to 20 eV, 201 points",
        "level ipa: epsilon (re, im; xx yy zz), broadening gaussian 0.1 eV",
        "level rpa: epsilon (im; mean), broadening none; with local fields",
        "scalar band_gap_eV (eV): gap",
        "list mesh",
        "licence: CC0-1.0",
    ):
        assert text in result.stdout


def test_check(table, rewrite, column):
    result = invoke("check", table.path)
    assert result.exit_code == 0
    assert "4 materials, all rows sound" in result.stdout
    values = column("rpa_im_mean")
    values[3][9] = np.nan
    rewrite(rpa_im_mean=values)
    broken = invoke("check", table.path)
    assert isinstance(broken.exception, DatasetError)
    assert "row 3 (mat-3), column 'rpa_im_mean'" in str(broken.exception)


def test_join(tmp_path, table):
    parts = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for path, row in zip(parts, ([0, 2], [1]), strict=True):
        concatenate(path, [table.select([table.ids[each] for each in row])])
    result = invoke("join", tmp_path / "all.parquet", *parts)
    assert result.exit_code == 0, result.output
    assert "3 materials of 2 tables" in result.stdout
    assert SpectraTable.open(tmp_path / "all.parquet").ids == ["mat-0", "mat-2", "mat-1"]
    twice = invoke("join", tmp_path / "twice.parquet", parts[0], parts[0])
    assert isinstance(twice.exception, DatasetError)
    assert not (tmp_path / "twice.parquet").exists()


def test_export_and_import(tmp_path, table):
    folder, out = tmp_path / "folder", tmp_path / "again.parquet"
    result = invoke("export", table.path, folder, "--level", "ipa", "--broadening", "gaussian:0.2")
    assert result.exit_code == 0, result.output
    assert "4 materials" in result.stdout
    (folder / "opalign.json").unlink()
    (folder / "mat-1.vasp").unlink()
    result = invoke(
        *("import", "alignn", folder, out, "--target", "log_absorption", "--level", "ipa"),
        *("--grid", "0:20:201", "--broadening", "gaussian:0.22", "--floor", "2"),
    )
    assert result.exit_code == 0, result.output
    assert "3 materials, 1 left out" in result.stdout
    assert "left out mat-1.vasp" in result.stderr
    again = SpectraTable.open(out)
    assert again.levels["ipa"].broadening.width == 0.22
    assert again.levels["ipa"].floor == 2.0


@pytest.mark.parametrize(
    "option",
    [
        ("--grid", "0:20"),
        ("--grid", "5:1:9"),
        ("--broadening", "gaussian"),
        ("--broadening", "square:1"),
        ("--target", "colour"),
    ],
)
def test_options_that_cannot_be_read_are_named(tmp_path, option):
    result = invoke("import", "alignn", tmp_path, tmp_path / "t.parquet", *option)
    assert result.exit_code == 2
    assert option[0] in result.stderr
    assert option[1] in result.stderr


@pytest.mark.parametrize(
    ("kind", "name"),
    [("gpaw", "gpaw_pbe/spectra.parquet"), ("dielectric", "oxide_dielectric.parquet")],
)
def test_import_of_the_projects_data(tmp_path, opalign_data, kind, name):
    if not (opalign_data / name).is_file():
        pytest.skip(f"{opalign_data / name} is absent")
    result = invoke("import", kind, opalign_data / name, tmp_path / "t.parquet")
    assert result.exit_code == 0, result.output
    assert invoke("check", tmp_path / "t.parquet").exit_code == 0


def test_the_command_starts_without_the_science():
    code = (
        "import sys, opalign.cli.dataset\n"
        "print(sorted({'numpy', 'pyarrow', 'pydantic', 'torch', 'pymatgen'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_wrong_value_is_told_without_the_frame_around_it(tmp_path):
    options = ("--broadening", "square:1", "--grid", "0:20:201")
    result = invoke("import", "alignn", tmp_path, tmp_path / "t.parquet", *options)
    assert "'gaussian'" in result.stderr
    assert "pydantic" not in result.stderr


def test_a_folder_that_is_not_there(tmp_path):
    result = invoke("import", "alignn", tmp_path / "nowhere", tmp_path / "t.parquet")
    assert isinstance(result.exception, DatasetError)
    assert "no such folder" in str(result.exception)
