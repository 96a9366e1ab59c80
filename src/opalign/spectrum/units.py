"""Constants that turn photon energies into wavelengths and absorption coefficients."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

HBAR_C = 1.973269804e-5
"""ħc in eV·cm (CODATA 2018)."""

HC = 2.0 * np.pi * HBAR_C * 1e7
"""hc in eV·nm: the energy in eV times the vacuum wavelength in nm."""

VISIBLE_RANGE = (1.65, 3.26)
"""Photon energies of visible light in eV; the wavelengths are about 750 and 380 nm."""

LOG_ABSORPTION_FLOOR = 2.0
"""log₁₀(α/cm⁻¹) at which the reference study floors its target, and everything here with it: there
is no absorption to speak of, and a prediction at or below it means none."""

Number = TypeVar("Number", float, np.ndarray)


def energy_from_wavelength(wavelength: Number) -> Number:
    """Photon energy in eV of light with this vacuum ``wavelength`` in nm."""
    return HC / wavelength


def wavelength_from_energy(energy: Number) -> Number:
    """Vacuum wavelength in nm of light with this photon ``energy`` in eV."""
    return HC / energy


def visible(energies: np.ndarray) -> np.ndarray:
    """Tell which photon ``energies`` (n,) in eV are of visible light: (n,) bool."""
    lower, upper = VISIBLE_RANGE
    return (energies >= lower) & (energies <= upper)
