"""The onset energy of absorption and the strength of the edge above it.

Both need spectra that are unbroadened or broadened by a Gaussian of σ ≤ 0.1 eV: the threshold is
reached at Im ε of a few thousandths, where the tail of a broader line decides.
"""

from __future__ import annotations

import numpy as np

from opalign.errors import SpectrumError

ONSET_THRESHOLD = 2.5
"""log₁₀ of the absorption coefficient in cm⁻¹ that marks the onset."""

FLOOR_BELOW_THRESHOLD = 2.5
"""Decades below the threshold under which log₁₀ α counts as constant: 1 cm⁻¹ for 2.5."""


def onset_energies(
    energies: np.ndarray, alpha_per_cm: np.ndarray, threshold: float = ONSET_THRESHOLD
) -> np.ndarray:
    """Onset energy in eV of each row of ``alpha_per_cm`` (rows, n): (rows,), NaN where none.

    The lowest energy at which log₁₀(α/cm⁻¹) exceeds ``threshold``, interpolated linearly in log₁₀ α
    between the grid points on either side: exact on an exponential edge. An α more than 2.5 decades
    below the threshold, zero included, counts as lying 2.5 decades below, so that the onset of a
    spectrum that is zero under its gap lies between the last zero and the first value, and does
    not jump when that zero becomes a rounding error.

    A row above the threshold from its first point on has its onset there.

    Raises
    ------
    SpectrumError
        If shapes do not agree, energies do not increase, or α is not finite.
    """
    energies = np.asarray(energies, dtype=float)
    alpha = np.asarray(alpha_per_cm, dtype=float)
    _check(energies, alpha)
    if alpha.ndim != 2:
        raise SpectrumError(
            f"absorption coefficients of shape {alpha.shape} are not rows of spectra",
            expected="shape (rows, n); use onset_energy for one spectrum",
        )
    floor = threshold - FLOOR_BELOW_THRESHOLD
    logarithm = np.log10(np.maximum(alpha, 10.0**floor))
    above = logarithm > threshold
    upper = above.argmax(axis=1)
    lower = np.maximum(upper - 1, 0)
    rows = np.arange(len(alpha))
    rise = logarithm[rows, upper] - logarithm[rows, lower]
    missing = threshold - logarithm[rows, lower]
    fraction = np.where(upper > 0, missing / np.where(rise > 0.0, rise, 1.0), 0.0)
    onset = energies[lower] + fraction * (energies[upper] - energies[lower])
    return np.where(above.any(axis=1), onset, np.nan)


def onset_energy(
    energies: np.ndarray, alpha_per_cm: np.ndarray, threshold: float = ONSET_THRESHOLD
) -> float | None:
    """Onset energy in eV of one spectrum (n,), None where α never exceeds the threshold.

    See :func:`onset_energies` for the definition and the errors.
    """
    onset = onset_energies(energies, np.asarray(alpha_per_cm, dtype=float)[None], threshold)[0]
    return None if np.isnan(onset) else float(onset)


def absorption_edge_integral(
    energies: np.ndarray, alpha_per_cm: np.ndarray, onset: float | None, window: float = 1.0
) -> float:
    """∫ α dE in eV/cm from ``onset`` to ``onset + window`` (eV) of one spectrum (n,).

    α is linear between the grid points. NaN where there is no onset or where the window reaches
    beyond the energies, since a part of it would then be missing.

    Raises
    ------
    SpectrumError
        If shapes do not agree, energies do not increase, α is not finite or the window is empty.
    """
    energies = np.asarray(energies, dtype=float)
    alpha = np.asarray(alpha_per_cm, dtype=float)
    _check(energies, alpha)
    if not window > 0.0:
        raise SpectrumError(f"a window of {window} eV is empty", expected="a positive width in eV")
    if onset is None or np.isnan(onset):
        return float("nan")
    end = onset + window
    # A window may end on the last energy, up to rounding of the sum.
    if onset < energies[0] or end > energies[-1] + 1e-9 * window:
        return float("nan")
    within = (energies > onset) & (energies < end)
    x = np.concatenate(([onset], energies[within], [end]))
    return float(np.trapezoid(np.interp(x, energies, alpha), x))


def _check(energies: np.ndarray, alpha: np.ndarray) -> None:
    if energies.ndim != 1 or energies.size < 2 or alpha.shape[-1:] != energies.shape:
        raise SpectrumError(
            f"α of shape {alpha.shape} does not lie on energies of shape {energies.shape}",
            expected="the same number of points, at least two",
        )
    if not (np.diff(energies) > 0.0).all():
        raise SpectrumError("energies do not increase", expected="photon energies in rising order")
    if not np.isfinite(alpha).all():
        place = np.argwhere(~np.isfinite(alpha))[0][-1]
        raise SpectrumError(
            f"α is not a finite number at {energies[place]:g} eV",
            expected="absorption coefficients in cm⁻¹",
        )
