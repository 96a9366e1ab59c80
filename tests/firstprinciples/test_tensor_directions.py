import numpy as np
import pytest
from pymatgen.core.operations import SymmOp
from pymatgen.symmetry.groups import PointGroup

from opalign.firstprinciples.tensor import independent_directions

HEXAGONAL = np.array([[1.0, -0.5, 0.0], [0.0, np.sqrt(0.75), 0.0], [0.0, 0.0, 1.6]])


def rotations(name):
    matrices = np.array([op.rotation_matrix for op in PointGroup(name).symmetry_ops])
    if name in ("-3m", "3", "6/mmm"):
        return HEXAGONAL @ matrices @ np.linalg.inv(HEXAGONAL)
    return matrices


@pytest.mark.parametrize(
    ("name", "free"),
    [
        ("m-3m", 1),
        ("-43m", 1),
        ("4/mmm", 2),
        ("6/mmm", 2),
        ("-3m", 2),
        ("3", 2),
        ("mmm", 3),
        ("mm2", 3),
        ("2/m", 4),
        ("-1", 6),
        ("1", 6),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_as_many_directions_as_the_group_leaves_free(name, free, turned):
    group = rotations(name)
    if turned:
        turn = SymmOp.from_axis_angle_and_translation((1, 2, 3), 40).rotation_matrix
        group = turn @ group @ turn.T
    directions = independent_directions(group)
    assert len(directions.vectors) == free
    np.testing.assert_allclose(np.linalg.norm(directions.vectors, axis=1), 1.0)
    rng = np.random.default_rng(5)
    tensor = rng.normal(size=(7, 3, 3)) + 1j * rng.normal(size=(7, 3, 3))
    tensor = tensor + tensor.swapaxes(1, 2)
    tensor = np.mean([r @ tensor @ r.T for r in group], axis=0)
    vectors = directions.vectors
    along = np.einsum("di,nij,dj->dn", vectors, tensor, vectors)
    np.testing.assert_allclose(directions.tensor(along), tensor, atol=1e-10)


def test_axes_come_before_diagonals():
    np.testing.assert_array_equal(independent_directions(rotations("mmm")).vectors, np.eye(3))
    cubic = independent_directions(rotations("m-3m"))
    np.testing.assert_array_equal(cubic.vectors, [[1.0, 0.0, 0.0]])


def test_the_result_has_the_symmetry_whatever_the_noise():
    group = rotations("4/mmm")
    tensor = independent_directions(group).tensor(np.array([[2.0, 2.1], [3.0, 3.3]]))
    for rotation in group:
        np.testing.assert_allclose(rotation @ tensor @ rotation.T, tensor, atol=1e-12)
