"""A table of textbook crystals with analytic spectra, and runs that take a second."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Lattice, Structure
from rich.console import Console

from opalign.dataset.schema import LevelInfo, ScalarInfo, TableSchema
from opalign.dataset.write import write_table
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.training.config import TrainingConfig
from opalign.training.config_file import parse_config

GRID = EnergyGrid(start=0.0, stop=20.0, num=101)

ROCKSALT = [
    ("MgO", 4.21), ("CaO", 4.81), ("SrO", 5.16), ("BaO", 5.52), ("MgS", 5.20), ("CaS", 5.69),
]  # fmt: skip


def lorentz(center: float, strength: float, width: float = 0.8) -> np.ndarray:
    """ε of one Lorentz oscillator: Kramers–Kronig holds exactly, ε₁(0) = 1 + strength."""
    energies = GRID.values
    return 1 + strength * center**2 / (center**2 - energies**2 - 1j * width * energies)


def crystals() -> list[tuple[str, Structure]]:
    found = []
    for formula, a in ROCKSALT:
        metal, anion = formula[:2], formula[2:]
        found.append(
            (
                f"rocksalt-{formula}",
                Structure.from_spacegroup(
                    "Fm-3m", Lattice.cubic(a), [metal, anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
                ).get_primitive_structure(),
            )
        )
    # A polymorph: must never be split from the other MgO.
    found.append(
        ("cscl-MgO", Structure(Lattice.cubic(2.66), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]))
    )
    found.append(
        ("cscl-CaS", Structure(Lattice.cubic(3.4), ["Ca", "S"], [[0, 0, 0], [0.5, 0.5, 0.5]]))
    )
    return found


def write_spectra(
    path: Path, *, gap_unknown: str = "", broadening: Broadening | None = None
) -> Path:
    schema = TableSchema(
        grid=GRID,
        levels={
            level: LevelInfo(
                broadening=broadening or Broadening(),
                has_real=True,
                description=f"analytic {level}",
            )
            for level in ("rpa", "ipa")
        },
        scalars={"direct_gap_eV": ScalarInfo(unit="eV")},
        licence="CC0",
        source="Lorentz oscillators",
    )
    rows = []
    for number, (material_id, structure) in enumerate(crystals()):
        rpa, ipa = lorentz(7 + 0.5 * number, 2.0), lorentz(6.5 + 0.5 * number, 2.2)
        rows.append(
            {
                "material_id": material_id,
                "structure": structure,
                "rpa_re_mean": rpa.real,
                "rpa_im_mean": rpa.imag,
                "ipa_re_mean": ipa.real,
                "ipa_im_mean": ipa.imag,
                "direct_gap_eV": None if material_id == gap_unknown else 3.0 + 0.3 * number,
            }
        )
    return write_table(path, schema, rows)


def spoiled(source: Path, target: Path, value: float) -> Path:
    """Copy a table behind its writer's back, with one value of row 2 changed."""
    table = pq.read_table(source)
    rows = table.column("rpa_im_mean").to_pylist()
    rows[2][7] = value
    place = table.schema.get_field_index("rpa_im_mean")
    field = table.schema.field(place)
    pq.write_table(table.set_column(place, field, pa.array(rows, field.type)), target)
    return target


@pytest.fixture(scope="session")
def spectra_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_spectra(tmp_path_factory.mktemp("table") / "lorentz.parquet")


@pytest.fixture(scope="session")
def scalars_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gaps and static dielectric constants of the same crystals and of one more formula."""
    schema = TableSchema(
        scalars={"band_gap_eV": ScalarInfo(unit="eV"), "dielectric_electronic": ScalarInfo()},
        licence="CC-BY-4.0",
        source="textbook scalars",
        citation="A. Author, 2020",
    )
    more = Structure(Lattice.cubic(2.9), ["Sr", "S"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    rows = [
        {
            "material_id": f"scalar-{material_id}",
            "structure": structure,
            "band_gap_eV": 3.0,
            "dielectric_electronic": None if material_id == "cscl-SrS" else 3.0,
        }
        for material_id, structure in [*crystals(), ("cscl-SrS", more)]
    ]
    return write_table(tmp_path_factory.mktemp("scalars") / "scalars.parquet", schema, rows)


def tiny_settings(path: Path, **changes: object) -> dict:
    settings: dict = {
        "data": {
            "tables": str(path),
            "levels": ["rpa"],
            "broadening": {"shape": "gaussian", "width": 0.1},
            "split": {"method": "fractions", "fractions": [0.5, 0.25, 0.25], "seed": 1},
        },
        "model": {
            "encoder": {
                "architecture": "alignn", "alignn_layers": 1, "gcn_layers": 1,
                "hidden_features": 8, "embedding_features": 8, "bond_basis_size": 12,
                "angle_basis_size": 6,
            },
            "head": {"kind": "physical", "hidden_features": [8], "basis_step": 0.5},
            "graph": {"neighbors": 6},
        },
        "epochs": 4,
        "batch_size": 2,
        "accelerator": "cpu",
        "num_threads": 1,
        "save_seconds": 0,
    }  # fmt: skip
    for dotted, value in changes.items():
        node = settings
        *parents, last = dotted.split("__")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return settings


@pytest.fixture
def tiny(spectra_path: Path):
    """Configuration of a run that takes a second; changes as ``loss__kind="l1"``."""

    def make(**changes: object) -> TrainingConfig:
        return parse_config(tiny_settings(spectra_path, **changes))

    return make


@pytest.fixture
def silent() -> Console:
    return Console(file=io.StringIO(), width=120)
