"""Parquet tables of structures, ours and others', column by column without a loop over rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from opalign.dataset.columns import list_lengths, list_values, open_parquet
from opalign.errors import DatasetError
from opalign.screening.chunk import STRUCTURES

ID_COLUMNS = ("material_id", "id")
SPECIES_COLUMNS = ("species", "atomic_numbers")
ROWS_READ = 256
#: Atoms of a row, on average over a row group, beyond which a table cannot be one of crystals; rows
#: are read in batches, and batches must fit the memory.
MOST_ATOMS = 100_000
#: Bytes of a column that are read ahead. Without it whole row groups would be in memory.
READ_AHEAD = 1 << 20


class TableSource:
    """Rows of one Parquet file or of several with one layout."""

    kind = "Parquet"

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)
        self.rows: int | None = 0
        self._columns: list[tuple[str | None, str]] = []
        for path in self.files:
            with open_parquet(path) as file:
                self._columns.append(_columns_of(path, file.schema_arrow))
                _check_amount(path, file.metadata)
                self.rows += file.metadata.num_rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Stream all rows as batches of :data:`~opalign.screening.chunk.STRUCTURES`.

        Raises
        ------
        DatasetError
            The file is damaged; rows that make no structure are no error but have a problem.
        """
        for path, (identifier, species) in zip(self.files, self._columns, strict=True):
            names = [*([identifier] if identifier else []), "lattice", species, "frac_coords"]
            with open_parquet(path, pre_buffer=False, buffer_size=READ_AHEAD) as file:
                for batch in file.iter_batches(ROWS_READ, columns=names, use_threads=False):
                    yield _structures(batch, identifier, species)


def _columns_of(path: Path, schema: pa.Schema) -> tuple[str | None, str]:
    """Return the names of the columns of ids, if there is one, and of the atoms."""
    identifier = next((name for name in ID_COLUMNS if name in schema.names), None)
    species = next((name for name in SPECIES_COLUMNS if name in schema.names), None)
    missing = [name for name in ("lattice", "frac_coords") if name not in schema.names]
    if species is None:
        missing.append("species")
    if missing or species is None:
        raise DatasetError(
            f"has no column {', '.join(missing)}",
            where=str(path),
            expected="lattice (9 numbers, Å), species (symbols) or atomic_numbers, frac_coords "
            "(3 numbers an atom), and material_id or id",
            cure="rename the columns; it has " + ", ".join(schema.names[:12]),
        )
    for name in ("lattice", "frac_coords", species):
        kind = schema.field(name).type
        inner = kind
        while _is_list(inner):
            inner = inner.value_type
        symbols = name == "species" and (
            pa.types.is_string(inner) or pa.types.is_large_string(inner)
        )
        number = pa.types.is_floating(inner) or pa.types.is_integer(inner)
        if inner is kind or not (symbols or (number and name != "species")):
            raise DatasetError(
                f"column {name!r} holds {kind}",
                where=str(path),
                expected="lists of symbols" if name == "species" else "lists of numbers",
            )
    return identifier, species


def _check_amount(path: Path, metadata: Any) -> None:
    """Refuse a table by what its footer claims to hold, before any of it is unpacked."""
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for place in range(group.num_columns):
            column = group.column(place)
            name = column.path_in_schema.partition(".")[0]
            if name == "frac_coords" and column.num_values > 3 * MOST_ATOMS * max(
                group.num_rows, 1
            ):
                raise DatasetError(
                    f"row group {number} claims {column.num_values} coordinates in "
                    f"{group.num_rows} rows",
                    where=str(path),
                    expected=f"at most {MOST_ATOMS} atoms a row",
                )


def _structures(batch: pa.RecordBatch, identifier: str | None, species: str) -> pa.RecordBatch:
    lattice = _flat_lists(batch.column("lattice"), pa.float64())
    coordinates = _flat_lists(batch.column("frac_coords"), pa.float64())
    atoms = _flat_lists(batch.column(species), pa.string() if species == "species" else pa.int64())
    numbers = _atomic_numbers(atoms)
    sizes = list_lengths(numbers)
    bad_lattice = (list_lengths(lattice) != 9) | ~_all_rows(lattice, np.isfinite)
    bad_coordinates = list_lengths(coordinates) != 3 * sizes
    unplaced = ~_all_rows(coordinates, np.isfinite)
    unknown = ~_all_rows(numbers, lambda values: values > 0)
    problem: list[str | None] = [None] * len(batch)
    for row in np.flatnonzero(bad_lattice | bad_coordinates | unplaced | unknown | (sizes < 1)):
        if bad_lattice[row]:
            problem[row] = "the lattice is not nine finite numbers"
        elif sizes[row] < 1:
            problem[row] = "holds no atoms"
        elif unknown[row]:
            place = int(np.argmin(list_values(numbers.slice(row, 1)) > 0))
            found = atoms[row].as_py()[place]
            problem[row] = f"atom {place + 1} ({found}) is not a chemical element"
        elif bad_coordinates[row]:
            count = list_lengths(coordinates)[row]
            problem[row] = f"{sizes[row]} atoms, but {max(count, 0)} coordinates"
        else:
            problem[row] = "a coordinate is not a finite number"
    names = (
        pa.nulls(len(batch), pa.string())
        if identifier is None
        else pc.cast(batch.column(identifier), pa.string())
    )
    fine = pa.array([text is None for text in problem])
    columns = [names]
    for values, field in zip((lattice, numbers, coordinates), list(STRUCTURES)[1:4], strict=True):
        columns.append(pc.if_else(fine, values, pa.nulls(len(batch), field.type)))
    columns.append(pa.array(problem, type=pa.string()))
    return pa.RecordBatch.from_arrays(columns, schema=STRUCTURES)


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _flat_lists(column: pa.Array, value_type: pa.DataType) -> pa.ListArray:
    """Return lists, or lists of lists, as lists of all their values; null lists become empty."""
    lengths = np.ones(len(column), dtype=np.int64)
    values = column
    level: list[NDArray[np.int64]] = []
    while _is_list(values.type):
        counts = np.maximum(list_lengths(values), 0)
        level.append(counts)
        values = values.flatten()
    # From the innermost outwards: a row holds what the lists in it hold.
    lengths = level[-1]
    for counts in reversed(level[:-1]):
        ends = np.concatenate(([0], np.cumsum(lengths)))
        bounds = np.concatenate(([0], np.cumsum(counts)))
        lengths = np.diff(ends[bounds])
    offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))), type=pa.int32())
    return pa.ListArray.from_arrays(offsets, pc.cast(values, value_type, safe=False))


def _atomic_numbers(atoms: pa.ListArray) -> pa.ListArray:
    """Return symbols or numbers as lists of atomic numbers; 0 for what is no element."""
    values = atoms.flatten()
    if pa.types.is_string(values.type):
        encoded = values.dictionary_encode()
        table = _symbols()
        known = np.array(
            [table.get(symbol or "", 0) for symbol in encoded.dictionary.to_pylist()] + [0],
            dtype=np.int32,
        )
        places = pc.fill_null(encoded.indices, len(known) - 1).to_numpy(zero_copy_only=False)
        numbers = known[places]
    else:
        given = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
        numbers = np.where((given >= 1) & (given <= 118), given, 0).astype(np.int32)
    return pa.ListArray.from_arrays(atoms.offsets, pa.array(numbers, type=pa.int32()))


@lru_cache(maxsize=1)
def _symbols() -> dict[str, int]:
    from ase.data import chemical_symbols

    table = {symbol: number for number, symbol in enumerate(chemical_symbols) if number}
    # Isotopes of hydrogen have its electronic structure.
    return {**table, "D": 1, "T": 1}


def _all_rows(
    column: pa.ListArray, test: Callable[[NDArray[np.float64]], Any]
) -> NDArray[np.bool_]:
    """Tell of each row whether all its values pass ``test``; an empty row does."""
    failed = np.logical_not(test(list_values(column))).astype(np.int64)
    ends = np.concatenate(([0], np.cumsum(failed)))
    bounds = np.concatenate(([0], np.cumsum(list_lengths(column))))
    return np.asarray(ends[bounds[1:]] == ends[bounds[:-1]])
