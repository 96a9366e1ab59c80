"""Training in several processes that torchrun starts: who is who, and what they tell each other.

With one process nothing here does anything, and no process group is made.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from opalign.errors import ConfigurationError, OpalignError

PATIENCE = timedelta(hours=6)
"""How long a process waits: the first predicts and writes while the others wait for it."""


class ElsewhereError(OpalignError):
    """Another process failed and has said why."""


def count() -> int:
    """Return the number of processes that train together."""
    return distributed.get_world_size() if _is_running() else 1


def own() -> int:
    """Return the number of this process, from 0."""
    return distributed.get_rank() if _is_running() else 0


def is_first() -> bool:
    """Whether this process is the one that writes and reports."""
    return own() == 0


def on_this_machine() -> int:
    """Return the number of processes of this run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if _is_running() else 1


@contextlib.contextmanager
def started(accelerator: str) -> Iterator[None]:
    """Join the processes that torchrun has started, one GPU each if there are any."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    backend = "gloo"
    if accelerator != "cpu" and torch.cuda.is_available():
        place, devices = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if place >= devices:
            raise ConfigurationError(
                f"there are more processes than GPUs ({devices}) on this machine",
                cure="start torchrun with --nproc_per_node of at most the number of GPUs",
            )
        torch.cuda.set_device(place)
        backend = "cpu:gloo,cuda:nccl"
    distributed.init_process_group(backend, timeout=PATIENCE)
    # Not when something failed: others may be gone, and leaving together would take forever.
    yield
    distributed.destroy_process_group()


@contextlib.contextmanager
def in_turn(*, first_alone: bool = True) -> Iterator[None]:
    """Go through the body; an error of one process ends it for all.

    With ``first_alone`` the others begin when the first has ended, and find the files it made.

    Raises
    ------
    ElsewhereError
        The body failed in another process.
    """
    if count() == 1:
        yield
        return
    if first_alone and not is_first():
        _require(fine=True)
    try:
        yield
    except OpalignError:
        _all_fine(False)
        raise
    if first_alone and is_first():
        _require(fine=True)
    _require(fine=True)


def check_network(network: nn.Module) -> None:
    """ConfigurationError for a network that cannot be trained in several processes."""
    if count() > 1 and any(isinstance(part, nn.BatchNorm1d) for part in network.modules()):
        raise ConfigurationError(
            "batch norm depends on which materials a process has",
            where="model.encoder.norm",
            cure="take norm: layer, or train in one process",
        )


def any_of(flag: bool) -> bool:
    """Whether the flag is set in one of the processes."""
    return flag if count() == 1 else int(total(torch.tensor(int(flag)))) > 0


def total(value: Tensor) -> Tensor:
    """Sum over all processes, without a gradient."""
    if count() == 1:
        return value
    summed = value.detach().clone()
    distributed.all_reduce(summed)
    return summed


def mean(value: Tensor) -> Tensor:
    """Mean over all processes, without a gradient."""
    return value if count() == 1 else total(value) / count()


def is_lost_connection(error: Exception) -> bool:
    """Whether an error means that another process is gone."""
    text = str(error).lower()
    return isinstance(error, distributed.DistError) or "gloo" in text or "nccl" in text


def _is_running() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _all_fine(fine: bool) -> bool:
    return not any_of(not fine)


def _require(*, fine: bool) -> None:
    if not _all_fine(fine):
        raise ElsewhereError("another process of this run failed, see what it says")
