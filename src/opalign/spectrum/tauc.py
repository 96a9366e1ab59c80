"""Gaps by Tauc extrapolation, with the window of the fit chosen by rule and shown.

Above a direct allowed gap (αE)² rises as a straight line that meets zero at the gap, above an
indirect one (αE)^½. The rule for the window: of all windows that begin within 0.5 eV above the
onset, are 0.25 to 1 eV wide and hold at least six points, take those whose line fits with R² ≥ 0.99
and meets zero below its window, and between 0.5 eV below and 0.2 eV above the onset; of these the
widest, and of equally wide ones the one with the best R². Somewhere above every edge there is a
straight stretch, and its line meets zero too, at the threshold of some stronger transition and not
at the gap: hence the last condition. Where the rule finds nothing, the reason is returned alone.

The standard error is that of the straight line's intercept with zero; what the model's own
inadequacy adds, above all the choice of the exponent, is not in it.
Source: J. Tauc, R. Grigorovici and A. Vancu, Phys. Status Solidi 15, 627 (1966).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from opalign.errors import ConfigurationError
from opalign.spectrum.onset import ONSET_THRESHOLD, onset_energy

Transition = Literal["direct", "indirect"]

EXPONENTS: dict[Transition, float] = {"direct": 2.0, "indirect": 0.5}
LATEST_START = 0.5
NARROWEST, WIDEST = 0.25, 1.0
FEWEST_POINTS = 6
LEAST_R_SQUARED = 0.99
FARTHEST_BELOW, FARTHEST_ABOVE = 0.5, 0.2
"""eV between the gap and the onset: a weak edge reaches the threshold well above its gap."""
MOST_ENDS = 61
"""Ends of windows that are tried on fine grids: every 0.025 eV of the stretch looked at."""


@dataclass(frozen=True)
class TaucFit:
    """A straight line through (αE)^m and where it meets zero, or why there is none.

    Parameters
    ----------
    transition
        ``"direct"`` (m = 2) or ``"indirect"`` (m = ½).
    gap, standard_error
        In eV; None where not defined.
    r_squared
        Coefficient of determination within the window; None where not defined.
    window
        First and last energy of the fit in eV; None where not defined.
    slope
        Of the line, in (eV/cm)^m per eV; None where not defined.
    reason
        Why there is no gap to be had; None where there is one.
    """

    transition: Transition
    gap: float | None = None
    standard_error: float | None = None
    r_squared: float | None = None
    window: tuple[float, float] | None = None
    slope: float | None = None
    reason: str | None = None

    @property
    def defined(self) -> bool:
        """Whether there is a gap."""
        return self.gap is not None

    def line(self, energies: np.ndarray) -> np.ndarray:
        """Return the fitted line at ``energies`` (n,) in eV, to be drawn beside (αE)^m.

        NaN where the fit is not defined.
        """
        energies = np.asarray(energies, dtype=float)
        if self.gap is None or self.slope is None:
            return np.full(energies.shape, np.nan)
        return self.slope * (energies - self.gap)


def tauc_ordinate(
    energies: np.ndarray, alpha_per_cm: np.ndarray, transition: Transition
) -> np.ndarray:
    """Return (αE)^m (n,) of α (n,) in cm⁻¹; m is 2 for direct, ½ for indirect transitions."""
    return (np.asarray(alpha_per_cm) * np.asarray(energies)) ** _exponent(transition)


def tauc_fit(
    energies: np.ndarray,
    alpha_per_cm: np.ndarray,
    transition: Transition = "direct",
    *,
    window: tuple[float, float] | None = None,
    threshold: float = ONSET_THRESHOLD,
) -> TaucFit:
    """Extrapolate the edge of α (n,) in cm⁻¹ at ``energies`` (n,) in eV to its gap.

    Parameters
    ----------
    window
        First and last energy of the fit in eV; by default chosen by the rule of this module.
    threshold
        log₁₀(α/cm⁻¹) at the onset, from which windows are looked for.

    Raises
    ------
    ConfigurationError
        If the transition is unknown or a given window holds fewer than three points.
    SpectrumError
        If energies and α do not belong together.
    """
    energies = np.asarray(energies, dtype=float)
    ordinate = tauc_ordinate(energies, alpha_per_cm, transition)
    onset = onset_energy(energies, alpha_per_cm, threshold)
    if window is not None:
        inside = np.flatnonzero((energies >= window[0] - 1e-9) & (energies <= window[1] + 1e-9))
        if len(inside) < 3:
            raise ConfigurationError(
                f"the window from {window[0]:g} to {window[1]:g} eV holds {len(inside)} points",
                expected="at least three, for a line and its error",
            )
        fit = _fitted(energies, ordinate, inside[:1], inside[-1:], transition)[0]
        if fit.slope is not None and fit.slope > 0.0:
            return fit
        return TaucFit(transition, reason="(αE)^m does not rise within the given window")
    if onset is None:
        return TaucFit(transition, reason=f"log₁₀ α stays below {threshold:g}: there is no onset")
    if onset <= energies[0]:
        return TaucFit(transition, reason="absorption sets in before the first energy")
    candidates = _windows(energies, onset)
    if candidates is None:
        return TaucFit(
            transition,
            reason=f"fewer than {FEWEST_POINTS} points within {WIDEST:g} eV above the onset",
        )
    fits = _fitted(energies, ordinate, *candidates, transition)
    straight = [fit for fit in fits if _is_straight(fit)]
    if not straight:
        return TaucFit(
            transition,
            reason=f"no stretch of (αE)^m at the edge is straight to R² ≥ {LEAST_R_SQUARED:g}",
        )
    good = [
        fit
        for fit in straight
        if fit.gap is not None and -FARTHEST_BELOW <= fit.gap - onset <= FARTHEST_ABOVE
    ]
    if not good:
        nearest = min((fit.gap - onset for fit in straight if fit.gap is not None), key=abs)
        return TaucFit(
            transition,
            reason=(
                f"the nearest straight stretch of (αE)^m meets zero {abs(nearest):.2f} eV "
                f"{'above' if nearest > 0.0 else 'below'} the onset: it belongs to other "
                "transitions than the first"
            ),
        )
    return max(good, key=_merit)


def _exponent(transition: Transition) -> float:
    if transition not in EXPONENTS:
        raise ConfigurationError(
            f"transitions of kind {transition!r} are unknown", expected="'direct' or 'indirect'"
        )
    return EXPONENTS[transition]


def _windows(energies: np.ndarray, onset: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Return indices of the first and last points of all windows that the rule allows."""
    near = (energies >= onset) & (energies <= onset + LATEST_START + WIDEST + 1e-9)
    index = np.flatnonzero(near)
    if len(index) > MOST_ENDS:
        index = index[np.linspace(0, len(index) - 1, MOST_ENDS).round().astype(int)]
    first, last = np.meshgrid(index, index, indexing="ij")
    width = energies[last] - energies[first]
    allowed = (
        (energies[first] <= onset + LATEST_START)
        & (width >= NARROWEST - 1e-9)
        & (width <= WIDEST + 1e-9)
        & (last - first >= FEWEST_POINTS - 1)
    )
    return (first[allowed], last[allowed]) if allowed.any() else None


def _fitted(
    energies: np.ndarray,
    ordinate: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    transition: Transition,
) -> list[TaucFit]:
    """Fit a line to each window [first, last] by least squares."""
    fits = []
    for start, end in zip(first, last, strict=True):
        x, y = energies[start : end + 1], ordinate[start : end + 1]
        middle, height = x.mean(), y.mean()
        spread = ((x - middle) ** 2).sum()
        slope = float(((x - middle) * (y - height)).sum() / spread)
        residual = float(((y - height - slope * (x - middle)) ** 2).sum())
        total = float(((y - height) ** 2).sum())
        if slope <= 0.0 or total == 0.0:
            fits.append(TaucFit(transition))
            continue
        gap = middle - height / slope
        variance = residual / (len(x) - 2)
        # Intercept with zero by propagation: the errors of height and slope are independent.
        error = np.sqrt(variance * (1.0 / len(x) + (gap - middle) ** 2 / spread)) / slope
        fits.append(
            TaucFit(
                transition,
                gap=float(gap),
                standard_error=float(error),
                r_squared=1.0 - residual / total,
                window=(float(x[0]), float(x[-1])),
                slope=slope,
            )
        )
    return fits


def _is_straight(fit: TaucFit) -> bool:
    if fit.gap is None or fit.window is None or fit.r_squared is None:
        return False
    return 0.0 < fit.gap <= fit.window[0] and fit.r_squared >= LEAST_R_SQUARED


def _merit(fit: TaucFit) -> tuple[float, float]:
    if fit.window is None or fit.r_squared is None:
        raise ConfigurationError("a fit without a window has no merit")
    return round(fit.window[1] - fit.window[0], 6), fit.r_squared
