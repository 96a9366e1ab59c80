"""OPTIMATE as its authors compose it of torch_geometric's parts, to be timed beside Opalign's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATv2Conv
from torch_geometric.nn.models.schnet import GaussianSmearing
from torch_geometric.utils import scatter, softmax

from opalign.crystal import keys
from opalign.crystal.settings import GraphSettings
from opalign.model.config import ModelConfig, OptimateConfig, VectorHeadConfig
from opalign.model.elements import element_table
from opalign.model.network import SpectrumModel
from opalign.spectrum.grid import EnergyGrid

ELEMENTS = "group_period"
OUTPUT_NETWORK = (1024, 1024, 1024)
SETTINGS = GraphSettings(kind="radius", cutoff=5.0, angles=False)


def own_network(outputs: int) -> SpectrumModel:
    """Opalign's OPTIMATE in the published sizes."""
    torch.manual_seed(0)
    return SpectrumModel(
        ModelConfig(
            encoder=OptimateConfig(element_table=ELEMENTS),
            head=VectorHeadConfig(hidden_features=OUTPUT_NETWORK, leaky_output=True),
            graph=SETTINGS,
            grid=EnergyGrid(0.0, 20.0, outputs),
        )
    )


class ReferenceNetwork(nn.Module):
    """The same network of ``GATv2Conv``, ``GaussianSmearing``, ``softmax`` and ``scatter``."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.elements: Tensor
        self.register_buffer("elements", torch.tensor(element_table(ELEMENTS)).float())
        width = self.elements.shape[1]
        self.embedding = nn.Sequential(
            nn.Linear(width, 48), nn.LeakyReLU(), nn.Linear(48, 48), nn.LeakyReLU()
        )
        self.smearing = GaussianSmearing(0.0, 5.0, 51)
        options = {"heads": 4, "add_self_loops": False, "edge_dim": 51}
        self.convolutions = nn.ModuleList(
            [GATv2Conv(48, 48, **options), GATv2Conv(192, 96, **options)]
        )
        self.gate = nn.Linear(384, 384)
        layers: list[nn.Module] = []
        inputs = 384
        for size in OUTPUT_NETWORK:
            layers += [nn.Linear(inputs, size), nn.LeakyReLU()]
            inputs = size
        self.output = nn.Sequential(*layers, nn.Linear(inputs, outputs), nn.LeakyReLU())

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Map a whole batch of Opalign's to ``target`` (B, n)."""
        structure = batch[keys.ATOM_STRUCTURE]
        bonds = self.smearing(batch[keys.BOND_LENGTH])
        atoms = self.embedding(self.elements[batch[keys.ATOMIC_NUMBERS]])
        for convolution in self.convolutions:
            atoms = nn.functional.leaky_relu(convolution(atoms, batch[keys.BOND_INDEX], bonds))
        weights = softmax(self.gate(atoms), structure)
        return {"target": self.output(scatter(weights * atoms, structure, reduce="sum"))}
