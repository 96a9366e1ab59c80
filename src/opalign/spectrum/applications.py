"""What optics asks of a material: n and k at a laser line, the Abbe number, a clear window pane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from opalign.errors import ConfigurationError
from opalign.spectrum.onset import ONSET_THRESHOLD
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.slab import Coherence, absorption_at_wavelength, slab_response

LINES: Mapping[str, float] = {"F": 486.1327, "d": 587.5618, "C": 656.2725}
"""Fraunhofer lines of the Abbe number: vacuum would differ from these, in air, by 0.03 %; nm."""

VISIBLE_WAVELENGTHS = np.arange(380.0, 781.0)
"""nm; the range over which the CIE recommends to integrate."""

Weighting = Literal["flat", "photopic"]


@dataclass(frozen=True)
class AbbeNumber:
    """How little a transparent material spreads colours."""

    value: float | None
    """V_d = (n_d − 1)/(n_F − n_C); None where n does not fall from the F to the C line."""
    indices: Mapping[str, float]
    """n at the lines F, d and C."""
    absorbing: tuple[str, ...]
    """Lines at which α exceeds 10^2.5 cm⁻¹, so that no lens could be made of it."""

    @property
    def note(self) -> str | None:
        """What is wrong with the number, or None."""
        if self.value is None:
            return "n does not fall from the F to the C line: anomalous dispersion, it absorbs"
        if self.absorbing:
            return f"absorbs at {', '.join(self.absorbing)}"
        return None


def abbe_number(spectrum: OpticalSpectrum) -> AbbeNumber:
    """Return V_d of an isotropic ``spectrum`` with the indices it comes from.

    Source: E. Hecht, Optics, 5th ed. (2017), section 6.3.2.

    Raises
    ------
    SpectrumError
        If a line lies outside the spectrum, or for a tensor.
    """
    wavelengths = np.array(list(LINES.values()))
    index, extinction = spectrum.at_wavelength(wavelengths)
    by_line = {line: float(value) for line, value in zip(LINES, index, strict=True)}
    alpha = absorption_at_wavelength(wavelengths, extinction)
    absorbing = tuple(
        line
        for line, strength in zip(LINES, alpha, strict=True)
        if strength > 10.0**ONSET_THRESHOLD
    )
    spread = by_line["F"] - by_line["C"]
    value = (by_line["d"] - 1.0) / spread if spread > 0.0 else None
    return AbbeNumber(value, by_line, absorbing)


def visible_transmittance(
    spectrum: OpticalSpectrum,
    thickness: float,
    *,
    weighting: Weighting = "flat",
    coherence: Coherence = "incoherent",
) -> float:
    """Return the mean share of visible light, 380–780 nm, that a slab lets through.

    The figure of a transparent conductor's host: free carriers are not in ε of an insulator, and
    their absorption and plasma edge come on top once it is doped.

    Parameters
    ----------
    spectrum
        Isotropic; reduce a tensor first.
    thickness
        In nm.
    weighting
        ``flat``: every wavelength counts the same. ``photopic``: as bright as the eye finds the
        light of D65, that is Y of the transmitted colour; needs the extra ``colour``.
    coherence
        As :func:`~opalign.spectrum.slab.slab_response` takes it.

    Raises
    ------
    SpectrumError
        If the spectrum does not cover 1.59–3.26 eV, or is a tensor.
    ConfigurationError
        If thickness, weighting or coherence is impossible.
    MissingExtraError
        If colour-science is absent and the weighting is photopic.
    """
    index, extinction = spectrum.at_wavelength(VISIBLE_WAVELENGTHS)
    transmitted = slab_response(
        VISIBLE_WAVELENGTHS, index, extinction, thickness, coherence
    ).transmittance
    if weighting == "flat":
        return float(transmitted.mean())
    if weighting == "photopic":
        from opalign.spectrum.colour import colour_of

        return colour_of(VISIBLE_WAVELENGTHS, transmitted).xyz[1]
    raise ConfigurationError(
        f"{weighting!r} is no weighting", expected="'flat' or 'photopic' (D65, CIE 1924)"
    )
