"""Bands around predicted spectra, wide where the prediction is unsure and narrow where it is not.

A band is prediction ± q · s(E). The local scale s says how large errors are *there*, and q, one
number that conformal prediction gives (:mod:`opalign.spectrum.conformal`), makes it hold. This is
locally weighted conformal prediction (Lei et al., J. Am. Stat. Assoc. 113, 1094 (2018), §5.2;
conformalised quantile regression, Romano, Patterson and Candès, NeurIPS 2019, has the same idea for
quantiles). Whatever s is, the promise holds; a good s makes the bands narrow.

The rise to the first strong absorption has s and q of its own (Mondrian conformal prediction, Vovk
et al. 2005, §4.5): there the error is that of the gap, and one q for all energies would promise on
the average what it does not keep at the edge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opalign.errors import SpectrumError
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.relations import absorption_coefficient, refractive_index

Array = NDArray[np.float64]

#: Quantities that get bands, and the least value each can have. Each is calibrated by itself: a
#: band of Im ε says nothing certain of n, which hangs on Im ε at all energies.
QUANTITIES: Mapping[str, float] = {
    "epsilon_imaginary": 0.0,
    "epsilon_real": -np.inf,
    "refractive_index": 0.0,
    "absorption_coefficient": 0.0,
}

#: Names of the terms of the local scale.
TERMS = ("spread", "height", "surroundings")

#: eV, σ of the Gaussian average that "local" means: an edge or a peak predicted half an eV off, as
#: gaps are, makes errors where neither the prediction nor its spread is large.
LOCAL_WIDTH = 0.6
#: eV, of the wider average that is the surroundings: how far beside an edge another may be.
WIDE_WIDTH = 1.0
#: Share of the largest value that is added to the surroundings, so that s is nowhere zero; so
#: little that no band is to be seen deep in the gap, where none was calibrated.
FLOOR = 1e-5
#: The rise ends where the prediction, averaged locally, first exceeds this share of its maximum.
RISE = 0.5
#: eV, σ over which the band of the rise passes into that of the rest.
PASSAGE = 0.3


@dataclass(frozen=True)
class LocalScale:
    """s(E) = spread · σ(E) + height · h(E) + surroundings · w(E), with weights of at least zero.

    σ is the standard deviation over the members of an ensemble and h the size of the prediction,
    both averaged locally (root mean square, Gaussian of :data:`LOCAL_WIDTH`); w is the size of the
    prediction averaged more widely (:data:`WIDE_WIDTH`).
    """

    spread: float
    height: float
    surroundings: float

    def __call__(self, terms: Array) -> Array:
        """Evaluate for :func:`scale_terms`, (..., 3, n) → (..., n)."""
        weights = np.array([self.spread, self.height, self.surroundings])
        return np.einsum("t,...tn->...n", weights, terms)


def quantity_of(name: str, real: ArrayLike, imaginary: ArrayLike, grid: EnergyGrid) -> Array:
    """Return one of :data:`QUANTITIES` from ε = ``real`` + i ``imaginary``, (..., n)."""
    if name == "epsilon_imaginary":
        return np.asarray(imaginary, dtype=np.float64)
    if name == "epsilon_real":
        return np.asarray(real, dtype=np.float64)
    index, extinction = refractive_index(np.asarray(real), np.asarray(imaginary))
    if name == "refractive_index":
        return np.asarray(index)
    if name == "absorption_coefficient":
        return np.asarray(absorption_coefficient(extinction, grid))
    raise SpectrumError(f"there are no bands of {name!r}", expected=", ".join(QUANTITIES))


def scale_terms(prediction: ArrayLike, members: ArrayLike, grid: EnergyGrid) -> Array:
    """Return what the local scale is made of: σ(E), h(E) and w(E), (..., 3, n).

    Parameters
    ----------
    prediction
        (..., n), one quantity.
    members
        (..., K, n), the same from each member; with one member the spread is zero.
    """
    center = np.asarray(prediction, dtype=np.float64)
    each = np.asarray(members, dtype=np.float64)
    count = each.shape[-2]
    variance = ((each - center[..., None, :]) ** 2).sum(axis=-2) / max(count - 1, 1)
    spread, height = (_root(square, grid, LOCAL_WIDTH) for square in (variance, center**2))
    wide = _root(center**2, grid, WIDE_WIDTH) + FLOOR * height.max(axis=-1, keepdims=True)
    return np.stack([spread, height, wide], axis=-2)


def rising(terms: Array) -> NDArray[np.bool_]:
    """Where the prediction is on its rise to the first strong absorption, (..., 3, n) → (..., n).

    It is known from the prediction alone, as it has to be for new materials.
    """
    height = terms[..., 1, :]
    high = height > RISE * height.max(axis=-1, keepdims=True)
    return np.asarray(np.cumsum(high, axis=-1) == 0)


def passage(mask: NDArray[np.bool_], grid: EnergyGrid) -> Array:
    """Return the weight of the rise, 1 on it and 0 beyond, with a smooth passage, (..., n)."""
    return _smoothed(np.asarray(mask, dtype=np.float64), PASSAGE / grid.step)


def fit_scale(terms: Sequence[Array], errors: Sequence[Array]) -> LocalScale:
    """Fit the weights of the local scale to |error|, with weights of at least zero.

    Parameters
    ----------
    terms, errors
        One entry per material: (3, p) terms and (p,) absolute errors at its points. Every material
        counts alike: it is scaled by its own largest w.

    Notes
    -----
    Least squares of |error| estimate its mean given the terms, which is the scale of locally
    weighted conformal prediction. A little of the surroundings is always kept, so that s is nowhere
    zero.
    """
    from scipy.optimize import nnls

    rows, targets = [], []
    for term, error in zip(terms, errors, strict=True):
        size = max(float(term[2].max()), np.finfo(float).tiny)
        weight = 1.0 / (size * np.sqrt(error.size))
        rows.append(term.T * weight)
        targets.append(np.asarray(error) * weight)
    found, _ = nnls(np.concatenate(rows), np.concatenate(targets))
    spread, height, surroundings = (float(value) for value in found)
    return LocalScale(spread, height, max(surroundings, 1e-3))


def band(quantity: str, prediction: ArrayLike, width: ArrayLike) -> tuple[Array, Array]:
    """Return lower and upper bound, prediction ∓ width, not below what can be."""
    center = np.asarray(prediction, dtype=np.float64)
    return np.maximum(center - np.asarray(width), QUANTITIES[quantity]), center + np.asarray(width)


def _root(square: Array, grid: EnergyGrid, width: float) -> Array:
    return np.asarray(np.sqrt(np.maximum(_smoothed(square, width / grid.step), 0.0)))


def _smoothed(values: Array, sigma: float) -> Array:
    """Average over a Gaussian of ``sigma`` points, cut at four of them; ends go on as they are.

    What ``scipy.ndimage.gaussian_filter1d`` gives, whose import takes longer than a prediction.
    """
    return np.asarray(values @ _smoothing(values.shape[-1], sigma))


@lru_cache(maxsize=16)
def _smoothing(points: int, sigma: float) -> Array:
    reach = int(4.0 * sigma + 0.5)
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    to = np.broadcast_to(np.arange(points)[:, None], (points, steps.size))
    matrix = np.zeros((points, points))
    np.add.at(matrix, ((to + steps).clip(0, points - 1), to), weights / weights.sum())
    matrix.flags.writeable = False
    return matrix
