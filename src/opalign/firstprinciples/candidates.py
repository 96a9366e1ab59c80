"""Candidates: structures that may be worth a computation, and where they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opalign.crystal.read import iterate_structures, read_structure
from opalign.dataset.columns import open_parquet
from opalign.errors import DatasetError, StructureError

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

TABLE_COLUMNS = ("material_id", "lattice", "species", "frac_coords")

OnFailure = Callable[[str, StructureError], None]


@dataclass(frozen=True)
class Candidate:
    """A structure that may be computed."""

    identifier: str
    structure: Structure
    source: str
    """Where the structure comes from: a file, a database, the prototype generator."""
    notes: str = ""


def read_candidates(
    path: str | PathLike[str], on_failure: OnFailure | None = None
) -> Iterator[Candidate]:
    """Read candidates from a table, a folder of structure files, or a file of structures.

    Parameters
    ----------
    path
        A Parquet file with the columns ``material_id``, ``lattice`` (9 floats, Å, row vectors),
        ``species`` and ``frac_coords`` (3N), as every spectra table has and as structures alone are
        published; or whatever :func:`~opalign.crystal.read.iterate_structures` takes.
    on_failure
        Called with the id and the error of every structure that cannot be used, which is then left
        out; None raises the first one.

    Raises
    ------
    StructureError
        The path is neither, or (without ``on_failure``) a structure cannot be used.
    DatasetError
        The table is broken or lacks a column; an id occurs twice.
    """
    path = Path(path)
    is_table = path.suffix == ".parquet" and path.is_file()
    found = _iterate_table(path) if is_table else iterate_structures(path)
    seen: set[str] = set()
    for identifier, outcome in found:
        if isinstance(outcome, StructureError):
            if on_failure is None:
                raise outcome
            on_failure(identifier, outcome)
            continue
        if identifier in seen:
            raise DatasetError(
                f"id {identifier!r} occurs twice",
                where=str(path),
                cure="give every structure its own",
            )
        seen.add(identifier)
        yield Candidate(identifier, outcome, path.name)


def _iterate_table(path: Path) -> Iterator[tuple[str, Structure | StructureError]]:
    with open_parquet(path) as file:
        missing = [name for name in TABLE_COLUMNS if name not in file.schema_arrow.names]
        if missing:
            raise DatasetError(
                f"has no column {', '.join(missing)}",
                where=str(path),
                expected=f"the columns {', '.join(TABLE_COLUMNS)}",
            )
        for batch in file.iter_batches(batch_size=256, columns=list(TABLE_COLUMNS)):
            for row in batch.to_pylist():
                yield str(row["material_id"]), _structure_of_row(row, path)


def _structure_of_row(row: dict[str, Any], path: Path) -> Structure | StructureError:
    where = f"{path}, {row['material_id']}"
    lattice, species = row["lattice"] or [], row["species"] or []
    positions = row["frac_coords"] or []
    if len(lattice) != 9 or len(positions) != 3 * len(species):
        return StructureError(
            "lattice, species and frac_coords do not make a structure",
            where=where,
            expected="9, N and 3N values",
        )
    try:
        return read_structure(
            {
                "lattice_mat": [lattice[0:3], lattice[3:6], lattice[6:9]],
                "coords": [positions[k : k + 3] for k in range(0, len(positions), 3)],
                "elements": species,
                "cartesian": False,
            }
        )
    except StructureError as error:
        return StructureError(error.problem, where=where, expected=error.expected, cure=error.cure)
