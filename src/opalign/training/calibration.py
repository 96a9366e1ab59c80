"""From out-of-fold predictions to bands and error estimates, and what those are worth.

Every material has been predicted by an ensemble that saw neither it nor another of its formula. Its
errors are therefore errors on new materials, of networks trained on a little less than all. With
too few materials to set some aside for calibration alone, this is how all of them serve: as in
cross-validation+ (Barber, Candès, Ramdas and Tibshirani, Ann. Stat. 49, 486 (2021)), with one
difference. There the bands are made from the predictions of every fold's own model, and hold
without assumptions (at 1 − 2α, in practice near 1 − α); here they are put around the prediction of
one ensemble trained on everything, whose errors are taken to be no larger than those of the folds.
What can be tested is: :func:`held_out` calibrates on all folds but one and looks at that one.

Inside a calibration the local scale is fitted on other folds than those whose scores it makes
(cross-conformal prediction, Vovk, Ann. Math. Artif. Intell. 74, 9 (2015)).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opalign.errors import ConfigurationError
from opalign.model.calibration import (
    AdviceCalibration,
    BandCalibration,
    Calibration,
    ErrorCalibration,
    LevelCalibration,
    Measured,
    RegionCalibration,
    finite_or_none,
)
from opalign.spectrum.bands import (
    QUANTITIES,
    LocalScale,
    band,
    fit_scale,
    quantity_of,
    rising,
    scale_terms,
)
from opalign.spectrum.conformal import (
    conformal_quantile,
    coverage,
    evaluation_region,
    rank_correlation,
    sharpness,
)
from opalign.spectrum.levels import advice_class, rungs
from opalign.training.out_of_fold import OutOfFold

Array = NDArray[np.float64]

COVERAGE = 0.9
#: Strength of the ridge penalty on the weights of the error estimate, per material and standard
#: deviation of an ingredient: they shrink by a tenth where ingredients tell of different things.
RIDGE = 0.1
#: Least error, 1 − SC: below it the logarithm would be about rounding.
LEAST_ERROR = 1e-3
EXPECTED = "at least {} outside the fold that is tested"


@dataclass(frozen=True, eq=False)
class Prepared:
    """One quantity at one level, of all materials: prediction, terms of the scale, truth, region.

    ``prediction``, ``truth`` and ``inside`` are (rows, n), ``terms`` (rows, 3, n).
    """

    prediction: Array
    terms: Array
    truth: Array
    inside: NDArray[np.bool_]


def prepare(data: OutOfFold, level: str, quantity: str) -> Prepared:
    """Evaluate a quantity of predictions, members and references at one level."""
    place = data.levels.index(level)
    real, imaginary = data.real[:, :, place], data.imaginary[:, :, place]
    prediction = quantity_of(quantity, real.mean(axis=1), imaginary.mean(axis=1), data.grid)
    members = quantity_of(quantity, real, imaginary, data.grid)
    truth = quantity_of(
        quantity, data.reference_real[:, place], data.reference_imaginary[:, place], data.grid
    )
    return Prepared(
        prediction,
        scale_terms(prediction, members, data.grid),
        truth,
        evaluation_region(prediction, truth),
    )


def fit_band(
    prepared: Prepared, folds: NDArray[np.int64], rows: NDArray[np.int64], level: float = COVERAGE
) -> BandCalibration:
    """Calibrate the band of one quantity on the chosen rows."""
    rise = rising(prepared.terms)
    on_rise = _fit_region(prepared, prepared.inside & rise, folds, rows, level)
    elsewhere = prepared.inside & ~rise if on_rise is not None else prepared.inside
    rest = _fit_region(prepared, elsewhere, folds, rows, level)
    if rest is None:
        raise ConfigurationError(
            f"{len(rows)} materials are too few to calibrate for a coverage of {level:.3g}",
            expected=EXPECTED.format(_least(level)),
            cure="cross-validate on more materials",
        )
    return BandCalibration(rise=on_rise, rest=rest)


def fit_error(
    ingredients: Array, errors: Array, folds: NDArray[np.int64], level: float = COVERAGE
) -> ErrorCalibration:
    """Calibrate the expected error 1 − SC on materials with these ingredients and errors.

    Ridge regression of ln(error) with weights of at least zero, and conformal factors for both ends
    of the interval from residuals of materials that the regression had not seen.
    """
    logarithms = np.log(np.maximum(errors, LEAST_ERROR))
    residuals = np.zeros(len(errors))
    for fold in np.unique(folds):
        test, training = folds == fold, folds != fold
        training = training if training.any() else test
        model = _regress(ingredients[training], logarithms[training])
        residuals[test] = logarithms[test] - np.log(model.expected(ingredients[test]))
    tail = 1.0 - 0.5 * (1.0 - level)
    upper = _finite(conformal_quantile(list(residuals), tail), len(errors), tail)
    lower = _finite(conformal_quantile(list(-residuals), tail), len(errors), tail)
    return _regress(ingredients, logarithms).model_copy(
        update={"lower_factor": float(np.exp(-lower)), "upper_factor": float(np.exp(upper))}
    )


@dataclass(frozen=True, eq=False)
class HeldOut:
    """One level: what calibrations say of the fold that each of them left out; (rows,) each."""

    coverage: Array
    sharpness: Array
    lower: Array
    upper: Array
    """(rows, n) bounds of Im ε."""
    expected: Array
    least: Array
    largest: Array
    errors: Array

    def measured(self) -> Measured:
        """Return the summary that a checkpoint carries."""
        inside = (self.least <= self.errors) & (self.errors <= self.largest)
        return Measured(
            materials=len(self.errors),
            coverage=float(np.nanmean(self.coverage)),
            sharpness=float(np.nanmean(self.sharpness)),
            error_coverage=float(inside.mean()),
            rank_correlation=finite_or_none(rank_correlation(self.expected, self.errors)),
        )


def held_out(data: OutOfFold, level: str, prepared: Prepared, target: float = COVERAGE) -> HeldOut:
    """Calibrate on all folds but one and look at that one, for every fold."""
    place = data.levels.index(level)
    errors, shape = data.errors[:, place], prepared.truth.shape
    lower, upper = np.empty(shape), np.empty(shape)
    expected, least, largest = (np.empty(len(data)) for _ in range(3))
    for fold in np.unique(data.folds):
        test, rest = (np.flatnonzero(mask) for mask in (data.folds == fold, data.folds != fold))
        found = fit_band(prepared, data.folds, rest, target)
        lower[test], upper[test] = band(
            "epsilon_imaginary",
            prepared.prediction[test],
            found.width(prepared.terms[test], data.grid),
        )
        model = fit_error(data.ingredients[rest, place], errors[rest], data.folds[rest], target)
        expected[test] = model.expected(data.ingredients[test, place])
        least[test] = expected[test] * model.lower_factor
        largest[test] = expected[test] * model.upper_factor
    return HeldOut(
        coverage=coverage(lower, upper, prepared.truth, prepared.inside),
        sharpness=sharpness(lower, upper, prepared.truth, prepared.inside),
        lower=lower,
        upper=upper,
        expected=expected,
        least=least,
        largest=largest,
        errors=errors,
    )


def calibrate(data: OutOfFold) -> tuple[Calibration, Mapping[str, HeldOut]]:
    """Calibrate on all folds; also what that is worth, level by level.

    Raises
    ------
    ConfigurationError
        There are too few materials for bands of this coverage.
    """
    everything = np.arange(len(data))
    levels, measured = {}, {}
    for place, level in enumerate(data.levels):
        prepared = {quantity: prepare(data, level, quantity) for quantity in QUANTITIES}
        measured[level] = held_out(data, level, prepared["epsilon_imaginary"])
        levels[level] = LevelCalibration(
            bands={
                quantity: fit_band(one, data.folds, everything)
                for quantity, one in prepared.items()
            },
            error=fit_error(data.ingredients[:, place], data.errors[:, place], data.folds),
            measured=measured[level].measured(),
        )
    calibration = Calibration(
        coverage=COVERAGE,
        members=data.members,
        materials=len(data),
        folds=len(np.unique(data.folds)),
        levels=levels,
        advice=calibrate_advice(data),
    )
    return calibration, measured


def calibrate_advice(data: OutOfFold) -> AdviceCalibration | None:
    """Measure the advice that two predicted spectra of one material give; None without two."""
    pair = rungs(data.levels)
    if pair is None:
        return None
    predicted, true = data.similarity_of_levels(*pair)
    errors = np.abs(predicted - true)
    others = np.array([true[data.folds != fold].mean() for fold in data.folds])
    same = [advice_class(x) == advice_class(y) for x, y in zip(predicted, true, strict=True)]
    upper = conformal_quantile(list(errors), COVERAGE)
    return AdviceCalibration(
        cheap=pair[0],
        costly=pair[1],
        mean_absolute_error=float(errors.mean()),
        median_absolute_error=float(np.median(errors)),
        upper_absolute_error=_finite(upper, len(errors), COVERAGE),
        agreement=float(np.mean(same)),
        mean_predictor_error=float(np.abs(true - others).mean()),
    )


def _fit_region(
    prepared: Prepared,
    mask: NDArray[np.bool_],
    folds: NDArray[np.int64],
    rows: NDArray[np.int64],
    level: float,
) -> RegionCalibration | None:
    """Calibrate on the points of a mask (rows, n); None where too few materials have any."""
    rows = rows[mask[rows].any(axis=1)]
    if not len(rows):
        return None
    errors = np.abs(prepared.prediction - prepared.truth)

    def fitted(chosen: NDArray[np.int64]) -> LocalScale:
        return fit_scale(
            [prepared.terms[row][:, mask[row]] for row in chosen],
            [errors[row][mask[row]] for row in chosen],
        )

    scores = []
    for fold in np.unique(folds[rows]):
        # With one fold alone there is no other to fit the scale on.
        others = rows[folds[rows] != fold]
        scale = fitted(others if len(others) else rows)
        scores += [
            errors[row][mask[row]] / scale(prepared.terms[row][:, mask[row]])
            for row in rows[folds[rows] == fold]
        ]
    quantile = conformal_quantile(scores, level)
    if not np.isfinite(quantile):
        return None
    scale = fitted(rows)
    return RegionCalibration(
        spread=scale.spread,
        height=scale.height,
        surroundings=scale.surroundings,
        quantile=max(quantile, np.finfo(float).tiny),
    )


def _regress(ingredients: Array, logarithms: Array) -> ErrorCalibration:
    """Non-negative ridge regression on standardised ingredients, without bounds as yet."""
    from scipy.optimize import nnls

    centers, scales = ingredients.mean(axis=0), ingredients.std(axis=0)
    scales = np.where(scales > 1e-9, scales, np.inf)  # what never changes explains nothing
    rows = (ingredients - centers) / scales
    intercept = float(logarithms.mean())
    penalty = np.sqrt(RIDGE * len(rows)) * np.eye(rows.shape[1])
    found, _ = nnls(
        np.concatenate([rows, penalty]),
        np.concatenate([logarithms - intercept, np.zeros(rows.shape[1])]),
    )
    return ErrorCalibration(
        centers=tuple(centers.tolist()),
        weights=tuple((found / scales).tolist()),
        intercept=intercept,
        least=tuple(ingredients.min(axis=0).tolist()),
        lower_factor=0.0,
        upper_factor=1.0,
    )


def _least(level: float) -> int:
    """Fewest groups for which the quantile of this level is finite."""
    return int(np.ceil(level / (1.0 - level) - 1e-9))


def _finite(value: float, materials: int, level: float) -> float:
    if np.isfinite(value):
        return value
    raise ConfigurationError(
        f"{materials} materials are too few to calibrate for a coverage of {level:.3g}",
        expected=EXPECTED.format(_least(level)),
        cure="cross-validate on more materials",
    )
