"""Structures that are the same crystal twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from opalign.dataset.formula import formula_of_species

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure


def find_duplicates(structures: Iterable[tuple[str, Structure]]) -> dict[str, str]:
    """Id of a structure → id of the first one before it that is the same crystal.

    Same: equal reduced formula, and matched by pymatgen's StructureMatcher at its default
    tolerances (primitive cells, scaled to one volume). Each group of equals keeps its first.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher()
    firsts: dict[str, list[tuple[str, Structure]]] = defaultdict(list)
    same: dict[str, str] = {}
    for identifier, structure in structures:
        group = firsts[formula_of_species(site.specie.symbol for site in structure)]
        first = next((known for known, other in group if matcher.fit(other, structure)), None)
        if first is None:
            group.append((identifier, structure))
        else:
            same[identifier] = first
    return same
