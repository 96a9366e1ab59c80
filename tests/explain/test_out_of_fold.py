"""What a network says of materials that it has not seen, in the frame of another network."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opalign.errors import ConfigurationError, DatasetError
from opalign.explain.features import _METADATA, LayerFeatures, _list_column
from opalign.explain.groups import Groups
from opalign.explain.out_of_fold import (
    NO_GROUP,
    Fold,
    out_of_fold_features,
    out_of_fold_groups,
    procrustes,
    read_folds,
)

IDS = tuple(f"m{row}" for row in range(30))
FORMULAS = tuple(f"F{row // 2}" for row in range(30))


def rotation(size, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def write(path, matrix):
    columns = {
        "material_id": pa.array(IDS),
        "formula": pa.array(FORMULAS),
        "layer": _list_column(matrix),
    }
    metadata = {_METADATA: json.dumps({"model": "m", "layers": ["layer"]}).encode()}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return path


@pytest.fixture
def case(tmp_path):
    """Three networks that see the same, each in a frame of its own."""
    matrix = np.random.default_rng(0).normal(size=(30, 4)) * [5, 3, 2, 1]
    reference = LayerFeatures(IDS, FORMULAS, "layer", "m", matrix)
    folds, paths = [], []
    for number in (1, 2, 3):
        held_out = IDS[(number - 1) * 10 : number * 10]
        folds.append(Fold(number, tmp_path, held_out))
        own = 2.5 * number * matrix @ rotation(4, number) + number
        paths.append(write(tmp_path / f"{number}.parquet", own))
    return reference, folds, paths


def test_a_rotated_scaled_and_shifted_copy_comes_back():
    generator = np.random.default_rng(0)
    target = generator.normal(size=(20, 5))
    source = 3.0 * target @ rotation(5, 1) - 2.0
    np.testing.assert_allclose(procrustes(source[:12], target[:12], source), target, atol=1e-12)


def test_directions_that_are_not_shared_are_lost():
    generator = np.random.default_rng(0)
    target = np.hstack([generator.normal(size=(20, 2)), np.zeros((20, 1))])
    source = target + 0.0
    source[15:, 2] = 100.0
    np.testing.assert_allclose(procrustes(source[:15], target[:15], source), target, atol=1e-9)


def test_the_networks_agree_after_the_map(case):
    unseen = out_of_fold_features(case[1], case[2], case[0])
    assert unseen.ids == IDS
    # The files keep single precision.
    np.testing.assert_allclose(unseen.matrix, case[0].matrix, atol=1e-4)


def test_what_the_explained_network_says_of_a_held_out_material_does_not_matter(case):
    reference, folds, paths = case
    unseen = out_of_fold_features(folds, paths, reference)
    knows = reference.matrix.copy()
    knows[:10] += 50.0
    changed = LayerFeatures(IDS, FORMULAS, "layer", "m", knows)
    np.testing.assert_allclose(
        out_of_fold_features(folds, paths, changed).matrix[:10], unseen.matrix[:10]
    )


def test_a_polymorph_of_a_held_out_material_is_held_out_of_the_map_too(case):
    reference, folds, paths = case
    # Fold 1 holds out m8 alone of F4; m9 is its polymorph.
    folds = [Fold(1, folds[0].checkpoint, IDS[:9])]
    knows = reference.matrix.copy()
    knows[9] += 50.0
    changed = LayerFeatures(IDS, FORMULAS, "layer", "m", knows)
    first = out_of_fold_features(folds, paths[:1], reference)
    second = out_of_fold_features(folds, paths[:1], changed)
    assert first.ids == IDS[:9]
    np.testing.assert_allclose(first.matrix, second.matrix)


def test_another_architecture_or_table_is_refused(case):
    reference, folds, paths = case
    other = LayerFeatures(IDS, FORMULAS, "attention_1", "m", reference.matrix)
    with pytest.raises(ConfigurationError, match="no layer 'attention_1'"):
        out_of_fold_features(folds, paths, other)
    foreign = LayerFeatures(tuple("abc"), tuple("ABC"), "layer", "m", reference.matrix[:3])
    with pytest.raises(DatasetError, match="only 0 materials lie outside"):
        out_of_fold_features(folds, paths, foreign)


def test_a_material_joins_the_nearest_group_without_its_own_formula():
    # B2 pulls its group's centroid to itself; without it, it belongs to the other group.
    matrix = np.array([[0.0], [1.0], [9.0], [10.0], [4.0]])
    formulas = ("A", "A1", "B", "B1", "B2")
    reference = LayerFeatures(tuple("abcde"), formulas, "layer", "m", matrix)
    groups = Groups(tuple("abcde"), np.array([0, 0, 1, 1, 1]), "ward")
    labels = out_of_fold_groups(groups, reference, reference.select(("a", "d", "e")))
    assert labels.tolist() == [0, NO_GROUP, NO_GROUP, 1, 0]


def test_a_group_of_one_formula_cannot_confirm_itself():
    matrix = np.array([[0.0], [1.0], [50.0], [50.0]])
    reference = LayerFeatures(tuple("abcd"), ("A", "B", "C", "C"), "layer", "m", matrix)
    groups = Groups(tuple("abcd"), np.array([0, 0, 1, 1]), "ward")
    assert out_of_fold_groups(groups, reference, reference).tolist() == [0, 0, 0, 0]


def test_folders_that_hold_no_cross_validation(tmp_path):
    with pytest.raises(ConfigurationError, match="holds no cross-validation"):
        read_folds(tmp_path)
    (tmp_path / "runs" / "alignn" / "fold_1").mkdir(parents=True)
    (tmp_path / "plan.json").write_text(json.dumps({"folds": [{"test": ["a"]}]}))
    with pytest.raises(ConfigurationError, match="fold 1 is not finished"):
        read_folds(tmp_path)
    with pytest.raises(ConfigurationError, match="no method 'optimate'"):
        read_folds(tmp_path, "optimate")
    checkpoint = tmp_path / "runs" / "alignn" / "fold_1" / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    assert read_folds(tmp_path) == [Fold(1, checkpoint, ("a",))]
