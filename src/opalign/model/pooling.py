"""From per-site features to one vector per structure."""

from __future__ import annotations

from torch import Tensor, nn

from opalign.model.layers import segment_mean, segment_softmax, segment_sum


class MeanPooling(nn.Module):
    """Mean over the sites of a structure: exact under supercells, and a sum over sites."""

    def forward(self, features: Tensor, structure: Tensor, counts: Tensor) -> Tensor:
        """Average ``features`` (N, d) to (B, d)."""
        return segment_mean(features, structure, counts)


class VectorAttentionPooling(nn.Module):
    """Softmax attention over the sites, one weight per site *and channel* (OPTIMATE)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.gate = nn.Linear(features, features)

    def forward(self, features: Tensor, structure: Tensor, counts: Tensor) -> Tensor:
        """Pool ``features`` (N, d) to (B, d)."""
        size = counts.shape[0]
        weight = segment_softmax(self.gate(features), structure, size)
        return segment_sum(weight * features, structure, size)
