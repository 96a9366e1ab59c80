"""Filters of a table: which of its materials should be learned from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from opalign.dataset.duplicates import find_duplicates
from opalign.dataset.funnel import Funnel, Rule, apply_rules
from opalign.dataset.stability import energies_above_hull, unknown_stability
from opalign.dataset.table import SpectraTable, write_table
from opalign.errors import DatasetError

GAP_EV = 0.3
ROWS_NAMED = 5

UnknownStability = Literal["refuse", "keep", "drop"]
"""``refuse``: an error, which names them."""


class FilterSettings(BaseModel):
    """What a material of a table has to fulfil; a filter whose column is None is left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gap_column: str | None = "band_gap_eV"
    minimum_gap: float = Field(default=GAP_EV, ge=0)
    """eV, semi-local."""
    energy_column: str | None = None
    """Total energy, in eV of the cell or in eV/atom."""
    references: dict[str, float] = {}
    """Element → energy of its standard state, eV/atom."""
    maximum_hull_energy: float = Field(default=0.0, ge=0)
    """eV/atom above the hull of the phases of the table."""
    unknown_stability: UnknownStability = "refuse"
    """What becomes of materials without energy, or with an element without reference."""
    flag_column: str | None = None
    """List of the names of quality checks that a spectrum failed."""
    tolerated_flags: frozenset[str] = frozenset()
    unique: bool = True
    """Of structures that are the same crystal, keep the first."""


def filter_rules(table: SpectraTable, settings: FilterSettings) -> list[Rule[int]]:
    """Rules over the single rows of a table, in the order: flags, gap, stability.

    Raises
    ------
    DatasetError
        The table lacks a column that the settings name; stability is asked for without references,
        or cannot be told of every row and ``unknown_stability`` is ``"refuse"``.
    """
    rules: list[Rule[int]] = []
    if settings.flag_column is not None:
        rules.append(unflagged(table, settings.flag_column, settings.tolerated_flags))
    if settings.gap_column is not None:
        rules.append(gap_at_least(table, settings.gap_column, settings.minimum_gap))
    if settings.energy_column is not None:
        rules.append(
            stable(
                table,
                settings.energy_column,
                settings.references,
                maximum=settings.maximum_hull_energy,
                unknown=settings.unknown_stability,
            )
        )
    return rules


def filter_table(
    table: SpectraTable, path: str | PathLike[str] | None, settings: FilterSettings | None = None
) -> Funnel[int]:
    """Filter a table and write what is left; with ``path`` None only count.

    Of duplicates the first one that passes every other filter is kept.

    Returns
    -------
    Funnel over row numbers.

    Raises
    ------
    DatasetError
        As in :func:`filter_rules`, or nothing is left.
    StorageError
        The file cannot be written.
    """
    settings = settings or FilterSettings()
    ids = table.ids
    rules = filter_rules(table, settings)
    funnel = apply_rules(range(len(table)), rules, ids.__getitem__)
    if settings.unique:
        rules.append(unique(table, funnel.kept))
        funnel = apply_rules(range(len(table)), rules, ids.__getitem__)
    if path is not None:
        if not funnel.kept:
            raise DatasetError(
                f"no row passes the filters:\n{funnel}",
                where=str(table.path),
                cure="relax the filter that rejects most",
            )
        write_table(path, table.schema, table.select([ids[row] for row in funnel.kept]).rows())
    return funnel


def gap_at_least(table: SpectraTable, column: str, minimum: float = GAP_EV) -> Rule[int]:
    """Band gap (eV) in ``column`` of at least ``minimum``; a row without gap does not pass."""
    gaps = table.scalar(column)

    def reason(row: int) -> str | None:
        if math.isnan(gaps[row]):
            return "no band gap known"
        return f"gap {gaps[row]:.2f} eV" if gaps[row] < minimum else None

    return Rule("gap", f"{column} at least {minimum:g} eV", reason)


def stable(
    table: SpectraTable,
    column: str,
    references: Mapping[str, float],
    *,
    maximum: float = 0.0,
    unknown: UnknownStability = "refuse",
) -> Rule[int]:
    """At most ``maximum`` eV/atom above the hull of the table's phases and the elements.

    ``column``, ``references``: as :func:`~opalign.dataset.stability.energies_above_hull` has them,
    which raises DatasetError. So does a row of unknown stability, unless ``unknown`` says whether
    to keep or to drop it.
    """
    above = energies_above_hull(table, column, references)
    count = int(np.isnan(above).sum())
    if count and unknown == "refuse":
        raise _unknown(table, column, references, count)
    rounding = 1e-6  # eV/atom; a phase on the hull stands there up to the arithmetic

    def reason(row: int) -> str | None:
        if math.isnan(above[row]):
            return None if unknown == "keep" else "stability unknown: no energy or reference"
        return (
            f"{above[row]:.3f} eV/atom above the hull" if above[row] > maximum + rounding else None
        )

    description = f"at most {maximum:g} eV/atom above the hull of this table"
    if count:
        fate = "kept" if unknown == "keep" else "dropped"
        description += f"; of {len(table)} rows {count} of unknown stability, {fate}"
    return Rule("stability", description, reason)


def _unknown(
    table: SpectraTable, column: str, references: Mapping[str, float], count: int
) -> DatasetError:
    elements, rows = unknown_stability(table, column, references)
    causes = [f"no reference for {', '.join(elements)}"] if elements else []
    if rows:
        names = ", ".join(table.ids[row] for row in rows[:ROWS_NAMED])
        more = f" and {len(rows) - ROWS_NAMED} more" if len(rows) > ROWS_NAMED else ""
        causes.append(f"no {column} of {names}{more}")
    return DatasetError(
        f"the stability of {count} rows cannot be told: {'; '.join(causes)}",
        where=str(table.path),
        expected="an energy in every row, and a reference for each of its elements",
        cure="add the elements to the references, or choose to keep or to drop such rows",
    )


def unflagged(
    table: SpectraTable, column: str, tolerated: frozenset[str] = frozenset()
) -> Rule[int]:
    """No failed quality check but tolerated ones; ``column`` lists their names."""
    if column not in table.schema.lists:
        raise DatasetError(
            f"carries no list {column!r}",
            where=str(table.path),
            expected=", ".join(table.schema.lists) or "a table with lists",
            cure="name the list of quality flags, or leave this filter out",
        )

    def reason(row: int) -> str | None:
        failed = [flag for flag in table.list_value(row, column) or [] if flag not in tolerated]
        return ", ".join(failed) or None

    return Rule("quality", f"no flag in {column}", reason)


def unique(table: SpectraTable, rows: Sequence[int]) -> Rule[int]:
    """No crystal twice; the first of equals among ``rows`` passes."""
    ids = table.ids
    same = find_duplicates((ids[row], table.structure(row)) for row in rows)

    def reason(row: int) -> str | None:
        other = same.get(ids[row])
        return None if other is None else f"same crystal as {other}"

    return Rule("duplicates", "no crystal twice", reason)
