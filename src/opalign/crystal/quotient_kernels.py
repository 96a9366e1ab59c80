"""The search for classes of atoms, bonds and angles in compiled loops (numba, the extra ``fast``).

It is the search of :mod:`opalign.crystal.refinement`, with the same colours, and gives the same
classes to the last one; means of merged values are sums in another order, so that they may differ
in the last place. What takes the time of array operations is done otherwise here:

* the bonds that leave an atom are the opposites of those that end there, so that the cosines of
  its angles are a symmetric matrix, of which half is worked out;
* values are told apart without sorting them: what falls into one cell of a grid of half a tolerance
  is one value in any case, so only the occupied cells are sorted, one in eight of the cosines;
* classes are counted with a hash table, which colours fill evenly as they are.

A graph with a bond that has no opposite to the last bit, which nothing here builds, is left to the
array operations.

The module is imported by :mod:`opalign.crystal.compiled` alone.
"""

from __future__ import annotations

import math

import numpy as np

from opalign.crystal import refinement
from opalign.crystal.kernels import compiled
from opalign.crystal.value_kernels import distinct, mixed, number_colours

# Plain numbers are compiled in as they stand here.
FIRST, SECOND, THIRD, FOURTH = (
    refinement.FIRST,
    refinement.SECOND,
    refinement.THIRD,
    refinement.FOURTH,
)
_1 = np.uint64(1)
#: Numbers up to which putting each in its place is the fastest way of sorting.
FEW = 48


@compiled
def _opposites(source, target, run, vector, opposite):
    """Write the opposite (E,) of every bond; whether all have one, to the last bit."""
    for bond in range(source.shape[0]):
        end, middle = target[bond], source[bond]
        x, y, z = -vector[bond, 0], -vector[bond, 1], -vector[bond, 2]
        found = -1
        for other in range(run[middle], run[middle + 1]):
            if (
                source[other] == end
                and vector[other, 0] == x
                and vector[other, 1] == y
                and vector[other, 2] == z
            ):
                found = other
                break
        if found < 0:
            return False
        opposite[bond] = found
    return True


@compiled
def _angles(source, run, opposite, unit, tolerance):
    """Classes of the cosines of all angles, the cosines of the classes, and each bond's angles.

    The angles at an atom are a square: first bonds in columns, opposites of the second in rows.
    Returned are all squares (T,), cosines, and the first angle of every bond (E,).
    """
    atoms = run.shape[0] - 1
    half, whole = 0, 0
    for atom in range(atoms):
        degree = run[atom + 1] - run[atom]
        half += degree * (degree + 1) // 2
        whole += degree * degree
    cosine, times = np.empty(half), np.full(half, 2.0)
    x, y, z = unit[0], unit[1], unit[2]
    at = 0
    for atom in range(atoms):
        for row in range(run[atom], run[atom + 1]):
            u, v, w = x[row], y[row], z[row]
            for column in range(run[atom], row + 1):
                # Signs apart, as the product of the first bond and the second.
                value = x[column] * u + y[column] * v + z[column] * w
                cosine[at + column - run[atom]] = min(max(value, -1.0), 1.0)
            at += row + 1 - run[atom]
            times[at - 1] = 1.0
    number, cosines = distinct(cosine, times, tolerance)
    kind, first = np.empty(whole, np.uint32), np.empty(source.shape[0], np.int64)
    at, square = 0, 0
    for atom in range(atoms):
        degree = run[atom + 1] - run[atom]
        for row in range(degree):
            for column in range(row + 1):
                kind[square + row * degree + column] = number[at]
                kind[square + column * degree + row] = number[at]
                at += 1
            # Where the bonds from this atom find their angles.
            first[opposite[run[atom] + row]] = square + row * degree
        square += degree * degree
    return kind, cosines, first


@compiled
def _refined(atoms, bonds, source, target, run, colour, kind, first, atom_class, bond_class):
    """Refine colours until no class splits; classes are written, their numbers returned.

    ``colour`` is that of the cosines; without angles there is none.
    """
    found_atoms, found_bonds = 0, 0
    new = np.empty_like(bonds)
    while True:
        for bond in range(bonds.shape[0]):
            new[bond] = mixed(bonds[bond] * FIRST + atoms[source[bond]])
        for atom in range(atoms.shape[0]):
            received = np.uint64(0)
            for bond in range(run[atom], run[atom + 1]):
                received += new[bond]
            atoms[atom] = mixed(atoms[atom] * SECOND + received)
        for bond in range(bonds.shape[0]):
            middle = source[bond]
            ends = atoms[middle] * THIRD + atoms[target[bond]] * FOURTH
            if colour.shape[0] > 0:
                # Unsigned, for numba has to look whether a signed index counts from the end.
                angle, other = np.uint64(first[bond]), np.uint64(run[middle])
                for _ in range(run[middle + 1] - run[middle]):
                    ends += colour[kind[angle]] * bonds[other]
                    angle += _1
                    other += _1
            new[bond] = mixed(bonds[bond] * SECOND + ends)
        bonds, new = new, bonds
        atom_classes, bond_classes = (
            number_colours(atoms, atom_class),
            number_colours(bonds, bond_class),
        )
        # A class may split and never merges: equal numbers are equal classes.
        if atom_classes == found_atoms and bond_classes == found_bonds:
            return atom_classes, bond_classes
        found_atoms, found_bonds = atom_classes, bond_classes


@compiled
def _sort(values):
    if values.shape[0] > FEW:
        values.sort()
        return
    for index in range(1, values.shape[0]):
        value = values[index]
        place = index
        while place > 0 and values[place - 1] > value:
            values[place] = values[place - 1]
            place -= 1
        values[place] = value


@compiled
def _angle_classes(one_bond, source, bond_class, run, kind, first, cosines):
    """One angle of each class, in the order of target bond, source bond and cosine."""
    most, widest = 0, 0
    for bond in one_bond:
        count = run[source[bond] + 1] - run[source[bond]]
        most += count
        widest = max(widest, count)
    index, cosine = np.empty((2, most), np.int64), np.empty(most)
    multiplicity, room = np.empty(most, np.int64), np.empty(widest, np.int64)
    total = 0
    for ending in range(one_bond.shape[0]):
        bond = one_bond[ending]
        begin = run[source[bond]]
        together = room[: run[source[bond] + 1] - begin]
        for angle in range(together.shape[0]):
            together[angle] = (bond_class[begin + angle] << 32) + kind[first[bond] + angle]
        _sort(together)
        last = -1
        for both in together:
            if both != last:
                last = both
                index[0, total], index[1, total] = both >> 32, ending
                cosine[total] = cosines[both & 0xFFFFFFFF]
                multiplicity[total] = 0
                total += 1
            multiplicity[total - 1] += 1
    return index[:, :total].copy(), cosine[:total].copy(), multiplicity[:total].copy()


@compiled
def find_classes(elements, source, target, vector, has_angles, tolerance):
    """Do as :func:`opalign.crystal.refinement.find_classes`, for a tolerance well above rounding.

    Parameters and results are the same; whether there are results stands before them.
    """
    atoms, bonds = elements.shape[0], source.shape[0]
    run = np.zeros(atoms + 1, np.int64)
    for bond in range(bonds):
        run[target[bond] + 1] += 1
    atom_colour = np.empty(atoms, np.uint64)
    for atom in range(atoms):
        run[atom + 1] += run[atom]
        atom_colour[atom] = mixed(elements[atom])
    length, unit = np.empty(bonds), np.empty((3, bonds))
    for bond in range(bonds):
        x, y, z = vector[bond, 0], vector[bond, 1], vector[bond, 2]
        # In the order in which NumPy's einsum adds three squares.
        length[bond] = math.sqrt((x * x + z * z) + y * y)
        for axis in range(3):
            unit[axis, bond] = vector[bond, axis] / length[bond]
    length_class, lengths = distinct(length, np.ones(bonds), tolerance)
    bond_colour, bond_class = np.empty(bonds, np.uint64), np.empty(bonds, np.int64)
    for bond in range(bonds):
        bond_colour[bond] = mixed(np.uint64(length_class[bond]) + FIRST)
    kind, cosines, first = np.empty(0, np.uint32), np.empty(0), np.empty(0, np.int64)
    plain = True
    if has_angles:
        # Classes of bonds are not known yet: their memory is free.
        plain = _opposites(source, target, run, vector, bond_class)
        if plain:
            kind, cosines, first = _angles(source, run, bond_class, unit, tolerance)
    colour = np.empty(cosines.shape[0], np.uint64)
    for one in range(cosines.shape[0]):
        colour[one] = mixed(np.uint64(one) + SECOND)
    atom_class = np.empty(atoms, np.int64)
    atom_count, bond_count = _refined(
        atom_colour, bond_colour, source, target, run, colour, kind, first, atom_class, bond_class
    )
    one_atom, atom_times = np.empty(atom_count, np.int64), np.zeros(atom_count, np.int64)
    for atom in range(atoms):
        if atom_times[atom_class[atom]] == 0:
            one_atom[atom_class[atom]] = atom
        atom_times[atom_class[atom]] += 1
    # All bonds of a class end at atoms of one class, so its first atom has them all.
    rank = np.full(bond_count, -1, np.int64)
    one_bond, bond_times = np.empty(bond_count, np.int64), np.zeros(bond_count, np.int64)
    bond_index, bond_length = np.empty((2, bond_count), np.int64), np.empty(bond_count)
    kept = 0
    for bond in range(bonds):
        if one_atom[atom_class[target[bond]]] != target[bond]:
            continue
        of = bond_class[bond]
        if rank[of] < 0:
            rank[of] = kept
            one_bond[kept] = bond
            bond_index[0, kept] = atom_class[source[bond]]
            bond_index[1, kept] = atom_class[target[bond]]
            bond_length[kept] = lengths[length_class[bond]]
            kept += 1
        bond_times[rank[of]] += 1
    for bond in range(bonds):
        bond_class[bond] = rank[bond_class[bond]]
    chosen = one_bond if has_angles and plain else one_bond[:0]
    index, cosine, times = _angle_classes(chosen, source, bond_class, run, kind, first, cosines)
    return (
        plain, one_atom, atom_class, atom_times, bond_index, bond_length, bond_times,
        index, cosine, times,
    )  # fmt: skip
