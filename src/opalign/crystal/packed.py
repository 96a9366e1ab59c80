"""Graphs of many crystals in one file, read where they lie by mapping it into memory.

A file is a header and an Arrow IPC file. The header (64 bytes) holds a mark, the SHA-256 of what
follows and its length. Each record batch has :data:`BLOCK` graphs, the last one the rest; a row is
a graph, with a list per array of :class:`opalign.crystal.graph.CrystalGraph`. Angles follow from
the bonds and are not kept. Nothing is pickled, and nothing is taken on trust: a file is read as a
whole once when it is opened, and held against length and hash; what its lists say is checked before
it is used.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from opalign.crystal.graph import HEAVIEST_ELEMENT, CrystalGraph
from opalign.crystal.settings import GraphSettings
from opalign.errors import StorageError
from opalign.files import atomic_path

if TYPE_CHECKING:
    import pyarrow as pa

#: Graphs in a record batch, as many as are in memory while a file is written.
BLOCK = 512

#: Graphs that stay in memory once they were asked for, with what was found out about them since
#: (their symmetry-reduced ones): a whole table of usual size, and a bound for larger ones.
KEPT = 4096

_MARK = b"opalign graphs 1"
_HEADER = 64
_BONDS = ("source", "target", "image", "vector")
_SETTINGS = b"settings"


def write_graphs(
    path: str | os.PathLike[str], graphs: Iterable[CrystalGraph], settings: GraphSettings
) -> Path:
    """Write graphs of these settings into one file, as they come; whole or not at all.

    Some :data:`BLOCK` graphs are in memory at a time. Raises StorageError if the file cannot be
    written, and whatever ``graphs`` raises.
    """
    import pyarrow as pa

    path = Path(path)
    stream = iter(graphs)
    with atomic_path(path) as temporary:
        with temporary.open("wb") as file:
            file.write(bytes(_HEADER))
            schema = _schema().with_metadata({_SETTINGS: settings.model_dump_json()})
            with pa.ipc.new_file(file, schema) as writer:
                while block := list(islice(stream, BLOCK)):
                    writer.write_batch(_record_batch(block, schema))
        digest, size = _digest(temporary)
        with temporary.open("r+b") as file:
            file.write(_MARK + digest + size.to_bytes(8, "little"))
    return path


class PackedGraphs(Sequence[CrystalGraph]):
    """Graphs in a file that :func:`write_graphs` wrote; a graph is read when it is asked for.

    Memory holds the last :data:`KEPT` of them, and of the file what the system keeps and gives back
    when it is short of memory. The file may be deleted or replaced meanwhile, as
    :mod:`opalign.files` does it, but not cut in place.
    """

    def __init__(
        self,
        path: Path,
        settings: GraphSettings,
        blocks: Sequence[_Block],
        rows: NDArray[np.int64],
        kept: dict[int, CrystalGraph] | None = None,
    ) -> None:
        self.path = path
        self.settings = settings
        self._blocks = blocks
        self._rows = rows
        self._kept: dict[int, CrystalGraph] = {} if kept is None else kept

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> PackedGraphs:
        """Open a file and check it as a whole.

        Raises
        ------
        StorageError
            If it is absent, of another kind, cut off, damaged, or says what cannot be.
        """
        import pyarrow as pa

        path = Path(path)
        try:
            _check_whole(path)
            content = pa.memory_map(str(path)).read_buffer().slice(_HEADER)
            reader = pa.ipc.open_file(content)
            if not reader.schema.equals(_schema()):
                raise _unusable(path, "its columns are not those of graphs")
            metadata = reader.schema.metadata or {}
            settings = GraphSettings.model_validate_json(metadata.get(_SETTINGS, b""))
            batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        except (pa.ArrowException, ValueError, OSError) as error:
            raise _unusable(path, str(error).partition("\n")[0]) from error
        blocks = [_Block.read(batch, path) for batch in batches]
        sizes = [len(block) for block in blocks]
        if any(size != BLOCK for size in sizes[:-1]) or not all(0 < n <= BLOCK for n in sizes):
            raise _unusable(path, "its blocks are not of equal size")
        return cls(path, settings, blocks, np.arange(sum(sizes)))

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> CrystalGraph: ...

    @overload
    def __getitem__(self, index: slice) -> PackedGraphs: ...

    def __getitem__(self, index: int | slice) -> CrystalGraph | PackedGraphs:
        if isinstance(index, slice):
            return self._view(self._rows[index])
        row = int(self._rows[index])
        graph = self._kept.get(row)
        if graph is None:
            graph = self._blocks[row // BLOCK].graph(row % BLOCK, self.settings.angles)
            if len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)), None)
            self._kept[row] = graph
        return graph

    def __iter__(self) -> Iterator[CrystalGraph]:
        return (self[index] for index in range(len(self)))

    def select(self, indices: Iterable[int]) -> PackedGraphs:
        """Return the graphs at these places, in this order; none is read."""
        return self._view(self._rows[np.fromiter(indices, dtype=np.int64)])

    def _view(self, rows: NDArray[np.int64]) -> PackedGraphs:
        return PackedGraphs(self.path, self.settings, self._blocks, rows, self._kept)


@dataclass(frozen=True)
class _Block:
    """One record batch as arrays that lie in the file."""

    first_atom: NDArray[np.int32]
    first_bond: NDArray[np.int32]
    numbers: NDArray[np.uint8]
    source: NDArray[np.int32]
    target: NDArray[np.int32]
    image: NDArray[np.int32]
    vector: NDArray[np.float64]
    volume: NDArray[np.float64]

    @classmethod
    def read(cls, batch: pa.RecordBatch, path: Path) -> _Block:
        try:
            batch.validate(full=True)
        except Exception as error:
            raise _unusable(path, str(error).partition("\n")[0]) from error
        if any(column.null_count for column in batch.columns) or batch.num_rows == 0:
            raise _unusable(path, "it has gaps")
        first_atom, numbers = _list(batch.column("atomic_numbers"))
        bonds = {name: _list(batch.column(name)) for name in _BONDS}
        first_bond, source = bonds["source"]
        target = bonds["target"][1]
        if not all(np.array_equal(first, first_bond) for first, _ in bonds.values()):
            raise _unusable(path, "its arrays of bonds differ in length")
        # Loops without bounds will use them as indices.
        atoms = np.repeat(np.diff(first_atom), np.diff(first_bond))
        for end in (source, target):
            if len(end) != len(atoms) or end.min(initial=0) < 0 or (end >= atoms).any():
                raise _unusable(path, "a bond leads to an atom that is not there")
        if len(numbers) and not (numbers.min() >= 1 and numbers.max() <= HEAVIEST_ELEMENT):
            raise _unusable(path, "an atomic number is none")
        return cls(
            first_atom,
            first_bond,
            numbers,
            source,
            target,
            bonds["image"][1].reshape(-1, 3),
            bonds["vector"][1].reshape(-1, 3),
            batch.column("volume").to_numpy(),
        )

    def __len__(self) -> int:
        return len(self.volume)

    def graph(self, row: int, has_angles: bool) -> CrystalGraph:
        atoms = slice(self.first_atom[row], self.first_atom[row + 1])
        bonds = slice(self.first_bond[row], self.first_bond[row + 1])
        index = np.empty((2, bonds.stop - bonds.start), dtype=np.int64)
        index[0] = self.source[bonds]
        index[1] = self.target[bonds]
        return CrystalGraph(
            atomic_numbers=self.numbers[atoms].astype(np.int64),
            bond_index=index,
            bond_image=self.image[bonds].astype(np.int64),
            bond_vector=self.vector[bonds],
            volume=float(self.volume[row]),
            has_angles=has_angles,
        )


def _schema() -> pa.Schema:
    import pyarrow as pa

    def lists(kind: pa.DataType) -> pa.DataType:
        return pa.list_(kind)

    return pa.schema(
        [
            ("atomic_numbers", lists(pa.uint8())),
            ("source", lists(pa.int32())),
            ("target", lists(pa.int32())),
            ("image", lists(pa.list_(pa.int32(), 3))),
            ("vector", lists(pa.list_(pa.float64(), 3))),
            ("volume", pa.float64()),
        ]
    )


def _record_batch(graphs: Sequence[CrystalGraph], schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    def starts(sizes: Iterable[int]) -> NDArray[np.int32]:
        return np.concatenate(([0], np.cumsum(list(sizes)))).astype(np.int32)

    def bonds(name: str, kind: Any) -> pa.Array:
        values = np.concatenate([getattr(graph, name) for graph in graphs]).astype(kind)
        triples = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 3)
        return pa.ListArray.from_arrays(first_bond, triples)

    first_bond = pa.array(starts(graph.num_bonds for graph in graphs))
    index = np.concatenate([graph.bond_index for graph in graphs], axis=1).astype(np.int32)
    numbers = np.concatenate([graph.atomic_numbers for graph in graphs]).astype(np.uint8)
    columns = [
        pa.ListArray.from_arrays(
            pa.array(starts(graph.num_atoms for graph in graphs)), pa.array(numbers)
        ),
        *(pa.ListArray.from_arrays(first_bond, pa.array(end)) for end in index),
        bonds("bond_image", np.int32),
        bonds("bond_vector", np.float64),
        pa.array([graph.volume for graph in graphs], type=pa.float64()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _list(column: pa.ListArray) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Where each list begins (and, last, ends), and all values, without a copy."""
    values = column.values
    if hasattr(values.type, "list_size"):
        values = values.values
    return column.offsets.to_numpy(), values.to_numpy()


def _digest(path: Path) -> tuple[bytes, int]:
    """SHA-256 and length of what stands behind the header."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        file.seek(_HEADER)
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return digest.digest(), size


def _check_whole(path: Path) -> None:
    with path.open("rb") as file:
        header = file.read(_HEADER)
    if not header.startswith(_MARK) or len(header) < _HEADER:
        raise _unusable(path, "it does not begin as one")
    promised = int.from_bytes(header[48:56], "little")
    if path.stat().st_size != _HEADER + promised:
        raise _unusable(
            path, f"it has {path.stat().st_size} bytes where {_HEADER + promised} were written"
        )
    if _digest(path)[0] != header[16:48]:
        raise _unusable(path, "its content has changed since it was written")


def _unusable(path: Path, why: str) -> StorageError:
    return StorageError(
        f"is no whole file of graphs: {why}",
        where=str(path),
        cure="delete it; graphs are built again when they are needed",
    )
