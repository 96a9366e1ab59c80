"""Periodic neighbour lists: all neighbours within a radius, or the k nearest in whole shells.

Small cells, as most are, compare every atom with every image near the cell, in a few array
operations; all others go to vesin (cell lists in C++), whose call alone takes longer than a small
cell needs. This module fixes the conventions (direction, order, images of atoms as given), reduces
skewed cells first, and adds the k nearest neighbours.
"""

from __future__ import annotations

import math
from functools import lru_cache
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
# Images of atoms, and comparisons of atoms with images, up to which comparing all is the faster
# search.
MOST_IMAGES = 20_000
MOST_COMPARISONS = 100_000


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
    return _chosen(pairs, lengths <= cutoff + ROUNDING)


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
    return _chosen(pairs, lengths <= limit)


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
    """Pairs within about ``cutoff``, sorted, and their lengths (E,) in Å."""
    reduced, operation = reduce_if_skewed(lattice)
    found = _compare_all(lattice, cartesian, cutoff + ROUNDING) if operation is None else None
    if found is None:
        found = _cell_list(reduced, cartesian, cutoff + ROUNDING, operation)
    source, target, image = found
    # Computed so that the opposite bond gets exactly the opposite vector, bit for bit.
    vector = cartesian.take(target, axis=0)
    vector -= cartesian.take(source, axis=0)
    vector += image.astype(np.float64) @ lattice
    lengths = np.sqrt(np.einsum("ij,ij->i", vector, vector))
    return NeighborList(source, target, image, vector), lengths


def _compare_all(
    lattice: NDArray[np.float64], cartesian: NDArray[np.float64], cutoff: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None:
    """Find sources, targets, images of all pairs, sorted; None if there is too much to compare.

    Rounding may add or omit pairs whose distance is within 1e-9 Å of the cutoff.
    """
    count = len(cartesian)
    inverse = np.array(_inverse(lattice))
    fractional = cartesian @ inverse
    cell = np.floor(fractional)
    fractional -= cell
    # In units of the lattice vectors, the cutoff reaches as far as the rows of the reciprocal
    # lattice are long.
    reach = cutoff * np.sqrt(np.einsum("ij,ij->j", inverse, inverse)) + ROUNDING
    low, high = fractional.min(axis=0), fractional.max(axis=0)
    repeats = int((reach + (high - low)).max())
    if count * (2 * repeats + 1) ** 3 > MOST_IMAGES:
        return None
    offsets, images = _images(repeats)
    # Sources lie at −image where the target is in the cell itself. Only those that the cutoff can
    # reach along every lattice vector are kept.
    position = fractional[:, :, None] - offsets
    inside = position >= (low - reach)[:, None]
    inside &= position <= (high + reach)[:, None]
    a, b, c = inside[:, 0, :, None, None], inside[:, 1, None, :, None], inside[:, 2, None, None, :]
    kept = np.flatnonzero(a & (b & c))
    if count * len(kept) > MOST_COMPARISONS:
        return None
    atom, number = np.divmod(kept, len(images))
    home = fractional @ lattice
    away = home.take(atom, axis=0)
    away -= (images.astype(np.float64) @ lattice).take(number, axis=0)
    # |r − s|² ≤ cutoff², with the squares multiplied out: the rest is one matrix product.
    product = home @ away.T
    product -= 0.5 * np.einsum("ij,ij->i", away, away)
    near = product >= (0.5 * (np.einsum("ij,ij->i", home, home) - cutoff * cutoff))[:, None]
    atoms = np.arange(count)
    near[atoms, np.searchsorted(kept, atoms * len(images) + len(images) // 2)] = False
    # Rows are targets, columns sources and their images: already the order wanted.
    target, column = np.divmod(np.flatnonzero(near), len(kept))
    source = atom.take(column)
    image = images.take(number.take(column), axis=0)
    if cell.any():
        shift = cell.astype(np.int64)
        image += shift.take(source, axis=0)
        image -= shift.take(target, axis=0)
    return source, target, image


@lru_cache(maxsize=16)
def _images(repeats: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return −repeats … repeats, and all triples of them (M, 3) in order."""
    offsets = np.arange(-repeats, repeats + 1)
    triples = np.stack(np.meshgrid(offsets, offsets, offsets, indexing="ij"), axis=-1)
    return offsets.astype(np.float64), triples.reshape(-1, 3)


def _inverse(lattice: NDArray[np.float64]) -> list[list[float]]:
    """Inverse of a lattice (3, 3); plain numbers for the reason given in :func:`measure`."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = lattice.tolist()
    ux, uy, uz = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
    scale = 1.0 / (ax * ux + ay * uy + az * uz)
    return [
        [ux * scale, (cy * az - cz * ay) * scale, (ay * bz - az * by) * scale],
        [uy * scale, (cz * ax - cx * az) * scale, (az * bx - ax * bz) * scale],
        [uz * scale, (cx * ay - cy * ax) * scale, (ax * by - ay * bx) * scale],
    ]


def _cell_list(
    lattice: NDArray[np.float64],
    cartesian: NDArray[np.float64],
    cutoff: float,
    operation: NDArray[np.int64] | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Find sources, targets and images of all pairs, sorted, of a cell of any size.

    Images are integers of the lattice that ``operation`` turned into this one.
    """
    from vesin import NeighborList as Search

    search = Search(cutoff=cutoff, full_list=True)
    source, target, image = search.compute(cartesian, lattice, True, "ijS", copy=False)
    # Copies that own their memory: the search's arrays end with it.
    source, target, image = (column.astype(np.int64) for column in (source, target, image))
    if operation is not None:
        image = image @ operation
    # One integer per bond, in the order wanted: it sorts faster than five columns.
    farthest = int(np.abs(image).max(initial=0))
    width = 2 * farthest + 1
    x, y, z = (image + farthest).T
    key = (((target * len(cartesian) + source) * width + x) * width + y) * width + z
    order = key.argsort()
    return source.take(order), target.take(order), image.take(order, axis=0)


def _kth_length(
    source: NDArray[np.int64], lengths: NDArray[np.float64], degree: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    """(N,) distance of the k-th neighbour of each atom, Å."""
    # One sort of plain numbers, not one per atom: atoms are set apart by more than any length.
    stride = lengths.max() + 1.0
    keys = np.sort(source * stride + lengths)
    first = np.cumsum(degree) - degree
    return keys[first + (k - 1)] - np.arange(len(degree)) * stride


def _chosen(pairs: NeighborList, keep: NDArray[np.bool_]) -> NeighborList:
    """Bonds that the mask keeps."""
    kept = np.flatnonzero(keep)
    return NeighborList(
        pairs.source.take(kept),
        pairs.target.take(kept),
        pairs.image.take(kept, axis=0),
        pairs.vector.take(kept, axis=0),
    )
