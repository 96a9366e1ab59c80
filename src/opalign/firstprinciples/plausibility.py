"""Rules of thumb for which ions a structure type holds: radius ratios, tolerance factor."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from opalign.firstprinciples.ions import (
    Ion,
    bond_length,
    coordination_numbers,
    radius,
    tabulated_radii,
)
from opalign.firstprinciples.structure_types import StructureType

# Ratios of cation to anion radius between which a coordination number is stable: from where the
# anions touch to where the next larger coordination could be; Pauling, J. Am. Chem. Soc. 51, 1010
# (1929). Two and three occur with cations of any size in structures rich in cations.
RADIUS_RATIO = {2: (0.0, 1.0), 3: (0.0, 1.0), 4: (0.225, 0.414), 5: (0.225, 0.732)}
RADIUS_RATIO |= {6: (0.414, 0.732), 7: (0.414, 1.0), 8: (0.732, 1.0), 9: (0.732, 1.2)}
RADIUS_RATIO |= {10: (0.732, 1.2), 12: (0.8, 1.4)}


class PlausibilityRules(BaseModel):
    """What a compound that is not known in its structure type has to fulfil to be proposed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    known_only: bool = False
    """Only compounds that the catalogue lists as known in their structure type."""
    tabulated_coordination: bool = True
    """Every cation takes only coordination numbers that Shannon lists for it."""
    radius_ratio_tolerance: float = Field(default=0.25, ge=0)
    """How far, relative, a radius ratio may lie outside Pauling's window for the coordination."""
    tolerance_factor: tuple[float, float] = (0.85, 1.06)
    """Window of the tolerance factor of perovskites: Goldschmidt, Naturwissenschaften 14, 477."""
    maximum_misfit: float = Field(default=0.065, gt=0)
    """Largest relative misfit of bond lengths (root mean square), of all compounds."""
    minimum_separation: float = Field(default=0.7, gt=0)
    """Ions of like charge come, relative to the bonds, at least this close to what the type has."""


def is_plausible(kind: StructureType, ions: Mapping[str, Ion], rules: PlausibilityRules) -> bool:
    """Whether ions fit a structure type by coordination, radius ratio and tolerance factor."""
    if rules.tabulated_coordination:
        for role, ion in ions.items():
            number = kind.coordination[role]
            if ion.charge > 0 and number not in coordination_numbers(ion):
                return False
    if strain(kind, ions) > rules.radius_ratio_tolerance:
        return False
    factor = goldschmidt_factor(kind, ions)
    low, high = rules.tolerance_factor
    return factor is None or low <= factor <= high


def strain(kind: StructureType, ions: Mapping[str, Ion]) -> float:
    """How far, relative, radius ratios lie outside Pauling's windows, summed over the cations."""
    total = 0.0
    for role, ion in ions.items():
        number = kind.coordination[role]
        ratio = _radius_ratio(kind, ions, role, number)
        if ion.charge > 0 and ratio is not None:
            low, high = RADIUS_RATIO[number]
            total += max(low / ratio - 1 if ratio > 0 else 0.0, ratio / high - 1, 0.0)
    return total


def goldschmidt_factor(kind: StructureType, ions: Mapping[str, Ion]) -> float | None:
    """Tolerance factor of a perovskite, None for other structure types.

    t = (r_A + r_X)/(√2 (r_B + r_X)), with the mean of the octahedral sites where there are several.
    """
    octahedral = [role for role, number in kind.coordination.items() if number == 6 and role != "X"]
    if kind.coordination.get("A") != 12 or not octahedral:
        return None
    anion = ions["X"]
    long = bond_length(ions["A"], 12, anion, 6)
    short = sum(bond_length(ions[role], 6, anion, 6) for role in octahedral) / len(octahedral)
    return long / (math.sqrt(2) * short)


def _radius_ratio(
    kind: StructureType, ions: Mapping[str, Ion], role: str, number: int
) -> float | None:
    """Ratio of a cation's radius to that of its ligand; None where Shannon lists no radius."""
    ligand = next((other for centre, other, _ in kind.bonds if centre == role), None)
    if ligand is None or ions[ligand].charge > 0 or not tabulated_radii(ions[role]):
        return None
    anion = radius(ions[ligand], kind.coordination[ligand])
    return (
        bond_length(ions[role], number, ions[ligand], kind.coordination[ligand]) - anion
    ) / anion
