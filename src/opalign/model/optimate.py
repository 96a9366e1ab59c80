"""OPTIMATE, graph attention for optical spectra (Grunert, Großmann, Runge 2024, 2025)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from opalign.crystal import keys
from opalign.model.config import OptimateConfig
from opalign.model.elements import element_table
from opalign.model.layers import GaussianBasis, GraphAttention
from opalign.model.pooling import VectorAttentionPooling


class OptimateEncoder(nn.Module):
    """Radius graph to per-site features by GATv2 attention.

    Node network (leaky ReLU after each layer), then attention layers, each followed by a leaky
    ReLU; pooled by softmax vector attention.
    """

    def __init__(self, config: OptimateConfig) -> None:
        super().__init__()
        self.elements: Tensor
        table = torch.tensor(element_table(config.element_table), dtype=torch.get_default_dtype())
        self.register_buffer("elements", table, persistent=False)
        spacing = config.bond_basis_stop / (config.bond_basis_size - 1)
        self.bond_basis = GaussianBasis(
            0.0, config.bond_basis_stop, config.bond_basis_size, gamma=0.5 / spacing**2
        )
        sizes = (table.shape[1], *config.node_features)
        self.node_network = nn.Sequential(
            *(
                module
                for inputs, outputs in pairwise(sizes)
                for module in (nn.Linear(inputs, outputs), nn.LeakyReLU())
            )
        )
        self.attention_layers = nn.ModuleList()
        width = sizes[-1]
        for features in config.attention_features:
            self.attention_layers.append(
                GraphAttention(width, features, config.attention_heads, config.bond_basis_size)
            )
            width = features * config.attention_heads
        self.activation = nn.LeakyReLU()
        self.pooling = VectorAttentionPooling(width)
        self.feature_size = self.site_feature_size = width
        self.layer_names = (
            "node_network",
            *(f"attention_{number + 1}" for number in range(len(config.attention_features))),
        )

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the per-site features after the node network and every attention layer."""
        atoms = self.node_network(self.elements.index_select(0, batch[keys.ATOMIC_NUMBERS]))
        bonds = self.bond_basis(batch[keys.BOND_LENGTH])
        layers = [atoms]
        for attention in self.attention_layers:
            atoms = self.activation(
                attention(atoms, bonds, batch[keys.BOND_INDEX], batch.get(keys.BOND_MULTIPLICITY))
            )
            layers.append(atoms)
        return dict(zip(self.layer_names, layers, strict=True))
