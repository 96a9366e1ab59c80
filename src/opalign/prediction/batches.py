"""Batches of graphs that fit in memory."""

from __future__ import annotations

from collections.abc import Sequence

#: Bonds and angles of one batch: its structures are fewer than asked for where cells are large.
BATCH_BUDGET = 2_000_000


def cut_batches(sizes: Sequence[int], budget: int, most: int | None = None) -> list[list[int]]:
    """Cut graphs of these sizes (bonds and angles) into batches of neighbours.

    Parameters
    ----------
    budget
        The size of a batch of more than one graph.
    most
        Graphs of a batch; by default any number.

    Returns
    -------
    The places of the graphs of each batch.
    """
    batches: list[list[int]] = []
    total = 0
    for place, size in enumerate(sizes):
        if not batches or total + size > budget or len(batches[-1]) == most:
            batches.append([])
            total = 0
        batches[-1].append(place)
        total += size
    return batches
