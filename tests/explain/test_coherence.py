"""Coherence of groups: analytic cases, and invariance under what must not matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opalign.errors import DatasetError
from opalign.explain import coherence
from opalign.explain.coherence import SpectralDistances, class_agreement, spread_within


def test_distances_of_two_groups_by_hand():
    spectra = np.array([[0.0, 0.0], [2.0, 0.0], [10.0, 0.0], [10.0, 4.0]])
    found = SpectralDistances(spectra, list("ABCD")).compare(np.array([0, 0, 1, 1]))
    assert found.within == (1.0 + 2.0) / 2
    assert found.between == (5.0 + 7.0 + 4.0 + 6.0) / 4
    assert found.ratio == pytest.approx(1.5 / 5.5)


def test_polymorphs_are_no_evidence():
    spectra = np.array([[0.0], [0.0], [3.0], [5.0]])
    found = SpectralDistances(spectra, ["A", "A", "B", "C"]).compare(np.array([0, 0, 0, 1]))
    assert found.within == 3.0
    alone = SpectralDistances(spectra, ["A", "A", "B", "C"]).compare(np.array([0, 0, 1, 2]))
    assert np.isnan(alone.within)


def test_materials_in_no_group_do_not_count():
    spectra = np.array([[0.0], [1.0], [100.0]])
    found = SpectralDistances(spectra, list("ABC")).compare(np.array([0, 0, -1]))
    assert found.within == 1.0
    assert np.isnan(found.between)


def test_a_draw_of_many_materials_gives_the_same_within_its_error(monkeypatch):
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 100)
    spectra = labels[:, None] + generator.normal(size=(300, 20))
    formulas = [str(row) for row in range(300)]
    whole = SpectralDistances(spectra, formulas).compare(labels)
    monkeypatch.setattr(coherence, "MOST_COMPARED", 150)
    part = SpectralDistances(spectra, formulas).compare(labels)
    assert part.ratio == pytest.approx(whole.ratio, rel=0.05)
    assert part.ratio != whole.ratio


def test_as_many_formulas_as_spectra():
    with pytest.raises(DatasetError):
        SpectralDistances(np.zeros((3, 2)), ["A"])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10.0), st.floats(-5.0, 5.0))
def test_the_spread_has_no_unit_and_no_zero(seed, scale, shift):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, size=40)
    values = generator.normal(size=40) + labels
    assert spread_within(scale * values + shift, labels) == pytest.approx(
        spread_within(values, labels), rel=1e-6
    )


def test_spreads_of_known_groups():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 100)
    assert spread_within(labels.astype(float), labels) == 0.0
    noise = generator.normal(size=1000)
    assert spread_within(noise, labels) == pytest.approx(1.0, abs=0.03)
    # Variances: 1 within, 1 + 8.25 in all.
    assert spread_within(noise + labels, labels) == pytest.approx((1 / 9.25) ** 0.5, rel=0.05)


def test_spreads_leave_out_what_is_missing():
    values = np.array([1.0, 2.0, np.nan, 5.0, 6.0, 99.0])
    labels = np.array([0, 0, 0, 1, 1, -1])
    expected = spread_within(np.array([1.0, 2.0, 5.0, 6.0]), np.array([0, 0, 1, 1]))
    assert spread_within(values, labels) == expected
    assert np.isnan(spread_within(np.array([1.0, 2.0]), np.array([0, 1])))
    assert np.isnan(spread_within(np.ones(4), np.array([0, 0, 1, 1])))


def test_classes_that_groups_follow_and_that_they_do_not():
    labels = np.repeat([0, 1, 2], 20)
    same = class_agreement(labels, ["O"] * 20 + ["S"] * 20 + ["Se"] * 20)
    assert same.mutual_information == pytest.approx(1.0)
    assert same.purity == 1.0
    assert same.chance_purity == pytest.approx(1 / 3)
    other = class_agreement(labels, ["O", "S"] * 30)
    assert other.mutual_information == pytest.approx(0.0, abs=1e-12)
    assert other.adjusted_mutual_information < 0.01
    assert other.purity == 0.5


def test_unknown_classes_are_left_out():
    found = class_agreement(np.array([0, 0, 1, 1, -1]), ["O", "O", "S", None, "O"])
    assert found.purity == 1.0
    assert np.isnan(class_agreement(np.array([0, 1]), [None, None]).purity)
