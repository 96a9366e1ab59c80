"""A network on the classes of atoms, bonds and angles is the network on all of them."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from ase.data import atomic_numbers

from opalign.crystal.graph import build_graph_from_arrays, collate
from opalign.crystal.settings import GraphSettings
from opalign.model.checkpoint import build_model
from opalign.model.config import (
    AlignnConfig,
    ModelConfig,
    OptimateConfig,
    PhysicalHeadConfig,
    VectorHeadConfig,
)
from opalign.spectrum.grid import EnergyGrid

RADIUS = GraphSettings(kind="radius", cutoff=4.0, angles=False)
SMALL = {"hidden_features": 16, "embedding_features": 16}
NETWORKS = {
    "alignn": (AlignnConfig(alignn_layers=2, gcn_layers=2, **SMALL), GraphSettings(neighbors=8)),
    "alignn, batch norm": (
        AlignnConfig(alignn_layers=1, gcn_layers=1, norm="batch", **SMALL),
        GraphSettings(neighbors=8),
    ),
    "optimate": (
        OptimateConfig(
            node_features=(8, 8), attention_features=(8, 12), element_table="group_period"
        ),
        RADIUS,
    ),
}
HEADS = {
    "physical": PhysicalHeadConfig(hidden_features=(16,)),
    "level embedding": PhysicalHeadConfig(hidden_features=(16,), level_embedding=4),
    "all that a head may see": PhysicalHeadConfig(
        hidden_features=(16,), context=True, composition="all", gap_pooling="attention"
    ),
    "vector": VectorHeadConfig(hidden_features=(16,)),
}
# Values that count as equal differ by 1e-5 at most and are replaced by their mean, which cancels in
# first order; where all atoms stand where symmetry puts them there is only rounding.
ROUNDING, MERGED = 1e-11, 1e-6


@pytest.fixture(scope="module")
def crystals(opalign_data):
    table = pq.read_table(opalign_data / "mp_oxides_chalcogenides.parquet").to_pylist()
    found = []
    for row in table[::170]:
        lattice = np.reshape(row["lattice"], (3, 3))
        numbers = [atomic_numbers[symbol] for symbol in row["species"]]
        found.append((lattice, np.reshape(row["frac_coords"], (-1, 3)) @ lattice, numbers))
    assert len(found) >= 20
    return found


def textbook():
    rocksalt = 2.1 * (np.ones((3, 3)) - np.eye(3))
    cubic = 3.9 * np.eye(3)
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    return [
        (rocksalt, [[0, 0, 0], [2.1, 2.1, 2.1]], [12, 8]),
        (cubic, sites @ cubic, [38, 22, 8, 8, 8]),
    ]


def displaced(crystal):
    lattice, positions, numbers = crystal
    noise = np.random.default_rng(len(numbers)).normal(scale=0.03, size=np.shape(positions))
    return lattice, positions + noise, numbers


def network(name, head):
    encoder, settings = NETWORKS[name]
    torch.manual_seed(1)
    config = ModelConfig(
        encoder=encoder,
        head=HEADS[head],
        graph=settings,
        grid=EnergyGrid(0.0, 20.0, 101),
        levels=("ipa", "rpa"),
    )
    model = build_model(config, torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
        for buffer_name, buffer in model.named_buffers():
            if buffer_name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
    return model


def flat(output):
    layers = {f"layer {name}": values for name, values in output["layers"].items()}
    return {**{name: v for name, v in output.items() if name != "layers"}, **layers}


def largest_difference(found, expected):
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", ["textbook", "published", "displaced"])
def test_same_outputs_and_gradients(crystals, name, head, kind):
    chosen = {
        "textbook": textbook(),
        "published": crystals,
        "displaced": [displaced(crystal) for crystal in crystals[:6]],
    }[kind]
    model = network(name, head)
    if "batch" in name:
        model.eval()
    per_site = head != "vector"
    graphs = [build_graph_from_arrays(*crystal, NETWORKS[name][1]) for crystal in chosen]
    results, gradients = [], []
    for reduced in (False, True):
        model.zero_grad()
        batch = collate(graphs, torch.float64, reduced=reduced)
        output = flat(model(batch, per_site=per_site))
        torch.manual_seed(2)
        loss = sum(
            (output[key] * torch.randn_like(output[key])).mean()
            for key in ("epsilon_imaginary", "epsilon_real", "band_gap", "target")
            if key in output
        )
        loss.backward()
        results.append(output)
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    tolerance = ROUNDING if kind == "textbook" else MERGED
    assert results[0].keys() == results[1].keys()
    for key, expected in results[0].items():
        assert results[1][key].shape == expected.shape
        assert largest_difference(results[1][key], expected) < tolerance, key
    assert len(gradients[0]) == len(gradients[1]) > 10
    largest = max(float(gradient.abs().max()) for gradient in gradients[0])
    for found, expected in zip(*gradients, strict=True):
        assert float((found - expected).abs().max()) < tolerance * largest


def test_on_devices_without_blocks(crystals, monkeypatch):
    """The plain operations, for a GPU, against those for the CPU."""
    from opalign.model.layers import EdgeGatedConvolution

    model = network("alignn", "physical")
    settings = NETWORKS["alignn"][1]
    batch = collate(
        [build_graph_from_arrays(*crystal, settings) for crystal in crystals[:8]],
        torch.float64,
        reduced=True,
    )
    expected = model(batch)["epsilon_imaginary"]
    monkeypatch.setattr(
        EdgeGatedConvolution,
        "_blockwise",
        lambda self, *arguments: self._at_once(*arguments[:-1]),
    )
    found = model(batch)["epsilon_imaginary"]
    assert largest_difference(found, expected) < ROUNDING


@pytest.mark.parametrize(
    ("encoder", "head", "every"),
    [
        (AlignnConfig(), PhysicalHeadConfig(), False),
        (AlignnConfig(norm="batch"), PhysicalHeadConfig(), True),
        (AlignnConfig(), PhysicalHeadConfig(dropout=0.1), True),
        (OptimateConfig(), VectorHeadConfig(), False),
    ],
)
def test_which_networks_train_on_every_atom(encoder, head, every):
    config = ModelConfig(encoder=encoder, head=head, grid=EnergyGrid(0.0, 20.0, 101))
    assert config.trains_on_every_atom is every
