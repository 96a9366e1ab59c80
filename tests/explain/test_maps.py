"""Maps have two dimensions, one seed one map, and say what they can't do."""

import sys
import types

import numpy as np
import pytest
import torch

from opalign.errors import ConfigurationError
from opalign.explain.maps import principal_components, umap_points


def test_principal_components_find_the_directions_of_largest_variance():
    generator = np.random.default_rng(0)
    flat = generator.normal(size=(200, 2)) * [5.0, 2.0]
    turn = np.linalg.qr(generator.normal(size=(6, 6)))[0][:2]
    points, shares = principal_components(flat @ turn + 3.0)
    assert shares.sum() == pytest.approx(1.0)
    assert shares[0] == pytest.approx(25 / 29, abs=0.05)
    centred = flat - flat.mean(axis=0)
    np.testing.assert_allclose(
        np.linalg.norm(points, axis=1), np.linalg.norm(centred, axis=1), rtol=1e-9
    )


def test_signs_do_not_depend_on_the_library():
    matrix = np.random.default_rng(1).normal(size=(30, 4))
    points, _ = principal_components(matrix)
    turned, _ = principal_components(matrix @ np.diag([1, 1, 1, 1.0]))
    np.testing.assert_array_equal(points, turned)
    assert (points[np.argmax(np.abs(points), axis=0), [0, 1]] > 0).all()


def test_one_feature_has_one_component():
    points, shares = principal_components(np.array([[0.0], [1.0], [5.0]]))
    assert np.abs(points[:, 1]).max() == 0.0
    assert shares.tolist() == [1.0, 0.0]


@pytest.mark.slow
def test_a_umap_keeps_neighbours_together_and_is_reproducible(monkeypatch):
    umap = pytest.importorskip("umap.umap_", reason="UMAP needs umap-learn (extra explain)")
    # As Python, which they are written in: for sixty points numba's compiler takes a hundred times
    # as long as they do. The layout, of half a million steps, is compiled.
    for name in ("fast_knn_indices", "smooth_knn_dist", "compute_membership_strengths"):
        monkeypatch.setattr(umap, name, getattr(umap, name).py_func)
    generator = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 20)
    matrix = generator.normal(size=(3, 8))[truth] * 20 + generator.normal(size=(60, 8))
    points = umap_points(matrix, neighbors=15)
    centres = np.array([points[truth == group].mean(axis=0) for group in range(3)])
    nearest = np.argmin(np.linalg.norm(points[:, None] - centres, axis=2), axis=1)
    assert (nearest == truth).all()
    np.testing.assert_array_equal(points, umap_points(matrix, neighbors=15))


def test_a_umap_of_a_handful_is_refused():
    with pytest.raises(ConfigurationError, match="UMAP of 4 materials"):
        umap_points(np.eye(4))


def test_the_threads_of_torch_are_left_alone(monkeypatch):
    """What numba's first parallel loop does to the OpenMP library that torch shares with it."""
    threads = torch.get_num_threads()

    class Reducer:
        def __init__(self, **options):
            pass

        def fit_transform(self, matrix):
            torch.set_num_threads(threads + 1)
            return matrix[:, :2]

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Reducer))
    assert umap_points(np.random.default_rng(0).normal(size=(12, 3))).shape == (12, 2)
    assert torch.get_num_threads() == threads
