"""Symmetry-reduced graphs: every kind of atom, bond and angle of a crystal once, with its number.

Many atoms, bonds and angles of a crystal are alike: symmetry maps them onto each other, and what
message passing computes on them is equal at every layer. So one of each kind will do, where sums
over neighbours count every kind as often as it occurs. The kinds are the classes of the coarsest
*equitable partition* that starts from elements, bond lengths and angles: all atoms of a class have
equally many bonds of each class, all bonds of a class equally many angles of each class. Colour
refinement (Weisfeiler and Leman 1968; Cardon and Crochemore, Theor. Comput. Sci. 19, 85 (1982))
finds it: a colour is replaced by itself and the multiset of its neighbours' colours until no class
splits any more. It needs no space group, and also sees what only the network cannot tell apart.

Networks of layers whose maps act row by row and whose sums run over neighbours give exactly the
same features, gradients included, on the quotient as on the whole graph, but for two things:

* lengths and cosines that differ by less than a tolerance count as equal, and take their mean. The
  tolerance is that of coordinates as they are published; deviations from a mean cancel in first
  order, so that spectra change by some 1e-9 of themselves, far less than single precision does;
* statistics over a batch (batch norm while training) and random numbers per atom (dropout) see
  every atom of the whole graph. Such a network trains on whole graphs.

Where nothing is alike, as in a randomly displaced crystal, every class has one member.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opalign.crystal import keys

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from opalign.crystal.graph import CrystalGraph

#: Lengths (Å) and cosines closer than this, one after the other in their order, are one value.
#: Coordinates are published with six to eight digits, and relaxed to 1e-3 Å.
TOLERANCE = 1e-5
#: A run of values wider than so many tolerances is cut: what is merged differs by no more.
WIDEST = 10

_COLOUR = np.uint64
_FIRST, _SECOND, _THIRD, _FOURTH = (
    _COLOUR(number)
    for number in (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, 0x8CB92BA72F3D8DD7, 0xABC98388FB8FAC03)
)


@dataclass(frozen=True, eq=False)
class Quotient:
    """One atom, bond and angle of each class; A, E and T are numbers of classes."""

    atomic_numbers: NDArray[np.int64]
    """(A,)"""
    atom_class: NDArray[np.int64]
    """(N,) class of every atom of the crystal, in the order of their first atoms."""
    atom_multiplicity: NDArray[np.int64]
    """(A,) atoms of a class; they sum to N."""
    bond_index: NDArray[np.int64]
    """(2, E) classes of atoms, sorted by target."""
    bond_length: NDArray[np.float64]
    """(E,) Å."""
    bond_multiplicity: NDArray[np.int64]
    """(E,) bonds of a class that end at *one* atom of the target's class."""
    angle_index: NDArray[np.int64]
    """(2, T) classes of bonds, sorted by target; empty without angles."""
    angle_cosine: NDArray[np.float64]
    """(T,)"""
    angle_multiplicity: NDArray[np.int64]
    """(T,) angles of a class that end at *one* bond of the target's class."""
    volume: float
    """Å³ of the crystal's cell."""
    has_angles: bool


def find_quotient(graph: CrystalGraph, tolerance: float = TOLERANCE) -> Quotient:
    """Classes of a crystal's atoms, bonds and angles, and one of each.

    Colours are hashes of 64 bits, so that two kinds in a crystal of some thousand are taken for one
    with a probability of 1e-12.

    Parameters
    ----------
    graph
        Any.
    tolerance
        Of bond lengths in Å and of cosines.
    """
    source, target = graph.bond_index
    length_class, lengths = _distinct(graph.bond_length, tolerance)
    degree = np.bincount(target, minlength=graph.num_atoms)
    first = np.cumsum(degree) - degree
    atoms = _mixed(graph.atomic_numbers.astype(_COLOUR))
    bonds = _mixed(length_class.astype(_COLOUR) + _FIRST)
    if graph.has_angles:
        incoming, counts = _runs(first[source], degree[source])
        cosine_class, cosines = _distinct(_cosines(graph, incoming, counts), tolerance)
        cosine_colour = _mixed(cosine_class.astype(_COLOUR) + _SECOND)
    found = (0, 0)
    while True:
        received = _sums(_mixed(bonds * _FIRST + atoms[source]), degree)
        atoms = _mixed(atoms * _SECOND + received)
        ends = atoms[source] * _THIRD + atoms[target] * _FOURTH
        if graph.has_angles:
            ends += _sums(_mixed(cosine_colour + bonds[incoming]), counts)
        bonds = _mixed(bonds * _SECOND + ends)
        # A class may split and never merges: equal numbers are equal classes.
        now = (len(np.unique(atoms)), len(np.unique(bonds)))
        if now == found:
            break
        found = now
    one_atom, atom_class, atom_multiplicity = _classes(atoms)
    # All bonds of a class end at atoms of one class, so its first atom has them all.
    is_first = np.zeros(graph.num_atoms, dtype=bool)
    is_first[one_atom] = True
    into_first = np.flatnonzero(is_first[target])
    chosen, _, bond_multiplicity = _classes(bonds[into_first])
    one_bond = into_first[chosen]
    angle_index = np.empty((2, 0), dtype=np.int64)
    angle_cosine, angle_multiplicity = np.empty(0), np.empty(0, dtype=np.int64)
    if graph.has_angles:
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
    return Quotient(
        atomic_numbers=graph.atomic_numbers[one_atom],
        atom_class=atom_class,
        atom_multiplicity=atom_multiplicity,
        bond_index=atom_class[graph.bond_index[:, one_bond]],
        bond_length=lengths[length_class[one_bond]],
        bond_multiplicity=bond_multiplicity,
        angle_index=angle_index,
        angle_cosine=angle_cosine,
        angle_multiplicity=angle_multiplicity,
        volume=graph.volume,
        has_angles=graph.has_angles,
    )


def collate_quotients(
    quotients: Sequence[Quotient], dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """Batch quotients as :func:`opalign.crystal.graph.collate` batches graphs.

    Keys are those of :mod:`opalign.crystal.keys`, with the multiplicities and ``atom_class``;
    vectors and images, which are not the same for a class, are left out. ``num_atoms`` counts the
    atoms of the crystals, ``num_bonds`` and ``num_angles`` the rows of the batch.

    At least one quotient; all with angles, or all without.
    """
    import torch

    real = torch.float32 if dtype is None else dtype
    classes = np.array([len(q.atomic_numbers) for q in quotients])
    bonds = np.array([len(q.bond_length) for q in quotients])
    atoms = np.array([len(q.atom_class) for q in quotients])

    def joined(name: str, step: NDArray[np.int64] | None = None) -> Tensor:
        """One array of all quotients; indices count on from one to the next."""
        parts = [getattr(quotient, name) for quotient in quotients]
        if step is not None:
            offsets = np.cumsum(step) - step
            parts = [part + offset for part, offset in zip(parts, offsets, strict=True)]
        return torch.from_numpy(np.concatenate(parts, axis=-1))

    batch = {
        keys.ATOMIC_NUMBERS: joined("atomic_numbers"),
        keys.ATOM_CLASS: joined("atom_class", classes),
        keys.ATOM_MULTIPLICITY: joined("atom_multiplicity").to(real),
        keys.ATOM_STRUCTURE: torch.from_numpy(np.repeat(np.arange(len(quotients)), classes)),
        keys.BOND_INDEX: joined("bond_index", classes),
        keys.BOND_LENGTH: joined("bond_length").to(real),
        keys.BOND_MULTIPLICITY: joined("bond_multiplicity").to(real),
        keys.NUM_ATOMS: torch.from_numpy(atoms),
        keys.NUM_BONDS: torch.from_numpy(bonds),
        keys.VOLUME: torch.tensor([quotient.volume for quotient in quotients], dtype=real),
    }
    if quotients[0].has_angles:
        batch[keys.ANGLE_INDEX] = joined("angle_index", bonds)
        batch[keys.ANGLE_COSINE] = joined("angle_cosine").to(real)
        batch[keys.ANGLE_MULTIPLICITY] = joined("angle_multiplicity").to(real)
        batch[keys.NUM_ANGLES] = torch.tensor([len(q.angle_cosine) for q in quotients])
    return batch


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64 bits: the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    values = values ^ (values >> _COLOUR(30))
    values *= _COLOUR(0xBF58476D1CE4E5B9)
    values ^= values >> _COLOUR(27)
    values *= _COLOUR(0x94D049BB133111EB)
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
    graph: CrystalGraph, incoming: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    unit = graph.bond_vector / graph.bond_length[:, None]
    cosine = np.zeros(len(incoming))
    for component in np.ascontiguousarray(unit.T):
        cosine -= component[incoming] * np.repeat(component, counts)
    return np.clip(cosine, -1.0, 1.0)


def _distinct(
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
