"""f-sum rule, plasma energy, and the oscillator fitted to what is known."""

import numpy as np
import pytest

from opalign.errors import ConfigurationError, SpectrumError
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import Oscillator, real_from_imaginary
from opalign.spectrum.sum_rules import f_sum, fit_oscillator, plasma_energy


def test_plasma_energy_of_known_metals():
    # Free-electron values in Kittel, Introduction to Solid State Physics, chapter 14, table 2.
    assert plasma_energy(2 / 78.5) == pytest.approx(5.95, abs=0.05)  # Na: 2 in (4.28 Å)³
    assert plasma_energy(12 / 66.4) == pytest.approx(15.8, abs=0.05)  # Al: 12 in (4.05 Å)³
    with pytest.raises(ConfigurationError):
        plasma_energy(-1.0)


def test_lorentz_oscillator_exhausts_its_sum(lorentz):
    """∫ E ε₂ dE = (π/2)·E_p² where S = E_p²."""
    grid = EnergyGrid(0.0, 2000.0, 80001)
    strength = plasma_energy(0.05) ** 2
    total = f_sum(lorentz(grid.values, strength=strength).imag, grid)
    # Above the window a share of (2/π)·Γ/E_end = 1.6e-4 is left.
    assert total == pytest.approx(0.5 * np.pi * strength, rel=2e-4)


def test_f_sum_runs_over_the_last_axis(grid, lorentz):
    rows = np.stack([lorentz(grid.values).imag, np.zeros(801), np.ones(801)])
    sums = f_sum(rows, grid)
    assert sums.shape == (3,)
    assert sums[1] == 0.0
    assert sums[2] == pytest.approx(200.0)
    with pytest.raises(SpectrumError):
        f_sum(rows[:, 1:], grid)


def test_oscillator_counts_in_the_sum_as_documented():
    """A line of weight (π/2)·strength·energy has the sum (π/2)·strength·energy²."""
    grid = EnergyGrid(0.0, 30.0, 3001)
    line = np.zeros(3001)
    line[2500] = 0.5 * np.pi * 0.4 * 25.0 / grid.step
    assert f_sum(line, grid) == pytest.approx(0.5 * np.pi * 0.4 * 25.0**2)
    assert real_from_imaginary(line, grid)[0] == pytest.approx(1.4, rel=1e-5)


@pytest.mark.parametrize("energy", [None, 24.0])
def test_fit_finds_the_oscillator_back(grid, lorentz, energy):
    hidden = Oscillator(24.0, 0.35)
    imaginary = lorentz(grid.values).imag
    real = real_from_imaginary(imaginary, grid, hidden)
    found = fit_oscillator(imaginary, grid, epsilon_real=real, energy=energy)
    assert found.energy == pytest.approx(24.0, rel=1e-3)
    assert found.strength == pytest.approx(0.35, rel=1e-3)


def test_fit_to_the_static_value(grid, lorentz):
    imaginary = lorentz(grid.values).imag
    oscillator = fit_oscillator(imaginary, grid, static=2.5)
    assert oscillator.energy == 30.0
    assert real_from_imaginary(imaginary, grid, oscillator)[0] == pytest.approx(2.5)


def test_fit_refuses(grid, lorentz):
    imaginary = lorentz(grid.values).imag
    with pytest.raises(ConfigurationError, match="one thing"):
        fit_oscillator(imaginary, grid)
    with pytest.raises(ConfigurationError, match="one thing"):
        fit_oscillator(imaginary, grid, static=2.0, epsilon_real=imaginary)
    with pytest.raises(ConfigurationError, match="within the window"):
        fit_oscillator(imaginary, grid, static=2.0, energy=19.0)
    with pytest.raises(SpectrumError, match="too high"):
        fit_oscillator(imaginary, grid, static=1.2)
