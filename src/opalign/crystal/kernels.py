"""Neighbours and angles of many crystals in compiled loops (numba, the extra ``fast``).

These are the searches of :mod:`opalign.crystal.neighbors` and the angles of
:func:`opalign.crystal.graph.collate` without an array operation's overhead for every step, which
is nearly all the time that a small cell takes. Results are the same, up to the rounding of a bond
vector between far images. Whatever is not plain (a geometry that must be refused, a skewed or a
very large cell) is left to those modules: :func:`build_bonds` says so and goes on with the next.

The module is imported by :mod:`opalign.crystal.compiled` alone. Compiled code is kept beside this
file or in numba's cache folder; loops hold no lock of Python's, so that threads run side by side.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from opalign.crystal import checks, neighbors

# Plain numbers are compiled in as they stand here.
ROUNDING = neighbors.ROUNDING
FIRST_REACH = neighbors.FIRST_REACH
LARGEST_DENSE_VOLUME = neighbors.LARGEST_DENSE_VOLUME
GROWTH = neighbors.GROWTH
SKEWED = neighbors.SKEWED
MOST_IMAGES = neighbors.MOST_IMAGES
# A comparison takes about a nanosecond here; cell lists win beyond.
MOST_COMPARISONS = 1_000_000
MINIMUM_DISTANCE = checks.MINIMUM_DISTANCE
MAXIMUM_LATTICE_VECTOR = checks.MAXIMUM_LATTICE_VECTOR
MAXIMUM_VOLUME_PER_ATOM = checks.MAXIMUM_VOLUME_PER_ATOM
MINIMUM_VOLUME_PER_ATOM = checks.MINIMUM_VOLUME_PER_ATOM
MAXIMUM_COORDINATE = checks.MAXIMUM_COORDINATE
MINIMUM_RELATIVE_VOLUME = checks.MINIMUM_RELATIVE_VOLUME


def compiled(function: Any) -> Any:
    """Compile at the first call; keep the code on disk where there is a place for it."""
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        # Neither this folder nor the user's cache can be written.
        return numba.njit(nogil=True, error_model="numpy")(function)


@compiled
def _plain(lattice, positions, shape):
    """Whether a geometry passes :mod:`opalign.crystal.checks` and is not skewed.

    Distances apart. ``shape`` (16,) becomes inverse (9), volume, and reach of one Å along each
    lattice vector (3).
    """
    count = positions.shape[0]
    ax, ay, az = lattice[0, 0], lattice[0, 1], lattice[0, 2]
    bx, by, bz = lattice[1, 0], lattice[1, 1], lattice[1, 2]
    cx, cy, cz = lattice[2, 0], lattice[2, 1], lattice[2, 2]
    ux, uy, uz = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
    signed = ax * ux + ay * uy + az * uz
    volume = abs(signed)
    a = math.sqrt(ax * ax + ay * ay + az * az)
    b = math.sqrt(bx * bx + by * by + bz * bz)
    c = math.sqrt(cx * cx + cy * cy + cz * cz)
    shortest, longest = min(a, b, c), max(a, b, c)
    # Written so that a NaN fails. What is skewed has volume enough, relative to SKEWED.
    if not (volume > max(SKEWED, MINIMUM_RELATIVE_VOLUME) * (a * b * c) * (1.0 + ROUNDING)):
        return False
    if not (longest <= MAXIMUM_LATTICE_VECTOR and shortest >= MINIMUM_DISTANCE):
        return False
    if not (MINIMUM_VOLUME_PER_ATOM * count <= volume <= MAXIMUM_VOLUME_PER_ATOM * count):
        return False
    for atom in range(count):
        for axis in range(3):
            if not (abs(positions[atom, axis]) <= MAXIMUM_COORDINATE):
                return False
    scale = 1.0 / signed
    shape[0], shape[3], shape[6] = ux * scale, uy * scale, uz * scale
    shape[1], shape[4], shape[7] = (
        (cy * az - cz * ay) * scale,
        (cz * ax - cx * az) * scale,
        (cx * ay - cy * ax) * scale,
    )
    shape[2], shape[5], shape[8] = (
        (ay * bz - az * by) * scale,
        (az * bx - ax * bz) * scale,
        (ax * by - ay * bx) * scale,
    )
    shape[9] = volume
    for axis in range(3):
        shape[10 + axis] = math.sqrt(shape[axis] ** 2 + shape[3 + axis] ** 2 + shape[6 + axis] ** 2)
    return True


@compiled
def _wrapped(lattice, positions, shape, fractional, cell, home):
    """Write fractional coordinates in [0, 1), the cells taken off, and positions in the cell."""
    for atom in range(positions.shape[0]):
        x, y, z = positions[atom, 0], positions[atom, 1], positions[atom, 2]
        for axis in range(3):
            value = x * shape[axis] + y * shape[3 + axis] + z * shape[6 + axis]
            whole = math.floor(value)
            fractional[atom, axis] = value - whole
            cell[atom, axis] = int(whole)
        f, g, h = fractional[atom, 0], fractional[atom, 1], fractional[atom, 2]
        for axis in range(3):
            home[atom, axis] = f * lattice[0, axis] + g * lattice[1, axis] + h * lattice[2, axis]


@compiled
def _sources(lattice, count, shape, cutoff, fractional, home, who, where, places):
    """Write what the cutoff can reach from the cell, by atom, then by image; return how much.

    Atoms go to ``who`` (K,), images to ``where`` (K, 3), positions to ``places`` (3, K); −1 where
    these are too small.
    """
    low, high, reach = np.empty(3), np.empty(3), np.empty(3)
    most = count
    for axis in range(3):
        low[axis], high[axis] = 1.0, 0.0
        for atom in range(count):
            low[axis] = min(low[axis], fractional[atom, axis])
            high[axis] = max(high[axis], fractional[atom, axis])
        reach[axis] = cutoff * shape[10 + axis] + ROUNDING
        most *= 2 * int(reach[axis] + (high[axis] - low[axis])) + 1
    if most > who.shape[0]:
        return -1
    first, last = np.empty(3, np.int64), np.empty(3, np.int64)
    kept = 0
    for atom in range(count):
        for axis in range(3):
            # The source lies at −image where the target is in the cell itself.
            value = fractional[atom, axis]
            first[axis] = math.ceil(value - high[axis] - reach[axis])
            last[axis] = math.floor(value - low[axis] + reach[axis])
        for i in range(first[0], last[0] + 1):
            for j in range(first[1], last[1] + 1):
                for k in range(first[2], last[2] + 1):
                    who[kept] = atom
                    where[kept, 0], where[kept, 1], where[kept, 2] = i, j, k
                    for axis in range(3):
                        places[axis, kept] = home[atom, axis] - (
                            i * lattice[0, axis] + j * lattice[1, axis] + k * lattice[2, axis]
                        )
                    kept += 1
    return kept


@compiled
def _pairs(lattice, atoms, cell, home, cutoff, kept, who, where, places, starts, pairs):
    """Find all pairs within about ``cutoff``, sorted by target, source, image.

    ``starts`` (N + 1,) becomes the first pair of each target. Returns ``pairs``, or larger ones:
    column of the source, vector (3) and length of each, as five rows.
    """
    squares = np.empty(kept)
    x, y, z = places[0], places[1], places[2]
    limit = cutoff * cutoff
    found = 0
    for target in range(atoms.shape[0]):
        starts[target] = found
        if found + kept > pairs.shape[0]:
            larger = np.empty((2 * pairs.shape[0] + kept, 5))
            larger[:found] = pairs[:found]
            pairs = larger
        hx, hy, hz = home[target, 0], home[target, 1], home[target, 2]
        for column in range(kept):
            dx, dy, dz = hx - x[column], hy - y[column], hz - z[column]
            squares[column] = dx * dx + dy * dy + dz * dz
        for column in range(kept):
            if squares[column] > limit:
                continue
            other = who[column]
            i, j, k = where[column, 0], where[column, 1], where[column, 2]
            if other == target and i == 0 and j == 0 and k == 0:
                continue
            i += cell[other, 0] - cell[target, 0]
            j += cell[other, 1] - cell[target, 1]
            k += cell[other, 2] - cell[target, 2]
            pairs[found, 0] = column
            for axis in range(3):
                # So that the opposite bond gets exactly the opposite vector, bit for bit.
                pairs[found, 1 + axis] = (atoms[target, axis] - atoms[other, axis]) + (
                    (i * lattice[0, axis] + j * lattice[1, axis]) + k * lattice[2, axis]
                )
            u, v, w = pairs[found, 1], pairs[found, 2], pairs[found, 3]
            # In the order in which NumPy's einsum adds three squares.
            pairs[found, 4] = math.sqrt((u * u + w * w) + v * v)
            found += 1
    starts[atoms.shape[0]] = found
    return pairs


@compiled
def _kth(pairs, first, last, nearest):
    """Return the k-th smallest length of some pairs; ``nearest`` (k,) is room to work in."""
    k = nearest.shape[0]
    filled = 0
    for pair in range(first, last):
        value = pairs[pair, 4]
        if filled == k:
            if value >= nearest[k - 1]:
                continue
            filled -= 1
        place = filled
        while place > 0 and nearest[place - 1] > value:
            nearest[place] = nearest[place - 1]
            place -= 1
        nearest[place] = value
        filled += 1
    return nearest[k - 1]


@compiled
def build_bonds(lattices, positions, first_atom, k, cutoff, tolerance):
    """Bonds of many crystals: ``k`` nearest in whole shells, or, if ``k`` is 0, all in a radius.

    Parameters
    ----------
    lattices
        (B, 3, 3) Å.
    positions
        (N, 3) Å, of all crystals, one after the other.
    first_atom
        (B + 1,) where the atoms of each crystal begin and, last, N.
    k, cutoff, tolerance
        Neighbours; Å; Å: as in :class:`opalign.crystal.settings.GraphSettings`.

    Returns
    -------
    tuple
        (B,) volumes, Å³, NaN where a crystal is left to others; (B + 1,) first bonds; and of all
        bonds, sorted within each crystal: sources and targets (2, E), images (E, 3) and vectors
        (E, 3).
    """
    crystals = lattices.shape[0]
    volumes = np.full(crystals, np.nan)
    first_bond = np.zeros(crystals + 1, np.int64)
    capacity = max(positions.shape[0] * max(2 * k, 24), 64)
    index = np.empty((capacity, 2), np.int64)
    image = np.empty((capacity, 3), np.int64)
    vector = np.empty((capacity, 3))
    largest = 1
    for crystal in range(crystals):
        largest = max(largest, first_atom[crystal + 1] - first_atom[crystal])
    fractional, home = np.empty((largest, 3)), np.empty((largest, 3))
    cell = np.empty((largest, 3), np.int64)
    who, where = np.empty(MOST_IMAGES, np.int64), np.empty((MOST_IMAGES, 3), np.int64)
    places, pairs = np.empty((3, MOST_IMAGES)), np.empty((128 * largest, 5))
    shape, nearest, farthest = np.empty(13), np.empty(max(k, 1)), np.empty(largest)
    starts = np.empty(largest + 1, np.int64)
    margin = tolerance + ROUNDING
    total = 0
    for crystal in range(crystals):
        first_bond[crystal] = total
        lattice = lattices[crystal]
        atoms = positions[first_atom[crystal] : first_atom[crystal + 1]]
        count = atoms.shape[0]
        if count == 0 or not _plain(lattice, atoms, shape):
            continue
        _wrapped(lattice, atoms, shape, fractional, cell, home)
        reach = cutoff
        if k > 0:
            dense = min(shape[9] / count, LARGEST_DENSE_VOLUME)
            reach = (FIRST_REACH * k * dense * 3.0 / (4.0 * math.pi)) ** (1.0 / 3.0)
        while True:
            within = reach + margin + ROUNDING
            kept = _sources(lattice, count, shape, within, fractional, home, who, where, places)
            if kept < 0 or count * kept > MOST_COMPARISONS:
                kept = -1
                break
            pairs = _pairs(
                lattice, atoms, cell, home, within, kept, who, where, places, starts, pairs
            )
            if k == 0:
                farthest[:count] = cutoff
                break
            fewest, needed = k, 0.0
            for atom in range(count):
                fewest = min(fewest, starts[atom + 1] - starts[atom])
                if fewest == k:
                    farthest[atom] = _kth(pairs, starts[atom], starts[atom + 1], nearest)
                    needed = max(needed, farthest[atom])
            if fewest < k:
                reach *= GROWTH
            elif needed <= reach:
                break
            else:
                # The shell of some k-th neighbour may be cut: now it is known how far it reaches.
                reach = needed + ROUNDING
        if kept < 0:
            continue
        if total + starts[count] > capacity:
            capacity = 2 * capacity + starts[count]
            index = _grown(index, total, capacity)
            image = _grown(image, total, capacity)
            vector = _grown(vector, total, capacity)
        apart = True
        for target in range(count):
            for pair in range(starts[target], starts[target + 1]):
                column = int(pairs[pair, 0])
                other = who[column]
                length = pairs[pair, 4]
                if length > max(farthest[target], farthest[other]) + margin:
                    continue
                apart = apart and length >= MINIMUM_DISTANCE
                index[total, 0], index[total, 1] = other, target
                for axis in range(3):
                    image[total, axis] = (
                        where[column, axis] + cell[other, axis] - cell[target, axis]
                    )
                    vector[total, axis] = pairs[pair, 1 + axis]
                total += 1
        if apart:
            volumes[crystal] = shape[9]
        else:
            # Two atoms on one site: the check of distances says which.
            total = first_bond[crystal]
    first_bond[crystals] = total
    return volumes, first_bond, index[:total].T.copy(), image[:total].copy(), vector[:total].copy()


@compiled
def _grown(values, used, capacity):
    larger = np.empty((capacity, values.shape[1]), values.dtype)
    larger[:used] = values[:used]
    return larger


@compiled
def angles(bond_index, unit, num_atoms):
    """Angles of bonds sorted by target, and their cosines.

    Parameters
    ----------
    bond_index
        (2, E).
    unit
        (3, E) unit vectors of the bonds in the precision in which cosines are wanted.
    num_atoms
        N.

    Returns
    -------
    tuple
        (2, T) pairs of bonds as :func:`opalign.crystal.graph.line_graph` gives them, (T,) cosines
        in [−1, 1].
    """
    bonds = bond_index.shape[1]
    run = np.zeros(num_atoms + 1, np.int64)
    for bond in range(bonds):
        run[bond_index[1, bond] + 1] += 1
    for atom in range(num_atoms):
        run[atom + 1] += run[atom]
    total = 0
    for bond in range(bonds):
        middle = bond_index[0, bond]
        total += run[middle + 1] - run[middle]
    pairs = np.empty((2, total), np.int64)
    cosines = np.empty(total, unit.dtype)
    x, y, z = unit[0], unit[1], unit[2]
    one = unit.dtype.type(1.0)
    angle = 0
    for bond in range(bonds):
        middle = bond_index[0, bond]
        u, v, w = x[bond], y[bond], z[bond]
        begin, end = run[middle], run[middle + 1]
        for other in range(begin, end):
            place = angle + other - begin
            pairs[0, place] = other
            pairs[1, place] = bond
            cosine = -(x[other] * u) - y[other] * v - z[other] * w
            cosines[place] = min(max(cosine, -one), one)
        angle += end - begin
    return pairs, cosines
