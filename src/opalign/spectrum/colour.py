"""The colour of a material under daylight: in bulk, as a slab, as a powder.

Illuminant D65, CIE 1931 2° observer, through colour-science (extra ``colour``). A perfect white
has XYZ of the illuminant with Y = 1, L* = 100 and sRGB (1, 1, 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from opalign.errors import MissingExtraError, SpectrumError
from opalign.spectrum.applications import VISIBLE_WAVELENGTHS
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.relations import reflectivity
from opalign.spectrum.slab import (
    DEFAULT_SCATTERING,
    Coherence,
    absorption_at_wavelength,
    powder_reflectance,
    slab_response,
)

OBSERVER = "CIE 1931 2 Degree Standard Observer"
ILLUMINANT = "D65"

GAMUT_TOLERANCE = 1e-3
"""Of sRGB; a quarter of one of its 255 steps is rounding, not a colour that no screen shows."""


@dataclass(frozen=True)
class Colour:
    """A colour under D65 for the 2° observer."""

    xyz: tuple[float, float, float]
    """CIE 1931 tristimulus values; Y is the reflected or transmitted share of brightness, 0–1."""
    lab: tuple[float, float, float]
    """CIE 1976 L*, a*, b*."""
    srgb: tuple[float, float, float]
    """Gamma-corrected, each within 0–1."""
    clipped: bool
    """Whether the colour lies outside what sRGB can show, so that ``srgb`` is only near it."""

    @property
    def hex(self) -> str:
        """The colour as in ``#FFE29B``."""
        return "#" + "".join(f"{round(255.0 * value):02X}" for value in self.srgb)


def colour_of(wavelengths: np.ndarray, share: np.ndarray) -> Colour:
    """Return the colour of matter that sends on ``share`` (m,), 0–1, at ``wavelengths`` (m,) in nm.

    Integrated as the CIE recommends (CIE 15:2018, section 7), at steps of 1 nm.

    Raises
    ------
    MissingExtraError
        If colour-science is absent.
    SpectrumError
        If the wavelengths do not rise or do not cover 380–780 nm.
    """
    wavelengths = np.asarray(wavelengths, dtype=float)
    share = np.asarray(share, dtype=float)
    if (
        wavelengths.ndim != 1
        or wavelengths.shape != share.shape
        or not (np.diff(wavelengths) > 0.0).all()
        or wavelengths[0] > VISIBLE_WAVELENGTHS[0]
        or wavelengths[-1] < VISIBLE_WAVELENGTHS[-1]
    ):
        raise SpectrumError(
            "the colour needs the whole visible range",
            expected="a share for each of rising wavelengths that cover 380–780 nm",
        )
    colour = _colour_science()
    xyz = _weights() @ np.interp(VISIBLE_WAVELENGTHS, wavelengths, share)
    # The white of the tables in use: the rounded one of the standard would tint greys by a step.
    white = colour.XYZ_to_xy(_weights().sum(axis=1))
    lab = colour.XYZ_to_Lab(xyz, white)
    srgb = colour.XYZ_to_sRGB(xyz, white)
    inside = np.clip(srgb, 0.0, 1.0)
    return Colour(
        _triple(xyz),
        _triple(lab),
        _triple(inside),
        clipped=bool(np.abs(srgb - inside).max() > GAMUT_TOLERANCE),
    )


def specular_colour(spectrum: OpticalSpectrum) -> Colour:
    """Return the colour of the light that a thick, polished piece reflects at normal incidence.

    Only the first face counts: right for metals and other opaque matter. A clear crystal reflects
    little, and looks like what stands behind it.

    Raises
    ------
    SpectrumError
        If the spectrum is a tensor or does not cover 1.59–3.26 eV.
    """
    index, extinction = spectrum.at_wavelength(VISIBLE_WAVELENGTHS)
    return colour_of(VISIBLE_WAVELENGTHS, reflectivity(index, extinction))


def slab_colour(
    spectrum: OpticalSpectrum, thickness: float, coherence: Coherence = "incoherent"
) -> Colour:
    """Return the colour of a slab of this ``thickness`` in nm, held against daylight.

    See :func:`~opalign.spectrum.slab.slab_response` for the model, :func:`specular_colour` for the
    errors.
    """
    index, extinction = spectrum.at_wavelength(VISIBLE_WAVELENGTHS)
    response = slab_response(VISIBLE_WAVELENGTHS, index, extinction, thickness, coherence)
    return colour_of(VISIBLE_WAVELENGTHS, response.transmittance)


def powder_colour(spectrum: OpticalSpectrum, scattering: float = DEFAULT_SCATTERING) -> Colour:
    """Return the colour of a thick powder in diffuse daylight, by Kubelka and Munk.

    ``scattering`` in cm⁻¹ is that of :func:`~opalign.spectrum.slab.powder_reflectance`, which says
    what is assumed; see :func:`specular_colour` for the errors.
    """
    _, extinction = spectrum.at_wavelength(VISIBLE_WAVELENGTHS)
    alpha = absorption_at_wavelength(VISIBLE_WAVELENGTHS, extinction)
    return colour_of(VISIBLE_WAVELENGTHS, powder_reflectance(alpha, scattering))


@lru_cache(maxsize=1)
def _weights() -> np.ndarray:
    """Weights (3, 401) that turn shares at VISIBLE_WAVELENGTHS into XYZ with Y = 1 for white."""
    colour = _colour_science()
    shape = colour.SpectralShape(VISIBLE_WAVELENGTHS[0], VISIBLE_WAVELENGTHS[-1], 1.0)
    observer = colour.MSDS_CMFS[OBSERVER].copy().align(shape).values
    light = colour.SDS_ILLUMINANTS[ILLUMINANT].copy().align(shape).values
    weights = observer.T * light
    return np.asarray(weights / weights[1].sum())


def _colour_science() -> Any:
    try:
        # It sets how all of NumPy prints numbers: CSV files would lose their last digits.
        with np.printoptions():
            import colour
    except ImportError as error:
        raise MissingExtraError(
            "colours need colour-science, which is not installed",
            cure="pip install 'opalign[colour]'",
        ) from error
    return colour


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
