"""Where structures come from: tables, databases, files and folders, each as a stream."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from opalign.errors import DatasetError, StructureError
from opalign.prediction.inputs import failure_of
from opalign.screening.chunk import Structure, structure_batch
from opalign.screening.tables import TableSource

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure as PymatgenStructure

ROWS_PER_BATCH = 64
#: Keys of an ASE database that hold the id of a material, if it has one.
DATABASE_IDS = ("material_id", "mp_id", "uid", "name")


class Source(Protocol):
    """Something that structures stream out of."""

    kind: str
    files: list[Path]
    """What its identity is told by."""
    rows: int | None
    """How many there are, where that is known beforehand."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All structures in their order, each call from the start."""
        ...


def open_source(path: Path) -> Source:
    """Return the source that ``path`` is.

    A Parquet file or a folder of such, an ASE database (.db), or what
    :func:`~opalign.crystal.read.iterate_structures` reads.

    Raises
    ------
    DatasetError, StructureError
        If there is nothing there that holds structures.
    """
    if path.suffix.lower() == ".parquet" and not path.is_dir():
        return TableSource([path])
    if path.is_dir() and (files := sorted(path.glob("*.parquet"))):
        return TableSource(files)
    if path.suffix.lower() == ".db":
        return DatabaseSource(path)
    return FileSource(path)


class FileSource:
    """A file of one or many structures, or a folder of files."""

    kind = "structure files"
    rows: int | None = None

    def __init__(self, path: Path) -> None:
        from opalign.crystal.read import iterate_structures

        self.path = path
        # Refuses at once what holds no structures at all; nothing is read yet.
        iterate_structures(path)
        self.files = _files_of(path)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Stream all structures; a file that cannot be read is a row with a problem."""
        from opalign.crystal.read import iterate_structures

        found = iterate_structures(self.path)
        while rows := [_row(name, outcome) for name, outcome in islice(found, ROWS_PER_BATCH)]:
            yield structure_batch(rows)


class DatabaseSource:
    """An ASE database in SQLite; rows come in the order of their numbers."""

    kind = "ASE database"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = [path]
        if not path.is_file():
            raise StructureError("does not exist", where=str(path), cure="check the path")
        with path.open("rb") as stream:
            if stream.read(16) != b"SQLite format 3\x00":
                raise DatasetError(
                    "is no SQLite file",
                    where=str(path),
                    expected="an ASE database as `ase.db.connect` writes it",
                )
        self.rows: int | None = self._trying(lambda database: database.count())

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Stream all rows, some at a time: ASE would fetch all that a selection has at once."""
        last = 0
        while True:
            found = self._trying(
                lambda database, last=last: [
                    (entry.id, _database_row(entry))
                    for entry in database.select(f"id>{last}", limit=ROWS_PER_BATCH, sort="id")
                ]
            )
            if not found:
                return
            last = found[-1][0]
            yield structure_batch([row for _, row in found])

    def _trying(self, ask: Any) -> Any:
        import sqlite3

        from ase.db import connect

        try:
            return ask(connect(self.path, type="db", use_lock_file=False))
        except (sqlite3.Error, ValueError, KeyError, TypeError, OSError) as error:
            raise DatasetError(
                f"cannot be read ({type(error).__name__}: {str(error)[:200]})",
                where=str(self.path),
                expected="an ASE database",
                cure="check it with `ase db`",
            ) from error


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = []
    for place, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(found)


def _row(name: str, outcome: PymatgenStructure | StructureError) -> Structure:
    if isinstance(outcome, StructureError):
        return Structure(name, None, None, None, failure_of(outcome, name).reason)
    return Structure(
        name,
        np.asarray(outcome.lattice.matrix),
        np.array(outcome.atomic_numbers, dtype=np.int32),
        np.asarray(outcome.frac_coords),
        None,
    )


def _database_row(entry: Any) -> Structure:
    """Return a row of a database as arrays; what is no crystal as a problem."""
    values = entry.key_value_pairs
    name = next((str(values[key]) for key in DATABASE_IDS if values.get(key)), str(entry.id))
    try:
        cell = np.asarray(entry.cell, dtype=np.float64).reshape(3, 3)
        positions = np.asarray(entry.positions, dtype=np.float64).reshape(-1, 3)
        numbers = np.asarray(entry.numbers, dtype=np.int32)
        if not np.any(entry.pbc) or not cell.any():
            raise ValueError("it has no lattice, so it is a molecule and no crystal")
        coordinates = np.linalg.solve(cell.T, positions.T).T.astype(np.float64)
        if not (len(numbers) == len(positions) > 0 and np.isfinite(coordinates).all()):
            raise ValueError("numbers of atoms and positions do not fit together")
    except (ValueError, TypeError, np.linalg.LinAlgError) as error:
        return Structure(name, None, None, None, f"row {entry.id} is no crystal: {error}")
    return Structure(name, cell, numbers, coordinates, None)
