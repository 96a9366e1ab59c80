"""Everything about the absorption edge of one spectrum; what is not defined says why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opalign.errors import SpectrumError
from opalign.spectrum.onset import ONSET_THRESHOLD, absorption_edge_integral, onset_energy
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.tauc import TaucFit, tauc_fit
from opalign.spectrum.units import LOG_ABSORPTION_FLOOR
from opalign.spectrum.urbach import UrbachFit, urbach_fit

FEWEST_POINTS = 3


@dataclass(frozen=True)
class EdgeValue:
    """A number of the edge with its unit, or the ``reason`` why it has none."""

    value: float | None
    unit: str
    reason: str | None = None

    @property
    def defined(self) -> bool:
        """Whether there is a number."""
        return self.value is not None


@dataclass(frozen=True)
class EdgeReport:
    """The absorption edge of an isotropic spectrum or of one direction.

    Parameters
    ----------
    onset
        Lowest energy at which log₁₀(α/cm⁻¹) exceeds the threshold.
    integral
        ∫ α dE over the window above the onset.
    steepness
        Slope of log₁₀ α over the window above the onset.
    direct, indirect
        Tauc extrapolations.
    urbach
        The exponential tail.
    """

    onset: EdgeValue
    integral: EdgeValue
    steepness: EdgeValue
    direct: TaucFit
    indirect: TaucFit
    urbach: UrbachFit


def edge_report(
    spectrum: OpticalSpectrum,
    *,
    threshold: float = ONSET_THRESHOLD,
    window: float = 1.0,
    tail_removed: bool = False,
) -> EdgeReport:
    """Describe the absorption edge of ``spectrum``.

    Parameters
    ----------
    spectrum
        Isotropic, or one direction of a tensor.
    threshold
        log₁₀(α/cm⁻¹) at the onset.
    window
        Width in eV of what counts as the edge for integral and steepness.
    tail_removed
        Whether the broadening's tail below the gap has been taken away, as by a calculation with a
        line of few meV that sets ε₂ to zero there: the edge is then described in spite of a
        broadening that would forbid it.

    Raises
    ------
    SpectrumError
        If the spectrum is a tensor.
    """
    energies, alpha = spectrum.energies, spectrum.absorption_coefficient
    if not (spectrum.has_sharp_onset or tail_removed):
        reason = f"{spectrum.broadening}: the edge shows the broadening and not the material"
        return EdgeReport(
            EdgeValue(None, "eV", reason),
            EdgeValue(None, "eV/cm", reason),
            EdgeValue(None, "decades/eV", reason),
            TaucFit("direct", reason=reason),
            TaucFit("indirect", reason=reason),
            urbach_fit(energies, alpha, spectrum.broadening),
        )
    onset = onset_energy(energies, alpha, threshold)
    missing = f"log₁₀ α stays below {threshold:g}: there is no onset" if onset is None else None
    integral = absorption_edge_integral(energies, alpha, onset, window)
    beyond = None if np.isfinite(integral) else f"the spectrum ends within {window:g} eV above"
    return EdgeReport(
        EdgeValue(onset, "eV", missing),
        EdgeValue(integral if np.isfinite(integral) else None, "eV/cm", missing or beyond),
        edge_steepness(energies, alpha, onset, window),
        tauc_fit(energies, alpha, "direct", threshold=threshold),
        tauc_fit(energies, alpha, "indirect", threshold=threshold),
        urbach_fit(energies, alpha, spectrum.broadening),
    )


def edge_steepness(
    energies: np.ndarray, alpha_per_cm: np.ndarray, onset: float | None, window: float = 1.0
) -> EdgeValue:
    """Return the slope of log₁₀ α in decades per eV over ``window`` eV above ``onset``.

    A straight line by least squares through the points of α (n,) in cm⁻¹ within the window; α below
    10² cm⁻¹ counts as that.

    Raises
    ------
    SpectrumError
        If the window is empty.
    """
    unit = "decades/eV"
    if not window > 0.0:
        raise SpectrumError(f"a window of {window} eV is empty", expected="a positive width in eV")
    if onset is None:
        return EdgeValue(None, unit, "there is no onset")
    energies = np.asarray(energies, dtype=float)
    if onset <= energies[0]:
        return EdgeValue(None, unit, "absorption sets in before the first energy")
    if onset + window > energies[-1] + 1e-9:
        return EdgeValue(None, unit, f"the spectrum ends within {window:g} eV above the onset")
    inside = (energies >= onset - 1e-9) & (energies <= onset + window + 1e-9)
    if inside.sum() < FEWEST_POINTS:
        return EdgeValue(None, unit, f"fewer than {FEWEST_POINTS} points above the onset")
    logarithm = np.log10(np.maximum(np.asarray(alpha_per_cm)[inside], 10.0**LOG_ABSORPTION_FLOOR))
    return EdgeValue(float(np.polyfit(energies[inside], logarithm, 1)[0]), unit)
