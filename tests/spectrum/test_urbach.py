"""The Urbach tail is found where it is, and not where a broadening or a bare edge is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opalign.spectrum.broadening import Broadening
from opalign.spectrum.urbach import urbach_fit

ENERGIES = np.linspace(0.0, 6.0, 601)


def with_tail(energy, gap=2.5):
    """10⁴ cm⁻¹ at the gap, exponential below, a root above."""
    return np.where(
        gap > ENERGIES,
        1e4 * np.exp((ENERGIES - gap) / energy),
        1e4 + 1e5 * np.sqrt(np.clip(ENERGIES - gap, 0.0, None)),
    )


@settings(deadline=None, max_examples=30)
@given(energy=st.floats(0.03, 0.25))
def test_finds_the_tail(energy):
    fit = urbach_fit(ENERGIES, with_tail(energy))
    assert fit.defined
    assert fit.energy == pytest.approx(energy, rel=0.01)
    assert fit.standard_error < 0.02 * energy
    assert fit.decades > 3.0
    assert fit.window[1] < 2.51


def test_noise_is_survived():
    noise = np.exp(0.05 * np.random.default_rng(2).normal(size=601))
    fit = urbach_fit(ENERGIES, with_tail(0.1) * noise)
    assert fit.energy == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("power", [0.5, 1.5, 2.0])
def test_a_bare_edge_has_none(power):
    """Power laws, as of calculations for atoms at rest, are no exponentials."""
    alpha = 2e5 * np.clip(ENERGIES - 2.503, 0.0, None) ** power
    fit = urbach_fit(ENERGIES, alpha)
    assert not fit.defined
    assert "atoms at rest" in fit.reason


def test_a_gaussian_tail_is_not_exponential_even_if_nobody_says_so():
    alpha = 1e5 * np.exp(-0.5 * ((ENERGIES - 4.0) / 0.35) ** 2)
    fit = urbach_fit(ENERGIES, alpha)
    assert not fit.defined


def test_declared_broadening_rules_it_out():
    fit = urbach_fit(ENERGIES, with_tail(0.1), Broadening("gaussian", 0.05))
    assert not fit.defined
    assert "σ = 0.05" in fit.reason


def test_no_edge_at_all():
    assert "no edge" in urbach_fit(ENERGIES, np.zeros(601)).reason
