"""Broadening against analytic line shapes, symmetry, sums and its own bookkeeping."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from opalign.errors import SpectrumError
from opalign.spectrum.broadening import Broadening, broaden, broadening_matrix
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import real_from_imaginary
from opalign.spectrum.sum_rules import f_sum

SHAPES = ("gaussian", "lorentzian")


def gaussian(x, sigma):
    return np.exp(-0.5 * (x / sigma) ** 2) / (sigma * np.sqrt(2.0 * np.pi))


def lorentzian(x, half_width):
    return half_width / np.pi / (x**2 + half_width**2)


def test_gaussian_widths_are_sigma_and_add_in_squares(grid):
    line = gaussian(grid.values - 10.0, 0.3)
    widened = broaden(line, grid, Broadening("gaussian", 0.4), "odd")
    np.testing.assert_allclose(widened, gaussian(grid.values - 10.0, 0.5), atol=1e-12)


def test_lorentzian_widths_are_half_widths_and_add():
    grid = EnergyGrid(0.0, 50.0, 1001)
    line = lorentzian(grid.values - 25.0, 0.2)
    widened = broaden(line, grid, Broadening("lorentzian", 0.3), "even")
    near = np.abs(grid.values - 25.0) < 5.0
    # At the ends, 25 eV off, the line is 1e-4 high, and the continuation may be wrong by as much.
    np.testing.assert_allclose(widened[near], lorentzian(grid.values - 25.0, 0.5)[near], atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_line_at_one_point_takes_the_line_shape(grid, shape):
    line = np.zeros(801)
    line[400] = 1.0 / grid.step
    profile = broaden(line, grid, Broadening(shape, 0.3), "odd")
    exact = gaussian if shape == "gaussian" else lorentzian
    expected = exact(grid.values - 10.0, 0.3) - exact(grid.values + 10.0, 0.3)
    np.testing.assert_allclose(profile, expected, atol=1e-10)
    half = np.interp(10.3, grid.values, profile) / profile[400]
    assert half == pytest.approx(np.exp(-0.5) if shape == "gaussian" else 0.5, abs=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_odd_and_even_continuation_through_zero(shape):
    """On the grid from 0 the result is that on the doubled axis with the mirror image drawn out."""
    grid = EnergyGrid(0.0, 10.0, 201)
    width = 0.4
    steps = np.arange(-200, 201)
    exact = gaussian if shape == "gaussian" else lorentzian
    values = np.where(grid.values < 3.0, 1.0 + grid.values, 0.0)
    for parity, sign in (("even", 1.0), ("odd", -1.0)):
        doubled = np.concatenate([sign * values[:0:-1], values])
        doubled[200] = values[0] if parity == "even" else 0.0
        kernel = exact((steps[:, None] - steps) * grid.step, width) * grid.step
        expected = (kernel @ doubled)[200:]
        computed = broaden(values, grid, Broadening(shape, width), parity)
        np.testing.assert_allclose(computed, expected, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("width", [0.001, 0.02, 0.3, 2.0])
def test_odd_values_vanish_at_zero_and_stay_positive(grid, shape, width):
    values = np.random.default_rng(1).uniform(0.0, 5.0, 801)
    result = broaden(values, grid, Broadening(shape, width), "odd")
    assert result[0] == 0.0
    assert (result[1:] > 0.0).all()


@pytest.mark.parametrize("width", [0.005, 0.0125, 0.02, 0.1, 0.5])
def test_gaussian_keeps_the_f_sum_and_the_integral(grid, width):
    """A symmetric kernel leaves the first moment of an odd function, also below one step."""
    values = np.where((grid.values > 3.0) & (grid.values < 12.0), grid.values, 0.0)
    result = broaden(values, grid, Broadening("gaussian", width), "odd")
    assert f_sum(result, grid) == pytest.approx(f_sum(values, grid), rel=1e-9)
    assert result @ grid.weights == pytest.approx(values @ grid.weights, rel=1e-7)


@pytest.mark.parametrize("width", [0.0125, 0.02, 0.03, 0.1])
def test_gaussian_adds_its_variance_on_the_grid_even_below_one_step(grid, width):
    line = np.zeros(801)
    line[400] = 1.0
    result = broaden(line, grid, Broadening("gaussian", width), "odd")
    assert result @ (grid.values - 10.0) ** 2 == pytest.approx(width**2, rel=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("parity", ["even", "odd"])
def test_vanishing_width_changes_nothing(grid, shape, parity):
    values = np.sin(grid.values) ** 2
    result = broaden(values, grid, Broadening(shape, 1e-6), parity)
    np.testing.assert_allclose(result, values, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_constant_even_values_stay(shape):
    for grid in (EnergyGrid(0.0, 10.0, 101), EnergyGrid(1.0, 10.0, 91), EnergyGrid(1.03, 10.0, 81)):
        matrix = broadening_matrix(grid, Broadening(shape, 0.5), "even")
        np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-12)
        assert matrix.min() > -1e-15


@pytest.mark.parametrize("shape", SHAPES)
def test_upper_end_continues_as_the_inverse_cube(shape):
    """A spectrum that falls as E⁻³ is cut at 20 eV: there it comes out as if it were not cut."""
    short, long = EnergyGrid(0.0, 20.0, 801), EnergyGrid(0.0, 100.0, 4001)

    def decaying(energies):
        return np.where(energies > 5.0, (5.0 / np.maximum(energies, 1.0)) ** 3, 0.0)

    broadening = Broadening(shape, 0.3)
    expected = broaden(decaying(long.values), long, broadening, "odd")[:801]
    computed = broaden(decaying(short.values), short, broadening, "odd")
    # The Lorentzian's sum ends at four times the window.
    np.testing.assert_allclose(computed, expected, rtol=1e-5, atol=1e-9)


def test_window_that_starts_above_zero(lorentz):
    """Where ε₂ is zero below the start, starting there changes nothing."""
    whole, part = EnergyGrid(0.0, 20.0, 801), EnergyGrid(2.0, 20.0, 721)
    values = np.where(whole.values > 4.0, lorentz(whole.values).imag, 0.0)
    for shape in SHAPES:
        expected = broaden(values, whole, Broadening(shape, 0.5), "odd")[80:]
        computed = broaden(values[80:], part, Broadening(shape, 0.5), "odd")
        np.testing.assert_allclose(computed, expected, atol=1e-12)


def test_lorentzian_widens_a_lorentz_oscillator(grid, lorentz):
    """Shifting E to E + iγ: a Lorentz oscillator of width Γ gets Γ + 2γ, nearly, and ε₁ with it."""
    epsilon = lorentz(grid.values, resonance=8.0, width=0.4)
    broadening = Broadening("lorentzian", 0.1)
    exact = lorentz(grid.values + 0.1j, resonance=8.0, width=0.4)
    below = grid.values < 18.0
    scale = np.abs(exact).max()
    imaginary = broaden(epsilon.imag, grid, broadening, "odd")
    real = broaden(epsilon.real, grid, broadening, "even")
    np.testing.assert_allclose(imaginary[below], exact.imag[below], atol=1e-3 * scale)
    np.testing.assert_allclose(real[below], exact.real[below], atol=1e-3 * scale)


def test_commutes_with_kramers_kronig(grid):
    imaginary = np.where(grid.values < 12.0, gaussian(grid.values - 6.0, 0.8), 0.0)
    broadening = Broadening("gaussian", 0.3)
    first = real_from_imaginary(broaden(imaginary, grid, broadening, "odd"), grid)
    second = broaden(real_from_imaginary(imaginary, grid), grid, broadening, "even")
    below = grid.values < 17.0
    np.testing.assert_allclose(first[below], second[below], atol=2e-5)


def test_torch_does_what_numpy_does(grid):
    values = np.random.default_rng(0).uniform(size=(2, 3, 801))
    broadening = Broadening("gaussian", 0.2)
    expected = broaden(values, grid, broadening, "odd")
    assert expected.shape == values.shape
    computed = broaden(torch.tensor(values), grid, broadening, "odd")
    np.testing.assert_allclose(computed.numpy(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("parity", ["even", "odd"])
def test_gradient(parity):
    grid = EnergyGrid(0.0, 5.0, 11)
    values = torch.rand(2, 11, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda v: broaden(v, grid, Broadening("lorentzian", 0.3), parity), (values,)
    )


def test_none_returns_the_values(grid):
    values = np.ones(801)
    assert broaden(values, grid, Broadening(), "odd") is values


def test_refuses(grid):
    with pytest.raises(SpectrumError, match="parity"):
        broaden(np.ones(801), grid, Broadening(), "neither")
    with pytest.raises(SpectrumError, match="801 points"):
        broaden(np.ones(800), grid, Broadening("gaussian", 0.1), "odd")


@pytest.mark.parametrize(
    ("shape", "width"),
    [("gaussian", 0.0), ("none", 0.1), ("gaussian", -0.1), ("gaussian", np.nan), ("voigt", 0.1)],
)
def test_impossible_broadenings(shape, width):
    with pytest.raises(ValidationError):
        Broadening(shape, width)


def test_says_what_it_is():
    assert str(Broadening("gaussian", 0.1)) == "Gaussian σ = 0.1 eV"
    assert str(Broadening("lorentzian", 0.3)) == "Lorentzian HWHM = 0.3 eV"
    assert str(Broadening()) == "unbroadened"


@settings(deadline=None)
@given(
    shape=st.sampled_from(SHAPES),
    first=st.floats(1e-3, 2.0),
    second=st.floats(1e-3, 2.0),
)
def test_remaining_undoes_combined(shape, first, second):
    present, extra = Broadening(shape, first), Broadening(shape, second)
    total = present.combined(extra)
    expected = np.hypot(first, second) if shape == "gaussian" else first + second
    assert total.width == pytest.approx(expected)
    # The difference of nearly equal squares loses digits where second ≪ first.
    assert present.remaining(total).width == pytest.approx(second, rel=1e-6)


def test_remaining_knows_what_cannot_be():
    narrow, wide = Broadening("gaussian", 0.1), Broadening("gaussian", 0.3)
    assert Broadening().remaining(wide) == wide
    assert wide.remaining(wide) == Broadening()
    assert Broadening().remaining(Broadening()) == Broadening()
    for target in (narrow, Broadening()):
        with pytest.raises(SpectrumError, match="cannot be undone"):
            wide.remaining(target)
    with pytest.raises(SpectrumError, match="combine"):
        narrow.remaining(Broadening("lorentzian", 0.3))
    with pytest.raises(SpectrumError, match="combine"):
        narrow.combined(Broadening("lorentzian", 0.3))
    assert narrow.combined(Broadening()) == narrow == Broadening().combined(narrow)
