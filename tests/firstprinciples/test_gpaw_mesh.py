import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from opalign.firstprinciples.gpaw_mesh import (
    neighbourhood,
    periodic_tetrahedra,
    shortest_vector,
    symmetric_mesh,
)
from opalign.firstprinciples.gpaw_structure import standard_cell

IDENTITY = np.eye(3, dtype=int)[None]


def test_shortest_vector_of_a_skewed_cell():
    skewed = np.array([[1, 0, 0], [7, 1, 0], [3, -5, 1]]) @ (3.0 * np.eye(3))
    assert shortest_vector(skewed) == pytest.approx(3.0)


def test_mesh_is_as_dense_as_asked_for_and_not_more():
    lattice = np.diag([3.0, 4.0, 9.0])
    mesh = symmetric_mesh(lattice, IDENTITY, 4.5)
    # 2π·4.5 = 28.3 Å: 9.4, 7.1 and 3.1 cells, and the next even numbers.
    assert mesh == (10, 8, 4)


def test_every_direction_has_two_points_at_least():
    assert symmetric_mesh(np.diag([5.0, 5.0, 100.0]), IDENTITY, 1.0) == (2, 2, 2)


@pytest.mark.parametrize(
    ("lattice", "species", "positions"),
    [
        (Lattice.hexagonal(3.25, 5.2), ["Zn", "S"], [[0, 0, 0], [1 / 3, 2 / 3, 0.4]]),
        (Lattice.rhombohedral(6.0, 33.0), ["Na", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        (Lattice.tetragonal(3.8, 6.8), ["Ba", "O"], [[0, 0, 0], [0, 0, 0.4]]),
    ],
)
def test_mesh_has_the_symmetry_of_the_crystal(lattice, species, positions):
    cell = standard_cell(Structure(lattice, species, positions))
    mesh = np.array(symmetric_mesh(cell.structure.lattice.matrix, cell.rotations, 3.0))
    points = np.indices(mesh).reshape(3, -1).T / mesh
    for rotation in cell.rotations:
        # k transforms with the transpose: k·(R x) = (Rᵀ k)·x.
        steps = (points @ rotation) * mesh
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)


def volume(corners):
    return abs(np.linalg.det(corners[1:] - corners[0])) / 6.0


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.sampled_from([4, 6])] * 3),
    st.lists(st.floats(-0.6, 0.6), min_size=3, max_size=3),
)
def test_tetrahedra_fill_the_cell_once(size, skew):
    reciprocal = np.eye(3) + np.array([[0, skew[0], skew[1]], [0, 0, skew[2]], [0, 0, 0]])
    tetrahedra = periodic_tetrahedra(size, reciprocal)
    assert len(tetrahedra) == 6 * np.prod(size)
    counts = np.bincount(tetrahedra.ravel(), minlength=int(np.prod(size)))
    assert (counts == 24).all()
    places = np.stack(np.unravel_index(tetrahedra, size), axis=-1)
    # Unwrap across the border of the cell: corners are neighbours.
    away = (places - places[:, :1] + np.array(size) // 2) % np.array(size) - np.array(size) // 2
    assert np.abs(away).max() == 1
    volumes = [volume(corners / size @ reciprocal) for corners in away]
    np.testing.assert_allclose(volumes, abs(np.linalg.det(reciprocal)) / len(tetrahedra))


def test_the_shortest_diagonal_is_shared():
    # Rows at acute angles but for the first, so that −b₁ + b₂ + b₃ is the shortest diagonal.
    reciprocal = np.array([[1.0, 0.0, 0.0], [0.7, 0.7, 0.0], [0.7, 0.0, 0.7]])
    tetrahedra = periodic_tetrahedra((4, 4, 4), reciprocal)
    places = np.stack(np.unravel_index(tetrahedra, (4, 4, 4)), axis=-1)
    away = (places - places[:, :1] + 2) % 4 - 2
    assert {tuple(step) for step in away[:, 3]} == {(-1, 1, 1)}


@pytest.mark.parametrize(
    "reciprocal",
    [np.eye(3), np.array([[1.0, 0.0, 0.0], [0.5, np.sqrt(0.75), 0.0], [0.0, 0.0, 0.6]])],
    ids=["cubic", "hexagonal"],
)
def test_rounding_does_not_choose_between_equal_diagonals(reciprocal):
    expected = periodic_tetrahedra((4, 4, 2), reciprocal)
    noise = np.random.default_rng(0)
    for _ in range(8):
        shaken = reciprocal + 1e-12 * noise.normal(size=(3, 3))
        np.testing.assert_array_equal(periodic_tetrahedra((4, 4, 2), shaken), expected)


def test_neighbourhoods_hold_every_tetrahedron_once():
    size = (4, 4, 4)
    tetrahedra = periodic_tetrahedra(size, np.eye(3))
    points = np.indices(size).reshape(3, -1).T
    # Cubic symmetry: coordinates up to sign and order.
    folded = np.sort(np.minimum(points, 4 - points), axis=1)
    kinds, irreducible = np.unique(folded, axis=0, return_inverse=True)
    irreducible = irreducible.ravel()
    total = 0.0
    for kind in range(len(kinds)):
        star = np.flatnonzero(irreducible == kind)
        near = neighbourhood(star, tetrahedra, irreducible)
        assert near.points[0] == kind
        assert (near.simplices[:, 0] == 0).all()
        for row in near.simplices:
            assert len(set(row)) == 4
        assert near.volumes.sum() == pytest.approx(4.0)
        total += near.volumes.sum() / 4.0 * len(star)
    assert total == pytest.approx(64.0)


def test_neighbourhood_keeps_the_points_of_its_tetrahedra():
    size = (4, 4, 4)
    tetrahedra = periodic_tetrahedra(size, np.eye(3))
    irreducible = np.arange(64) % 5
    star = np.array([5, 10])
    near = neighbourhood(star, tetrahedra, irreducible)
    expected = {}
    for tetrahedron, point in itertools.product(tetrahedra, star):
        if point in tetrahedron:
            others = [irreducible[p] for p in tetrahedron if p != point]
            key = tuple(sorted(others))
            expected[key] = expected.get(key, 0.0) + 1.0 / 12.0
    found = {
        tuple(sorted(near.points[row[1:]])): weight
        for row, weight in zip(near.simplices, near.volumes, strict=True)
    }
    assert found.keys() == expected.keys()
    for key, weight in expected.items():
        assert found[key] == pytest.approx(weight)
