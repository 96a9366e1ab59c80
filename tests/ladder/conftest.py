"""A table of textbook crystals at two analytic levels, and climbs that take a second."""

import io
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from rich.console import Console

from opalign.dataset.schema import LevelInfo, ScalarInfo, TableSchema
from opalign.dataset.write import write_table
from opalign.ladder.config import LadderConfig
from opalign.ladder.config_file import parse_ladder_config
from opalign.ladder.data import LadderData
from opalign.spectrum.grid import EnergyGrid

GRID = EnergyGrid(start=0.0, stop=20.0, num=81)
ROCKSALT = {
    "MgO": 4.21, "CaO": 4.81, "SrO": 5.16, "BaO": 5.52, "MgS": 5.20, "CaS": 5.69, "SrS": 6.02,
    "CdO": 4.70,
}  # fmt: skip


def lorentz(center: float, strength: float, width: float = 1.5) -> np.ndarray:
    """ε of one Lorentz oscillator: Kramers–Kronig holds exactly, ε₁(0) = 1 + strength."""
    energies = GRID.values
    return 1 + strength * center**2 / (center**2 - energies**2 - 1j * width * energies)


def crystals() -> list[tuple[str, Structure]]:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
    found = [
        (
            f"rocksalt-{formula}",
            Structure.from_spacegroup(
                "Fm-3m", Lattice.cubic(a), [formula[:2], formula[2:]], sites
            ).get_primitive_structure(),
        )
        for formula, a in ROCKSALT.items()
    ]
    # Polymorphs: must never be split from the other MgO and CaS. One with a cell of four atoms.
    found.append(("cscl-MgO", Structure(Lattice.cubic(2.66), ["Mg", "O"], sites)))
    double = Structure(Lattice.cubic(3.4), ["Ca", "S"], sites)
    found.append(("double-CaS", double.make_supercell([2, 1, 1], in_place=False)))
    return found


def write_levels(path: Path, shift: float = 0.5) -> Path:
    """The cheap level peaks where the lattice constant says, the costly one ``shift`` higher."""
    schema = TableSchema(
        grid=GRID,
        levels={level: LevelInfo(has_real=True, description=level) for level in ("ipa", "rpa")},
        scalars={"direct_gap_eV": ScalarInfo(unit="eV")},
        licence="CC0",
        source="Lorentz oscillators",
    )
    rows = []
    for material_id, structure in crystals():
        center = 4.0 + 60.0 / (structure.volume / len(structure))
        row = {
            "material_id": material_id,
            "structure": structure,
            "direct_gap_eV": center - 3.0,
        }
        for level, place in (("ipa", center), ("rpa", center + shift)):
            epsilon = lorentz(place, 2.0)
            row[f"{level}_re_mean"], row[f"{level}_im_mean"] = epsilon.real, epsilon.imag
        rows.append(row)
    return write_table(path, schema, rows)


@pytest.fixture(scope="session")
def levels_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_levels(tmp_path_factory.mktemp("levels") / "levels.parquet")


@pytest.fixture
def near_levels(tmp_path: Path) -> Path:
    """A costly level that is the cheap one, moved by 0.2 eV."""
    return write_levels(tmp_path / "near.parquet", shift=0.2)


@pytest.fixture(scope="session")
def scalars_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gaps of the same crystals, so that all test formulas are there to be left out."""
    schema = TableSchema(
        scalars={"band_gap_eV": ScalarInfo(unit="eV"), "dielectric_electronic": ScalarInfo()},
        licence="CC0",
        source="textbook scalars",
    )
    rows = [
        {
            "material_id": f"scalar-{material_id}",
            "structure": structure,
            "band_gap_eV": 3.0,
            "dielectric_electronic": 3.0,
        }
        for material_id, structure in crystals()
    ]
    return write_table(tmp_path_factory.mktemp("scalars") / "scalars.parquet", schema, rows)


def tiny_ladder(path: Path) -> dict:
    return {
        "tables": str(path),
        "model": {
            "encoder": {
                "architecture": "optimate", "element_table": "group_period",
                "node_features": [6], "attention_features": [6, 6], "attention_heads": 1,
                "bond_basis_size": 8,
            },
            "head": {"kind": "physical", "hidden_features": [8], "basis_step": 0.5},
        },
        "folds": 2,
        "seeds": [0],
        "sizes": [0.5, 1.0],
        "cells": [2, 4],
        "steps": 10,
        "batch_size": 3,
        "strategies": {
            "direct": {"kind": "direct", "tuning": {"learning_rates": [1e-3, 4e-3]}},
            "transfer": {"kind": "transfer"},
            "multi_fidelity": {"kind": "multi_fidelity", "level_embedding": 3},
            "delta": {"kind": "delta", "hidden_features": [8]},
        },
        "similarity": {"steps": 5, "hidden_features": [8]},
    }  # fmt: skip


@pytest.fixture
def small(levels_path: Path):
    """Configuration of a climb that takes a second; changes replace whole keys."""

    def make(**changes: object) -> LadderConfig:
        return parse_ladder_config(tiny_ladder(levels_path) | changes)

    return make


@pytest.fixture
def data(small) -> LadderData:
    return LadderData(small())


@pytest.fixture
def silent() -> Console:
    return Console(file=io.StringIO(), width=120)
