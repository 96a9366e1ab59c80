"""A small explanation and its report, made once for all tests of reports."""

from types import SimpleNamespace

import pytest
from pymatgen.core import Lattice, Structure

from opalign.dataset.schema import LevelInfo, ScalarInfo, TableSchema
from opalign.dataset.write import write_table
from opalign.explain.config_file import explain_config
from opalign.explain.probes import probe
from opalign.explain.report import write_report
from opalign.explain.table import explain_table
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum

GRID = EnergyGrid(start=0.0, stop=15.0, num=151)
# Too few for a UMAP, whose compiler would take half a minute.
CRYSTALS = (
    ("MgO", "Fm-3m", 4.21, 6.0),
    ("CaO", "Fm-3m", 4.81, 5.5),
    ("CaS", "Fm-3m", 5.69, 4.4),
    ("BaS", "Fm-3m", 6.39, 3.9),
    ("ZnS", "F-43m", 5.41, 3.6),
    ("ZnSe", "F-43m", 5.67, 2.7),
    ("BeS", "F-43m", 4.86, 5.1),
    ("CdS", "F-43m", 5.83, 2.4),
)


def crystal(formula: str, group: str, a: float) -> Structure:
    place = 0.5 if group == "Fm-3m" else 0.25
    return Structure.from_spacegroup(
        group, Lattice.cubic(a), [formula[:2], formula[2:]], [[0, 0, 0], [place] * 3]
    ).get_primitive_structure()


def spectra_table(path, crystals=CRYSTALS, *, equal=False):
    schema = TableSchema(
        grid=GRID,
        levels={
            "rpa": LevelInfo(
                broadening=Broadening("gaussian", 0.1),
                components=("mean",),
                has_real=True,
                description="edges",
            )
        },
        scalars={"direct_gap_eV": ScalarInfo(unit="eV")},
        licence="CC0",
        source="a rule",
    )
    energies = GRID.values
    rows = []
    for formula, group, a, gap in crystals:
        onset = 3.0 if equal else gap
        imaginary = 40.0 * (energies - onset).clip(0.0) ** 0.5 / energies.clip(1.0) ** 2
        spectrum = OpticalSpectrum.from_imaginary(GRID, imaginary, level="rpa")
        rows.append(
            {
                "material_id": f"id-{formula}",
                "structure": crystal(formula, group, a),
                "rpa_im_mean": imaginary,
                "rpa_re_mean": spectrum.epsilon_real,
                "direct_gap_eV": onset,
            }
        )
    return write_table(path, schema, rows)


@pytest.fixture(scope="session")
def reported(tmp_path_factory):
    """The explanation of a small table, its report's files, and its folder."""
    folder = tmp_path_factory.mktemp("report")
    table = spectra_table(folder / "table.parquet")
    config = explain_config(None, {"model": "alignn", "table": str(table), "number": 3, "draws": 2})
    with pytest.MonkeyPatch.context() as patch:
        # Standard errors of probes, of which no test here takes a number.
        patch.setitem(probe.__kwdefaults__, "draws", 10)
        explanation = explain_table(config, folder)
    return SimpleNamespace(
        explanation=explanation, written=write_report(explanation, folder), folder=folder
    )
