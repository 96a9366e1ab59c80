"""A running average of a network's weights, which validates better than the weights themselves."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class AveragedNetwork(nn.Module):
    """Exponential average of weights whose memory grows with the number of steps taken.

    The decay is min(decay, (1 + t)/(10 + t)) after t steps, so that a short run does not drag its
    random start along; after the first step the average is the network itself. Buffers (running
    statistics of batch norms) are copies of the network's.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay
        self._arrays: tuple[list[Tensor], list[Tensor]] | None = None

    @torch.no_grad()
    def update(self, network: nn.Module, steps: int) -> None:
        """Follow the ``network``, after ``steps`` updates before this one."""
        if self._arrays is None:
            # Found once, when both are where they are trained: looking takes longer than adding.
            self._arrays = _values(self.module), _values(network)
        ours, theirs = self._arrays
        decay = min(self.decay, (1.0 + steps) / (10.0 + steps)) if steps else 0.0
        # One call for all of them: a small network has some hundred arrays of weights.
        torch._foreach_lerp_(ours, theirs, 1.0 - decay)
        for own, other in zip(self.module.buffers(), network.buffers(), strict=True):
            own.copy_(other)


def _values(network: nn.Module) -> list[Tensor]:
    return [parameter.detach() for parameter in network.parameters()]
