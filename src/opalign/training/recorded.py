"""Steps of training that are recorded once and replayed: a GPU that need not be told every kernel.

A step of a small network is some thousand kernels of a few microseconds, which a host takes longer
to start than the GPU to run. Recorded as a CUDA graph they are started at once; shapes and places
in memory must then be the same in every step, which :mod:`opalign.training.resident` sees to.
Forward and backward passes are recorded; clipping, optimiser, schedule and average are not, and
take the gradients as they find them. Numbers are those of the plain step, but for the order of
sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from opalign.model.network import SpectrumModel
from opalign.training.augmentation import changes_geometry
from opalign.training.config import AugmentationConfig
from opalign.training.data import Materials
from opalign.training.losses import TrainingLoss
from opalign.training.resident import Capacity, ResidentMaterials, estimated_bytes

ROOM = 1.02
"""A recording has room for a batch so much larger than the one that asked for it."""
WARMING = 3
"""Steps before a recording, in which libraries choose their kernels and torch compiles."""
SHARE_OF_MEMORY = 0.25
"""Largest part of a GPU's free memory that the materials may take."""


class RecordedStep:
    """Loss and gradients of batches of rows, from one recording.

    Parameters
    ----------
    network
        On the device of the materials, in training mode.
    loss
        Of the network's output; one that changes with progress cannot be recorded.
    materials
        What the rows number.
    structures
        Largest number of rows in a batch.
    """

    def __init__(
        self,
        network: SpectrumModel,
        loss: TrainingLoss,
        materials: ResidentMaterials,
        structures: int,
    ) -> None:
        self.network, self.loss, self.materials = network, loss, materials
        self.structures = structures
        self.trained = [weight for weight in network.parameters() if weight.requires_grad]
        self.recordings = 0
        self._capacity: Capacity | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._terms: dict[str, Tensor] = {}
        self._gradients: list[Tensor | None] = []
        self._rows = torch.zeros(structures, dtype=torch.int64, device=materials.device)
        self._anchor = torch.zeros((), device=materials.device, requires_grad=True)

    def __call__(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Return the terms of the loss of a batch; the gradients appear where ``loss`` is followed.

        ``loss.backward()`` puts them in place of the parameters' gradients: nothing accumulates.
        """
        capacity = self._room_for(rows)
        numbers = self.materials.row_numbers(rows, capacity)
        if self._rows.device.type == "cuda":
            numbers = numbers.pin_memory()
        self._rows.copy_(numbers, non_blocking=True)
        if self.materials.device.type == "cuda":
            if self._graph is None:
                self._graph = self._record(capacity)
            self._graph.replay()
        else:
            self._terms, self._gradients = self._run(capacity)
        terms = {name: value.detach().clone() for name, value in self._terms.items()}
        terms["loss"] = _Replayed.apply(self._anchor, self, terms["loss"])
        return terms

    def _room_for(self, rows: Sequence[int]) -> Capacity:
        needed = self.materials.needed(rows, self.structures)
        if self._capacity is None or not self._capacity.holds(needed):
            room = needed.enlarged(ROOM)
            self._capacity = room if self._capacity is None else self._capacity.united(room)
            self._graph = None
        return self._capacity

    def _run(self, capacity: Capacity) -> tuple[dict[str, Tensor], list[Tensor | None]]:
        kind = self.materials.device.type
        half = torch.is_autocast_enabled(kind)
        batch = self.materials.batch(self._rows, capacity)
        # Without its cache, or a recording would take weights as they were cast before it.
        with torch.enable_grad(), torch.autocast(
            kind, dtype=torch.get_autocast_dtype(kind), enabled=half, cache_enabled=False
        ):  # fmt: skip
            terms = self.loss(self.network(batch["graph"]), batch["targets"])
        gradients: Sequence[Tensor | None] = [None] * len(self.trained)
        # A batch without anything known has no gradient to follow.
        if terms["loss"].requires_grad:
            gradients = torch.autograd.grad(terms["loss"], self.trained, allow_unused=True)
        return {name: value.detach() for name, value in terms.items()}, list(gradients)

    def _record(self, capacity: Capacity) -> torch.cuda.CUDAGraph:
        # The memory of an earlier recording is free again.
        self._terms, self._gradients = {}, []
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARMING):
                self._run(capacity)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._terms, self._gradients = self._run(capacity)
        self.recordings += 1
        return graph

    def _put_gradients(self) -> None:
        for weight, gradient in zip(self.trained, self._gradients, strict=True):
            weight.grad = gradient


class _Replayed(torch.autograd.Function):
    """The loss of a step whose gradients are known already."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, step: RecordedStep, value: Tensor) -> Tensor:
        ctx.step = step
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[None, None, None]:
        ctx.step._put_gradients()
        return None, None, None


def can_record(
    network: SpectrumModel,
    loss: TrainingLoss,
    materials: Materials,
    augmentation: AugmentationConfig | None,
    device: torch.device,
) -> bool:
    """Whether steps can be recorded: on a GPU, where every step is alike and everything fits.

    Batch norm would see what fills a batch up; a curriculum and changes of the geometry differ
    from step to step.
    """
    if device.type != "cuda" or loss.curriculum is not None or changes_geometry(augmentation):
        return False
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()):
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return estimated_bytes(materials) < SHARE_OF_MEMORY * free
