"""Deep ensembles: several networks of one configuration that differ in their random start.

Their mean is better than a typical one of them, and how far they are apart says something about
how far they are from the truth (Lakshminarayanan, Pritzel and Blundell, NeurIPS 2017).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from opalign.errors import CheckpointError
from opalign.model.alignn import AlignnEncoder
from opalign.model.config import ModelConfig
from opalign.model.network import SpectrumModel
from opalign.model.optimate import OptimateEncoder

#: Members beyond which an ensemble is a mistake, or a file that claims too much.
MOST_MEMBERS = 32

#: Prefix of what :class:`EnsembleModel` gives of each member.
MEMBER = "member_"

#: What belongs to one network and has no mean: features of two networks share no axes.
_OF_THE_FIRST = frozenset({"features", "layers"})


class EnsembleModel(nn.Module):
    """K networks of one configuration that speak as one.

    Whatever a head predicts is averaged over the members. For the physical head that keeps its
    laws: Im ε ≥ 0 and Kramers–Kronig relations are linear, so the mean of dielectric functions that
    obey them obeys them, per site as well. Pooled and per-site features are those of the *first*
    member: nearest neighbours, distances and explanations are as that network sees them.
    """

    def __init__(self, members: Iterable[SpectrumModel]) -> None:
        super().__init__()
        found = list(members)
        if not 1 <= len(found) <= MOST_MEMBERS:
            raise CheckpointError(
                f"{len(found)} networks make no ensemble", expected=f"1 to {MOST_MEMBERS}"
            )
        for member in found[1:]:
            if member.config != found[0].config:
                raise CheckpointError(
                    "the networks of an ensemble have different configurations",
                    expected="networks that differ in their weights alone",
                    cure="train them from one configuration with several seeds",
                )
        self.members = nn.ModuleList(found)

    @property
    def config(self) -> ModelConfig:
        """Configuration that all members share."""
        return self.first.config

    @property
    def first(self) -> SpectrumModel:
        """The member whose features are those of the ensemble."""
        return cast(SpectrumModel, self.members[0])

    @property
    def encoder(self) -> AlignnEncoder | OptimateEncoder:
        """Encoder of the first member."""
        return self.first.encoder

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers of the first member."""
        return self.first.layer_names

    def __len__(self) -> int:
        return len(self.members)

    def fuse(self) -> None:
        """Let torch compile the convolutions of all members; see :meth:`SpectrumModel.fuse`."""
        for member in self.members:
            cast(SpectrumModel, member).fuse()

    def forward(
        self, batch: dict[str, Tensor], *, per_site: bool = False
    ) -> dict[str, Tensor | dict[str, Tensor]]:
        """Run all members on a batch of graphs.

        Returns
        -------
        dict
            What :meth:`SpectrumModel.forward` gives, as means over the members; and under
            ``member_…`` the same of each member, (B, K, …), for what has one row per structure.
        """
        outputs = [member(batch, per_site=per_site) for member in self.members]
        first = outputs[0]
        result: dict[str, Tensor | dict[str, Tensor]] = {
            name: first[name] for name in _OF_THE_FIRST if name in first
        }
        for name in first.keys() - _OF_THE_FIRST:
            if name.startswith("site_"):
                result[name] = _mean([output[name] for output in outputs])
                continue
            each = torch.stack([output[name] for output in outputs], dim=1)
            result[name], result[MEMBER + name] = each.mean(dim=1), each
        return result


Network = SpectrumModel | EnsembleModel


def members_of(network: Network) -> list[SpectrumModel]:
    """Return the networks of an ensemble; a single network is an ensemble of one."""
    if isinstance(network, SpectrumModel):
        return [network]
    return [cast(SpectrumModel, member) for member in network.members]


def as_one(networks: Sequence[SpectrumModel]) -> Network:
    """Return an ensemble of several networks, and a single one as it is."""
    return networks[0] if len(networks) == 1 else EnsembleModel(networks)


def _mean(values: Sequence[Tensor]) -> Tensor:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total / len(values)
