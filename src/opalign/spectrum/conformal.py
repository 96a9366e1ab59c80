"""Conformal prediction: from errors of the past to intervals that hold for what is like it.

Split-conformal prediction (Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World*,
2005; Lei et al., J. Am. Stat. Assoc. 113, 1094 (2018)) takes the errors on materials that were not
trained on as a sample of those to come. It assumes nothing of their distribution, only that the
new material is exchangeable with those of the calibration: drawn from the same pool.

The points of one spectrum are not independent. Materials are, and so a material is the unit: each
has the same weight however many points it has, and the one to come has a weight too, at an error
that may be anything (Lee, Barber and Willett, J. R. Stat. Soc. B (2025), arXiv:2306.06342, after
Dunn, Wasserman and Ramdas, J. Am. Stat. Assoc. 118, 2491 (2023)). What is promised is that of all
points of a new material's spectrum 90 % lie inside on average over materials; not that a whole
curve does, nor that 90 % of every single curve do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opalign.errors import SpectrumError

Array = NDArray[np.float64]

#: Share of its maximum above which a spectrum counts: below, it is easy to be right.
REGION_THRESHOLD = 0.01


def conformal_quantile(scores: Sequence[ArrayLike], coverage: float) -> float:
    """Return the score that a point of a new group stays below with probability ``coverage``.

    The quantile of Σ_k 1/(K+1) · mean over group k of δ(score) + 1/(K+1) · δ(∞) over the K groups.
    With one score a group this is the ⌈(K+1)·coverage⌉-th smallest of split-conformal prediction.

    Parameters
    ----------
    scores
        K arrays of any length from 1: the scores of each group, such as those of the energies of a
        spectrum. Finite, in any order.
    coverage
        Between 0 and 1.

    Returns
    -------
    float
        Infinite where the groups are too few for this coverage: K < coverage/(1 − coverage).

    Raises
    ------
    SpectrumError
        If there is no group, one is empty, or a score is not a finite number.
    """
    if not 0.0 < coverage < 1.0:
        raise SpectrumError(f"a coverage of {coverage}", expected="a number between 0 and 1")
    groups = [np.ravel(np.asarray(group, dtype=np.float64)) for group in scores]
    if not groups or not all(group.size for group in groups):
        raise SpectrumError("there are no scores", expected="at least one score in every group")
    values = np.concatenate(groups)
    if not np.isfinite(values).all():
        raise SpectrumError("scores are not finite numbers")
    weights = np.concatenate([np.full(group.size, 1.0 / group.size) for group in groups])
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order]) / (len(groups) + 1)
    # Sums of many equal weights end a rounding error below what they mean.
    place = int(np.searchsorted(cumulative, coverage - 1e-12))
    return float(values[order][place]) if place < values.size else float("inf")


def evaluation_region(
    prediction: ArrayLike, reference: ArrayLike, threshold: float = REGION_THRESHOLD
) -> NDArray[np.bool_]:
    """Where prediction or reference (..., n) exceeds ``threshold`` of its own maximum, (..., n).

    Below the gap both are zero, and a band of any width would be right.
    """
    inside = np.zeros(np.shape(reference), dtype=bool)
    for values in (np.abs(prediction), np.abs(reference)):
        inside |= values > threshold * values.max(axis=-1, keepdims=True)
    return inside


def coverage(
    lower: ArrayLike, upper: ArrayLike, truth: ArrayLike, inside: NDArray[np.bool_]
) -> Array:
    """Return the share of each row's points that lie in their interval, (rows,).

    All arguments are (rows, n); only points ``inside`` count. NaN for a row without any.
    """
    truth = np.asarray(truth)
    held = (np.asarray(lower) <= truth) & (truth <= np.asarray(upper)) & inside
    counts = inside.sum(axis=-1)
    return np.divide(held.sum(axis=-1), counts, out=np.full(counts.shape, np.nan), where=counts > 0)


def sharpness(
    lower: ArrayLike, upper: ArrayLike, scale: ArrayLike, inside: NDArray[np.bool_]
) -> Array:
    """Return the mean width of each row's intervals in units of its mean ``scale``, (rows,).

    All arguments are (rows, n); only points ``inside`` count. With the reference spectrum as the
    scale, 1 means a band as wide as the spectrum is high, on average.
    """
    width = np.where(inside, np.asarray(upper) - np.asarray(lower), 0.0).sum(axis=-1)
    height = np.where(inside, np.abs(scale), 0.0).sum(axis=-1)
    return np.divide(width, height, out=np.full(width.shape, np.nan), where=height > 0)


def rank_correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation; NaN for fewer than three pairs, or where one never changes."""
    from scipy.stats import spearmanr

    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(first) < 3 or np.ptp(first) == 0.0 or np.ptp(second) == 0.0:
        return float("nan")
    return float(spearmanr(first, second).statistic)
