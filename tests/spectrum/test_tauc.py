"""Tauc extrapolation finds the gap that was put in, and owns up where there is none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opalign.errors import ConfigurationError
from opalign.spectrum.tauc import tauc_fit, tauc_ordinate

ENERGIES = np.linspace(0.0, 8.0, 801)


def edge(gap, transition, scale=1e5):
    """α with (αE)² or (αE)^½ linear above the gap."""
    power = 0.5 if transition == "direct" else 2.0
    return scale * np.clip(ENERGIES - gap, 0.0, None) ** power / np.maximum(ENERGIES, 1e-9)


@settings(deadline=None, max_examples=40)
@given(
    gap=st.floats(0.3, 6.0),
    transition=st.sampled_from(["direct", "indirect"]),
    scale=st.floats(1e4, 1e6),
)
def test_finds_the_gap(gap, transition, scale):
    fit = tauc_fit(ENERGIES, edge(gap, transition, scale), transition)
    assert fit.defined
    assert fit.reason is None
    assert fit.gap == pytest.approx(gap, abs=1e-6)
    assert fit.r_squared == pytest.approx(1.0)
    assert fit.standard_error < 1e-5
    assert fit.window[1] - fit.window[0] == pytest.approx(1.0, abs=0.06)
    inside = (fit.window[0] <= ENERGIES) & (fit.window[1] >= ENERGIES)
    drawn = tauc_ordinate(ENERGIES, edge(gap, transition, scale), transition)
    np.testing.assert_allclose(fit.line(ENERGIES[inside]), drawn[inside], rtol=1e-6)


def test_the_error_is_what_repetition_gives():
    """Of noise of one per cent on a fixed window: the scatter of many gaps is the stated error."""
    rng = np.random.default_rng(1)
    ordinate = 1e10 * np.clip(ENERGIES - 2.0, 0.0, None)
    gaps, errors = [], []
    for _ in range(2000):
        noisy = ordinate + 1e8 * rng.normal(size=ordinate.size)
        alpha = np.sqrt(np.clip(noisy, 0.0, None)) / np.maximum(ENERGIES, 1e-9)
        fit = tauc_fit(ENERGIES, alpha, window=(2.05, 3.0))
        gaps.append(fit.gap)
        errors.append(fit.standard_error)
    assert np.mean(gaps) == pytest.approx(2.0, abs=1e-3)
    # 2,000 samples know a standard deviation to 1.6 %.
    assert np.std(gaps) == pytest.approx(np.mean(errors), rel=0.05)


def test_window_stops_where_the_line_does():
    """A second, steeper edge 0.6 eV above the first: only the first stretch is straight."""
    first = np.clip(ENERGIES - 2.0, 0.0, None)
    ordinate = 1e10 * (first + 30.0 * np.clip(ENERGIES - 2.6, 0.0, None))
    alpha = np.sqrt(ordinate) / np.maximum(ENERGIES, 1e-9)
    fit = tauc_fit(ENERGIES, alpha)
    assert fit.defined
    assert fit.gap <= fit.window[0]
    # Either stretch is a straight edge; what may not happen is a line across the kink.
    assert min(abs(fit.gap - 2.0), abs(fit.gap - 2.58)) < 0.03


def test_a_strong_transition_above_a_weak_edge_is_not_the_gap():
    """A forbidden edge at 2 eV and an allowed one at 2.45: the straight part is the second's."""
    weak = 3e8 * np.clip(ENERGIES - 2.0, 0.0, None) ** 3
    strong = 1e11 * np.clip(ENERGIES - 2.45, 0.0, None)
    fit = tauc_fit(ENERGIES, np.sqrt(weak + strong) / np.maximum(ENERGIES, 1e-9))
    assert not fit.defined
    assert "other transitions" in fit.reason


def test_wrong_exponent_is_no_edge_or_another_gap():
    assert tauc_fit(ENERGIES, edge(2.0, "direct"), "indirect").gap != pytest.approx(2.0, abs=0.02)


@pytest.mark.parametrize(
    ("alpha", "reason"),
    [
        (np.zeros(801), "no onset"),
        (np.full(801, 1e5), "before the first energy"),
        (np.where(ENERGIES > 7.9, 1e5, 0.0), "fewer than"),
        (np.where(ENERGIES > 2.0, 1e5 / np.maximum(ENERGIES, 1e-9), 0.0), "no stretch"),
    ],
)
def test_says_why_there_is_none(alpha, reason):
    fit = tauc_fit(ENERGIES, alpha)
    assert not fit.defined
    assert fit.gap is None
    assert fit.window is None
    assert reason in fit.reason
    assert np.isnan(fit.line(ENERGIES)).all()


def test_given_windows():
    alpha = edge(2.0, "direct")
    assert tauc_fit(ENERGIES, alpha, window=(3.0, 4.0)).window == pytest.approx((3.0, 4.0))
    falling = np.where(ENERGIES > 2.0, 1e5 * np.exp(-ENERGIES), 0.0)
    assert "does not rise" in tauc_fit(ENERGIES, falling, window=(3.0, 4.0)).reason
    with pytest.raises(ConfigurationError, match="holds 2 points"):
        tauc_fit(ENERGIES, alpha, window=(3.0, 3.01))
    with pytest.raises(ConfigurationError, match="forbidden"):
        tauc_fit(ENERGIES, alpha, "forbidden")
