"""Meshes of k points and the tetrahedra between them, for any lattice.

The mesh is Γ-centred and even. Its tetrahedra fill the *reciprocal cell*, six to every small
parallelepiped, as Blöchl, Jepsen and Andersen do (Phys. Rev. B 49, 16223 (1994)): the cell is
periodic and has no corners, so that no lattice is excluded. (Tetrahedra that fill the irreducible
zone need its corners on the mesh, which body-centred, rhombohedral, monoclinic and triclinic
lattices do not grant.) Symmetry then joins equivalent tetrahedra.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from opalign.firstprinciples.engine import EngineFailure

LARGEST_SIZE = 40
"""Points along one direction; more would be needed only in cells flatter than any crystal's."""

TETRAHEDRA_PER_POINT = 24

EQUAL = 1e-6
"""Relative difference below which two lengths are one: lattices are known to less."""


def symmetric_mesh(
    lattice: np.ndarray, rotations: np.ndarray, density: float
) -> tuple[int, int, int]:
    """Return the smallest even mesh as dense as asked for and as symmetric as the crystal.

    Parameters
    ----------
    lattice
        (3, 3) row vectors, Å.
    rotations
        (n, 3, 3) integers: the point group on fractional coordinates of atoms.
    density
        Points per Å⁻¹: the supercell that the mesh stands for repeats after 2π·density Å at the
        earliest, however its vectors are chosen.

    Raises
    ------
    EngineFailure
        ``"unsupported"``, if no mesh of at most 40 points a direction will do.
    """
    lattice = np.asarray(lattice, dtype=float)
    rotations = np.asarray(rotations)
    distance = 2.0 * np.pi * density
    # A mesh with N_i b_i⁻¹ ≥ distance along every direction is dense enough in any case.
    heights = 1.0 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    most = np.minimum(2 * np.ceil(distance / heights / 2.0) + 4, LARGEST_SIZE).astype(int)
    choices = [range(2, largest + 1, 2) for largest in most]
    for size in sorted(itertools.product(*choices), key=lambda s: (np.prod(s), max(s), s)):
        ratio = np.divide.outer(np.array(size), np.array(size))
        mapped = rotations.swapaxes(1, 2) * ratio
        symmetric = np.abs(mapped - np.round(mapped)).max() < 1e-6
        if symmetric and shortest_vector(lattice * np.array(size)[:, None]) >= distance - 1e-6:
            first, second, third = size
            return first, second, third
    raise EngineFailure(
        "unsupported",
        f"no symmetric mesh of at most {LARGEST_SIZE} points a direction has {density} per Å⁻¹",
        cure="lower the density of the mesh",
    )


def shortest_vector(lattice: np.ndarray) -> float:
    """Length in Å of the shortest vector of the lattice with these row vectors (3, 3)."""
    from pymatgen.core.lattice import Lattice

    reduced = Lattice(lattice).get_lll_reduced_lattice().matrix
    steps = np.array([s for s in itertools.product(range(-2, 3), repeat=3) if any(s)])
    return float(np.linalg.norm(steps @ reduced, axis=1).min())


def periodic_tetrahedra(size: Sequence[int] | np.ndarray, reciprocal: np.ndarray) -> np.ndarray:
    """Return the tetrahedra (6·N, 4) of a periodic mesh as indices of its N points.

    Point (i, j, k) has index (i·size[1] + j)·size[2] + k. The shortest diagonal of the small
    parallelepiped, spanned by the rows of ``reciprocal`` (3, 3) over ``size``, is common to all
    six; of diagonals that symmetry makes equally long the first, so that rounding decides nothing.
    """
    shape = tuple(int(points) for points in size)
    small = np.asarray(reciprocal, dtype=float) / np.array(shape)[:, None]
    signs = np.array([(1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1)])
    lengths = np.linalg.norm(signs @ small, axis=1)
    sign = signs[np.argmax(lengths <= lengths.min() * (1.0 + EQUAL))]
    start = (sign < 0).astype(int)
    corners = []
    for order in itertools.permutations(range(3)):
        path = [start]
        for axis in order:
            path.append(path[-1] + sign[axis] * np.eye(3, dtype=int)[axis])
        corners.append(path)
    points = np.indices(shape).reshape(3, -1).T
    places = (points[:, None, None, :] + np.array(corners)[None]) % np.array(shape)
    return np.ravel_multi_index(np.moveaxis(places, -1, 0), shape).reshape(-1, 4)


@dataclass(frozen=True)
class Neighbourhood:
    """All tetrahedra around the equivalents of one point, equal ones joined.

    ``points`` (L,) are irreducible points, the first of which is the one in the middle;
    ``simplices`` (T, 4) index ``points``; ``volumes`` (T,) are shares of the small parallelepiped,
    summing to 4 because every tetrahedron belongs to four points.
    """

    points: np.ndarray
    simplices: np.ndarray
    volumes: np.ndarray


def neighbourhood(
    star: np.ndarray, tetrahedra: np.ndarray, irreducible: np.ndarray
) -> Neighbourhood:
    """Join the tetrahedra around the points of a ``star``, all equivalent to each other.

    Parameters
    ----------
    star
        (S,) indices of mesh points.
    tetrahedra
        (t, 4) indices of mesh points.
    irreducible
        (N,) irreducible point of every mesh point.
    """
    of_star, corner = np.nonzero(np.isin(tetrahedra, star))
    vertices = irreducible[tetrahedra[of_star]]
    middle = vertices[np.arange(len(of_star)), corner]
    others = np.sort(vertices[np.arange(4) != corner[:, None]].reshape(-1, 3), axis=1)
    unique, counts = np.unique(others, axis=0, return_counts=True)
    # Neighbours equivalent to the middle get places of their own: a tetrahedron has four corners.
    labels, places = np.unique(unique, return_inverse=True)
    places = places.reshape(unique.shape) + 1
    points, simplices = [middle[0], *labels], np.pad(places, ((0, 0), (1, 0)))
    for row in simplices:
        for position in (2, 3):
            if row[position] in row[:position]:
                points.append(points[row[position]])
                row[position] = len(points) - 1
    volumes = counts / (6.0 * len(star))
    return Neighbourhood(np.array(points), simplices, volumes)
