import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from opalign.errors import SpectrumError
from opalign.spectrum.bands import (
    LOCAL_WIDTH,
    QUANTITIES,
    LocalScale,
    _smoothed,
    band,
    fit_scale,
    quantity_of,
    rising,
    scale_terms,
)
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum

GRID = EnergyGrid(0.0, 20.0, 201)
E = GRID.values
spectra = arrays(np.float64, (3, 51), elements=st.floats(0, 50, width=32))
weights = st.floats(0, 10)


def lorentz(center):
    return 1 + 2 * center**2 / (center**2 - E**2 - 0.8j * E)


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_quantities_are_those_of_a_spectrum(quantity):
    epsilon = lorentz(7.0)
    found = quantity_of(quantity, epsilon.real, epsilon.imag, GRID)
    expected = getattr(OpticalSpectrum(GRID, epsilon, "rpa"), quantity)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_what_has_no_bands():
    with pytest.raises(SpectrumError, match="no bands of 'colour'"):
        quantity_of("colour", E, E, GRID)


@given(spectra, weights, weights, st.floats(1e-3, 10), st.floats(0, 1e3))
def test_a_band_holds_its_prediction_and_no_negative_absorption(each, a, b, c, quantile):
    grid = EnergyGrid(0.0, 5.0, 51)
    prediction = each.mean(axis=0)
    scale = LocalScale(a, b, c)(scale_terms(prediction, each, grid))
    assert (scale >= 0.0).all()
    lower, upper = band("epsilon_imaginary", prediction, quantile * scale)
    assert (lower >= 0.0).all()
    assert (lower <= prediction).all()
    assert (prediction <= upper).all()


def test_members_that_agree_have_no_spread():
    each = np.tile(lorentz(7.0).imag, (3, 1))
    spread, height, surroundings = scale_terms(each[0], each, GRID)
    np.testing.assert_allclose(spread, 0.0, atol=1e-12)
    assert (surroundings > 0.0).all()
    # Wider than local: more far from the peak, less on it.
    top = height.argmax()
    assert surroundings[top] < height[top]
    assert (surroundings > height)[E < 3.0].all()


def test_spread_is_the_standard_deviation_of_the_members():
    # Constant in energy, so that the local average changes nothing.
    each = np.array([1.0, 2.0, 6.0])[:, None] * np.ones(GRID.num)
    spread, height, _ = scale_terms(each.mean(axis=0), each, GRID)
    np.testing.assert_allclose(spread, np.std([1, 2, 6], ddof=1))
    np.testing.assert_allclose(height, 3.0)


def test_the_scale_reaches_beside_a_peak():
    peak = np.exp(-0.5 * ((E - 10.0) / 0.05) ** 2)
    _, height, _ = scale_terms(peak, peak[None], GRID)
    aside = np.argmin(np.abs(E - 10.0 - LOCAL_WIDTH))
    assert height[aside] > 0.1 * height.max()
    assert height[np.argmin(np.abs(E - 14.0))] < 1e-3 * height.max()


def test_planted_weights_are_found():
    random = np.random.default_rng(0)
    planted = LocalScale(0.7, 0.2, 0.05)
    terms = []
    for _ in range(60):
        term = random.uniform(0.0, 1.0, (3, 400))
        term[2] = term[1].max()
        terms.append(term * random.uniform(0.1, 10.0))
    # Exponential errors have their scale as their mean.
    errors = [planted(term) * random.exponential(size=400) for term in terms]
    found = fit_scale(terms, errors)
    assert found.spread == pytest.approx(0.7, abs=0.03)
    assert found.height == pytest.approx(0.2, abs=0.03)
    assert found.surroundings == pytest.approx(0.05, abs=0.03)


def test_weights_are_never_negative_nor_the_scale_zero():
    term = np.stack([np.linspace(1, 0, 50), np.linspace(0, 1, 50), np.ones(50)])
    found = fit_scale([term] * 3, [np.linspace(0, 1, 50)] * 3)
    assert min(found.spread, found.height) >= 0.0
    assert found.surroundings > 0.0


def test_every_material_counts_alike():
    """A strong absorber does not decide the weights for a weak one."""
    term = np.stack([np.zeros(50), np.linspace(0.5, 1.0, 50), np.ones(50)])
    weak, strong = [term] * 9, [1000.0 * term]
    errors = [0.1 * term[1]] * 9 + [0.9 * 1000.0 * term[1]]
    found = fit_scale(weak + strong, errors)
    assert found.height + found.surroundings == pytest.approx(0.18, abs=0.02)


def test_the_rise_ends_at_half_of_the_highest_peak():
    first, second = (np.exp(-0.5 * ((E - center) / 0.7) ** 2) for center in (5.0, 12.0))
    weak, strong = 0.3 * first + second, 0.8 * first + second
    for values, center in ((weak, 12.0), (strong, 5.0)):
        mask = rising(scale_terms(values, values[None], GRID))
        end = E[np.flatnonzero(mask)[-1]]
        assert center - 2.0 < end < center
        assert mask[end >= E].all()
        assert not mask[end < E].any()


@pytest.mark.parametrize("sigma", [0.3, 4.0, 40.0])
def test_smoothing_is_that_of_scipy(sigma):
    from scipy.ndimage import gaussian_filter1d

    values = np.random.default_rng(0).random((2, 3, 50))
    expected = gaussian_filter1d(values, sigma, axis=-1, mode="nearest")
    np.testing.assert_allclose(_smoothed(values, sigma), expected, rtol=1e-12)
