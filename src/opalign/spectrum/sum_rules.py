"""The f-sum rule, and the oscillator that makes up for absorption above the window."""

from __future__ import annotations

import numpy as np
from scipy import constants
from scipy.optimize import minimize_scalar

from opalign.errors import ConfigurationError, SpectrumError
from opalign.spectrum.arrays import require_grid_length
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import Oscillator, real_from_imaginary, static_from_imaginary

FITTED_SHARE = 0.75
"""Share of the window to which full ε₁ is fitted; at its end the cut through ε₂ distorts ε₁."""

NEAREST = 1.02
"""Lowest fitted energy in window ends: ε₁ of a line on the very end of the window diverges there,
and a fit that sees the lower part alone would not notice."""


def f_sum(epsilon_imaginary: np.ndarray, grid: EnergyGrid) -> np.ndarray:
    """Return ∫ E ε₂ dE in eV² of spectra (..., n), by the trapezoidal rule: shape (...).

    Over all energies it is (π/2)·E_p² with the plasma energy of all electrons; over a window it
    says how many electrons have contributed so far.
    """
    require_grid_length(epsilon_imaginary, grid, "values of Im ε")
    return np.asarray(epsilon_imaginary) @ (grid.weights * grid.values)


def plasma_energy(electron_density: float) -> float:
    """Return E_p = ħ √(ρe²/(ε₀m)) in eV for a density ρ of electrons per Å³."""
    if not electron_density >= 0.0:
        raise ConfigurationError(
            f"a density of {electron_density} electrons per Å³ is impossible", expected="≥ 0"
        )
    per_cubic_metre = electron_density * 1e30
    frequency = np.sqrt(per_cubic_metre * constants.e**2 / (constants.epsilon_0 * constants.m_e))
    return float(constants.hbar * frequency / constants.e)


def fit_oscillator(
    epsilon_imaginary: np.ndarray,
    grid: EnergyGrid,
    *,
    static: float | None = None,
    epsilon_real: np.ndarray | None = None,
    energy: float | None = None,
) -> Oscillator:
    """Return the oscillator above the window that makes ε₁ from ε₂ (n,) agree with what is known.

    Parameters
    ----------
    static
        Known ε₁(0). It fixes the strength for an oscillator at ``energy`` (eV).
    epsilon_real
        Known ε₁ (n,) on the grid. Strength and, unless given, energy are fitted by least squares to
        the lower three quarters of the window.
    energy
        Energy of the oscillator in eV, above the window; by default 1.5 times its end for a
        ``static`` fit.

    Raises
    ------
    ConfigurationError
        Unless exactly one of ``static`` and ``epsilon_real`` is given, or if ``energy`` lies in the
        window.
    SpectrumError
        If ε₂ in the window alone already exceeds the known ε₁, so that no oscillator can help.
    """
    if (static is None) == (epsilon_real is None):
        raise ConfigurationError(
            "the oscillator needs one thing to be fitted to",
            expected="either the static dielectric constant or ε₁ on the grid",
        )
    if energy is not None and energy <= grid.stop:
        raise ConfigurationError(
            f"an oscillator at {energy:g} eV stands within the window",
            expected=f"an energy above {grid.stop:g} eV",
        )
    if static is not None:
        strength = static - float(static_from_imaginary(epsilon_imaginary, grid))
        return Oscillator(energy or 1.5 * grid.stop, _possible(strength))

    require_grid_length(epsilon_real, grid, "values of Re ε")
    fitted = grid.values <= grid.start + FITTED_SHARE * (grid.stop - grid.start)
    missing = (np.asarray(epsilon_real) - real_from_imaginary(epsilon_imaginary, grid))[fitted]
    energies = grid.values[fitted]

    def best_strength(position: float) -> float:
        shape = Oscillator(position, 1.0).real_part(energies)
        return float(shape @ missing / (shape @ shape))

    def residual(position: float) -> float:
        shape = Oscillator(position, 1.0).real_part(energies)
        return float(np.sum((best_strength(position) * shape - missing) ** 2))

    if energy is None:
        bounds = (NEAREST * grid.stop, 20.0 * grid.stop)
        energy = float(minimize_scalar(residual, bounds=bounds, method="bounded").x)
    return Oscillator(energy, _possible(best_strength(energy)))


def oscillator_strengths(epsilon: np.ndarray, grid: EnergyGrid, energy: float) -> np.ndarray:
    """Strengths, () or (3, 3), of oscillators at ``energy`` that complete ε, (n,) or (n, 3, 3).

    Fitted by least squares as :func:`fit_oscillator` does, each component on its own; components
    off the diagonal may be negative.
    """
    missing = epsilon.real - _window_real(epsilon.imag, grid)
    fitted = grid.values <= grid.start + FITTED_SHARE * (grid.stop - grid.start)
    shape = Oscillator(energy, 1.0).real_part(grid.values[fitted])
    return np.tensordot(shape, missing[fitted], axes=(0, 0)) / (shape @ shape)


def _window_real(imaginary: np.ndarray, grid: EnergyGrid) -> np.ndarray:
    real = np.moveaxis(real_from_imaginary(np.moveaxis(imaginary, 0, -1), grid), -1, 0)
    # ε₁ of vacuum is the unit tensor, not a tensor of ones.
    return real - 1.0 + np.eye(3) if imaginary.ndim == 3 else real


def _possible(strength: float) -> float:
    # What a rounding error takes away is no contradiction.
    if strength < -1e-9:
        raise SpectrumError(
            f"ε₂ in the window gives an ε₁ that is already {-strength:.4g} too high",
            expected="a known ε₁ above what the window alone gives",
            cure="check that both are of the same level of theory and broadening",
        )
    return max(strength, 0.0)
