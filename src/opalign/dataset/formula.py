"""Reduced formulas, spelled one way, so that polymorphs group whatever a source calls them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from opalign.errors import DatasetError


@lru_cache(maxsize=200_000)
def reduced_formula(formula: str) -> str:
    """Canonical reduced formula by pymatgen: ``"O4Ti2"`` and ``"TiO2"`` both give ``"TiO2"``.

    Raises
    ------
    DatasetError
        The text is no chemical formula.
    """
    from pymatgen.core.composition import Composition
    from pymatgen.core.periodic_table import DummySpecies

    try:
        composition = Composition(formula)
        if not composition:
            raise ValueError("no element in it")
        if any(isinstance(element, DummySpecies) for element in composition):
            raise ValueError("there is no such element")
        return str(composition.reduced_formula)
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{formula!r} is no chemical formula: {error}", expected="for example TiO2 or Ti2O4"
        ) from error


def formula_of_species(species: Iterable[str]) -> str:
    """Canonical reduced formula of the atoms of a cell, given as element symbols."""
    counts = sorted(Counter(species).items())
    return reduced_formula("".join(f"{symbol}{number}" for symbol, number in counts))
