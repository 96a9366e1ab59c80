"""What makes a row of a table wrong, said with column, row number and material id."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from opalign.arrow import to_array, to_numpy
from opalign.dataset.columns import list_lengths, list_values
from opalign.dataset.formula import formula_of_species, reduced_formula
from opalign.dataset.schema import DIAGONAL, TableSchema, spectrum_column
from opalign.errors import DatasetError

# Im ε ≥ 0 for E > 0; less than this, relative to the largest value where that exceeds 1, is the
# rounding of single precision. OpticalSpectrum takes no more either.
NEGATIVE_TOLERANCE = 1e-6
# Å³; a cell of less holds no atom.
SMALLEST_VOLUME = 1e-3


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one row (counted from 0) of a table."""

    row: int
    material_id: str | None
    column: str
    message: str

    def __str__(self) -> str:
        return f"row {self.row} ({self.material_id}), column {self.column!r}: {self.message}"


def find_problems(
    batch: pa.RecordBatch, schema: TableSchema, rows: NDArray[np.int64], seen: dict[str, int]
) -> Iterator[Problem]:
    """Everything that is wrong with a batch of rows.

    ``rows`` (len(batch),) are the numbers the rows go by. ``seen`` maps each material id met so
    far to its row and is extended, so that duplicates are found across batches.
    """
    ids = batch.column("material_id").to_pylist()

    def problem(at: int, column: str, message: str) -> Problem:
        return Problem(int(rows[at]), ids[at], column, message)

    for at, material_id in enumerate(ids):
        if not material_id:
            yield problem(at, "material_id", "is empty")
        elif material_id in seen:
            yield problem(at, "material_id", f"stands in row {seen[material_id]} already")
        else:
            seen[material_id] = int(rows[at])
    for at, column, message in _structure_problems(batch):
        yield problem(at, column, message)
    for at, column, message in _spectrum_problems(batch, schema):
        yield problem(at, column, message)
    for name in schema.scalars:
        values = to_numpy(batch.column(name)).astype(np.float64)
        for infinite in np.flatnonzero(np.isinf(values)):
            yield problem(int(infinite), name, "is infinite; a value that is not known is null")


def _structure_problems(batch: pa.RecordBatch) -> Iterator[tuple[int, str, str]]:
    from ase.data import atomic_numbers

    lattices, positions = batch.column("lattice"), batch.column("frac_coords")
    formulas, species = batch.column("formula").to_pylist(), batch.column("species").to_pylist()
    lattice_lengths, position_lengths = list_lengths(lattices), list_lengths(positions)
    for at in range(len(batch)):
        if lattice_lengths[at] != 9:
            yield at, "lattice", f"has {_count(lattice_lengths[at])} numbers, not 9"
        else:
            lattice = list_values(lattices.slice(at, 1)).reshape(3, 3)
            if not np.isfinite(lattice).all():
                yield at, "lattice", "has a number that is NaN or infinite"
            elif abs(np.linalg.det(lattice)) < SMALLEST_VOLUME:
                yield at, "lattice", f"spans no volume (below {SMALLEST_VOLUME} Å³)"
        symbols = species[at] or []
        unknown = sorted({str(s) for s in symbols if atomic_numbers.get(s, 0) == 0})
        if not symbols or unknown:
            yield at, "species", f"unknown: {', '.join(unknown)}" if unknown else "is empty"
        elif formulas[at] is None:
            yield at, "formula", "is empty"
        else:
            yield from _formula_problems(at, formulas[at], symbols)
        if position_lengths[at] != 3 * len(symbols):
            found = _count(position_lengths[at])
            yield at, "frac_coords", f"has {found} numbers, not 3 for each of {len(symbols)} atoms"
        elif not np.isfinite(list_values(positions.slice(at, 1))).all():
            yield at, "frac_coords", "has a number that is NaN or infinite"


def _formula_problems(at: int, formula: str, symbols: list[str]) -> Iterator[tuple[int, str, str]]:
    try:
        given = reduced_formula(formula)
    except DatasetError as error:
        yield at, "formula", error.problem
        return
    if given != (computed := formula_of_species(symbols)):
        yield at, "formula", f"is {formula}, but the species make {computed}"


def _spectrum_problems(
    batch: pa.RecordBatch, schema: TableSchema
) -> Iterator[tuple[int, str, str]]:
    if schema.grid is None:
        return
    num, energies = schema.grid.num, schema.grid.values
    non_negative = {
        spectrum_column(name, "im", component)
        for name, level in schema.levels.items()
        for component in level.components
        if component in (*DIAGONAL, "mean")
    }
    for name in schema.spectrum_columns():
        column = batch.column(name)
        lengths = list_lengths(column)
        for at in np.flatnonzero(lengths != num):
            yield int(at), name, f"has {_count(lengths[at])} values, the grid has {num}"
        sound = np.flatnonzero(lengths == num)
        values = list_values(column.take(to_array(sound, pa.int64()))).reshape(len(sound), num)
        broken = ~np.isfinite(values)
        for k in np.flatnonzero(broken.any(axis=1)):
            energy = energies[int(np.argmax(broken[k]))]
            yield int(sound[k]), name, f"is NaN or infinite at {energy:g} eV"
        if name in non_negative:
            finite = np.where(broken, 0.0, values)
            lowest = finite.min(axis=1, initial=0.0)
            scale = np.maximum(1.0, finite.max(axis=1, initial=0.0))
            for k in np.flatnonzero(lowest < -NEGATIVE_TOLERANCE * scale):
                energy = energies[int(np.argmin(finite[k]))]
                yield int(sound[k]), name, f"Im ε is negative: {lowest[k]:g} at {energy:g} eV"


def _count(length: int) -> str:
    return "no" if length < 0 else str(length)
