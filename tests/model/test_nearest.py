import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from opalign.errors import CheckpointError
from opalign.model import nearest
from opalign.model.nearest import NearestMaterials

# On a line at 0, 1, 3, 7: each one's nearest other is at 1, 1, 2, 4.
LINE = NearestMaterials(["a", "b", "c", "d"], ["A", "B", "C", "D"], [[0.0], [1.0], [3.0], [7.0]])


def test_planted_neighbors():
    (found,) = LINE.query([2.4], count=3)
    assert [one.id for one in found] == ["c", "b", "a"]
    assert [one.formula for one in found] == ["C", "B", "A"]
    assert [one.distance for one in found] == pytest.approx([0.6, 1.4, 2.4])


def test_distance_is_relative_to_the_typical_one():
    assert LINE.typical_distance == 1.5
    (found,) = LINE.query([10.0], count=1)
    assert found[0].relative_distance == pytest.approx(3.0 / 1.5)


def test_quantile_of_the_spacings():
    assert LINE.spacing_quantile(0.0) == 1.0
    assert LINE.spacing_quantile(1.0) == 4.0


def test_materials_with_equal_features_do_not_make_the_typical_distance_zero():
    doubled = NearestMaterials(list("abcd"), list("ABCD"), [[0.0], [0.0], [0.0], [2.0]])
    assert doubled.typical_distance == 2.0
    (found,) = doubled.query([0.0], count=4)
    assert [one.id for one in found] == ["a", "b", "c", "d"]


def test_without_training_materials_there_are_no_neighbors():
    empty = NearestMaterials((), (), np.empty((0, 3)))
    assert empty.query(np.zeros((2, 3))) == [(), ()]
    assert np.isnan(empty.typical_distance)


def test_one_training_material_has_no_typical_distance():
    (found,) = NearestMaterials(["a"], ["A"], [[1.0, 2.0]]).query([1.0, 3.0])
    assert found[0].distance == 1.0
    assert np.isnan(found[0].relative_distance)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(CheckpointError, match="do not fit together"):
        NearestMaterials(["a"], ["A"], np.zeros((2, 3)))
    with pytest.raises(CheckpointError, match="not finite"):
        NearestMaterials(["a"], ["A"], [[np.nan]])


features = arrays(np.float64, (12, 3), elements=st.floats(-5, 5, width=16))


@pytest.mark.parametrize("few", [0, nearest.FEW], ids=["tree", "all distances"])
@settings(deadline=None)
@given(known=features, rows=arrays(np.float64, (4, 3), elements=st.floats(-5, 5, width=16)))
def test_same_as_looking_at_all(few, known, rows):
    ids = [f"{number:02d}" for number in range(12)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "FEW", few)
        # A block holds one row and a part of the next: they are cut.
        patch.setattr(nearest, "BLOCK", 50)
        found = NearestMaterials(ids, ids, known).query(rows, count=3)
    for row, neighbors in zip(rows, found, strict=True):
        distances = np.linalg.norm(known - row, axis=1)
        np.testing.assert_allclose(
            [one.distance for one in neighbors], np.sort(distances)[:3], atol=1e-12
        )
        for one in neighbors:
            assert distances[int(one.id)] == pytest.approx(one.distance, abs=1e-12)


@given(features, st.floats(0.1, 10))
def test_relative_distance_has_no_scale(known, scale):
    materials = NearestMaterials(["x"] * 12, ["x"] * 12, known)
    scaled = NearestMaterials(["x"] * 12, ["x"] * 12, known * scale)
    row = np.array([6.0, 6.0, 6.0])
    if not np.isnan(materials.typical_distance):
        expected = materials.query(row, 1)[0][0].relative_distance
        assert scaled.query(row * scale, 1)[0][0].relative_distance == pytest.approx(expected)
