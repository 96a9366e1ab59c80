"""The whole network: encoder (graph → per-site features) and head (features → spectrum)."""

from __future__ import annotations

from torch import Tensor, nn

from opalign.crystal import keys
from opalign.model.alignn import AlignnEncoder
from opalign.model.comparison_heads import DeltaHead, SimilarityHead
from opalign.model.config import (
    AlignnConfig,
    DeltaHeadConfig,
    ModelConfig,
    PhysicalHeadConfig,
    ScalarHeadConfig,
)
from opalign.model.heads import PhysicalHead, VectorHead
from opalign.model.layers import EdgeGatedConvolution
from opalign.model.optimate import OptimateEncoder

Head = PhysicalHead | VectorHead | DeltaHead | SimilarityHead


class SpectrumModel(nn.Module):
    """A spectrum from a crystal graph, with every layer's per-site features by name."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder: AlignnEncoder | OptimateEncoder
        if isinstance(config.encoder, AlignnConfig):
            self.encoder = AlignnEncoder(config.encoder)
        else:
            self.encoder = OptimateEncoder(config.encoder)
        self.head = _new_head(config, self.encoder)

    def fuse(self) -> None:
        """Let torch compile the inner loops of the convolutions at their first call.

        That takes some ten seconds, once, and pays on a GPU; where torch cannot compile, a warning
        says so and the plain operations serve. Results are the same but for rounding.
        """
        for module in self.modules():
            if isinstance(module, EdgeGatedConvolution):
                module.fused = True

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers whose per-site features :meth:`forward` can return, in order."""
        return self.encoder.layer_names

    def forward(
        self, batch: dict[str, Tensor], *, per_site: bool = False
    ) -> dict[str, Tensor | dict[str, Tensor]]:
        """Run the network on a batch of graphs (keys and shapes: :mod:`opalign.crystal.keys`).

        Returns
        -------
        dict
            ``features`` (B, D) pooled; ``layers`` name → (N, d) per-site features; and what the
            head gives: ``epsilon_imaginary``, ``epsilon_real`` (B, L, n) and, but for the delta
            head, ``band_gap`` (B,), eV; or ``target`` (B, L, n); or ``similarity`` (B,).
        """
        layers = self.encoder(batch)
        sites = layers[self.layer_names[-1]]
        pooled = self.encoder.pooling(
            sites,
            batch[keys.ATOM_STRUCTURE],
            batch[keys.NUM_ATOMS],
            batch.get(keys.ATOM_MULTIPLICITY),
        )
        if isinstance(self.head, PhysicalHead):
            result = self.head(sites, batch, per_site=per_site)
        elif isinstance(self.head, DeltaHead):
            result = self.head(sites, batch)
        elif isinstance(self.head, SimilarityHead):
            result = self.head(pooled, batch)
        else:
            result = self.head(pooled)
        if keys.ATOM_CLASS in batch:
            atom_class = batch[keys.ATOM_CLASS]
            layers = {name: values.index_select(0, atom_class) for name, values in layers.items()}
            if per_site:
                of_classes = result["site_epsilon_imaginary"]
                result["site_epsilon_imaginary"] = of_classes.index_select(0, atom_class)
        return {"features": pooled, "layers": layers, **result}


def _new_head(config: ModelConfig, encoder: AlignnEncoder | OptimateEncoder) -> Head:
    head = config.head
    if isinstance(head, PhysicalHeadConfig):
        return PhysicalHead(
            encoder.site_feature_size, head, len(config.levels), config.grid, config.broadening
        )
    if isinstance(head, DeltaHeadConfig):
        return DeltaHead(encoder.site_feature_size, head, config.grid)
    if isinstance(head, ScalarHeadConfig):
        return SimilarityHead(encoder.feature_size, head)
    return VectorHead(encoder.feature_size, head, len(config.levels), config.grid)
