"""Light on a slab, a film or a powder: reflected, transmitted and absorbed shares.

All at normal incidence (the powder: diffuse light), in air, of isotropic matter.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from opalign.errors import ConfigurationError
from opalign.spectrum.relations import reflectivity

Coherence = Literal["coherent", "incoherent"]

DEFAULT_SCATTERING = 1000.0
"""Scattering coefficient of a powder in cm⁻¹: of the order found for grains of some micrometres."""


class SlabResponse(NamedTuple):
    """Shares of the intensity, each (...), that add up to one."""

    reflectance: np.ndarray
    transmittance: np.ndarray
    absorptance: np.ndarray


def absorption_at_wavelength(
    wavelength: np.ndarray | float, extinction: np.ndarray | float
) -> np.ndarray:
    """Return α = 4πk/λ in cm⁻¹, (...), for ``wavelength`` (...) in nm."""
    return np.asarray(4.0 * np.pi * np.asarray(extinction) / np.asarray(wavelength) * 1e7)


def slab_response(
    wavelength: np.ndarray | float,
    index: np.ndarray | float,
    extinction: np.ndarray | float,
    thickness: float,
    coherence: Coherence = "incoherent",
) -> SlabResponse:
    """Return what a free-standing, plane-parallel slab does with light at normal incidence.

    ``coherent`` adds the amplitudes of all passes, with interference fringes: right for films that
    are smooth and not much thicker than the wavelength. ``incoherent`` adds their intensities, the
    fringes averaged out: right for plates, with Fresnel's R of one face and exp(−αd) per pass; it
    takes the faces to transmit 1 − R from either side, which holds for k ≪ n.
    Source: O. S. Heavens, Optical Properties of Thin Solid Films (1955), chapter 4; M. Fox, Optical
    Properties of Solids, 2nd ed. (2010), equation 1.9 and exercise 1.8.

    Parameters
    ----------
    wavelength
        In vacuum, nm, (...).
    index, extinction
        n and k there, (...).
    thickness
        In nm.

    Raises
    ------
    ConfigurationError
        If the thickness is negative or not a number, or the coherence unknown.
    """
    if not (thickness >= 0.0 and np.isfinite(thickness)):
        raise ConfigurationError(
            f"a thickness of {thickness} nm is none", expected="nanometres, zero or more"
        )
    wavelength, index, extinction = np.broadcast_arrays(
        np.asarray(wavelength, dtype=float), np.asarray(index, float), np.asarray(extinction, float)
    )
    if coherence == "coherent":
        complex_index = index + 1j * extinction
        face = (1.0 - complex_index) / (1.0 + complex_index)
        phase = np.exp(2j * np.pi * complex_index * thickness / wavelength)
        rounds = 1.0 - face**2 * phase**2
        transmitted = np.abs((1.0 - face**2) * phase / rounds) ** 2
        reflected = np.abs(face * (1.0 - phase**2) / rounds) ** 2
    elif coherence == "incoherent":
        face = reflectivity(index, extinction)
        passed = np.exp(-absorption_at_wavelength(wavelength, extinction) * thickness * 1e-7)
        rounds = 1.0 - (face * passed) ** 2
        transmitted = (1.0 - face) ** 2 * passed / rounds
        reflected = face * (1.0 + passed * transmitted)
    else:
        raise ConfigurationError(
            f"{coherence!r} is no way to add the passes", expected="'coherent' or 'incoherent'"
        )
    return SlabResponse(reflected, transmitted, 1.0 - reflected - transmitted)


def powder_reflectance(
    alpha_per_cm: np.ndarray | float, scattering: float = DEFAULT_SCATTERING
) -> np.ndarray:
    """Return the diffuse reflectance R∞ (...) of an endlessly thick powder, by Kubelka and Munk.

    (1 − R∞)²/(2R∞) = K/S with K = 2α (diffuse light goes twice as far as straight light) and S =
    ``scattering`` in cm⁻¹, one number for all wavelengths. Assumes dense, weakly absorbing grains
    without a gloss at the surface; S of a real powder follows from the size of its grains, and a
    larger S (finer grains) gives a paler colour.
    Source: P. Kubelka, F. Munk, Z. Tech. Phys. 12, 593 (1931).

    Raises
    ------
    ConfigurationError
        If the scattering coefficient is not positive.
    """
    if not (scattering > 0.0 and np.isfinite(scattering)):
        raise ConfigurationError(
            f"a scattering coefficient of {scattering} cm⁻¹ sends nothing back",
            expected="a positive number of cm⁻¹",
        )
    ratio = 2.0 * np.asarray(alpha_per_cm, dtype=float) / scattering
    # The smaller root of the quadratic equation, in the form that keeps its digits.
    return np.asarray(1.0 / (1.0 + ratio + np.sqrt(ratio * (ratio + 2.0))))
