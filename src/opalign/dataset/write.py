"""Writing tables: row by row out of an iterator, in bounded memory, whole or not at all."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from opalign.arrow import to_array
from opalign.dataset.checks import find_problems
from opalign.dataset.formula import formula_of_species
from opalign.dataset.schema import TableSchema, arrow_schema
from opalign.errors import DatasetError
from opalign.files import atomic_path

if TYPE_CHECKING:
    from opalign.dataset.table import SpectraTable

ROWS_PER_GROUP = 256


def write_table(
    path: str | PathLike[str], schema: TableSchema, rows: Iterable[Mapping[str, Any]]
) -> Path:
    """Write a table, streaming; nothing stands at ``path`` unless every row was sound.

    Parameters
    ----------
    rows
        One mapping per material: ``material_id``; either ``structure`` (pymatgen) or ``lattice``
        (9 or 3×3, Å, row vectors), ``species`` (N symbols) and ``frac_coords`` (3N or N×3); every
        spectrum column of the schema (n values); scalars, lists and ``provenance`` where known.
        The reduced formula is worked out from the species, whatever ``formula`` says.

    Raises
    ------
    DatasetError
        A row lacks or has too many keys, or breaks the schema; row, id and column are named.
    StorageError
        The file cannot be written.
    """
    target = Path(path)
    layout = arrow_schema(schema)
    required = ["material_id", "lattice", "species", "frac_coords", *schema.spectrum_columns()]
    seen: dict[str, int] = {}
    source = iter(rows)
    first = 0
    with (
        atomic_path(target) as temporary,
        pq.ParquetWriter(temporary, layout, compression="zstd") as writer,
    ):
        while chunk := list(islice(source, ROWS_PER_GROUP)):
            flat = [
                _flat_row(row, layout.names, required, _place(row, first + k), target)
                for k, row in enumerate(chunk)
            ]
            batch = _record_batch(flat, layout, first, target)
            numbers = np.arange(first, first + len(flat))
            if problem := next(find_problems(batch, schema, numbers, seen), None):
                raise DatasetError(
                    str(problem),
                    where=str(target),
                    cure="correct or leave out this row; nothing was written",
                )
            writer.write_batch(batch)
            first += len(flat)
    return target


def concatenate(path: str | PathLike[str], tables: Sequence[SpectraTable]) -> Path:
    """Write the rows of several tables into one.

    Grid and levels have to agree. A scalar or list that one table lacks is null in its rows;
    differing licences, sources and citations are joined with "; ".

    Raises
    ------
    DatasetError
        Nothing to join, differing grids or levels, one name for two things, or a repeated id.
    """
    if not tables:
        raise DatasetError("there is no table to join", where=str(path))
    schemas = [table.schema for table in tables]
    first = schemas[0]
    for table, schema in zip(tables, schemas, strict=True):
        if schema.grid != first.grid or schema.levels != first.levels:
            raise DatasetError(
                f"has another grid or other levels than {tables[0].path}",
                where=str(table.path),
                expected=f"{first.grid!r}, levels {', '.join(first.levels) or 'none'}",
                cure="resample and broaden the spectra alike before joining",
            )
        for kind in ("scalars", "lists"):
            for name, info in getattr(schema, kind).items():
                if getattr(first, kind).get(name, info) != info:
                    raise DatasetError(
                        f"{name!r} means something else than in {tables[0].path}",
                        where=str(table.path),
                        cure="rename one of the two",
                    )
    merged = TableSchema(
        grid=first.grid,
        levels=first.levels,
        scalars={name: info for s in schemas for name, info in s.scalars.items()},
        lists={name: info for s in schemas for name, info in s.lists.items()},
        licence=_joined(s.licence for s in schemas),
        source=_joined(s.source for s in schemas),
        citation=_joined(s.citation for s in schemas),
    )
    return write_table(path, merged, (row for table in tables for row in table.rows()))


def _place(row: Mapping[str, Any], number: int) -> str:
    return f"row {number} ({row.get('material_id')})"


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


def _flat_row(
    row: Mapping[str, Any], names: Sequence[str], required: Sequence[str], place: str, path: Path
) -> dict[str, Any]:
    """Return a row with exactly the columns ``names``, arrays flat, the structure spelled out."""
    flat = dict(row)
    if (structure := flat.pop("structure", None)) is not None:
        if not structure.is_ordered:
            raise DatasetError(
                f"{place}: the structure is disordered", where=str(path), cure="order its sites"
            )
        flat["lattice"] = structure.lattice.matrix
        flat["species"] = [site.specie.symbol for site in structure]
        flat["frac_coords"] = structure.frac_coords
    if unknown := set(flat) - set(names):
        key = min(unknown)
        guess = difflib.get_close_matches(key, names, n=1)
        raise DatasetError(
            f"{place}: the schema declares no column {key!r}",
            where=str(path),
            cure=f"did you mean {guess[0]!r}?" if guess else "declare it in the table's schema",
        )
    for column in required:
        if flat.get(column) is None:
            raise DatasetError(
                f"{place}: {column!r} is missing",
                where=str(path),
                cure="give it, or leave it out of the table's schema",
            )
    try:
        flat["formula"] = formula_of_species(map(str, flat["species"]))
    except DatasetError as error:
        raise DatasetError(f"{place}: {error.problem}", where=str(path)) from error
    return {name: _flat_value(flat.get(name)) for name in names}


def _flat_value(value: Any) -> Any:
    if isinstance(value, np.ndarray | list | tuple):
        return np.ravel(value)
    # A scalar that is not a number is one that is not known.
    return None if isinstance(value, float | np.floating) and np.isnan(value) else value


def _record_batch(
    rows: list[dict[str, Any]], layout: pa.Schema, first: int, path: Path
) -> pa.RecordBatch:
    arrays = []
    for field in layout:
        try:
            arrays.append(to_array([row[field.name] for row in rows], field.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise DatasetError(
                f"column {field.name!r} of rows {first}–{first + len(rows) - 1}: {error}",
                where=str(path),
                expected=str(field.type),
            ) from error
    return pa.RecordBatch.from_arrays(arrays, schema=layout)
