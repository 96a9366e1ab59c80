"""Which rows make a batch: a seeded order of every epoch, of even numbers of rows or of angles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from opalign.crystal.graph import CrystalGraph

EVEN = 0.01
"""Share of the mean by which parts may differ and count as even."""
SWAPS_PER_PART = 20
"""Exchanges after which parts stay as they are; most need one to three."""


class EpochShuffle(Sampler[int]):
    """Every row once, in an order that depends on seed and epoch alone, so that runs resume."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.size)
        return iter(order.tolist())


class EpochBatches(Sampler[list[int]]):
    """The order of :class:`EpochShuffle`, cut into batches.

    Parameters
    ----------
    size, batch_size, seed
        Numbers of rows in all and, at most, in a batch; what the order follows from.
    work
        (size,) work of each row. If given, batches have the same number of rows to within one, and
        rows are exchanged until the sums of their work are as even as exchanges make them.
    process, processes
        Which share of every batch to give, of how many. Where a batch has too few rows for all, a
        share is one row of the batch, as ``~row``: a row to go through that counts for nothing.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int,
        work: NDArray[np.int64] | None = None,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        # Of this name, Lightning tells it the epoch before it asks for batches.
        self.sampler = EpochShuffle(size, seed)
        self.batch_size, self.work = batch_size, work
        self.process, self.processes = process, processes

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.batch_size)

    def rows_in(self, index: int) -> int:
        """Return the number of rows of a whole batch, all shares together."""
        size = len(self.sampler)
        if self.work is None:
            return min(self.batch_size, size - index * self.batch_size)
        even, more = divmod(size, len(self))
        return even + (index < more)

    def __iter__(self) -> Iterator[list[int]]:
        return self._whole() if self.processes == 1 else map(self._share, self._whole())

    def _share(self, batch: list[int]) -> list[int]:
        if self.work is None:
            share = batch[self.process :: self.processes]
        else:
            share = even_parts(batch, self.work, self.processes)[self.process]
        return share or [~batch[0]]

    def _whole(self) -> Iterator[list[int]]:
        order = list(self.sampler)
        if self.work is not None:
            yield from even_parts(order, self.work, len(self))
            return
        for first in range(0, len(order), self.batch_size):
            yield order[first : first + self.batch_size]


def work_of(graphs: Sequence[CrystalGraph], *, reduced: bool) -> NDArray[np.int64]:
    """Angles of each graph, or bonds where a batch has no angles; of ``reduced`` ones the classes.

    Time and memory of a step grow with them: an atom has a dozen bonds or more, and a bond as many
    angles.
    """
    return np.fromiter((_work(graph, reduced) for graph in graphs), np.int64, len(graphs))


def even_parts(rows: Sequence[int], work: NDArray[np.int64], parts: int) -> list[list[int]]:
    """Cut rows into parts of equal numbers to within one, whose work is about the same.

    Begins with the rows in their order, and exchanges a row of the part with the most work for
    one of the part with the least, the two that bring the parts closest together, until they are
    even or no exchange helps. What is alike in work stays in the order given, so that a shuffled
    order gives other parts every time; sorting by work would always give the same.
    """
    cut = [np.asarray(part, dtype=np.int64) for part in np.array_split(np.asarray(rows), parts)]
    sums = np.array([work[part].sum() for part in cut], dtype=np.float64)
    mean = sums.mean()
    active = np.ones(parts, dtype=bool)
    for _ in range(SWAPS_PER_PART * parts if parts > 1 else 0):
        most = int(np.where(active, sums, -np.inf).argmax())
        least = int(np.where(active, sums, np.inf).argmin())
        excess = sums[most] - sums[least]
        if excess <= EVEN * mean:
            break
        moved = work[cut[most]][:, None] - work[cut[least]]
        left = np.abs(excess - 2 * moved)
        if left.min(initial=np.inf) < excess:
            giving, taking = np.unravel_index(int(left.argmin()), left.shape)
            cut[most][giving], cut[least][taking] = cut[least][taking], cut[most][giving]
            sums[most] -= moved[giving, taking]
            sums[least] += moved[giving, taking]
        else:
            # One of the two is beyond help, a large crystal among small ones: go on without it.
            active[most if sums[most] - mean > mean - sums[least] else least] = False
            mean = sums[active].mean()
    return [part.tolist() for part in cut]


def _work(graph: CrystalGraph, reduced: bool) -> int:
    if reduced:
        quotient = graph.quotient
        index = quotient.angle_index if quotient.has_angles else quotient.bond_index
        return int(index.shape[1])
    return graph.num_angles if graph.has_angles else graph.num_bonds
