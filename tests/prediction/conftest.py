"""A checkpoint with random weights, and structures to try it on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from opalign.crystal.graph import build_graph, collate
from opalign.model.checkpoint import build_model, save_checkpoint
from opalign.model.config import AlignnConfig, ModelConfig, PhysicalHeadConfig, VectorHeadConfig
from opalign.model.reference import Reference
from opalign.prediction import Predictor
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid


def rock_salt(cation: str, anion: str, length: float) -> Structure:
    vectors = 0.5 * length * (np.ones((3, 3)) - np.eye(3))
    return Structure(Lattice(vectors), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


TRAINING = {
    "mp-1": rock_salt("Mg", "O", 4.21),
    "mp-2": rock_salt("Ca", "O", 4.81),
    "mp-3": rock_salt("Mg", "S", 5.20),
    "mp-4": rock_salt("Ca", "S", 5.69),
}


def write_checkpoint(folder: Path, head: str = "physical", target: str = "log_absorption") -> Path:
    torch.manual_seed(0)
    heads = {
        "physical": PhysicalHeadConfig(hidden_features=(8,)),
        "vector": VectorHeadConfig(target=target),
    }
    config = ModelConfig(
        encoder=AlignnConfig(
            alignn_layers=1, gcn_layers=1, hidden_features=8, embedding_features=8
        ),
        head=heads[head],
        grid=EnergyGrid(0.0, 10.0, 101),
        levels=("rpa", "ipa"),
        broadening=Broadening("gaussian", 0.1),
    )
    model = build_model(config).eval()
    batch = collate([build_graph(structure, config.graph) for structure in TRAINING.values()])
    with torch.no_grad():
        features = model(batch)["features"].numpy()
    formulas = tuple(structure.reduced_formula for structure in TRAINING.values())
    return save_checkpoint(
        folder,
        model,
        elements=[8, 12, 16, 20],
        metrics={},
        splits={"train": list(TRAINING), "validation": [], "test": []},
        card="# Tiny\n",
        reference=Reference(tuple(TRAINING), formulas, features),
    )


@pytest.fixture(scope="session")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="session")
def predictor(checkpoint_folder: Path) -> Predictor:
    return Predictor.load(checkpoint_folder, device="cpu")


@pytest.fixture(scope="session")
def make_checkpoint() -> Callable[..., Path]:
    return write_checkpoint


@pytest.fixture(scope="session")
def training_structures() -> dict[str, Structure]:
    return TRAINING


@pytest.fixture(scope="session")
def crystals() -> list[Structure]:
    """Different sizes and chemistries, some strained."""
    random = np.random.default_rng(1)
    pairs = [("Mg", "O"), ("Ca", "S"), ("Sr", "O"), ("Zn", "Se"), ("Ba", "S"), ("Mg", "Te")]
    found = []
    for number, (cation, anion) in enumerate(pairs):
        structure = rock_salt(cation, anion, 4.4 + 0.3 * number)
        structure.apply_strain(list(random.uniform(-0.02, 0.02, 3)))
        found.append(structure * (1 + number % 2, 1, 1))
    return found
