"""Periodic neighbour lists: all neighbours within a radius, or the k nearest in whole shells.

The search itself is done by vesin (cell lists in C++, on cells of 20 atoms twice as fast as
matscipy); this module fixes the conventions (direction, order, images of atoms as given), reduces
skewed cells first, and adds the k nearest neighbours, which vesin does not have.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

# A shell that lies at the cutoff itself is in, as a whole, whatever the rounding of its distances.
ROUNDING = 1e-8
# The first search of k nearest reaches for this many times k atoms at mean density: with it, one
# search serves 99 in 100 of the oxides and chalcogenides of the Materials Project.
FIRST_REACH = 1.8
# Å³ per atom, above which a cell must hold vacuum: its density says nothing about bonds.
LARGEST_DENSE_VOLUME = 30.0
GROWTH = 1.4
# Volume over |a||b||c| below which a cell is reduced before the search, whose cost grows with the
# number of images; hardly any published structure is below.
SKEWED = 0.1


class NeighborList(NamedTuple):
    """Directed bonds, both directions of each, sorted by target, then source, then image.

    ``vector = r(target) + image @ lattice − r(source)``, with the atoms where they were given.
    """

    source: NDArray[np.int64]
    """(E,) index of the atom a bond starts from."""
    target: NDArray[np.int64]
    """(E,) index of the atom a bond points to."""
    image: NDArray[np.int64]
    """(E, 3) lattice vectors from the cell of the source to that of the target."""
    vector: NDArray[np.float64]
    """(E, 3) Å, from source to target."""


def radius_neighbors(lattice: ArrayLike, cartesian: ArrayLike, cutoff: float) -> NeighborList:
    """Find every pair of atoms, periodic images included, at most ``cutoff`` apart.

    Parameters
    ----------
    lattice
        (3, 3) lattice vectors in rows, Å; either handedness, any skew, any size against the cutoff.
    cartesian
        (N, 3) positions, Å, inside the cell or out of it.
    cutoff
        Å.
    """
    lattice = np.ascontiguousarray(lattice, dtype=np.float64)
    cartesian = np.ascontiguousarray(cartesian, dtype=np.float64)
    pairs, lengths = _search(lattice, cartesian, cutoff + ROUNDING)
    return _chosen(pairs, lengths <= cutoff + ROUNDING, len(cartesian))


def k_nearest_neighbors(
    lattice: ArrayLike, cartesian: ArrayLike, k: int, shell_tolerance: float
) -> NeighborList:
    """Find the ``k`` nearest neighbours of every atom, the k-th shell whole, made undirected.

    An atom chooses all neighbours up to ``shell_tolerance`` (Å) beyond its k-th; a bond is kept, in
    both directions, if either end chose it. Without whole shells the graph would depend on the
    order of the atoms and break the symmetry of the crystal.

    Shapes and units as in :func:`radius_neighbors`.
    """
    lattice = np.ascontiguousarray(lattice, dtype=np.float64)
    cartesian = np.ascontiguousarray(cartesian, dtype=np.float64)
    count = len(cartesian)
    volume = min(measure(lattice)[0] / count, LARGEST_DENSE_VOLUME)
    reach = (FIRST_REACH * k * volume * 3.0 / (4.0 * math.pi)) ** (1.0 / 3.0)
    margin = shell_tolerance + ROUNDING
    while True:
        pairs, lengths = _search(lattice, cartesian, reach + margin)
        degree = np.bincount(pairs.source, minlength=count)
        if degree.min() < k:
            reach *= GROWTH
            continue
        farthest = _kth_length(pairs.source, lengths, degree, k)
        needed = farthest.max()
        if needed <= reach:
            break
        # All have k neighbours, but the shell of some k-th one may be cut: now it is known how far
        # the list must reach.
        reach = needed + ROUNDING
    # Both directions of a bond have the very same length, so asking for the more generous end
    # keeps both or neither.
    limit = np.maximum(farthest[pairs.source], farthest[pairs.target]) + margin
    return _chosen(pairs, lengths <= limit, count)


def measure(lattice: NDArray[np.float64]) -> tuple[float, tuple[float, float, float]]:
    """Return volume (Å³) and lengths (Å) of the vectors of a lattice (3, 3).

    Plain numbers: for nine of them, the overhead of an array function is all there is.
    """
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = lattice.tolist()
    volume = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
    return abs(volume), (math.hypot(ax, ay, az), math.hypot(bx, by, bz), math.hypot(cx, cy, cz))


def reduce_if_skewed(
    lattice: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
    """Make the vectors of a skewed lattice (3, 3) as short as can be; tell the integers that do.

    ``reduced = operation @ lattice``. A lattice that is not skewed comes back as it is, with None.
    """
    volume, lengths = measure(lattice)
    if volume >= SKEWED * math.prod(lengths):
        return lattice, None
    from ase.geometry import minkowski_reduce

    _, operation = minkowski_reduce(lattice)
    operation = np.asarray(operation, dtype=np.int64)
    return operation @ lattice, operation


def _search(
    lattice: NDArray[np.float64], cartesian: NDArray[np.float64], cutoff: float
) -> tuple[NeighborList, NDArray[np.float64]]:
    """Pairs within about ``cutoff``, in no particular order, and their lengths (E,) in Å."""
    from vesin import NeighborList as Search

    reduced, operation = reduce_if_skewed(lattice)
    # A little more than asked: vesin's own rounding must not decide on one direction of a bond.
    search = Search(cutoff=cutoff + ROUNDING, full_list=True)
    source, target, image = search.compute(cartesian, reduced, True, "ijS", copy=False)
    # Copies that own their memory: the search's arrays end with it.
    source, target, image = (column.astype(np.int64) for column in (source, target, image))
    if operation is not None:
        image = image @ operation
    # Computed so that the opposite bond gets exactly the opposite vector, bit for bit.
    vector = cartesian.take(target, axis=0)
    vector -= cartesian.take(source, axis=0)
    vector += image.astype(np.float64) @ lattice
    lengths = np.sqrt(np.einsum("ij,ij->i", vector, vector))
    return NeighborList(source, target, image, vector), lengths


def _kth_length(
    source: NDArray[np.int64], lengths: NDArray[np.float64], degree: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    """(N,) distance of the k-th neighbour of each atom, Å."""
    # One sort of plain numbers, not one per atom: atoms are set apart by more than any length.
    stride = lengths.max() + 1.0
    keys = np.sort(source * stride + lengths)
    first = np.cumsum(degree) - degree
    return keys[first + (k - 1)] - np.arange(len(degree)) * stride


def _chosen(pairs: NeighborList, keep: NDArray[np.bool_], count: int) -> NeighborList:
    """Bonds that the mask keeps, in the order that :class:`NeighborList` promises."""
    kept = np.flatnonzero(keep)
    source, target = pairs.source.take(kept), pairs.target.take(kept)
    image = pairs.image.take(kept, axis=0)
    # One integer per bond, in the order wanted: it sorts faster than five columns.
    farthest = int(np.abs(image).max(initial=0))
    width = 2 * farthest + 1
    x, y, z = (image + farthest).T
    order = ((((target * count + source) * width + x) * width + y) * width + z).argsort()
    return NeighborList(
        source.take(order),
        target.take(order),
        image.take(order, axis=0),
        pairs.vector.take(kept.take(order), axis=0),
    )
