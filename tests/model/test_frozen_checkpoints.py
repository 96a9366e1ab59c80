"""Checkpoints written by earlier versions still load and predict the same."""

import json
from pathlib import Path

import pytest
import torch

from opalign.crystal.graph import build_graph_from_arrays, collate
from opalign.model.checkpoint import load_checkpoint

DATA = Path(__file__).parent / "data"
FROZEN = sorted(path.parent for path in DATA.glob("*/config.json"))


def test_there_are_some():
    assert len(FROZEN) >= 2


@pytest.mark.parametrize("folder", FROZEN, ids=lambda folder: folder.name)
def test_frozen_checkpoint(folder):
    content = json.loads(folder.with_suffix(".json").read_text(encoding="utf-8"))
    checkpoint = load_checkpoint(folder)
    graph = build_graph_from_arrays(*content["crystal"].values(), checkpoint.config.graph)
    with torch.no_grad():
        found = checkpoint.model(collate([graph], checkpoint.dtype))
    for key, value in content["expected"].items():
        expected = torch.tensor(value, dtype=checkpoint.dtype)
        # Rounding of single precision, in whatever order a machine sums.
        torch.testing.assert_close(found[key], expected, rtol=1e-5, atol=1e-6)
    assert checkpoint.elements == (8, 12)
    assert checkpoint.splits == {"train": ["frozen-1"], "validation": [], "test": ["frozen-2"]}
    assert checkpoint.metrics == {"test": {"similarity": 0.5}}
    assert checkpoint.training == {"licence": "CC0", "sources": []}
    assert checkpoint.reference.ids == ("frozen-1",)
    features = torch.tensor(checkpoint.reference.features)
    torch.testing.assert_close(found["features"], features, rtol=1e-5, atol=1e-6)
