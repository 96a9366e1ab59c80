"""ALIGNN, the atomistic line graph network (Choudhary and DeCost, npj Comput. Mater. 7, 185)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from opalign.crystal import keys
from opalign.model.config import AlignnConfig
from opalign.model.elements import element_table
from opalign.model.layers import EdgeGatedConvolution, GaussianBasis, NormalizedLinear
from opalign.model.pooling import MeanPooling


class AlignnEncoder(nn.Module):
    """Crystal graph and line graph to per-site features.

    An ALIGNN layer is an edge-gated convolution on the crystal graph, whose updated bonds are then
    the nodes of a second one on the line graph (angles are its edges). The last ALIGNN layer leaves
    its angles, the last graph convolution its bonds as they are, since nothing reads them.
    """

    def __init__(self, config: AlignnConfig) -> None:
        super().__init__()
        self.norm = config.norm
        hidden, embedding, norm = config.hidden_features, config.embedding_features, config.norm
        self.elements: Tensor
        table = torch.tensor(element_table(config.element_table), dtype=torch.get_default_dtype())
        self.register_buffer("elements", table, persistent=False)
        self.atom_embedding = NormalizedLinear(table.shape[1], hidden, norm)
        self.bond_embedding = nn.Sequential(
            GaussianBasis(0.0, config.bond_basis_stop, config.bond_basis_size),
            NormalizedLinear(config.bond_basis_size, embedding, norm),
            NormalizedLinear(embedding, hidden, norm),
        )
        # Angles update bonds; without graph convolutions, nothing reads those of the last layer.
        if config.alignn_layers > (0 if config.gcn_layers else 1):
            self.angle_embedding = nn.Sequential(
                GaussianBasis(-1.0, 1.0, config.angle_basis_size),
                NormalizedLinear(config.angle_basis_size, embedding, norm),
                NormalizedLinear(embedding, hidden, norm),
            )
        last_bond_reader = config.gcn_layers > 0
        self.alignn_bond_convolutions = nn.ModuleList()
        self.alignn_angle_convolutions = nn.ModuleList()
        for layer in range(config.alignn_layers):
            last = layer == config.alignn_layers - 1
            bonds_read = last_bond_reader or not last
            self.alignn_bond_convolutions.append(
                EdgeGatedConvolution(hidden, norm, update_edges=bonds_read)
            )
            if bonds_read:
                self.alignn_angle_convolutions.append(
                    EdgeGatedConvolution(hidden, norm, update_edges=not last)
                )
        self.graph_convolutions = nn.ModuleList(
            EdgeGatedConvolution(hidden, norm, update_edges=layer < config.gcn_layers - 1)
            for layer in range(config.gcn_layers)
        )
        self.pooling = MeanPooling()
        self.feature_size = self.site_feature_size = hidden
        self.layer_names = (
            *(f"alignn_{number + 1}" for number in range(config.alignn_layers)),
            *(f"gcn_{number + 1}" for number in range(config.gcn_layers)),
        )

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the per-site features (N, hidden) after every layer, by layer name, in order."""
        atoms = self.atom_embedding(self.elements.index_select(0, batch[keys.ATOMIC_NUMBERS]))
        bonds = self._embed(self.bond_embedding, batch[keys.BOND_LENGTH])
        bond_index = batch[keys.BOND_INDEX]
        # Of a symmetry-reduced batch.
        bond_times, angle_times = (
            batch.get(name) for name in (keys.BOND_MULTIPLICITY, keys.ANGLE_MULTIPLICITY)
        )
        layers: list[Tensor] = []
        # Bonds and angles are this method's own, and nobody sees what they were a layer ago.
        overwrite = not torch.is_grad_enabled()
        if len(self.alignn_angle_convolutions):
            angles = self._embed(self.angle_embedding, batch[keys.ANGLE_COSINE])
        for number, convolution in enumerate(self.alignn_bond_convolutions):
            atoms, bonds = convolution(atoms, bonds, bond_index, bond_times, overwrite=overwrite)
            if number < len(self.alignn_angle_convolutions):
                angle_convolution = self.alignn_angle_convolutions[number]
                bonds, angles = angle_convolution(
                    bonds, angles, batch[keys.ANGLE_INDEX], angle_times, overwrite=overwrite
                )
            layers.append(atoms)
        for convolution in self.graph_convolutions:
            atoms, bonds = convolution(atoms, bonds, bond_index, bond_times, overwrite=overwrite)
            layers.append(atoms)
        return dict(zip(self.layer_names, layers, strict=True))

    def _embed(self, embedding: nn.Module, values: Tensor) -> Tensor:
        """Embed equal ``values`` (M,) once: (M, hidden).

        A bond and its reverse are equal to the last bit, and so are many more in a crystal: of the
        angles of oxides with twelve neighbours, one in eleven is new. Only statistics over a batch
        must see every one of them.
        """
        if (self.norm == "batch" and self.training) or values.is_cuda:
            # A GPU embeds them all in less time than it takes to tell the host how many differ.
            return embedding(values)
        unique, index = values.unique(return_inverse=True)
        return embedding(unique).index_select(0, index)
