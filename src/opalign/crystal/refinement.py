"""The search for classes of atoms, bonds and angles by colour refinement, in array operations.

Colours are hashes of 64 bits, so that two kinds in a crystal of some thousand are taken for one
with a probability of 1e-12. Where there are many crystals, :mod:`opalign.crystal.quotient_kernels`
does the same in compiled loops, and a test holds both to the same classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: A run of values wider than so many tolerances is cut: what is merged differs by no more.
WIDEST = 10

_COLOUR = np.uint64
#: Odd multipliers that tell the parts of a colour apart.
FIRST, SECOND, THIRD, FOURTH = (
    _COLOUR(number)
    for number in (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, 0x8CB92BA72F3D8DD7, 0xABC98388FB8FAC03)
)
#: Multipliers of SplitMix64's finaliser.
SCRAMBLE = (_COLOUR(0xBF58476D1CE4E5B9), _COLOUR(0x94D049BB133111EB))


class Classes(NamedTuple):
    """Classes of N atoms and their bonds; A, E and T are numbers of classes."""

    one_atom: NDArray[np.int64]
    """(A,) first atom of each class."""
    atom_class: NDArray[np.int64]
    """(N,) class of every atom, in the order of their first atoms."""
    atom_multiplicity: NDArray[np.int64]
    """(A,) atoms of a class."""
    bond_index: NDArray[np.int64]
    """(2, E) classes of atoms, sorted by target; in the order of first bonds at a first atom."""
    bond_length: NDArray[np.float64]
    """(E,) Å, means of what counts as equal."""
    bond_multiplicity: NDArray[np.int64]
    """(E,) bonds of a class that end at one atom."""
    angle_index: NDArray[np.int64]
    """(2, T) classes of bonds, sorted by the second, the first, the cosine."""
    angle_cosine: NDArray[np.float64]
    """(T,)"""
    angle_multiplicity: NDArray[np.int64]
    """(T,) angles of a class that end at one bond."""


def find_classes(
    elements: NDArray[np.uint64],
    source: NDArray[np.int64],
    target: NDArray[np.int64],
    vector: NDArray[np.float64],
    has_angles: bool,
    tolerance: float,
) -> Classes:
    """Classes of the coarsest equitable partition; see :mod:`opalign.crystal.quotient`.

    Parameters
    ----------
    elements
        (N,) atomic numbers.
    source, target
        (E,) atoms of each bond, sorted by target.
    vector
        (E, 3) Å.
    has_angles
        Whether angles tell bonds apart.
    tolerance
        Of lengths in Å and of cosines.
    """
    length = np.sqrt(np.einsum("ij,ij->i", vector, vector))
    length_class, lengths = distinct(length, tolerance)
    degree = np.bincount(target, minlength=len(elements))
    first = np.cumsum(degree) - degree
    atoms = _mixed(elements)
    bonds = _mixed(length_class.astype(_COLOUR) + FIRST)
    if has_angles:
        incoming, counts = _runs(first[source], degree[source])
        cosine_class, cosines = distinct(_cosines(vector.T / length, incoming, counts), tolerance)
        cosine_colour = _mixed(cosine_class.astype(_COLOUR) + SECOND)
    found = (0, 0)
    while True:
        received = _sums(_mixed(bonds * FIRST + atoms[source]), degree)
        atoms = _mixed(atoms * SECOND + received)
        ends = atoms[source] * THIRD + atoms[target] * FOURTH
        if has_angles:
            # Colours are as good as random, and so is a sum of products of two of them.
            ends += _sums(cosine_colour * bonds[incoming], counts)
        bonds = _mixed(bonds * SECOND + ends)
        # A class may split and never merges: equal numbers are equal classes.
        now = (len(np.unique(atoms)), len(np.unique(bonds)))
        if now == found:
            break
        found = now
    one_atom, atom_class, atom_multiplicity = _classes(atoms)
    # All bonds of a class end at atoms of one class, so its first atom has them all.
    is_first = np.zeros(len(elements), dtype=bool)
    is_first[one_atom] = True
    into_first = np.flatnonzero(is_first[target])
    chosen, _, bond_multiplicity = _classes(bonds[into_first])
    one_bond = into_first[chosen]
    angle_index = np.empty((2, 0), dtype=np.int64)
    angle_cosine, angle_multiplicity = np.empty(0), np.empty(0, dtype=np.int64)
    if has_angles:
        order = np.argsort(bonds[one_bond])
        bond_class = order[np.searchsorted(bonds[one_bond], bonds, sorter=order)]
        begin = (np.cumsum(counts) - counts)[one_bond]
        angles, number = _runs(begin, counts[one_bond])
        ending = np.repeat(np.arange(len(one_bond)), number)
        # One integer says all: the sorted angles are then in the order of their targets.
        kind = ending * len(one_bond) + bond_class[incoming[angles]]
        kind = kind * len(cosines) + cosine_class[angles]
        kind, angle_multiplicity = np.unique(kind, return_counts=True)
        kind, cosine = np.divmod(kind, max(len(cosines), 1))
        angle_index = np.stack(np.divmod(kind, max(len(one_bond), 1)))[::-1]
        angle_cosine = cosines[cosine]
    return Classes(
        one_atom,
        atom_class,
        atom_multiplicity,
        atom_class[np.stack((source[one_bond], target[one_bond]))],
        lengths[length_class[one_bond]],
        bond_multiplicity,
        angle_index,
        angle_cosine,
        angle_multiplicity,
    )


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64 bits: the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    values = values ^ (values >> _COLOUR(30))
    values *= SCRAMBLE[0]
    values ^= values >> _COLOUR(27)
    values *= SCRAMBLE[1]
    values ^= values >> _COLOUR(31)
    return values


def _sums(values: NDArray[np.uint64], counts: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Sum successive runs of so many values, modulo 2⁶⁴: the hash of a multiset."""
    total = np.zeros(len(values) + 1, dtype=_COLOUR)
    np.cumsum(values, out=total[1:])
    ends = np.cumsum(counts)
    return total[ends] - total[ends - counts]


def _runs(
    begin: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return indices of runs from ``begin`` (M,) on, one after the other, and their lengths."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(begin - (ends - counts), counts) + np.arange(total), counts


def _cosines(
    unit: NDArray[np.float64], incoming: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    cosine = np.zeros(len(incoming))
    for component in np.ascontiguousarray(unit):
        cosine -= component[incoming] * np.repeat(component, counts)
    return np.clip(cosine, -1.0, 1.0)


def distinct(
    values: NDArray[np.float64], tolerance: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the number of each value (M,), and the distinct ones: means of what is merged."""
    order = np.argsort(values)
    ordered = values[order]
    new = np.ones(len(values), dtype=bool)
    new[1:] = np.diff(ordered) > tolerance
    starts = np.flatnonzero(new)
    ends = np.append(starts[1:], len(values))
    if len(starts) and (ordered[ends - 1] - ordered[starts]).max() > WIDEST * tolerance:
        # Such a chain is no one value: cut it at even steps from its start.
        beginning = np.repeat(ordered[starts], ends - starts)
        step = np.floor((ordered - beginning) / (WIDEST * tolerance))
        new[1:] |= np.diff(step) > 0
        starts = np.flatnonzero(new)
    counts = np.diff(np.append(starts, len(values)))
    number = np.empty(len(values), dtype=np.int64)
    number[order] = np.repeat(np.arange(len(starts)), counts)
    means = np.add.reduceat(ordered, starts) / counts if len(starts) else np.empty(0)
    return number, means


def _classes(
    colours: NDArray[np.uint64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return first members of classes, in their order, class of every member, members of each."""
    _, first, number, counts = np.unique(
        colours, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[number], counts[order]
