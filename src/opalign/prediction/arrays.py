"""What a network gives for a batch as plain arrays: the way of :mod:`output` for many at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opalign.model.config import ModelConfig, VectorHeadConfig
from opalign.prediction.output import DECIMALS, require_spectra
from opalign.spectrum.absorption import epsilon_from_absorption
from opalign.spectrum.kramers_kronig import real_from_imaginary
from opalign.spectrum.units import LOG_ABSORPTION_FLOOR

if TYPE_CHECKING:
    from torch import Tensor

Rows = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BatchArrays:
    """Isotropic spectra of B structures at one level; rows that are not finite are zero."""

    epsilon_real: Rows
    """(B, n)"""
    epsilon_imaginary: Rows
    """(B, n)"""
    features: Rows
    """(B, D) pooled features of the network"""
    band_gap: Rows | None
    """(B,) eV; None for a model that predicts no gap"""
    finite: NDArray[np.bool_]
    """(B,) whether all numbers of a row are finite"""


def batch_arrays(
    config: ModelConfig, output: Mapping[str, Tensor | Any], level: str
) -> BatchArrays:
    """Return the spectra of ``level`` in a batch's output, as :meth:`Predictor.run` gives it.

    The numbers are those of :func:`opalign.prediction.output.batch_spectra`, of all rows at once.

    Raises
    ------
    ConfigurationError
        The network predicts a number, not spectra.
    """
    require_spectra(config)
    place = config.levels.index(level)
    if not isinstance(config.head, VectorHeadConfig):
        real = _rounded(output["epsilon_real"][:, place])
        # Convolution may leave a zero at minus a rounding error.
        imaginary = np.maximum(_rounded(output["epsilon_imaginary"][:, place]), 0.0)
    else:
        target = _rounded(output["target"][:, place])
        real, imaginary = _from_target(config, target)
    features = _array(output["features"])
    gap = _array(output["band_gap"]) if "band_gap" in output else None
    finite = np.ones(len(real), dtype=bool)
    for values in (real, imaginary, features):
        finite &= np.isfinite(values).all(axis=1)
    if gap is not None:
        finite &= np.isfinite(gap)
    keep = finite[:, None]
    return BatchArrays(
        np.where(keep, real, 0.0),
        np.where(keep, imaginary, 0.0),
        np.where(keep, features, 0.0),
        gap,
        finite,
    )


def _from_target(config: ModelConfig, target: Rows) -> tuple[Rows, Rows]:
    """ε₁ and ε₂ from a free vector, of Im ε or log₁₀ α; rows that cannot be are not finite."""
    if getattr(config.head, "target", None) == "epsilon_imaginary":
        imaginary = np.maximum(target, 0.0)
        return real_from_imaginary(imaginary, config.grid, beyond="cubic"), imaginary
    with np.errstate(over="ignore", invalid="ignore"):
        alpha = np.where(target > LOG_ABSORPTION_FLOOR, 10.0**target, 0.0)
        alpha[~np.isfinite(target) | ~np.isfinite(alpha)] = np.nan
        epsilon = epsilon_from_absorption(alpha, config.grid)
    return epsilon.real, epsilon.imag


def _rounded(values: Tensor | Any) -> Rows:
    return np.round(_array(values), DECIMALS)


def _array(values: Tensor | Any) -> Rows:
    return np.asarray(values.cpu().numpy(), dtype=np.float64)
