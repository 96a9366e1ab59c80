"""A stage of a given number of steps in memory: nothing is written, nothing is chosen by looking.

For many short runs, where states to resume from and a learning curve would cost more than the
training. The task is that of :mod:`opalign.training.stage`: same loss, optimiser, order and average
of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from opalign.errors import ConfigurationError
from opalign.model.network import SpectrumModel
from opalign.training.augmentation import changes_geometry, perturb
from opalign.training.averaging import AveragedNetwork
from opalign.training.batches import EpochShuffle
from opalign.training.config import AugmentationConfig, OptimizerConfig
from opalign.training.data import Materials, batch_of, moved
from opalign.training.losses import TrainingLoss
from opalign.training.optimization import new_optimizer
from opalign.training.recorded import RecordedStep, can_record
from opalign.training.resident import ResidentMaterials

LOOK_AT_LOSS = 50
"""Steps between two looks at the loss on a GPU, which has to finish for that."""


@dataclass(frozen=True)
class LightStage:
    """What a stage came to."""

    steps: int
    """Steps of the optimiser."""
    passes: int
    """Structures that went through the network, counted every time."""
    seen: tuple[str, ...]
    """Ids of the materials that were in a batch."""
    loss: float
    """Mean loss of the last tenth of the steps."""


def fit_steps(
    network: SpectrumModel,
    loss: TrainingLoss,
    materials: Materials,
    *,
    optimizer: OptimizerConfig,
    steps: int,
    batch_size: int,
    averaging: float | None,
    seed: int,
    rate_of: Callable[[str], float] | None = None,
    augmentation: AugmentationConfig | None = None,
) -> LightStage:
    """Train ``network`` in place; it ends with the averaged weights, in evaluation mode.

    Parameters
    ----------
    optimizer
        A plateau schedule stays constant: there is no validation here.
    averaging
        Decay of the running average of the weights; None takes the last ones.
    rate_of
        Name of a parameter → factor on its learning rate; 0 freezes it.
    augmentation
        Changes of the geometry in every step.

    Raises
    ------
    ConfigurationError
        There is no material, or the loss is no finite number any more.
    """
    if not len(materials):
        raise ConfigurationError("there is no material to train on")
    if changes_geometry(augmentation):
        materials = replace(materials, reduced=False)
    device = next(network.parameters()).device
    frozen = (
        set() if rate_of is None else {n for n, _ in network.named_parameters() if not rate_of(n)}
    )
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
    average = None if averaging is None else AveragedNetwork(network, averaging)
    adam, schedule = new_optimizer(network, optimizer, steps, rate_of)
    passes, losses = 0, list[Tensor]()
    seen: set[str] = set()
    network.train()
    recorded = None
    if can_record(network, loss, materials, augmentation, device):
        resident = ResidentMaterials(materials, device)
        recorded = RecordedStep(network, loss, resident, min(batch_size, len(materials)))
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        for step, rows in zip(
            range(steps), _batches(len(materials), batch_size, seed), strict=False
        ):
            if recorded is None:
                batch = moved(batch_of(materials, rows), device)
                graph = perturb(batch["graph"], augmentation, seed, step)
                value = loss(network(graph), batch["targets"], step / steps)["loss"]
            else:
                value = recorded(rows)["loss"]
            adam.zero_grad(set_to_none=True)
            # A batch without anything known has no gradient to follow.
            if value.requires_grad:
                value.backward()
            if optimizer.gradient_clip is not None:
                torch.nn.utils.clip_grad_norm_(network.parameters(), optimizer.gradient_clip)
            adam.step()
            if schedule is not None and not isinstance(schedule, ReduceLROnPlateau):
                schedule.step()
            if average is not None:
                average.update(network, step)
            passes += len(rows)
            seen.update(materials.ids[row] for row in rows)
            losses.append(value.detach())
            # Looked at now and then: a GPU would have to wait for the host in every step.
            if device.type == "cpu" or step % LOOK_AT_LOSS == 0 or step == steps - 1:
                _require_finite(losses[-1], step)
    if average is not None:
        _take_average(network, average.module)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    network.eval()
    last = torch.stack(losses[-max(1, steps // 10) :])
    return LightStage(steps, passes, tuple(sorted(seen)), float(last.mean()))


def _require_finite(loss: Tensor, step: int) -> None:
    if not torch.isfinite(loss):
        raise ConfigurationError(
            f"the loss is no finite number any more in step {step + 1}",
            cure="start anew with a lower optimizer.learning_rate",
        )


def _batches(size: int, batch_size: int, seed: int) -> Iterator[list[int]]:
    """Rows of batches without end, every row once in an epoch, in :class:`EpochShuffle`'s order."""
    order = EpochShuffle(size, seed)
    epoch = 0
    while True:
        order.set_epoch(epoch)
        rows = list(order)
        for first in range(0, size, batch_size):
            yield rows[first : first + batch_size]
        epoch += 1


@torch.no_grad()
def _take_average(network: nn.Module, average: nn.Module) -> None:
    for own, averaged in zip(network.parameters(), average.parameters(), strict=True):
        own.copy_(averaged)
