"""AdamW and the course of its learning rate, for every way of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from opalign.training.config import OptimizerConfig


class RunningAverage:
    """Exponential average of weights whose memory grows with the number of steps taken.

    The decay is min(decay, (1 + t)/(10 + t)) after t steps, so that a short run does not drag its
    random start along.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    @torch.no_grad()
    def __call__(self, averaged: Any, current: Any, steps: Tensor | int) -> None:
        """Update the ``averaged`` parameters in place towards the ``current`` ones."""
        taken = float(steps)
        decay = min(self.decay, (1.0 + taken) / (10.0 + taken))
        torch._foreach_lerp_(list(averaged), list(current), 1.0 - decay)


def new_optimizer(
    network: nn.Module,
    config: OptimizerConfig,
    total_steps: int,
    rate_of: Callable[[str], float] | None = None,
) -> tuple[torch.optim.AdamW, LRScheduler | ReduceLROnPlateau | None]:
    """Return AdamW on the parameters of a network, and the schedule on that same optimiser.

    Parameters
    ----------
    rate_of
        Name of a parameter → factor on the learning rate; 0 leaves it as it is. Default: all 1.
    """
    groups = list(_groups(network.named_parameters(), config.learning_rate, rate_of))
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
    if config.schedule == "one_cycle":
        rates = [group["lr"] for group in groups]
        schedule = OneCycleLR(optimizer, rates, total_steps=total_steps, pct_start=config.warmup)
        return optimizer, schedule
    if config.schedule == "plateau":
        return optimizer, ReduceLROnPlateau(
            optimizer, factor=config.plateau_factor, patience=config.plateau_patience
        )
    return optimizer, None


def _groups(
    parameters: Iterable[tuple[str, nn.Parameter]],
    rate: float,
    rate_of: Callable[[str], float] | None,
) -> Iterable[dict[str, Any]]:
    """Parameters of equal learning rate, those of rate 0 left out, in the order they come."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in parameters:
        groups.setdefault(1.0 if rate_of is None else rate_of(name), []).append(parameter)
    for factor, members in groups.items():
        if factor > 0.0:
            yield {"params": members, "lr": factor * rate}
