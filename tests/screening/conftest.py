"""A checkpoint with random weights, and tables of structures to try it on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pymatgen.core import Lattice, Structure

from opalign.crystal.graph import build_graph, collate
from opalign.model.checkpoint import build_model, save_checkpoint
from opalign.model.config import AlignnConfig, ModelConfig, PhysicalHeadConfig
from opalign.model.reference import Reference
from opalign.prediction import Predictor
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid


def rock_salt(cation: str, anion: str, length: float) -> Structure:
    vectors = 0.5 * length * (np.ones((3, 3)) - np.eye(3))
    return Structure(Lattice(vectors), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def row_of(structure: Structure) -> dict[str, Any]:
    return {
        "lattice": structure.lattice.matrix.ravel().tolist(),
        "species": [site.specie.symbol for site in structure],
        "frac_coords": structure.frac_coords.ravel().tolist(),
    }


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = ModelConfig(
        encoder=AlignnConfig(
            alignn_layers=1, gcn_layers=1, hidden_features=8, embedding_features=8
        ),
        head=PhysicalHeadConfig(hidden_features=(8,)),
        grid=EnergyGrid(0.0, 10.0, 101),
        levels=("ipa", "rpa"),
        broadening=Broadening("gaussian", 0.1),
    )
    known = [rock_salt("Mg", "O", 4.21), rock_salt("Ca", "O", 4.81), rock_salt("Mg", "S", 5.2)]
    model = build_model(config).eval()
    with torch.no_grad():
        features = model(collate([build_graph(one, config.graph) for one in known]))["features"]
    return save_checkpoint(
        tmp_path_factory.mktemp("checkpoints") / "tiny",
        model,
        elements=[8, 12, 16, 20],
        metrics={},
        splits={"train": ["mp-1", "mp-2", "mp-3"], "validation": [], "test": []},
        card="# Tiny\n",
        reference=Reference(("mp-1", "mp-2", "mp-3"), ("MgO", "CaO", "MgS"), features.numpy()),
    )


@pytest.fixture(scope="session")
def tiny_predictor(tiny_model: Path) -> Predictor:
    return Predictor.load(tiny_model, device="cpu")


@pytest.fixture(scope="session")
def many_crystals() -> list[Structure]:
    """Two dozen of different sizes and chemistries, strained."""
    random = np.random.default_rng(1)
    found = []
    for number in range(24):
        cation, anion = ["Mg", "Ca", "Sr", "Zn"][number % 4], ["O", "S", "Se"][number % 3]
        structure = rock_salt(cation, anion, 4.4 + 0.05 * number)
        structure.apply_strain(list(random.uniform(-0.02, 0.02, 3)))
        found.append(structure * (1 + number % 3, 1, 1))
    return found


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    """Write a plain table; rows lack what they lack."""

    def write(
        rows: Sequence[dict[str, Any]],
        name: str = "input.parquet",
        ids: Sequence[Any] | None = None,
    ) -> Path:
        if ids is not None:
            rows = [{**row, "material_id": one} for row, one in zip(rows, ids, strict=True)]
        schema = pa.schema(
            [
                ("material_id", pa.string()),
                ("lattice", pa.list_(pa.float64())),
                ("species", pa.list_(pa.string())),
                ("frac_coords", pa.list_(pa.float64())),
            ]
        )
        path = tmp_path / name
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)
        return path

    return write


@pytest.fixture(scope="session")
def crystal_rows(many_crystals: list[Structure]) -> list[dict[str, Any]]:
    return [{"material_id": f"c-{k}", **row_of(one)} for k, one in enumerate(many_crystals)]


@pytest.fixture(scope="session")
def garbage_rows() -> list[tuple[dict[str, Any], str]]:
    """Rows that make no crystal, with a word of the reason."""
    fine = row_of(rock_salt("Mg", "O", 4.21))
    return [
        ({**fine, "lattice": None}, "lattice"),
        ({**fine, "lattice": fine["lattice"][:8]}, "lattice"),
        ({**fine, "lattice": [float("nan")] * 9}, "lattice"),
        ({**fine, "lattice": [0.0] * 9}, "no volume"),
        ({**fine, "lattice": [1e-3 * x for x in fine["lattice"]]}, "Å³ per atom"),
        ({**fine, "species": None}, "no atoms"),
        ({**fine, "species": []}, "no atoms"),
        ({**fine, "species": ["Mg", "Xx"]}, "Xx"),
        ({**fine, "species": ["Mg", None]}, "not a chemical element"),
        ({**fine, "species": ["Mg", "O", "O"]}, "3 atoms, but 6"),
        ({**fine, "frac_coords": None}, "coordinates"),
        ({**fine, "frac_coords": [0, 0, 0, float("inf"), 0, 0]}, "not a finite number"),
        ({**fine, "frac_coords": [0.0] * 6}, "Å apart"),
        ({**fine, "species": ["Lr", "O"]}, "cannot describe Lr"),
    ]
