"""What a geometry must fulfil before it becomes a graph; refusals name the place and the cure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from opalign.crystal.neighbors import measure, radius_neighbors, reduce_if_skewed
from opalign.errors import StructureError

# Å. The shortest bond of all, that of H₂, has 0.74 Å; no crystal under pressure comes near this.
MINIMUM_DISTANCE = 0.5
# Å. Longer than any lattice vector in the structure databases, slabs in vacuum included.
MAXIMUM_LATTICE_VECTOR = 1000.0
# Å³ per atom. Solid noble gases have below 60, porous frameworks below 100, slabs in vacuum some
# hundreds; a lone molecule in a box may have thousands. Beyond this, the length unit is wrong.
MAXIMUM_VOLUME_PER_ATOM = 1e5
# Å³ per atom. Diamond, the densest in atoms, has 5.7, and at the pressure of Jupiter's core over 2.
MINIMUM_VOLUME_PER_ATOM = 1.0
# Å from the origin, beyond which positions lose the digits that bond lengths need.
MAXIMUM_COORDINATE = 1e6
# Share of |a||b||c| below which the lattice vectors lie in a plane, within rounding.
MINIMUM_RELATIVE_VOLUME = 1e-4


def check_lattice(lattice: NDArray[np.float64], count: int, where: str | None = None) -> float:
    """Volume (Å³) of a cell of ``count`` atoms; raise StructureError if it cannot be a crystal's.

    ``lattice`` is (3, 3), row vectors, Å. Left-handed lattices are legal.
    """
    if lattice.shape != (3, 3):
        raise StructureError(
            f"the lattice has shape {lattice.shape}", where=where, expected="three row vectors in Å"
        )
    if not np.isfinite(lattice).all():
        raise StructureError(
            "the lattice holds numbers that are not finite",
            where=where,
            expected="three lattice vectors in Å",
            cure="export the structure again; a relaxation may have diverged",
        )
    volume, lengths = measure(lattice)
    if volume <= MINIMUM_RELATIVE_VOLUME * math.prod(lengths):
        raise StructureError(
            "the lattice has no volume: its vectors are zero or lie in one plane",
            where=where,
            expected="three independent lattice vectors in Å",
            cure="give a slab or a chain a cell with vacuum in the directions it does not repeat",
        )
    if max(lengths) > MAXIMUM_LATTICE_VECTOR:
        raise StructureError(
            f"lattice vector {lengths.index(max(lengths)) + 1} is {max(lengths):.6g} Å long",
            where=where,
            expected=f"at most {MAXIMUM_LATTICE_VECTOR:g} Å",
            cure="check the unit of length of the lattice",
        )
    if volume > MAXIMUM_VOLUME_PER_ATOM * count:
        raise StructureError(
            f"the cell holds {volume / count:.3g} Å³ per atom",
            where=where,
            expected=f"at most {MAXIMUM_VOLUME_PER_ATOM:g} Å³ per atom",
            cure="check the unit of length of the lattice, and that no atoms were lost",
        )
    if volume < MINIMUM_VOLUME_PER_ATOM * count:
        raise StructureError(
            f"the cell holds only {volume / count:.3g} Å³ per atom",
            where=where,
            expected=f"at least {MINIMUM_VOLUME_PER_ATOM:g} Å³ per atom",
            cure="check the unit of length of the lattice: it must be Å, not nm or bohr",
        )
    # A skewed cell can repeat far more often than the length of its vectors shows.
    reduced, operation = reduce_if_skewed(lattice)
    shortest = min(lengths if operation is None else measure(reduced)[1])
    if shortest < MINIMUM_DISTANCE:
        raise StructureError(
            f"the cell repeats after {shortest:.3g} Å, so every atom would touch its own image",
            where=where,
            expected=f"at least {MINIMUM_DISTANCE} Å",
            cure="check the unit of length of the lattice",
        )
    return volume


def check_positions(
    cartesian: NDArray[np.float64],
    labels: Sequence[str] | NDArray[np.int64],
    where: str | None = None,
) -> None:
    """Raise StructureError unless ``cartesian`` (N, 3) is finite, one row per label, not empty.

    ``labels`` (N,) are symbols or atomic numbers, and serve the messages.
    """
    if not len(labels):
        raise StructureError("holds no atoms", where=where, expected="at least one atom")
    if cartesian.shape != (len(labels), 3):
        raise StructureError(
            f"{len(labels)} atoms, but positions of shape {cartesian.shape}",
            where=where,
            expected="three coordinates per atom",
        )
    if not np.isfinite(cartesian).all():
        atom = int(np.isfinite(cartesian).all(axis=1).argmin())
        raise StructureError(
            f"the position of {_name(atom, labels)} is not finite",
            where=where,
            expected="numbers",
            cure="export the structure again; a relaxation may have diverged",
        )
    farthest = np.abs(cartesian).max()
    if farthest > MAXIMUM_COORDINATE:
        atom = int(np.abs(cartesian).max(axis=1).argmax())
        raise StructureError(
            f"{_name(atom, labels)} is {farthest:.3g} Å from the origin",
            where=where,
            expected=f"coordinates below {MAXIMUM_COORDINATE:g} Å",
            cure="check whether coordinates are fractional or Cartesian",
        )


def check_distances(
    lattice: NDArray[np.float64],
    cartesian: NDArray[np.float64],
    labels: Sequence[str] | NDArray[np.int64],
    where: str | None = None,
) -> None:
    """Raise StructureError if two atoms share a site; the lattice has been checked."""
    close = radius_neighbors(lattice, cartesian, MINIMUM_DISTANCE)
    if not len(close.source):
        return
    lengths = np.linalg.norm(close.vector, axis=1)
    bond = int(lengths.argmin())
    first, second = sorted((int(close.source[bond]), int(close.target[bond])))
    image = ", in a neighbouring cell," if close.image[bond].any() else ""
    raise StructureError(
        f"{_name(first, labels)} and {_name(second, labels)}{image} are {lengths[bond]:.3g} Å"
        " apart",
        where=where,
        expected=f"at least {MINIMUM_DISTANCE} Å between atoms",
        cure="remove one of the two, or choose one of the alternatives of a disordered site",
    )


def _name(atom: int, labels: Sequence[str] | NDArray[np.int64]) -> str:
    """Name an atom as a reader counts it: from one."""
    label = labels[atom]
    return f"atom {atom + 1} ({label if isinstance(label, str) else f'Z = {label}'})"
