"""The spectroscopic limited maximum efficiency of many spectra on one grid at a time.

The recipe is that of pymatgen, which :func:`opalign.spectrum.solar.slme` calls for one spectrum:
its quadrature, its cubic interpolation, its absorption below the gap left out. Only the voltage of
the greatest power is found otherwise: in closed form in place of steps of 1 mV.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import constants

from opalign.errors import SpectrumError
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.solar import (
    DEFAULT_TEMPERATURE,
    DEFAULT_THICKNESS,
    LOWEST_GAP,
    NEEDED_WINDOW,
    photon_flux,
    sunlight,
)

_END_OF_SUNLIGHT = 4.5


def slme_rows(
    grid: EnergyGrid,
    alpha_per_cm: NDArray[np.float64],
    gaps: NDArray[np.float64],
    *,
    thickness: float = DEFAULT_THICKNESS,
    temperature: float = DEFAULT_TEMPERATURE,
) -> NDArray[np.float64]:
    """Return the SLME in percent of each row, (B,), with the direct gap as the fundamental one.

    The greatest of V·[J_sc − J₀(exp(eV/kT) − 1)] lies where (1 + x)·exp(x) = J_sc/J₀ + 1 with
    x = eV/kT, so x = W(e·(J_sc/J₀ + 1)) − 1 with Lambert's W.
    Source: L. Yu, A. Zunger, Phys. Rev. Lett. 108, 068701 (2012).

    Parameters
    ----------
    alpha_per_cm
        (B, n) on ``grid``.
    gaps
        (B,) lowest direct allowed gaps in eV. NaN comes back where one lies below 0.31 eV, where
        the tabulated sunlight ends, or is not a number.
    thickness, temperature
        In nm and K.

    Raises
    ------
    SpectrumError
        If the grid ends below 4 eV.
    """
    if grid.stop < NEEDED_WINDOW:
        raise SpectrumError(
            f"the spectra end at {grid.stop:g} eV, within the sun's",
            expected=f"absorption up to {NEEDED_WINDOW:g} eV at least",
        )
    gaps = np.asarray(gaps, dtype=np.float64)
    valid = gaps >= LOWEST_GAP
    result = np.full(len(gaps), np.nan)
    if not valid.any():
        return result
    wavelength, weights, dark_weights, power = _quadrature(temperature)
    absorption = _at_wavelengths(grid, np.asarray(alpha_per_cm)[valid], wavelength)
    inside = wavelength < (1e9 * constants.h * constants.c / constants.e) / gaps[valid, None]
    # α in cm⁻¹ times nm is 1e-7; a cubic spline may overshoot below zero, as pymatgen's does.
    absorbed = np.where(inside, -np.expm1(-2e-7 * thickness * absorption), 0.0)
    light, dark = absorbed @ weights, absorbed @ dark_weights
    voltage = constants.k * temperature / constants.e
    result[valid] = 100.0 * _greatest_power(light, dark, voltage) / power
    return result


def _greatest_power(
    light: NDArray[np.float64], dark: NDArray[np.float64], thermal_voltage: float
) -> NDArray[np.float64]:
    """Greatest V·J(V) in W/m², (B,); zero where nothing is absorbed."""
    from scipy.special import lambertw

    useful = (light > 0.0) & (dark > 0.0)
    ratio = np.where(useful, light / np.where(useful, dark, 1.0), 0.0)
    x = lambertw(np.e * (ratio + 1.0)).real - 1.0
    found = x * thermal_voltage * (light - dark * np.expm1(x))
    return np.where(useful, found, 0.0)


@lru_cache(maxsize=4)
def _quadrature(
    temperature: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    """Wavelengths in nm, weights of the photocurrent and the dark current, sunlight in W/m²."""
    from scipy.integrate import simpson

    wavelength, irradiance = sunlight()
    _, flux = photon_flux()
    metres = wavelength * 1e-9
    exponent = constants.h * constants.c / (metres * constants.k * temperature)
    photons = 2.0 * constants.c / metres**4 / np.expm1(exponent)
    # Simpson's rule is linear in the values: its weights are what it makes of the unit vectors.
    unit = np.eye(len(wavelength))
    weights = simpson(unit, x=wavelength, axis=1)
    weights_in_metres = simpson(unit, x=metres, axis=1)
    return (
        wavelength,
        constants.e * flux * weights,
        constants.e * np.pi * photons * weights_in_metres,
        float(simpson(irradiance, x=wavelength)),
    )


def _at_wavelengths(
    grid: EnergyGrid, alpha: NDArray[np.float64], wavelength: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cubic spline of α (B, n) over the wavelength, at ``wavelength`` (m,): (B, m)."""
    from scipy.interpolate import interp1d

    energies = grid.values
    if energies[-1] < _END_OF_SUNLIGHT:
        energies = np.append(energies, _END_OF_SUNLIGHT)
        alpha = np.concatenate((alpha, alpha[:, -1:]), axis=1)
    # The small addition is pymatgen's: E = 0 has no wavelength.
    nodes = constants.h * constants.c / constants.e / (energies + 1e-8) * 1e9
    # What lies outside the nodes takes the values at the ends, as pymatgen has it.
    spline = interp1d(
        nodes, alpha, kind="cubic", axis=1, bounds_error=False,
        fill_value=(alpha[:, 0], alpha[:, -1]),
    )  # fmt: skip
    return np.asarray(spline(wavelength))
