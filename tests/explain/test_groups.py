"""Ward groups: planted ones come back, cuts give what was asked for, bad input is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cut_tree, leaves_list

from opalign.errors import ConfigurationError, DatasetError
from opalign.explain import groups as groups_module
from opalign.explain.groups import (
    Groups,
    assign,
    centroids,
    cut,
    density_groups,
    in_leaf_order,
    ward_linkage,
)
from opalign.explain.stability import agreement


def blobs(number=4, each=12, apart=10.0, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(number, 6)) * apart
    truth = np.repeat(np.arange(number), each)
    return centres[truth] + generator.normal(size=(number * each, 6)), truth


def test_planted_groups_come_back():
    matrix, truth = blobs()
    assert agreement(cut(ward_linkage(matrix), number=4), truth) == 1.0


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 30), st.integers(0, 1000), st.data())
def test_a_cut_is_the_one_of_scipy(materials, seed, data):
    matrix = np.random.default_rng(seed).normal(size=(materials, 3))
    number = data.draw(st.integers(1, materials))
    linkage = ward_linkage(matrix)
    labels = cut(linkage, number=number)
    assert agreement(labels, cut_tree(linkage, n_clusters=number)[:, 0]) == 1.0
    assert sorted(set(labels)) == list(range(number))


def test_equal_materials_still_give_the_number_asked_for():
    matrix = np.repeat(np.eye(3), 5, axis=0)
    for number in range(1, 16):
        assert len(set(cut(ward_linkage(matrix), number=number))) == number


def test_groups_are_numbered_along_the_leaves():
    matrix, _ = blobs(number=6)
    linkage = ward_linkage(matrix)
    labels = cut(linkage, number=6)
    along = labels[leaves_list(linkage)]
    assert (np.diff(along) >= 0).all()
    np.testing.assert_array_equal(in_leaf_order(5 - labels, linkage), labels)


def test_a_cut_at_a_distance_joins_what_is_nearer():
    matrix = np.array([[0.0], [1.0], [10.0], [11.0]])
    linkage = ward_linkage(matrix)
    assert len(set(cut(linkage, distance=2.0))) == 2
    assert len(set(cut(linkage, distance=0.5))) == 4
    assert len(set(cut(linkage, distance=1e3))) == 1


@pytest.mark.parametrize(
    "arguments",
    [{}, {"number": 2, "distance": 1.0}, {"number": 0}, {"number": 5}, {"distance": -1}],
)
def test_a_cut_that_makes_no_sense_is_refused(arguments):
    with pytest.raises(ConfigurationError):
        cut(ward_linkage(np.arange(4.0)[:, None]), **arguments)


def test_more_groups_than_materials_says_so():
    with pytest.raises(ConfigurationError, match="9 groups of 4 materials"):
        cut(ward_linkage(np.arange(4.0)[:, None]), number=9)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((1, 3)), "1 material cannot be grouped"),
        (np.ones((5, 3)), "the same features"),
        (np.array([[0.0], [np.nan], [1.0]]), "material 1 are not finite"),
    ],
)
def test_what_cannot_be_grouped_says_why(matrix, message):
    with pytest.raises(DatasetError, match=message):
        ward_linkage(matrix)


def test_the_linkage_of_vectors_is_that_of_distances(monkeypatch):
    pytest.importorskip("fastcluster")
    matrix, _ = blobs(number=5, each=20)
    expected = ward_linkage(matrix)
    monkeypatch.setattr(groups_module, "MOST_PAIRWISE", 10)
    found = ward_linkage(matrix)
    np.testing.assert_allclose(found[:, 2], expected[:, 2], rtol=1e-9)
    for number in (2, 5, 17):
        assert agreement(cut(found, number=number), cut(expected, number=number)) == 1.0


@pytest.mark.slow
def test_twenty_thousand_materials_in_linear_memory():
    pytest.importorskip("fastcluster")
    matrix, truth = blobs(number=20, each=1000, apart=15.0)
    assert agreement(cut(ward_linkage(matrix), number=20), truth) == 1.0


def test_density_leaves_out_what_is_alone():
    matrix, truth = blobs(number=3, each=20)
    matrix = np.vstack([matrix, np.full((1, 6), 500.0)])
    found = density_groups(tuple(map(str, range(61))), matrix)
    assert found.labels[-1] == -1
    assert found.number == 3
    assert agreement(found.labels[:-1], truth) > 0.9
    with pytest.raises(ConfigurationError):
        density_groups(("a",) * 61, matrix, smallest=62)


def test_members_and_sizes_leave_out_the_ungrouped():
    found = Groups(("a", "b", "c", "d"), np.array([1, -1, 0, 1]), "hdbscan")
    assert found.number == 2
    assert found.sizes.tolist() == [1, 2]
    assert found.members(1).tolist() == [0, 3]


def test_new_materials_join_the_nearest_centroid():
    matrix, truth = blobs()
    np.testing.assert_allclose(centroids(matrix, truth)[2], matrix[truth == 2].mean(axis=0))
    labels, distances = assign(matrix, truth, matrix + 0.1)
    np.testing.assert_array_equal(labels, truth)
    assert distances.shape == (len(matrix), 4)
