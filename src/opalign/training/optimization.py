"""AdamW and the course of its learning rate, for every way of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from opalign.training.config import OptimizerConfig

#: Devices for which torch has AdamW in one kernel.
FUSED_DEVICES = ("cpu", "cuda")


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
    optimizer = torch.optim.AdamW(
        groups,
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        # One call for all weights: a small network has some hundred arrays of them.
        fused=next(network.parameters()).device.type in FUSED_DEVICES,
    )
    # A cycle of fewer steps does not rise and fall.
    if config.schedule == "one_cycle" and total_steps > 2:
        rates = [group["lr"] for group in groups]
        # It must not end its rise on the very first step: torch then divides by zero.
        warmup = config.warmup if config.warmup * total_steps > 1.0 else 1.5 / total_steps
        schedule = OneCycleLR(optimizer, rates, total_steps=total_steps, pct_start=warmup)
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
