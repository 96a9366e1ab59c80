"""The common structure types, as data: symmetry, positions, bonds, compounds known to take them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from importlib.resources import files
from math import gcd

import numpy as np
from numpy.typing import NDArray

from opalign.errors import ConfigurationError

_TERM = re.compile(r"(?P<sign>-?)(?P<name>[a-z]\d*)")
_AMOUNT = re.compile(r"([A-Z][a-z]?)(\d*)")
SAME_POSITION = 1e-3
# spglib's names of the standard settings: second origin, hexagonal axes, unique axis b.
_STANDARD_CHOICES = ("2", "H", "b", "b1", "")


@dataclass(frozen=True)
class Positions:
    """All atoms of the conventional cell as functions of the free coordinates.

    Atom i lies at ``slopes[i] @ free + offsets[i]`` (fractional): slopes (N, 3, F), offsets (N, 3).
    """

    roles: tuple[str, ...]
    site: NDArray[np.int64]
    """(N,) index of the inequivalent site of an atom."""
    representative: NDArray[np.int64]
    """(S,) index of one atom of every inequivalent site."""
    slopes: NDArray[np.float64]
    offsets: NDArray[np.float64]

    def at(self, free: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fractional coordinates (N, 3), not wrapped into the cell."""
        return self.slopes @ free + self.offsets


@dataclass(frozen=True, eq=False)
class StructureType:
    """One arrangement of atoms that many compounds share."""

    name: str
    title: str
    spacegroup: int
    lattice: tuple[float, ...]
    """Independent lattice parameters of a representative compound: Å, then β in degrees."""
    sites: tuple[tuple[str, tuple[str, ...]], ...]
    """Role and position of each inequivalent site."""
    free: Mapping[str, float]
    coordination: Mapping[str, int]
    bonds: tuple[tuple[str, str, int], ...]
    """Role of the centre, role of its neighbours, how many of them."""
    species: Mapping[str, tuple[str, ...]]
    """Roles that only certain ions play."""
    known: tuple[str, ...]
    """Formulas of compounds known to take the type, at ambient or other conditions."""

    @property
    def lattice_names(self) -> tuple[str, ...]:
        """Names of the independent lattice parameters: a, b, c, beta as the crystal system has."""
        if self.spacegroup >= 195:
            return ("a",)
        if self.spacegroup >= 75:
            return ("a", "c")
        return ("a", "b", "c") if self.spacegroup >= 16 else ("a", "b", "c", "beta")

    def lattice_matrix(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Conventional lattice (3, 3), row vectors, Å, of independent parameters in their order."""
        from pymatgen.core.lattice import Lattice

        given = dict(zip(self.lattice_names, map(float, values), strict=True))
        a = given["a"]
        gamma = 120.0 if 143 <= self.spacegroup <= 194 else 90.0
        return np.array(
            Lattice.from_parameters(
                a, given.get("b", a), given.get("c", a), 90.0, given.get("beta", 90.0), gamma
            ).matrix
        )

    @cached_property
    def positions(self) -> Positions:
        """All atoms of the conventional cell."""
        return _positions(self)

    @cached_property
    def known_compositions(self) -> frozenset[frozenset[tuple[str, int]]]:
        """Element and number in a formula unit of every known compound."""
        return frozenset(
            frozenset((symbol, int(number or 1)) for symbol, number in _AMOUNT.findall(formula))
            for formula in self.known
        )

    @cached_property
    def stoichiometry(self) -> dict[str, int]:
        """Role → number of its atoms in one formula unit."""
        counts = Counter(self.positions.roles)
        divisor = gcd(*counts.values())
        return {role: number // divisor for role, number in counts.items()}

    @property
    def num_sites(self) -> int:
        """Atoms in the primitive cell."""
        rotations, _ = _operations(self.spacegroup)
        identity = np.all(rotations == np.eye(3, dtype=int), axis=(1, 2))
        return len(self.positions.roles) // int(identity.sum())


def structure_types() -> dict[str, StructureType]:
    """All structure types of the catalogue by name, in its order."""
    return dict(_catalogue())


def structure_type(name: str) -> StructureType:
    """One structure type; ConfigurationError with a suggestion if the name is not known."""
    types = _catalogue()
    if name not in types:
        import difflib

        guess = difflib.get_close_matches(name, types, n=1)
        raise ConfigurationError(
            f"there is no structure type {name!r}",
            expected=", ".join(types),
            cure=f"did you mean {guess[0]!r}?" if guess else None,
        )
    return types[name]


@lru_cache(maxsize=1)
def _catalogue() -> dict[str, StructureType]:
    text = (files(__package__) / "structure_types.json").read_text(encoding="utf-8")
    return {
        entry["name"]: StructureType(
            name=entry["name"],
            title=entry["title"],
            spacegroup=entry["spacegroup"],
            lattice=tuple(entry["lattice"]),
            sites=tuple((role, tuple(position)) for role, position in entry["sites"]),
            free=entry["free"],
            coordination=entry["coordination"],
            bonds=tuple((centre, ligand, number) for centre, ligand, number in entry["bonds"]),
            species={role: tuple(ions) for role, ions in entry.get("species", {}).items()},
            known=tuple(entry["known"]),
        )
        for entry in json.loads(text)["types"]
    }


def _positions(kind: StructureType) -> Positions:
    names = list(kind.free)
    reference = np.array([kind.free[name] for name in names])
    rotations, translations = _operations(kind.spacegroup)
    roles: list[str] = []
    sites: list[int] = []
    firsts: list[int] = []
    slopes: list[NDArray[np.float64]] = []
    offsets: list[NDArray[np.float64]] = []
    for number, (role, position) in enumerate(kind.sites):
        slope, offset = _affine(position, names)
        firsts.append(len(roles))
        found: list[NDArray[np.float64]] = []
        for rotation, translation in zip(rotations, translations, strict=True):
            moved_slope, moved_offset = rotation @ slope, rotation @ offset + translation
            place = moved_slope @ reference + moved_offset
            difference = np.array([place - other for other in found]).reshape(-1, 3)
            difference -= np.round(difference)
            if np.any(np.all(np.abs(difference) < SAME_POSITION, axis=1)):
                continue
            found.append(place)
            roles.append(role)
            sites.append(number)
            slopes.append(moved_slope)
            offsets.append(moved_offset)
    return Positions(
        tuple(roles), np.array(sites), np.array(firsts), np.array(slopes), np.array(offsets)
    )


def _affine(
    position: tuple[str, ...], names: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slopes (3, F) and offsets (3,) of a position such as ``("x", "x", "1/2")``."""
    slope, offset = np.zeros((3, len(names))), np.zeros(3)
    for axis, text in enumerate(position):
        if term := _TERM.fullmatch(text):
            slope[axis, names.index(term["name"])] = -1.0 if term["sign"] else 1.0
        else:
            offset[axis] = float(Fraction(text))
    return slope, offset


@lru_cache(maxsize=64)
def _operations(spacegroup: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rotations (M, 3, 3) and translations (M, 3) of a space group in its standard setting."""
    import spglib

    settings: dict[str, int] = {}
    for hall_number in range(1, 531):
        kind = spglib.get_spacegroup_type(hall_number)
        if kind is not None and kind.number == spacegroup:
            settings.setdefault(kind.choice, hall_number)
    chosen = next(settings[choice] for choice in _STANDARD_CHOICES if choice in settings)
    operations = spglib.get_symmetry_from_database(chosen)
    if operations is None:
        raise ConfigurationError(f"spglib has no operations of space group {spacegroup}")
    return np.array(operations["rotations"], dtype=np.int64), operations["translations"]
