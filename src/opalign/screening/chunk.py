"""Structures on their way to the network: Arrow batches of plain arrays, numbered, with unique ids.

A row that gave no structure is a row all the same, with the problem in its place, so that what goes
out has exactly the rows that came in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

#: What sources yield. ``lattice`` has 9 numbers (row vectors, Å), ``numbers`` N atomic numbers,
#: ``coordinates`` 3N fractional ones; all three are null where ``problem`` says why.
STRUCTURES = pa.schema(
    [
        ("material_id", pa.string()),
        ("lattice", pa.list_(pa.float64())),
        ("numbers", pa.list_(pa.int32())),
        ("coordinates", pa.list_(pa.float64())),
        ("problem", pa.string()),
    ]
)
#: What workers get: the same with the number of the row in the input, from 0, in front.
CHUNK = pa.schema([("row", pa.int64()), *STRUCTURES])

_RUN = 1 << 16


class Structure(NamedTuple):
    """One structure of a source that gives them one by one."""

    material_id: str | None
    lattice: NDArray[np.float64] | None
    numbers: NDArray[np.int32] | None
    coordinates: NDArray[np.float64] | None
    problem: str | None


def structure_batch(rows: Sequence[Structure]) -> pa.RecordBatch:
    """Return single structures as one batch of :data:`STRUCTURES`."""
    columns = zip(*rows, strict=True) if rows else ([] for _ in STRUCTURES)
    arrays = [
        pa.array(
            [np.ravel(one) if isinstance(one, np.ndarray) else one for one in column],
            type=field.type,
        )
        for column, field in zip(columns, STRUCTURES, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=STRUCTURES)


class SeenIds:
    """Tells which ids came before, from eight bytes of each.

    Two ids of one 64-bit hash count as one, which for 10⁸ rows has a chance of 3e-4 and costs no
    more than a suffix that was not needed.
    """

    def __init__(self) -> None:
        self._runs: list[NDArray[np.uint64]] = []

    def mark(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return which ``ids`` came before, in earlier calls or earlier in this one; keep all."""
        from pandas.util import hash_array

        hashes = hash_array(np.array(ids, dtype=object), categorize=False)
        distinct, first = np.unique(hashes, return_index=True)
        known = np.zeros(len(distinct), dtype=bool)
        for run in self._runs:
            place = np.minimum(np.searchsorted(run, distinct), len(run) - 1)
            known |= run[place] == distinct
        before = np.ones(len(hashes), dtype=bool)
        before[first[~known]] = False
        self._keep(distinct[~known])
        return before

    def _keep(self, new: NDArray[np.uint64]) -> None:
        """Merge sorted runs of like size, so that there are few of them."""
        while self._runs and len(self._runs[-1]) <= max(len(new), _RUN):
            new = np.sort(np.concatenate((self._runs.pop(), new)))
        if len(new):
            self._runs.append(new)


class UniqueIds:
    """Gives every row an id of its own, by the order of the input alone.

    An id that came before gets ``@`` and the number of the row behind it; a row without an id is
    called ``row-`` and its number.
    """

    def __init__(self) -> None:
        self._seen = SeenIds()
        self.repeated = 0
        """How many ids had to be changed."""

    def __call__(self, ids: Sequence[str | None], first_row: int) -> list[str]:
        """Return unique ids of the rows from ``first_row`` on."""
        found = [one or f"row-{first_row + k}" for k, one in enumerate(ids)]
        pending = np.flatnonzero(self._seen.mark(found))
        self.repeated += len(pending)
        while len(pending):
            for k in pending:
                found[k] = f"{found[k]}@{first_row + k}"
            # Another row may have just this id already.
            pending = pending[self._seen.mark([found[k] for k in pending])]
        return found


def numbered_chunks(
    batches: Iterable[pa.RecordBatch], rows_per_chunk: int, ids: UniqueIds
) -> Iterator[pa.RecordBatch]:
    """Cut batches of :data:`STRUCTURES`, of any sizes, into chunks of :data:`CHUNK` of one size."""
    waiting: list[pa.RecordBatch] = []
    held = first = 0
    for batch in batches:
        while held + len(batch) >= rows_per_chunk:
            taken = rows_per_chunk - held
            yield _numbered([*waiting, batch.slice(0, taken)], first, ids)
            first += rows_per_chunk
            batch, waiting, held = batch.slice(taken), [], 0
        if len(batch):
            waiting.append(batch)
            held += len(batch)
    if held:
        yield _numbered(waiting, first, ids)


def _numbered(batches: list[pa.RecordBatch], first: int, ids: UniqueIds) -> pa.RecordBatch:
    table = pa.Table.from_batches(batches).combine_chunks()
    names = pa.array(ids(table.column("material_id").to_pylist(), first), type=pa.string())
    columns = {name: table.column(name).combine_chunks() for name in STRUCTURES.names}
    columns["material_id"] = names
    columns["row"] = pa.array(np.arange(first, first + len(table)), type=pa.int64())
    return pa.RecordBatch.from_arrays([columns[name] for name in CHUNK.names], schema=CHUNK)
