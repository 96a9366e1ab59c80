import numpy as np
import pytest

from opalign.dataset.absorption import epsilon_from_log_absorption
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import index_from_extinction
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.units import HBAR_C


def lorentz(grid, energy=6.0, strength=3.0, width=0.8):
    e = grid.values
    epsilon = 1.0 + strength * energy**2 / (energy**2 - e**2 - 1j * width * e)
    return OpticalSpectrum(grid, epsilon, "model")


def log_alpha(spectrum):
    return np.log10(np.maximum(spectrum.absorption_coefficient, 1e-30))


def test_the_dielectric_function_of_an_oscillator_comes_back():
    # 40 eV hold all but (6/40)³ of what n owes to k: under 1 % of ε.
    grid = EnergyGrid(0.0, 40.0, 1601)
    spectrum = lorentz(grid)
    epsilon = epsilon_from_log_absorption(log_alpha(spectrum), grid)
    scale = np.abs(spectrum.epsilon).max()
    np.testing.assert_allclose(epsilon, spectrum.epsilon, atol=0.01 * scale)


def test_alpha_is_kept_and_epsilon_is_physical_where_the_grid_cuts_an_absorption_band():
    grid = EnergyGrid(0.0, 7.0, 281)
    logarithm = log_alpha(lorentz(grid))
    epsilon = epsilon_from_log_absorption(logarithm, grid)
    assert epsilon.imag.min() >= 0.0
    again = OpticalSpectrum(grid, epsilon, "model")
    # Below 1 cm⁻¹ k drowns in the rounding of √ε.
    strong = logarithm > 2.0
    assert strong.sum() > 200
    np.testing.assert_allclose(log_alpha(again)[strong], logarithm[strong], atol=1e-6)


def test_the_index_stays_above_zero_where_kramers_kronig_of_k_does_not():
    # No matter has this k: right above the strong band n would be below zero, with absorption.
    grid = EnergyGrid(0.0, 10.0, 201)
    extinction = np.where((grid.values > 3.0) & (grid.values < 4.0), 4.0, 0.1)
    extinction[0] = 0.0
    assert index_from_extinction(extinction, grid).min() < -1.0
    with np.errstate(divide="ignore"):
        logarithm = np.log10(2.0 * grid.values * extinction / HBAR_C)
    epsilon = epsilon_from_log_absorption(logarithm, grid)
    assert epsilon.imag.min() >= 0.0
    # √(−k²) is ik: k, and with it α, is kept there too.
    np.testing.assert_allclose(np.sqrt(epsilon).imag, extinction, atol=1e-9)


def test_k_goes_on_above_the_grid_as_the_third_power():
    cut, whole = EnergyGrid(0.0, 10.0, 201), EnergyGrid(0.0, 80.0, 1601)
    e = whole.values
    band = 0.5 * np.clip(e - 3.0, 0.0, 1.0)
    extinction = np.where(e > 10.0, 0.5 * (10.0 / np.maximum(e, 1.0)) ** 3, band)
    with np.errstate(divide="ignore"):
        logarithm = np.log10(2.0 * e * extinction / HBAR_C)[:201]
    index = np.sqrt(epsilon_from_log_absorption(logarithm, cut)).real
    expected = index_from_extinction(extinction, whole)[:201]
    # The wide grid leaves out what lies above 80 eV, 0.0002; the two grids differ in the step
    # where the narrow one ends: (1 − ln 2)k/π at its last point, little before.
    np.testing.assert_allclose(index[:-1], expected[:-1], atol=0.004)
    assert abs(index[-1] - expected[-1]) < 0.5 * (1 - np.log(2)) / np.pi + 0.004
    without = index_from_extinction(extinction[:201], cut)
    assert np.abs(without - expected).max() > 0.5


def test_the_floor_is_no_absorption():
    grid = EnergyGrid(0.0, 10.0, 101)
    flat = np.full((2, 101), 2.0)
    np.testing.assert_array_equal(epsilon_from_log_absorption(flat, grid, floor=2.0), 1.0)
    assert epsilon_from_log_absorption(flat, grid)[:, 1:].imag.min() > 0.0


def test_rows_are_independent():
    grid = EnergyGrid(0.0, 20.0, 201)
    both = np.stack([log_alpha(lorentz(grid, 5.0)), log_alpha(lorentz(grid, 8.0))])
    together = epsilon_from_log_absorption(both, grid)
    for row, epsilon in zip(both, together, strict=True):
        assert epsilon == pytest.approx(epsilon_from_log_absorption(row, grid), rel=1e-12)
