"""What speaks against trusting a prediction, and what makes one impossible."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from opalign.errors import StructureError
from opalign.model.elements import supported_elements
from opalign.model.nearest import NearestMaterials, Neighbor

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

    from opalign.model.elements import ElementTable

#: A structure farther from the training set than this share of the training materials are from
#: their nearest other is called far.
FAR_SHARE = 0.95


def require_describable(atomic_numbers: Iterable[int], table: ElementTable, where: str) -> None:
    """Raise StructureError for an element that the model's element table cannot describe."""
    supported = supported_elements(table)
    missing = sorted({int(number) for number in atomic_numbers} - supported)
    if missing:
        from ase.data import chemical_symbols

        names = ", ".join(chemical_symbols[number] for number in missing)
        raise StructureError(
            f"the model cannot describe {names}: its {table} table of elements has no entry",
            where=where,
            expected=f"the {len(supported)} elements of that table",
            cure="choose another model with --model, if one describes it",
        )


def unseen_elements(structure: Structure, seen: Iterable[int]) -> list[str]:
    """Symbols of the elements of a structure that are not among ``seen`` atomic numbers, by Z."""
    seen = frozenset(seen)
    elements = sorted(structure.composition.elements, key=lambda element: element.Z)
    return [element.symbol for element in elements if element.Z not in seen]


def applicability_warnings(
    structure: Structure,
    seen: Iterable[int],
    nearest: Sequence[Neighbor],
    materials: NearestMaterials,
) -> tuple[str, ...]:
    """Sentences for the user; empty where nothing speaks against the prediction.

    Parameters
    ----------
    seen
        Atomic numbers of the elements in the training set.
    nearest
        The training materials nearest to the structure, out of ``materials``.
    """
    warnings = []
    if unseen := unseen_elements(structure, seen):
        warnings.append(f"not among the training materials' elements: {', '.join(unseen)}")
    if nearest and nearest[0].distance > materials.spacing_quantile(FAR_SHARE):
        warnings.append(
            f"far from the training set: {nearest[0].relative_distance:.1f} times the typical "
            "distance between its neighbours"
        )
    return tuple(warnings)
