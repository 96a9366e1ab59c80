"""Urbach energy: the exponential tail below the edge, where there is one.

α ∝ exp(E/E_U) below the edge comes from disorder, thermal or frozen in. A calculation for atoms at
rest has no such tail, and the tail that a Gaussian or Lorentzian broadening leaves below the gap is
the broadening's own; both are told apart here from a measured tail rather than fitted.

The rule: the tail is where α lies between 1 and 10⁴ cm⁻¹ without a gap up to the edge. Within it
the longest stretch counts on which ln α is straight (R² ≥ 0.99) and the slope of a parabola through
it changes by no more than a quarter from end to end. It has to span a decade, eight points and two
thirds of the tail's decades: some short piece of a Gaussian's tail is always straight.
Source: F. Urbach, Phys. Rev. 92, 1324 (1953).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opalign.spectrum.broadening import Broadening

LOWEST_ALPHA, HIGHEST_ALPHA = 1.0, 1e4
FEWEST_POINTS = 8
LEAST_DECADES = 1.0
LEAST_R_SQUARED = 0.99
LEAST_SHARE = 2.0 / 3.0
LARGEST_SLOPE_CHANGE = 0.25
MOST_ENDS = 25
"""Ends of stretches that are tried on fine grids."""


@dataclass(frozen=True)
class UrbachFit:
    """The exponential tail of an edge, or why there is none.

    ``energy`` is E_U in eV with its ``standard_error``; ``window`` the energies in eV that the tail
    spans and ``decades`` how far α rises there. All None where not defined; then ``reason`` says
    why.
    """

    energy: float | None = None
    standard_error: float | None = None
    window: tuple[float, float] | None = None
    decades: float | None = None
    reason: str | None = None

    @property
    def defined(self) -> bool:
        """Whether there is an exponential tail."""
        return self.energy is not None


def urbach_fit(
    energies: np.ndarray, alpha_per_cm: np.ndarray, broadening: Broadening | None = None
) -> UrbachFit:
    """Look for an exponential tail in α (n,) in cm⁻¹ at ``energies`` (n,) in eV.

    ``broadening`` is what the spectrum contains; any but none rules a tail out.
    """
    if broadening is not None and broadening.shape != "none":
        return UrbachFit(
            reason=f"not defined: the tail is that of the broadening ({broadening}), not Urbach's"
        )
    energies, alpha = np.asarray(energies, dtype=float), np.asarray(alpha_per_cm, dtype=float)
    above = alpha > HIGHEST_ALPHA
    if not above.any():
        return UrbachFit(reason=f"α stays below {HIGHEST_ALPHA:g} cm⁻¹: there is no edge")
    end = int(above.argmax())
    start = end
    while start > 0 and alpha[start - 1] >= LOWEST_ALPHA:
        start -= 1
    if end - start < FEWEST_POINTS:
        return UrbachFit(
            reason=(
                f"no tail: α falls from {HIGHEST_ALPHA:g} to below {LOWEST_ALPHA:g} cm⁻¹ within "
                f"{end - start + 1} points, as in a calculation for atoms at rest"
            )
        )
    logarithm = np.log(alpha[start:end])
    least = max(LEAST_DECADES, LEAST_SHARE * float(np.ptp(logarithm)) / np.log(10.0))
    ends = np.unique(np.linspace(start, end - 1, MOST_ENDS).round().astype(int))
    fits = [
        fit
        for first in ends
        for last in ends
        if last - first >= FEWEST_POINTS - 1
        and (
            fit := _exponential(energies[first : last + 1], np.log(alpha[first : last + 1]), least)
        )
    ]
    if not fits:
        return UrbachFit(
            reason=(
                "no tail: ln α below the edge is not straight, as in a "
                "calculation for atoms at rest"
            )
        )
    return max(fits, key=lambda fit: fit.decades or 0.0)


def _exponential(
    energies: np.ndarray, logarithm: np.ndarray, least_decades: float
) -> UrbachFit | None:
    decades = float((logarithm[-1] - logarithm[0]) / np.log(10.0))
    if decades < least_decades:
        return None
    x, y = energies - energies.mean(), logarithm - logarithm.mean()
    spread = float(x @ x)
    slope = float(x @ y) / spread
    residual = float(((y - slope * x) ** 2).sum())
    if 1.0 - residual / float(y @ y) < LEAST_R_SQUARED:
        return None
    curvature = float(np.polyfit(x, y, 2)[0])
    if abs(2.0 * curvature * (x[-1] - x[0])) > LARGEST_SLOPE_CHANGE * slope:
        return None
    error = np.sqrt(residual / (len(x) - 2) / spread)
    return UrbachFit(
        energy=1.0 / slope,
        standard_error=float(error / slope**2),
        window=(float(energies[0]), float(energies[-1])),
        decades=decades,
    )
