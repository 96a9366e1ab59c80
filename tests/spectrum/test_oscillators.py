"""Analytic oscillators against quadrature; the numerical relations against them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from opalign.errors import ConfigurationError
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import (
    Oscillator,
    imaginary_from_real,
    inverse_kramers_kronig_matrix,
    real_from_imaginary,
)
from opalign.spectrum.oscillators import LorentzOscillator, TaucLorentzOscillator
from opalign.spectrum.sum_rules import f_sum

GRID = EnergyGrid(0.0, 20.0, 2001)
MODELS = [
    LorentzOscillator(4.0, 0.5, 8.0),
    LorentzOscillator(7.0, 1.5, 12.0),
    TaucLorentzOscillator(100.0, 4.5, 2.0, 1.5),
    TaucLorentzOscillator(40.0, 6.0, 1.0, 3.2),
]


def imaginary(model, energy):
    return float(model.epsilon(np.array([energy])).imag[0])


@settings(deadline=None, max_examples=20)
@given(
    energy=st.floats(2.0, 8.0),
    width=st.floats(0.3, 2.0),
    gap=st.floats(0.5, 4.0),
    place=st.floats(0.5, 15.0),
)
def test_tauc_lorentz_closed_form_is_its_principal_value(energy, width, gap, place):
    """Jellison and Modine's ε₁ against the principal value by Cauchy quadrature."""
    model = TaucLorentzOscillator(50.0, energy, width, gap)

    def numerator(x):
        return x * imaginary(model, x) / (x + place)

    top, far = 25.0, np.inf
    pole = quad(numerator, 0.1, top, weight="cauchy", wvar=place, limit=2000)[0]
    above = quad(lambda x: x * imaginary(model, x) / (x * x - place * place), top, far)[0]
    expected = 1.0 + 2.0 / np.pi * (pole + above)
    assert model.epsilon(np.array([place])).real[0] == pytest.approx(expected, abs=1e-5)


def test_tauc_lorentz_at_its_gap_and_at_zero():
    model = TaucLorentzOscillator(100.0, 4.5, 2.0, 1.5)
    around = model.epsilon(np.array([1.5 - 1e-6, 1.5, 1.5 + 1e-6])).real
    np.testing.assert_allclose(around, around[1], atol=1e-4)
    static = quad(lambda x: imaginary(model, x) / x, 1.5, 40.0, points=[4.5], limit=500)[0]
    static += quad(lambda x: imaginary(model, x) / x, 40.0, np.inf)[0]
    np.testing.assert_allclose(
        model.epsilon(np.array([0.0, 1e-5])).real, 1.0 + 2.0 / np.pi * static, rtol=1e-9
    )


@pytest.mark.parametrize("model", MODELS)
def test_real_part_to_a_thousandth_away_from_the_end(model):
    """The window ends at 20 eV; both models decay there as E⁻³, as the continuation does."""
    epsilon = model.epsilon(GRID.values)
    error = np.abs(real_from_imaginary(epsilon.imag, GRID, beyond="cubic") - epsilon.real)
    assert error[GRID.values < 18.0].max() < 1e-3 * np.abs(epsilon.real).max()


@pytest.mark.parametrize("model", MODELS)
def test_the_way_back(model):
    epsilon = model.epsilon(GRID.values)
    error = np.abs(imaginary_from_real(epsilon.real, GRID) - epsilon.imag)
    # Nearly to the end: the continuation as E⁻² is that of the models themselves.
    assert error[GRID.values < 19.5].max() < 1e-3 * np.abs(epsilon).max()


@pytest.mark.parametrize("model", MODELS)
def test_f_sum_and_loss_sum_to_one_percent(model):
    """Over a window so wide that nothing is left: (π/2)·E_p² both."""
    grid = EnergyGrid(0.0, 2000.0, 100001)
    epsilon = model.epsilon(grid.values)
    assert f_sum(epsilon.imag, grid) == pytest.approx(model.f_sum, rel=1e-2)
    assert f_sum((-1.0 / epsilon).imag, grid) == pytest.approx(model.f_sum, rel=1e-2)


@pytest.mark.parametrize("model", MODELS)
def test_real_part_dies_off_as_free_electrons(model):
    far = np.array([5e3])
    expected = -2.0 / np.pi * model.f_sum / far**2
    np.testing.assert_allclose(model.epsilon(far).real - 1.0, expected, rtol=1e-2)


def test_back_and_forth_with_an_oscillator_above():
    model = LorentzOscillator(6.0, 1.0, 10.0)
    above = Oscillator(30.0, 0.5)
    real = model.epsilon(GRID.values).real + above.real_part(GRID.values)
    found = imaginary_from_real(real, GRID, above)
    np.testing.assert_allclose(
        found[:1800], imaginary_from_real(model.epsilon(GRID.values).real, GRID)[:1800], atol=1e-9
    )


def test_way_back_on_a_window_that_starts_above_zero():
    """Below the gap ε₁ hardly changes, so a window from 1 eV sees nearly the same."""
    part = EnergyGrid(1.0, 20.0, 1901)
    model = TaucLorentzOscillator(100.0, 6.0, 2.0, 3.0)
    expected, found = (
        imaginary_from_real(model.epsilon(grid.values).real, grid) for grid in (GRID, part)
    )
    np.testing.assert_allclose(found, expected[100:], atol=0.02 * expected.max())
    np.testing.assert_allclose(found[600:], expected[700:], atol=1e-3 * expected.max())


def test_nothing_at_zero_energy_and_linear():
    real = np.random.default_rng(0).normal(size=(2, 2001))
    found = imaginary_from_real(real, GRID)
    np.testing.assert_allclose(found[:, 0], 0.0, atol=1e-12)
    mixed = imaginary_from_real(0.3 * (real[0] - 1) + 0.7 * (real[1] - 1) + 1, GRID)
    np.testing.assert_allclose(mixed, 0.3 * found[0] + 0.7 * found[1], atol=1e-10)


def test_inverse_in_torch_is_differentiable():
    grid = EnergyGrid(0.0, 5.0, 14)
    values = torch.rand(2, 14, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: imaginary_from_real(v, grid), (values,))
    oscillator = Oscillator(9.0, 0.2)
    np.testing.assert_allclose(
        imaginary_from_real(values.detach(), grid, oscillator).numpy(),
        imaginary_from_real(values.detach().numpy(), grid, oscillator),
    )


def test_inverse_matrix_is_cached_and_read_only():
    matrix = inverse_kramers_kronig_matrix(GRID)
    assert inverse_kramers_kronig_matrix(EnergyGrid(0.0, 20.0, 2001)) is matrix
    assert np.isfinite(matrix).all()
    assert not matrix.flags.writeable


def test_impossible_parameters():
    with pytest.raises(ConfigurationError, match="width = 0"):
        LorentzOscillator(4.0, 0.0, 8.0)
    with pytest.raises(ConfigurationError, match="leaves no resonance"):
        TaucLorentzOscillator(100.0, 4.0, 6.0, 1.0)
