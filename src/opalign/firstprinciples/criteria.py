"""The four criteria of the reference study for what is worth a computation, as filters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from opalign.dataset.duplicates import find_duplicates
from opalign.dataset.funnel import Funnel, Rule, apply_rules
from opalign.errors import ConfigurationError
from opalign.firstprinciples.candidates import Candidate

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

CHALCOGENS = frozenset(("O", "S", "Se"))
EXCLUDED_ELEMENTS = frozenset(
    (
        *("H", "F", "Cl", "Br", "I", "At", "He", "Ne", "Ar", "Kr", "Xe", "Rn", "Po"),
        *("Mn", "Fe", "Co", "Ni", "Tc", "Ru", "Rh", "Os", "Ir"),
        # Lanthanides other than La and Ce.
        *("Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu"),
        *("Ac", "Th", "Pa", "U", "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr"),
    )
)
MAXIMUM_SITES = 40
SYMMETRY_PRECISION = 0.01
"""Å; as the structures of a campaign are standardised."""


def study_criteria(maximum_sites: int = MAXIMUM_SITES) -> list[Rule[Candidate]]:
    """All criteria in the order of the study; the fourth, symmetry and size, in two rules."""
    return [
        has_chalcogen(),
        has_no_excluded_element(),
        has_even_electrons(),
        is_symmetric(),
        is_small(maximum_sites),
    ]


def filter_candidates(
    candidates: Iterable[Candidate], rules: Sequence[Rule[Candidate]] | None = None
) -> Funnel[Candidate]:
    """Pass candidates through rules, by default the study's four, and count after each."""
    chosen = study_criteria() if rules is None else rules
    return apply_rules(candidates, chosen, lambda candidate: candidate.identifier)


def has_chalcogen(chalcogens: Iterable[str] = CHALCOGENS) -> Rule[Candidate]:
    """At least one of O, S, Se, in any oxidation state."""
    wanted = frozenset(chalcogens)
    names = ", ".join(sorted(wanted))

    def reason(candidate: Candidate) -> str | None:
        return None if _elements(candidate) & wanted else f"none of {names}"

    return Rule("chalcogen", f"at least one of {names}", reason)


def has_no_excluded_element(
    excluded: Iterable[str] = EXCLUDED_ELEMENTS,
) -> Rule[Candidate]:
    """No element whose open shell, size or volatility the study leaves out."""
    unwanted = frozenset(excluded)

    def reason(candidate: Candidate) -> str | None:
        found = sorted(_elements(candidate) & unwanted)
        return f"holds {', '.join(found)}" if found else None

    return Rule("elements", "no element that the study leaves out", reason)


def has_even_electrons() -> Rule[Candidate]:
    """Even number of electrons in the primitive cell.

    A pre-filter: an odd number means a metal or a spin, but an even one does not exclude spin,
    which only a spin-polarised run decides.
    """

    def reason(candidate: Candidate) -> str | None:
        cell = _symmetry(candidate.structure)
        if cell is None:
            return "symmetry could not be found"
        number = cell[2]
        return f"{number} electrons in the primitive cell" if number % 2 else None

    return Rule(
        "even electrons", "even electron count (pre-filter; a spin-polarised run decides)", reason
    )


def is_symmetric(precision: float = SYMMETRY_PRECISION) -> Rule[Candidate]:
    """Space group other than P1, to ``precision`` in Å."""
    if precision <= 0:
        raise ConfigurationError("precision has to be positive", expected="Å, such as 0.01")

    def reason(candidate: Candidate) -> str | None:
        cell = _symmetry(candidate.structure, precision)
        if cell is None:
            return "symmetry could not be found"
        return "space group P1" if cell[0] == 1 else None

    return Rule("symmetry", "space group other than P1", reason)


def is_small(maximum_sites: int = MAXIMUM_SITES) -> Rule[Candidate]:
    """At most ``maximum_sites`` atoms in the primitive cell, or the given one if none is found."""
    if maximum_sites < 1:
        raise ConfigurationError("maximum_sites has to be positive", expected="1 or more")

    def reason(candidate: Candidate) -> str | None:
        cell = _symmetry(candidate.structure)
        sites = len(candidate.structure) if cell is None else cell[1]
        return f"{sites} atoms in the primitive cell" if sites > maximum_sites else None

    return Rule("size", f"at most {maximum_sites} atoms in the primitive cell", reason)


def is_unique(candidates: Sequence[Candidate]) -> Rule[Candidate]:
    """No crystal twice; the first of equals among ``candidates`` passes."""
    same = find_duplicates((each.identifier, each.structure) for each in candidates)

    def reason(candidate: Candidate) -> str | None:
        other = same.get(candidate.identifier)
        return None if other is None else f"same crystal as {other}"

    return Rule("duplicates", "no crystal twice", reason)


def _elements(candidate: Candidate) -> frozenset[str]:
    return frozenset(site.specie.symbol for site in candidate.structure)


def _symmetry(
    structure: Structure, precision: float = SYMMETRY_PRECISION
) -> tuple[int, int, int] | None:
    """Space group, atoms and electrons of the primitive cell; None where spglib finds none."""
    numbers = tuple(site.specie.Z for site in structure)
    lattice = tuple(map(tuple, structure.lattice.matrix.tolist()))
    positions = tuple(map(tuple, structure.frac_coords.tolist()))
    return _symmetry_of_cell(lattice, positions, numbers, precision)


@lru_cache(maxsize=8)
def _symmetry_of_cell(
    lattice: tuple[tuple[float, ...], ...],
    positions: tuple[tuple[float, ...], ...],
    numbers: tuple[int, ...],
    precision: float,
) -> tuple[int, int, int] | None:
    """Rules in a row ask for the same cell, hence the cache."""
    import spglib

    dataset = spglib.get_symmetry_dataset((lattice, positions, numbers), symprec=precision)
    if dataset is None:
        return None
    # Atoms that a lattice translation maps on one another are one in the primitive cell.
    _, first = np.unique(dataset.mapping_to_primitive, return_index=True)
    return int(dataset.number), len(first), int(sum(numbers[k] for k in first))
