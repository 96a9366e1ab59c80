import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opalign.errors import SpectrumError
from opalign.spectrum.conformal import (
    conformal_quantile,
    coverage,
    evaluation_region,
    rank_correlation,
    sharpness,
)

finite = st.floats(-1e6, 1e6)
groups = st.lists(st.lists(finite, min_size=1, max_size=6), min_size=1, max_size=30)


def test_one_score_a_group_is_split_conformal_prediction():
    # ⌈(19 + 1) · 0.9⌉ = 18th smallest of 1 … 19.
    assert conformal_quantile(list(range(1, 20)), 0.9) == 18.0
    # ⌈(9 + 1) · 0.9⌉ = 9th of nine: the largest.
    assert conformal_quantile(list(range(1, 10)), 0.9) == 9.0


def test_too_few_groups_promise_nothing():
    assert conformal_quantile(list(range(8)), 0.9) == float("inf")


def test_a_group_has_one_weight_however_many_points_it_has():
    # Each of four groups and the one to come weighs 1/5; 4/5 · 3/4 is reached within the last.
    crowd = np.zeros(1000)
    assert conformal_quantile([crowd, [1.0], [2.0], [3.0]], 0.6) == 2.0
    assert conformal_quantile([[0.0], [1.0], [2.0], np.full(1000, 3.0)], 0.6) == 2.0


@given(groups, st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_more_coverage_needs_no_smaller_score(scores, one, other):
    low, high = sorted((one, other))
    assert conformal_quantile(scores, low) <= conformal_quantile(scores, high)


@given(groups, st.floats(0.05, 0.95), st.randoms())
def test_order_does_not_matter(scores, level, random):
    shuffled = [list(group) for group in scores]
    random.shuffle(shuffled)
    for group in shuffled:
        random.shuffle(group)
    assert conformal_quantile(shuffled, level) == conformal_quantile(scores, level)


@given(groups, st.floats(0.05, 0.95))
def test_a_monotone_map_of_scores_maps_the_quantile(scores, level):
    found = conformal_quantile(scores, level)
    doubled = conformal_quantile([[2.0 * x for x in group] for group in scores], level)
    assert doubled == 2.0 * found


CALIBRATION, TRIALS = 40, 2000


@pytest.fixture(scope="module")
def exchangeable():
    """Groups of unequal size with a common effect: the points of one are far from independent."""
    random = np.random.default_rng(0)
    return [
        [
            np.abs(random.normal(size=1) * 2.0 + random.normal(size=random.integers(1, 9)))
            for _ in range(CALIBRATION + 1)
        ]
        for _ in range(TRIALS)
    ]


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_exchangeable_groups_are_covered_as_promised(exchangeable, level):
    held = np.empty(TRIALS)
    for trial, scores in enumerate(exchangeable):
        held[trial] = (scores[-1] <= conformal_quantile(scores[:-1], level)).mean()
    # Between the promise and 1/(K + 1) more; four standard errors of 2000 trials are 0.03.
    assert level - 0.03 <= held.mean() <= level + 1 / (CALIBRATION + 1) + 0.03


@pytest.mark.parametrize(
    ("scores", "level"), [([], 0.9), ([[]], 0.9), ([[np.nan]], 0.9), ([[1.0]], 1.0), ([[1.0]], 0.0)]
)
def test_what_has_no_quantile(scores, level):
    with pytest.raises(SpectrumError):
        conformal_quantile(scores, level)


def test_region_is_where_either_counts():
    prediction = np.array([[0.0, 0.02, 2.0, 0.0]])
    reference = np.array([[0.0, 0.0, 0.0, 1.0]])
    expected = [[False, False, True, True]]  # 0.02 is just 1 % of 2
    np.testing.assert_array_equal(evaluation_region(prediction, reference), expected)
    np.testing.assert_array_equal(evaluation_region(reference, prediction), expected)


def test_coverage_and_sharpness_count_points_inside_alone():
    truth = np.array([[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    inside = np.array([[False, True, True], [False, False, False]])
    lower, upper = truth - 0.25, truth + 0.25
    lower[0, 2] = 2.1
    upper[0, 2] = 3.1
    found = coverage(lower, upper, truth, inside)
    assert found[0] == 0.5
    assert np.isnan(found[1])
    # Widths 0.5 and 1 over heights 1 and 2.
    assert sharpness(lower, upper, truth, inside)[0] == pytest.approx(0.5)


def test_rank_correlation():
    assert rank_correlation([1, 2, 3, 4], [1, 4, 9, 16]) == pytest.approx(1.0)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1.0)
    assert np.isnan(rank_correlation([1, 2], [1, 2]))
    assert np.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))
