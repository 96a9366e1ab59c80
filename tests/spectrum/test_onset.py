"""Onset and edge integral on edges whose onset is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opalign.errors import SpectrumError
from opalign.spectrum.onset import absorption_edge_integral, onset_energies, onset_energy

ENERGIES = np.linspace(0.0, 10.0, 201)


@given(onset=st.floats(0.5, 9.4), slope=st.floats(0.5, 40.0))
def test_exact_on_an_exponential_edge(onset, slope):
    """log₁₀ α = 2.5 + slope·(E − onset): wherever the onset lies between the points."""
    alpha = 10.0 ** np.minimum(2.5 + slope * (ENERGIES - onset), 30.0)
    assert onset_energy(ENERGIES, alpha) == pytest.approx(onset, abs=1e-9)


@given(st.floats(0.6, 9.4), st.floats(-1.0, 5.0))
def test_threshold_is_the_logarithm(onset, threshold):
    alpha = 10.0 ** (threshold + 3.0 * (ENERGIES - onset))
    assert onset_energy(ENERGIES, alpha, threshold) == pytest.approx(onset, abs=1e-9)


def test_first_crossing_counts_and_must_exceed():
    alpha = np.full(201, 10.0)
    alpha[50] = 10.0**2.5  # reaches and does not exceed
    alpha[100], alpha[150] = 1e4, 1e5
    onset = onset_energy(ENERGIES, alpha)
    assert onset == pytest.approx(ENERGIES[99] + 0.05 * 1.5 / 3.0)


def test_zero_below_the_gap():
    """Zero counts as 2.5 decades below the threshold, 1 cm⁻¹, and so does a rounding error."""
    alpha = np.where(ENERGIES > 3.0, 1e5, 0.0)
    onset = onset_energy(ENERGIES, alpha)
    assert onset == pytest.approx(3.0 + 0.05 * 2.5 / 5.0)
    for noise in (1e-300, 1e-12, 0.99):
        assert onset_energy(ENERGIES, np.maximum(alpha, noise)) == pytest.approx(onset)


def test_never_and_from_the_start():
    assert onset_energy(ENERGIES, np.full(201, 300.0)) is None
    assert onset_energy(ENERGIES + 1.0, np.full(201, 400.0)) == 1.0


def test_rows_at_once():
    onsets = np.array([2.013, 5.5, np.nan, 0.0])
    rows = np.stack(
        [10.0 ** (2.5 + 4.0 * (ENERGIES - onset)) for onset in onsets[:2]]
        + [np.zeros(201), np.full(201, 1e4)]
    )
    np.testing.assert_allclose(onset_energies(ENERGIES, rows), onsets, atol=1e-12)
    assert onset_energies(ENERGIES, np.empty((0, 201))).shape == (0,)


@given(st.floats(1.0, 8.0), st.floats(0.01, 1.5))
def test_more_absorption_never_raises_the_onset(gap, factor):
    alpha = 1e5 * np.maximum(ENERGIES - gap, 0.0) ** 2
    assert onset_energy(ENERGIES, alpha * (1 + factor)) <= onset_energy(ENERGIES, alpha)


def test_edge_integral_of_a_ramp():
    """α = 10⁴(E − 3): ∫ from 3.02 to 4.02 eV is 10⁴ (1.02² − 0.02²)/2, ends between the points."""
    alpha = 1e4 * np.maximum(ENERGIES - 3.0, 0.0)
    expected = 0.5e4 * (1.02**2 - 0.02**2)
    assert absorption_edge_integral(ENERGIES, alpha, 3.02) == pytest.approx(expected)
    narrow = absorption_edge_integral(ENERGIES, alpha, 3.02, window=0.01)
    assert narrow == pytest.approx(1e4 * 0.025 * 0.01)


def test_edge_integral_needs_its_whole_window():
    alpha = np.full(201, 1e5)
    assert absorption_edge_integral(ENERGIES, alpha, 9.0) == pytest.approx(1e5)
    assert np.isnan(absorption_edge_integral(ENERGIES, alpha, 9.1))
    assert np.isnan(absorption_edge_integral(ENERGIES, alpha, None))
    with pytest.raises(SpectrumError, match="empty"):
        absorption_edge_integral(ENERGIES, alpha, 3.0, window=0.0)


def test_bad_input():
    bad = np.ones(201)
    bad[20] = np.nan
    with pytest.raises(SpectrumError, match="at 1 eV"):
        onset_energy(ENERGIES, bad)
    with pytest.raises(SpectrumError, match="same number"):
        onset_energy(ENERGIES, np.ones(200))
    with pytest.raises(SpectrumError, match="do not increase"):
        onset_energy(ENERGIES[::-1], np.ones(201))
    with pytest.raises(SpectrumError, match="rows"):
        onset_energies(ENERGIES, np.ones(201))
