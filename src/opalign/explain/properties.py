"""The properties that groups are compared in, from the chemistry and the spectra of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opalign.explain.chemistry.structure import MOTIF_THRESHOLD
from opalign.explain.enrichment import Property
from opalign.explain.targets import Target

if TYPE_CHECKING:
    import pandas as pd

MOTIF_PREFIX = "motif: "


def chemical_properties(materials: pd.DataFrame) -> list[Property]:
    """Return the properties of a table of chemistry, one row a material.

    ``materials`` is that of :class:`opalign.explain.chemistry.describe.MaterialsChemistry`.
    Elements, their families, bond lengths and angles are marked as given to the network.
    """
    found: list[Property] = []
    for column, family, given in (
        ("elements", "element", True),
        ("anion", "anion", True),
        ("cation_families", "cation family", True),
        ("cation_states", "oxidation state", False),
        ("coordination", "coordination number", False),
        ("crystal_system", "crystal system", False),
        ("space_group", "space group", False),
        ("prototype", "prototype", False),
    ):
        found += _memberships(materials[column], family, given)
    for name in materials.columns:
        if name.startswith(MOTIF_PREFIX):
            values = materials[name].to_numpy(dtype=float)
            # A material without cations has no motif; a motif that nobody has is no property.
            if np.nansum(values > MOTIF_THRESHOLD) > 0:
                found.append(
                    Property(name.removeprefix(MOTIF_PREFIX), "coordination motif", values, False)
                )
    for column, family, given in (
        ("highest_oxidation_state", "oxidation state", False),
        ("shortest_bond", "bond", True),
        ("mean_bond", "bond", True),
        ("mean_angle", "bond", True),
        ("volume_per_atom", "density", True),
    ):
        values = materials[column].to_numpy(dtype=float)
        found.append(Property(column, family, values, False, given=given))
    return found


def spectral_properties(
    target: Target, states: Mapping[str, NDArray[np.float64]] | None = None
) -> list[Property]:
    """Return the numbers of a target and, if given, the shares of states at the band edges.

    The latter do not come from the spectra that a network is trained on.
    """
    found = [
        Property(name, "spectrum", np.asarray(values, dtype=float), False, spectral=True)
        for name, values in target.numbers.items()
    ]
    for name, values in (states or {}).items():
        if np.isfinite(values).sum() > 1 and np.nanmax(values) > np.nanmin(values):
            found.append(Property(name, "band edge", np.asarray(values, dtype=float), False))
    return found


def _memberships(column: pd.Series, family: str, given: bool) -> Iterable[Property]:
    """Return one property per value that occurs; a cell is a value, a tuple of them, or None."""
    cells = [
        None if cell is None or cell != cell else cell if isinstance(cell, tuple) else (cell,)
        for cell in column
    ]
    for name in sorted({value for cell in cells if cell is not None for value in cell}):
        values = np.array([np.nan if cell is None else float(name in cell) for cell in cells])
        label = f"{name}-coordinate" if family == "coordination number" else str(name)
        yield Property(label, family, values, True, given=given)
