"""From per-site features to one vector per structure."""

from __future__ import annotations

from torch import Tensor, nn

from opalign.crystal import keys
from opalign.model.layers import segment_mean, segment_softmax, segment_sum


def site_mean(values: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Mean (B, …) over all sites of a structure of ``values`` (N, …).

    In a symmetry-reduced batch a row stands for all sites of its class.
    """
    return weighted_mean(
        values,
        batch[keys.ATOM_STRUCTURE],
        batch[keys.NUM_ATOMS],
        batch.get(keys.ATOM_MULTIPLICITY),
    )


def weighted_mean(
    values: Tensor, structure: Tensor, counts: Tensor, multiplicity: Tensor | None
) -> Tensor:
    """Do as :func:`site_mean`, with the parts of a batch; ``multiplicity`` (N,) may be absent."""
    if multiplicity is not None:
        values = values * multiplicity.to(values.dtype).view(-1, *([1] * (values.dim() - 1)))
    return segment_mean(values, structure, counts)


class MeanPooling(nn.Module):
    """Mean over the sites of a structure: exact under supercells, and a sum over sites."""

    def forward(
        self,
        features: Tensor,
        structure: Tensor,
        counts: Tensor,
        multiplicity: Tensor | None = None,
    ) -> Tensor:
        """Average ``features`` (N, d) to (B, d); a row counts ``multiplicity`` (N,) times."""
        return weighted_mean(features, structure, counts, multiplicity)


class VectorAttentionPooling(nn.Module):
    """Softmax attention over the sites, one weight per site *and channel* (OPTIMATE)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.gate = nn.Linear(features, features)

    def forward(
        self,
        features: Tensor,
        structure: Tensor,
        counts: Tensor,
        multiplicity: Tensor | None = None,
    ) -> Tensor:
        """Pool ``features`` (N, d) to (B, d); a row counts ``multiplicity`` (N,) times."""
        size = counts.shape[0]
        weight = segment_softmax(self.gate(features), structure, size, multiplicity)
        return segment_sum(weight * features, structure, size)
