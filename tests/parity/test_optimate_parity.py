"""OPTIMATE composed of torch_geometric's own blocks against ours."""

import pytest
import torch
from torch import nn

from opalign.crystal import keys
from opalign.crystal.graph import collate
from opalign.crystal.settings import GraphSettings
from opalign.model.checkpoint import build_model
from opalign.model.config import ModelConfig, OptimateConfig, VectorHeadConfig
from opalign.model.convert import OptimateNames, load_optimate_weights
from opalign.model.elements import element_table
from opalign.spectrum.grid import EnergyGrid

pytest.importorskip("torch_geometric")
from torch_geometric.nn import GATv2Conv
from torch_geometric.nn.models.schnet import GaussianSmearing
from torch_geometric.utils import scatter, softmax

TOLERANCE = 1e-10
NAMES = OptimateNames(
    node_network="embedding",
    attention=("conv_in", "conv_out"),
    gate="pooling.gate_nn",
    output_network="out",
    basis="smearing",
)


def published(table="main_group_period", num=2001, hidden=(1024, 1024, 1024)):
    return ModelConfig(
        encoder=OptimateConfig(element_table=table),
        head=VectorHeadConfig(hidden_features=hidden, leaky_output=True),
        graph=GraphSettings(kind="radius", cutoff=5.0, angles=False),
        grid=EnergyGrid(0.0, 20.0, num),
        levels=("ipa",),
    )


class Reference(nn.Module):
    def __init__(self, elements, hidden, outputs):
        super().__init__()
        self.embedding = nn.Sequential(
            nn.Linear(elements, 48), nn.LeakyReLU(), nn.Linear(48, 48), nn.LeakyReLU()
        )
        self.smearing = GaussianSmearing(0.0, 5.0, 51)
        options = {"heads": 4, "add_self_loops": False, "edge_dim": 51}
        self.conv_in = GATv2Conv(48, 48, **options)
        self.conv_out = GATv2Conv(192, 96, **options)
        self.pooling = nn.ModuleDict({"gate_nn": nn.Linear(384, 384)})
        layers, width = [], 384
        for size in hidden:
            layers += [nn.Linear(width, size), nn.LeakyReLU()]
            width = size
        self.out = nn.Sequential(*layers, nn.Linear(width, outputs), nn.LeakyReLU())

    def forward(self, atoms, bond_index, bond_length, structure):
        bonds = self.smearing(bond_length)
        atoms = self.embedding(atoms)
        for convolution in (self.conv_in, self.conv_out):
            atoms = nn.functional.leaky_relu(convolution(atoms, bond_index, bonds))
        weights = softmax(self.pooling["gate_nn"](atoms), structure)
        return self.out(scatter(weights * atoms, structure, reduce="sum"))


@pytest.fixture(scope="module")
def batch(graphs_of):
    # The general table: the published one leaves transition metals blank.
    return collate(graphs_of(GraphSettings(kind="radius", cutoff=5.0, angles=False)), torch.float64)


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(3)
    model = Reference(26, (64, 64, 64), 101)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.1)
    return model


def relative_error(found, expected):
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


def test_model(batch, reference):
    theirs = reference.double()
    config = published("group_period", 101, (64, 64, 64))
    converted = load_optimate_weights(theirs.state_dict(), config, NAMES)
    assert converted.dropped == ()
    table = torch.tensor(element_table("group_period"))
    expected = theirs(
        table[batch[keys.ATOMIC_NUMBERS]],
        batch[keys.BOND_INDEX],
        batch[keys.BOND_LENGTH],
        batch[keys.ATOM_STRUCTURE],
    )
    found = converted.model(batch)["target"][:, 0]
    assert len(expected) >= 20
    for row, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert relative_error(a, b) <= TOLERANCE, f"structure {row}"


def test_published_size():
    model = build_model(published())
    count = sum(parameter.numel() for parameter in model.parameters())
    # The article says 4.89 million.
    assert count == pytest.approx(4.89e6, rel=2e-3)
    reference = Reference(13, (1024, 1024, 1024), 2001)
    assert count == sum(parameter.numel() for parameter in reference.parameters())


def test_basis_without_a_stored_one_is_the_customary_one(batch, reference):
    theirs = reference.double().state_dict()
    del theirs["smearing.offset"]
    config = published("group_period", 101, (64, 64, 64))
    basis = load_optimate_weights(theirs, config, NAMES).model.encoder.bond_basis
    found = basis(batch[keys.BOND_LENGTH])
    expected = reference.smearing(batch[keys.BOND_LENGTH])
    # Theirs was made in single precision.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
