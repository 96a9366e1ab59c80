"""Limits of what can be a crystal."""

import numpy as np
import pytest

from opalign.crystal.checks import check_distances, check_lattice, check_positions
from opalign.errors import StructureError


@pytest.mark.parametrize(
    ("lattice", "count", "complaint"),
    [
        (np.zeros((3, 3)), 1, "no volume"),
        ([[4, 0, 0], [0, 4, 0], [4, 4, 0]], 1, "no volume"),
        ([[4, 0, 0], [0, 4, 0], [4, 4, 1e-5]], 1, "no volume"),
        (np.diag([4.0, 4.0, 1001.0]), 1, "lattice vector 3 is 1001 Å long"),
        (np.diag([90.0, 90.0, 90.0]), 7, "1.04e\\+05 Å³ per atom"),
        (np.diag([0.42, 0.42, 0.42]), 1, "only 0.0741 Å³ per atom"),
        (np.diag([0.4, 9.0, 9.0]), 1, "repeats after 0.4 Å"),
        ([[30, 0, 0], [-15, 26, 0], [-15, -26, 0.3]], 1, "repeats after 0.3 Å"),
    ],
)
def test_impossible_lattices(lattice, count, complaint):
    with pytest.raises(StructureError, match=complaint):
        check_lattice(np.array(lattice, dtype=float), count, "file.cif")


@pytest.mark.parametrize(
    ("lattice", "count"),
    [
        (np.diag([3.0, 3.0, 900.0]), 1),
        (np.diag([3.57, -3.57, 3.57]), 8),
        ([[3, 0, 0], [60, 3, 0], [-70, 50, 3]], 1),
        (np.diag([40.0, 40.0, 40.0]), 1),
    ],
    ids=["slab", "left-handed diamond", "skewed", "box"],
)
def test_possible_lattices(lattice, count):
    lattice = np.array(lattice, dtype=float)
    assert check_lattice(lattice, count) == pytest.approx(abs(np.linalg.det(lattice)))


def test_distance_limit_is_half_an_angstrom():
    lattice = np.eye(3) * 5.0
    check_distances(lattice, np.array([[0, 0, 0], [0.501, 0, 0]]), ["O", "H"])
    with pytest.raises(
        StructureError, match=r"x: atom 1 \(O\) and atom 2 \(H\) are 0\.499 Å apart"
    ):
        check_distances(lattice, np.array([[0, 0, 0], [0.499, 0, 0]]), ["O", "H"], "x")


def test_closest_pair_is_the_one_named():
    positions = np.array([[0, 0, 0], [0.4, 0, 0], [2.0, 0, 0], [2.1, 0, 0]])
    with pytest.raises(StructureError, match=r"atom 3 .* atom 4"):
        check_distances(np.eye(3) * 5.0, positions, ["O"] * 4)


def test_far_away_atoms_are_refused():
    with pytest.raises(StructureError, match=r"atom 2 \(O\) is 2e\+06 Å from the origin"):
        check_positions(np.array([[0, 0, 0], [0, -2e6, 0]]), ["Mg", "O"])
