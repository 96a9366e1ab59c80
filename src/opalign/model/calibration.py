"""``calibration.json``: what turns a model's spread into bands and an expected error.

Fitted to out-of-fold predictions (:mod:`opalign.training.calibration`) and applied to new ones
(:mod:`opalign.prediction.uncertainty`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from opalign.errors import CheckpointError
from opalign.model.familiarity import INGREDIENTS
from opalign.spectrum.bands import QUANTITIES, LocalScale, passage, rising
from opalign.spectrum.grid import EnergyGrid

Array = NDArray[np.float64]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RegionCalibration(_Frozen):
    """Half a band's width, quantile · s(E), s as :class:`~opalign.spectrum.bands.LocalScale`."""

    spread: float = Field(ge=0.0)
    height: float = Field(ge=0.0)
    surroundings: float = Field(gt=0.0)
    quantile: float = Field(gt=0.0)

    def width(self, terms: Array) -> Array:
        """Evaluate for the terms of :mod:`opalign.spectrum.bands`, (..., 3, n) → (..., n)."""
        return self.quantile * LocalScale(self.spread, self.height, self.surroundings)(terms)


class BandCalibration(_Frozen):
    """Bands of one quantity, on the rise to the first strong absorption and everywhere else."""

    rise: RegionCalibration | None = None
    """None where too few materials have such a rise: :attr:`rest` is then for all energies."""
    rest: RegionCalibration

    def width(self, terms: Array, grid: EnergyGrid) -> Array:
        """Return half the width of the band, (..., 3, n) → (..., n)."""
        width = self.rest.width(terms)
        if self.rise is None:
            return width
        weight = passage(rising(terms), grid)
        return weight * self.rise.width(terms) + (1.0 - weight) * width


class ErrorCalibration(_Frozen):
    """Expected error 1 − SC of Im ε, and the factors that bound it.

    ln(expected) = intercept + Σ weight · (ingredient − center), with weights of at least zero: no
    ingredient can make a prediction look better by growing.
    """

    ingredients: tuple[str, ...] = INGREDIENTS
    centers: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    least: tuple[float, ...] | None = None
    """Least value of each ingredient among the materials of the calibration: nothing is expected to
    be better known than the best known of those. None where that was not recorded."""
    lower_factor: float = Field(ge=0.0)
    upper_factor: float = Field(gt=0.0)

    @model_validator(mode="after")
    def _ingredients_are_known(self) -> ErrorCalibration:
        if self.ingredients != INGREDIENTS:
            raise ValueError(f"ingredients must be {', '.join(INGREDIENTS)}")
        if not len(self.centers) == len(self.weights) == len(INGREDIENTS):
            raise ValueError(f"there must be {len(INGREDIENTS)} centers and weights")
        if self.least is not None and len(self.least) != len(INGREDIENTS):
            raise ValueError(f"there must be {len(INGREDIENTS)} least ingredients")
        if min(self.weights) < 0.0:
            raise ValueError("weights must not be negative")
        return self

    def expected(self, ingredients: ArrayLike) -> Array:
        """Return the expected error of materials with these ingredients, (B, 5) → (B,)."""
        found = np.asarray(ingredients, dtype=np.float64)
        if self.least is not None:
            found = np.maximum(found, np.array(self.least))
        rows = found - np.array(self.centers)
        return np.asarray(np.exp(np.clip(self.intercept + rows @ np.array(self.weights), -20, 20)))


class Measured(_Frozen):
    """What the bands of a level were worth on folds that they were not calibrated on."""

    materials: int = Field(ge=1)
    coverage: float = Field(ge=0.0, le=1.0)
    """Mean over materials of the share of their energies inside the band of Im ε."""
    sharpness: float = Field(ge=0.0)
    """Mean over materials of mean width over mean height of the reference."""
    error_coverage: float = Field(ge=0.0, le=1.0)
    """Share of materials whose error is inside its interval."""
    rank_correlation: float | None = Field(None, ge=-1.0, le=1.0)
    """Spearman's, of expected and true error; None where it is not defined."""


class LevelCalibration(_Frozen):
    """Everything about one level of theory."""

    bands: dict[str, BandCalibration]
    error: ErrorCalibration
    measured: Measured

    @model_validator(mode="after")
    def _quantities_are_known(self) -> LevelCalibration:
        unknown = set(self.bands) - set(QUANTITIES)
        if unknown or "epsilon_imaginary" not in self.bands:
            raise ValueError(f"bands must be of {', '.join(QUANTITIES)}, the first one always")
        return self


class AdviceCalibration(_Frozen):
    """How well SC[costly; cheap] of the two predicted spectra matches that of the true ones."""

    cheap: str
    costly: str
    mean_absolute_error: float = Field(ge=0.0)
    median_absolute_error: float = Field(ge=0.0)
    upper_absolute_error: float = Field(ge=0.0)
    """Conformal: 90 % of new materials have a smaller one."""
    agreement: float = Field(ge=0.0, le=1.0)
    """Share of materials that get the advice that their true SC would give."""
    mean_predictor_error: float = Field(ge=0.0)
    """Mean absolute error of taking the mean SC of the other folds for every material."""


class Calibration(_Frozen):
    """Content of ``calibration.json``."""

    version: Literal[1] = 1
    coverage: float = Field(0.9, gt=0.0, lt=1.0)
    members: int = Field(ge=1)
    """Networks of the ensembles whose out-of-fold predictions were used."""
    materials: int = Field(ge=1)
    folds: int = Field(ge=2)
    levels: dict[str, LevelCalibration] = Field(min_length=1)
    advice: AdviceCalibration | None = None


def read_calibration(path: Path, levels: Sequence[str]) -> Calibration:
    """Read and validate a calibration of a model of these ``levels``.

    Raises
    ------
    CheckpointError
        If the file is none, or calibrates other levels.
    """
    try:
        calibration = Calibration.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        raise CheckpointError(
            f"the calibration does not validate: {_first(error)}",
            where=str(path),
            cure="copy the file again, or calibrate anew with `opalign crossvalidate --calibrate`",
        ) from error
    if set(calibration.levels) != set(levels):
        raise CheckpointError(
            f"the calibration is of levels {', '.join(calibration.levels)}",
            where=str(path),
            expected=", ".join(levels),
            cure="take the calibration of this model's own cross-validation",
        )
    return calibration


def finite_or_none(value: float) -> float | None:
    """Return ``value``, and None for NaN and infinity."""
    return value if math.isfinite(value) else None


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)
