"""Analytic dielectric functions: what the numerical relations are checked against.

Both tend to ε₁ = 1 − E_p²/E² at high energies, so that all sum rules hold with their E_p.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opalign.errors import ConfigurationError


@dataclass(frozen=True)
class LorentzOscillator:
    """ε = 1 + E_p²/(E₀² − E² − iΓE).

    Parameters
    ----------
    energy, width, plasma_energy
        E₀ > 0, Γ > 0 (full width at half maximum) and E_p in eV.
    """

    energy: float
    width: float
    plasma_energy: float

    def __post_init__(self) -> None:
        _require_positive(energy=self.energy, width=self.width, plasma_energy=self.plasma_energy)

    def epsilon(self, energies: np.ndarray) -> np.ndarray:
        """Return ε, complex (n,), at ``energies`` (n,) in eV."""
        energies = np.asarray(energies, dtype=float)
        denominator = self.energy**2 - energies**2 - 1j * self.width * energies
        return np.asarray(1.0 + self.plasma_energy**2 / denominator)

    @property
    def f_sum(self) -> float:
        """∫ E ε₂ dE over all energies, in eV²."""
        return 0.5 * np.pi * self.plasma_energy**2


@dataclass(frozen=True)
class TaucLorentzOscillator:
    """A Lorentz line above a gap, at which absorption sets in as (E − E_g)².

    ε₂ = A·E₀·C·(E − E_g)² / {[(E² − E₀²)² + C²E²]·E} for E > E_g, zero below; ε₁ in closed form.
    Source: G. E. Jellison and F. A. Modine, Appl. Phys. Lett. 69, 371 (1996), with the erratum
    ibid. 69, 2137 (1996).

    Parameters
    ----------
    amplitude, energy, width, gap
        A, E₀, C and E_g in eV; C < √2·E₀ and E_g > 0.
    """

    amplitude: float
    energy: float
    width: float
    gap: float

    def __post_init__(self) -> None:
        _require_positive(
            amplitude=self.amplitude, energy=self.energy, width=self.width, gap=self.gap
        )
        if self.width >= np.sqrt(2.0) * self.energy:
            raise ConfigurationError(
                f"a width of {self.width:g} eV leaves no resonance at {self.energy:g} eV",
                expected="a width below √2 times the energy",
            )

    def epsilon(self, energies: np.ndarray) -> np.ndarray:
        """Return ε, complex (n,), at ``energies`` (n,) ≥ 0 in eV."""
        energies = np.asarray(energies, dtype=float)
        return self._real(energies) + 1j * self._imaginary(energies)

    @property
    def f_sum(self) -> float:
        """∫ E ε₂ dE over all energies, in eV², by quadrature."""
        from scipy.integrate import quad

        def integrand(energy: float) -> float:
            return float(energy * self._imaginary(np.array([energy]))[0])

        middle = self.energy + self.gap + 10.0 * self.width
        lower = quad(integrand, self.gap, middle, points=[max(self.energy, self.gap)], limit=200)
        return float(lower[0] + quad(integrand, middle, np.inf)[0])

    def _imaginary(self, energies: np.ndarray) -> np.ndarray:
        above = energies > self.gap
        safe = np.where(above, energies, 1.0)
        line = (safe**2 - self.energy**2) ** 2 + (self.width * safe) ** 2
        scale = self.amplitude * self.energy * self.width
        return np.where(above, scale * (safe - self.gap) ** 2 / (line * safe), 0.0)

    def _real(self, energies: np.ndarray) -> np.ndarray:
        A, E0, C, Eg, E = self.amplitude, self.energy, self.width, self.gap, energies
        alpha = np.sqrt(4.0 * E0**2 - C**2)
        gamma_squared = E0**2 - 0.5 * C**2
        zeta = (E**2 - gamma_squared) ** 2 + 0.25 * (alpha * C) ** 2
        a_ln = (Eg**2 - E0**2) * E**2 + Eg**2 * C**2 - E0**2 * (E0**2 + 3.0 * Eg**2)
        a_atan = (E**2 - E0**2) * (E0**2 + Eg**2) + Eg**2 * C**2
        logarithm = np.log((E0**2 + Eg**2 + alpha * Eg) / (E0**2 + Eg**2 - alpha * Eg))
        angle = np.pi - np.arctan((2.0 * Eg + alpha) / C) + np.arctan((alpha - 2.0 * Eg) / C)
        turn = np.pi + 2.0 * np.arctan(2.0 * (gamma_squared - Eg**2) / (alpha * C))
        return (
            1.0
            + A * C * a_ln * logarithm / (2.0 * np.pi * zeta * alpha * E0)
            - A * a_atan * angle / (np.pi * zeta * E0)
            + 2.0 * A * E0 * Eg * (E**2 - gamma_squared) * turn / (np.pi * zeta * alpha)
            - A * E0 * C * self._logarithms(E) / (np.pi * zeta)
        )

    def _logarithms(self, E: np.ndarray) -> np.ndarray:
        """Return the article's last two terms together: finite at E = E_g and, as a limit, at 0."""
        Eg = self.gap
        scale = 0.5 * np.log((self.energy**2 - Eg**2) ** 2 + (Eg * self.width) ** 2)
        away = np.where(Eg == E, 1.0, np.abs(E - Eg))
        bracket = (
            (E - Eg) ** 2 * np.log(away) - (E + Eg) ** 2 * np.log(E + Eg) + 2.0 * E * Eg * scale
        )
        small = Eg * 1e-6 > E
        limit = Eg * (2.0 * scale - 4.0 * np.log(Eg) - 2.0)
        return np.where(small, limit, bracket / np.where(small, 1.0, E))


def _require_positive(**parameters: float) -> None:
    for name, value in parameters.items():
        if not (np.isfinite(value) and value > 0.0):
            raise ConfigurationError(
                f"an oscillator with {name} = {value} is impossible",
                expected="a positive number of eV",
            )
