"""Freeze a tiny checkpoint of the current format, with what it predicts.

    python tests/model/data/freeze.py FOLDER alignn|optimate vector|physical

Run once for each format and head that has been released, never to make a failing test pass: a
frozen checkpoint stands for the models that users have.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from opalign.crystal.graph import build_graph_from_arrays, collate
from opalign.crystal.settings import GraphSettings
from opalign.model.checkpoint import build_model, save_checkpoint
from opalign.model.config import (
    AlignnConfig,
    ModelConfig,
    OptimateConfig,
    PhysicalHeadConfig,
    VectorHeadConfig,
)
from opalign.model.reference import Reference
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

CRYSTAL = {
    "lattice": [[0.0, 2.1, 2.1], [2.1, 0.0, 2.1], [2.1, 2.1, 0.0]],
    "positions": [[0.0, 0.0, 0.0], [2.1, 2.1, 2.1]],
    "atomic_numbers": [12, 8],
}
ENCODERS = {
    "alignn": (
        AlignnConfig(
            alignn_layers=1,
            gcn_layers=1,
            hidden_features=4,
            embedding_features=4,
            bond_basis_size=12,
            angle_basis_size=6,
            norm="batch",
        ),
        GraphSettings(neighbors=6),
    ),
    "optimate": (
        OptimateConfig(
            node_features=(5,), attention_features=(4, 3), attention_heads=2, bond_basis_size=9
        ),
        GraphSettings(kind="radius", cutoff=4.0, angles=False),
    ),
}
HEADS = {
    "vector": VectorHeadConfig(target="log_absorption", hidden_features=(6,), leaky_output=True),
    "physical": PhysicalHeadConfig(hidden_features=(6,), basis_step=0.5),
}


def main(folder: Path, encoder: str, head: str) -> None:
    """Write ``folder`` and ``folder``.json."""
    torch.manual_seed(len(encoder) + len(head))
    network, graph = ENCODERS[encoder]
    config = ModelConfig(
        encoder=network,
        head=HEADS[head],
        graph=graph,
        grid=EnergyGrid(0.0, 10.0, 11),
        levels=("ipa", "rpa"),
        broadening=Broadening("gaussian", 0.3),
    )
    model = build_model(config)
    batch = collate([build_graph_from_arrays(*CRYSTAL.values(), graph)])
    for _ in range(3):
        model.train()(batch)  # running statistics other than those of the start
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
        found = model.eval()(batch)
    features = found["features"].numpy()
    save_checkpoint(
        folder,
        model,
        elements=CRYSTAL["atomic_numbers"],
        metrics={"test": {"similarity": 0.5}},
        splits={"train": ["frozen-1"], "validation": [], "test": ["frozen-2"]},
        card=f"# Frozen\n\nA tiny {encoder} with a {head} head, for tests alone.\n",
        reference=Reference(("frozen-1",), ("MgO",), features.astype(np.float32)),
        training={"licence": "CC0", "sources": []},
    )
    expected = {key: value.tolist() for key, value in found.items() if key != "layers"}
    content = {"crystal": CRYSTAL, "expected": expected}
    folder.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
