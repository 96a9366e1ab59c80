"""Energies above the hull of the competing phases that a table itself holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opalign.dataset.references import elements_of
from opalign.dataset.table import SpectraTable
from opalign.errors import DatasetError

if TYPE_CHECKING:
    from pymatgen.analysis.phase_diagram import PDEntry

PER_CELL, PER_ATOM = "eV", "eV/atom"


def energies_above_hull(
    table: SpectraTable, column: str, references: Mapping[str, float]
) -> NDArray[np.float64]:
    """Energy of every row above the convex hull of all rows and the elements, (rows,), eV/atom.

    NaN where the row has no energy or one of its elements has no reference
    (:func:`unknown_stability` says which). The hull is that of pymatgen (Ong et al., Chem. Mater.
    20, 1798 (2008)). It knows the phases of the table alone, so that zero means: nothing here is
    more stable.

    Parameters
    ----------
    column
        Scalar with the total energy; its declared unit says whether of the cell (``eV``) or of an
        atom (``eV/atom``). All energies, references included, have to come from one method.
    references
        Element → energy of its standard state, eV/atom, O₂ spin-polarised, such as
        :func:`opalign.firstprinciples.references.reference_energies` computes.

    Raises
    ------
    DatasetError
        No such column, or of another unit; no references at all.
    """
    from pymatgen.analysis.phase_diagram import PDEntry
    from pymatgen.core.composition import Composition

    energies = table.scalar(column)
    if not references:
        raise DatasetError(
            f"the stability of {column!r} is asked for without energies of the elements",
            where=str(table.path),
            expected="element → eV per atom, by the method of the table's energies",
            cure=f"make them with: opalign dataset references {table.path} --out references.json",
        )
    unit = table.schema.scalars[column].unit
    if unit not in (PER_CELL, PER_ATOM):
        raise DatasetError(
            f"scalar {column!r} has unit {unit!r}",
            where=str(table.path),
            expected=f"{PER_CELL} (of the cell) or {PER_ATOM}",
        )
    entries: dict[int, PDEntry] = {}
    for row, energy in enumerate(energies):
        composition = Composition(_counts(table, row))
        known = all(str(element) in references for element in composition)
        if known and np.isfinite(energy):
            total = energy * composition.num_atoms if unit == PER_ATOM else energy
            entries[row] = PDEntry(composition, total)
    elements = {
        symbol: PDEntry(Composition(symbol), energy) for symbol, energy in references.items()
    }
    above = np.full(len(table), np.nan)
    systems = {frozenset(map(str, entry.composition.elements)) for entry in entries.values()}
    # A diagram serves all chemical systems inside it; the largest are built alone.
    largest = [system for system in systems if not any(system < other for other in systems)]
    for system in largest:
        inside = [row for row, entry in entries.items() if _is_inside(entry, system)]
        open_rows = [row for row in inside if np.isnan(above[row])]
        if open_rows:
            diagram_entries = [entries[row] for row in inside] + [elements[s] for s in system]
            above[open_rows] = _above(diagram_entries, [entries[row] for row in open_rows])
    return above


def unknown_stability(
    table: SpectraTable, column: str, references: Mapping[str, float]
) -> tuple[list[str], list[int]]:
    """Return elements of the table without reference, and rows without energy."""
    missing = [symbol for symbol in elements_of(table) if symbol not in references]
    return missing, np.flatnonzero(~np.isfinite(table.scalar(column))).tolist()


def _above(phases: Sequence[PDEntry], asked: Sequence[PDEntry]) -> NDArray[np.float64]:
    from pymatgen.analysis.phase_diagram import PhaseDiagram

    diagram = PhaseDiagram(list(phases))
    return np.array([diagram.get_e_above_hull(entry) for entry in asked], dtype=np.float64)


def _is_inside(entry: PDEntry, system: frozenset[str]) -> bool:
    return {str(element) for element in entry.composition.elements} <= system


def _counts(table: SpectraTable, row: int) -> dict[str, int]:
    from ase.data import chemical_symbols

    numbers, counts = np.unique(table.arrays(row).atomic_numbers, return_counts=True)
    return {chemical_symbols[z]: int(n) for z, n in zip(numbers, counts, strict=True)}
