"""Rows of a spectra table as crystals that can be held against experiment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from opalign.dataset.table import SpectraTable
from opalign.errors import ConfigurationError
from opalign.spectrum.experiment.comparison import Crystal

BAND_GAP = "band_gap_eV"
DIRECT_GAP = "direct_gap_eV"
CORRECTED = "_corrected"
"""How the levels end whose spectra were moved to another gap than that of the calculation."""
CORRECTED_GAP = "corrected_gap_eV"
CORRECTED_DIRECT_GAP = "corrected_direct_gap_eV"
SPACEGROUP = "spacegroup_number"
SYMMETRY_TOLERANCE = 0.01
"""Å; of positions, where the table has no space group."""


def crystals_of(
    table: SpectraTable,
    levels: Sequence[str] | None = None,
    *,
    wanted: Callable[[str, int | None], bool] | None = None,
    known: Callable[[str, str], str] | None = None,
) -> Iterator[Crystal]:
    """Yield the spectra of a table, level after level of each row.

    Gaps come from the columns ``band_gap_eV`` and ``direct_gap_eV``. A table that has only the
    first, as of predictions, has where absorption begins there: the direct gap. Corrected levels
    have the gaps to which they were moved, ``corrected_gap_eV`` and ``corrected_direct_gap_eV``.

    Parameters
    ----------
    table
        Its space groups come from the column ``spacegroup_number``, or else from the structures.
    levels
        By default all that the table has.
    wanted
        Takes formula and space group and says whether to read the spectrum; the space group is
        None before it has been worked out from the structure.
    known
        Takes id and formula and says what a model had seen of the crystal.

    Raises
    ------
    ConfigurationError
        If the table has no such level.
    """
    chosen = tuple(table.levels) if levels is None else tuple(levels)
    missing = [level for level in chosen if level not in table.levels]
    if missing or not chosen:
        raise ConfigurationError(
            f"there is no level {', '.join(missing)}" if missing else "there are no spectra",
            where=str(table.path),
            expected=", ".join(table.levels) or "a table of spectra",
        )
    gaps = _scalars(table, BAND_GAP)
    direct = _scalars(table, DIRECT_GAP)
    if DIRECT_GAP not in table.schema.scalars:
        gaps, direct = direct, gaps
    moved = _scalars(table, CORRECTED_GAP), _scalars(table, CORRECTED_DIRECT_GAP)
    groups = _scalars(table, SPACEGROUP)
    for row, (material_id, formula) in enumerate(zip(table.ids, table.formulas, strict=True)):
        group = None if np.isnan(groups[row]) else int(groups[row])
        if wanted is not None and not wanted(formula, group):
            continue
        if group is None:
            group = _spacegroup(table, row)
            if wanted is not None and not wanted(formula, group):
                continue
        for level in chosen:
            smallest, vertical = moved if level.endswith(CORRECTED) else (gaps, direct)
            yield Crystal(
                material_id,
                formula,
                group,
                table.spectrum(row, level),
                _number(smallest[row]),
                _number(vertical[row]),
                known(material_id, formula) if known else "",
            )


def _scalars(table: SpectraTable, name: str) -> np.ndarray:
    if name in table.schema.scalars:
        return np.asarray(table.scalar(name), dtype=float)
    return np.full(len(table), np.nan)


def _spacegroup(table: SpectraTable, row: int) -> int:
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    return int(
        SpacegroupAnalyzer(
            table.structure(row), symprec=SYMMETRY_TOLERANCE
        ).get_space_group_number()
    )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
