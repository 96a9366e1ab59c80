"""What a material could give under the sun: SLME and the limit of the photocurrent.

The sunlight is AM1.5G (ASTM G173, global tilt), 280–4,000 nm, in the file that comes with pymatgen.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Literal

import numpy as np
from scipy import constants

from opalign.errors import ConfigurationError, SpectrumError
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.units import HC

DEFAULT_THICKNESS = 500.0
"""Thickness in nm of an absorber unless another is given; pymatgen's own default is 50 µm."""

DEFAULT_TEMPERATURE = 293.15
"""Of the cell in K, as in pymatgen."""

NEEDED_WINDOW = 4.0
"""eV up to which a spectrum has to reach; 0.3 % of the photons of AM1.5G above 1.1 eV lie beyond,
and α counts as constant there."""

LOWEST_GAP = HC / 4000.0
"""Gap in eV at the end of the sun's spectrum; what lies below is not counted."""

_END_OF_SUNLIGHT = 4.5


@lru_cache(maxsize=1)
def sunlight() -> tuple[np.ndarray, np.ndarray]:
    """Return wavelengths (m,) in nm and the irradiance (m,) of AM1.5G in W/(m²·nm), read-only.

    Source: ASTM G173-03, as tabulated by NREL and carried by pymatgen.
    """
    file = resources.files("pymatgen.analysis.solar").joinpath("am1.5G.dat")
    with file.open(encoding="utf-8") as stream:
        wavelength, irradiance = np.loadtxt(stream, usecols=(0, 1), skiprows=2, unpack=True)
    for values in (wavelength, irradiance):
        values.flags.writeable = False
    return wavelength, irradiance


def photon_flux() -> tuple[np.ndarray, np.ndarray]:
    """Return wavelengths (m,) in nm and photons (m,) of AM1.5G in 1/(m²·s·nm)."""
    wavelength, irradiance = sunlight()
    return wavelength, irradiance * wavelength * 1e-9 / (constants.h * constants.c)


def photocurrent_limit(gap: float) -> float:
    """Return the short-circuit current density in mA/cm² of a step absorber of this ``gap`` in eV.

    Every photon of AM1.5G above the gap gives one electron: e ∫ Φ dλ up to the gap's wavelength.
    Source: W. Shockley, H. J. Queisser, J. Appl. Phys. 32, 510 (1961), with the measured sun.

    Raises
    ------
    ConfigurationError
        If the gap lies below 0.31 eV (4,000 nm), where the tabulated sunlight ends.
    """
    _check_gaps(gap, gap)
    return _current(*_flux_above(gap))


def photocurrent(
    spectrum: OpticalSpectrum,
    thickness: float = DEFAULT_THICKNESS,
    *,
    direct_gap: float | None = None,
    passes: Literal[1, 2] = 1,
) -> float:
    """Return the photocurrent in mA/cm² of a slab that absorbs by Beer and Lambert's law.

    e ∫ Φ(λ) [1 − exp(−m α d)] dλ under AM1.5G: no reflection, every absorbed photon gives one
    electron.

    Parameters
    ----------
    spectrum
        Isotropic; reduce a tensor first.
    thickness
        d in nm.
    direct_gap
        Gap in eV below which absorption counts as none, to leave out the tail of a broadening.
    passes
        m: once through the slab, or twice with a perfect mirror behind it, as in the SLME.

    Raises
    ------
    ConfigurationError
        If the thickness is not positive, or the gap below 0.31 eV.
    SpectrumError
        If the spectrum is a tensor or ends below 4 eV.
    """
    _check_thickness(thickness)
    if direct_gap is not None:
        _check_gaps(direct_gap, direct_gap)
    energies, alpha = _absorption(spectrum)
    wavelength, flux = photon_flux() if direct_gap is None else _flux_above(direct_gap)
    absorption = np.interp(HC / wavelength, energies, alpha)
    absorbed = -np.expm1(-passes * absorption * thickness * 1e-7)
    return _current(wavelength, flux * absorbed)


def slme(
    spectrum: OpticalSpectrum,
    direct_gap: float,
    fundamental_gap: float | None = None,
    *,
    thickness: float = DEFAULT_THICKNESS,
    temperature: float = DEFAULT_TEMPERATURE,
) -> float:
    """Return the spectroscopic limited maximum efficiency in percent, by pymatgen's ``slme``.

    Light crosses the slab twice (1 − exp(−2αd)); the share of radiative recombination is
    exp(−(direct gap − fundamental gap)/kT). Absorption below the direct allowed gap is left out.
    Source: L. Yu, A. Zunger, Phys. Rev. Lett. 108, 068701 (2012); K. Choudhary et al., Chem. Mater.
    31, 5900 (2019).

    Parameters
    ----------
    spectrum
        Isotropic; reduce a tensor first.
    direct_gap
        Lowest direct allowed gap in eV.
    fundamental_gap
        Lowest gap in eV, direct or not; by default the direct one.
    thickness
        Of the absorber in nm: 500 by default, where pymatgen's own default is 50 µm.
    temperature
        Of the cell in K.

    Raises
    ------
    ConfigurationError
        If a gap lies below 0.31 eV (where the tabulated sunlight ends), the fundamental gap above
        the direct one, or thickness or temperature is not positive.
    SpectrumError
        If the spectrum is a tensor or ends below 4 eV.
    """
    fundamental_gap = direct_gap if fundamental_gap is None else fundamental_gap
    _check_gaps(direct_gap, fundamental_gap)
    _check_thickness(thickness)
    if not temperature > 0.0:
        raise ConfigurationError(
            f"a cell at {temperature} K gives no current", expected="a temperature above 0 K"
        )
    energies, alpha = _absorption(spectrum)
    if energies[-1] < _END_OF_SUNLIGHT:
        # pymatgen would take the absorption at the lowest energy for what lies above the highest.
        energies = np.append(energies, _END_OF_SUNLIGHT)
        alpha = np.append(alpha, alpha[-1])
    from pymatgen.analysis.solar.slme import slme as reference

    return float(
        reference(
            energies,
            alpha,
            direct_gap,
            fundamental_gap,
            thickness=thickness * 1e-9,
            temperature=temperature,
            absorbance_in_inverse_centimeters=True,
        )
    )


def _flux_above(gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths in nm up to that of the gap, which ends them, and the photons there."""
    wavelength, flux = photon_flux()
    edge = min(HC / gap, wavelength[-1])
    nodes = np.append(wavelength[wavelength < edge], edge)
    return nodes, np.interp(nodes, wavelength, flux)


def _current(wavelength: np.ndarray, flux: np.ndarray) -> float:
    # A/m² are tenths of mA/cm².
    return float(0.1 * constants.e * np.trapezoid(flux, wavelength))


def _absorption(spectrum: OpticalSpectrum) -> tuple[np.ndarray, np.ndarray]:
    if spectrum.grid.stop < NEEDED_WINDOW:
        raise SpectrumError(
            f"the spectrum ends at {spectrum.grid.stop:g} eV, within the sun's",
            where=spectrum.material_id,
            expected=f"absorption up to {NEEDED_WINDOW:g} eV at least",
        )
    return spectrum.energies, spectrum.absorption_coefficient


def _check_gaps(direct: float, fundamental: float) -> None:
    if not fundamental >= LOWEST_GAP:
        raise ConfigurationError(
            f"a gap of {fundamental} eV lies beyond the tabulated sunlight",
            expected=f"at least {LOWEST_GAP:.2f} eV (4,000 nm)",
        )
    if direct < fundamental:
        raise ConfigurationError(
            f"the direct gap, {direct:g} eV, lies below the fundamental one, {fundamental:g} eV",
            expected="the fundamental gap to be the smallest of all",
            cure="check which is which; leave the fundamental gap out where the gap is direct",
        )


def _check_thickness(thickness: float) -> None:
    if not (thickness > 0.0 and np.isfinite(thickness)):
        raise ConfigurationError(
            f"a thickness of {thickness} nm is none", expected="a positive number of nanometres"
        )
