"""Figures of merit: per material, and their summary with medians, means and quartiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opalign.errors import ConfigurationError
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.similarity import (
    mean_absolute_error,
    mean_squared_error,
    similarity_coefficient,
)
from opalign.training.spectra import SpectraSet

LOG_ABSORPTION_WINDOW = 15.0
"""eV: where the reference study's log₁₀ α ends."""


def per_material(predicted: SpectraSet, reference: SpectraSet) -> pd.DataFrame:
    """One row a material, with its id.

    ``similarity``, ``mae``, ``mse`` of Im ε̄ over the whole window; ``log_absorption_mae``,
    ``log_absorption_mse`` of log₁₀(α/cm⁻¹) floored at 2, up to 15 eV; where they can be had,
    reference, prediction and error (prediction − reference) of ``static_dielectric``, ``onset_eV``
    (only without broadening or with a Gaussian σ ≤ 0.1 eV) and ``band_gap_eV``.

    Raises
    ------
    ConfigurationError
        The two differ in level, grid, broadening or ids.
    """
    for name in ("level", "grid", "broadening", "ids"):
        if getattr(predicted, name) != getattr(reference, name):
            raise ConfigurationError(
                f"prediction and reference differ in {name}",
                expected="spectra of the same materials on one grid, broadened alike",
                cure="bring both to one grid and broadening first",
            )
    grid = reference.grid
    frame = pd.DataFrame(
        {
            "material_id": reference.ids,
            "formula": reference.formulas,
            "level": reference.level,
            "broadening": str(reference.broadening),
            "similarity": similarity_coefficient(predicted.imaginary, reference.imaginary, grid),
            "mae": mean_absolute_error(predicted.imaginary, reference.imaginary, grid),
            "mse": mean_squared_error(predicted.imaginary, reference.imaginary, grid),
        }
    )
    window, cut = _window(grid)
    x, y = (spectra.log_absorption()[:, :cut] for spectra in (predicted, reference))
    frame["log_absorption_mae"] = mean_absolute_error(x, y, window)
    frame["log_absorption_mse"] = mean_squared_error(x, y, window)
    if predicted.real_known and reference.real_known and grid.start == 0.0:
        _compare(
            frame, "static_dielectric", predicted.static_dielectric, reference.static_dielectric
        )
        frame["static_dielectric_relative_error"] = (
            frame["static_dielectric_error"].abs() / frame["static_dielectric_reference"].abs()
        )
    if reference.has_sharp_onset:
        _compare(frame, "onset_eV", predicted.onsets, reference.onsets)
    if not np.isnan(predicted.band_gap).all() and not np.isnan(reference.band_gap).all():
        _compare(frame, "band_gap_eV", predicted.band_gap, reference.band_gap)
    return frame


def summarize(frame: pd.DataFrame) -> dict[str, Any]:
    """Summary of the rows of one level and broadening from :func:`per_material`.

    Each error with mean, median and quartiles; ``onset_eV`` and ``band_gap_eV`` with mean absolute
    error and R² as well. Figures that the rows do not have are left out.
    """
    summary: dict[str, Any] = {"materials": len(frame)}
    for name in (
        "similarity",
        "mae",
        "mse",
        "log_absorption_mae",
        "log_absorption_mse",
        "static_dielectric_relative_error",
    ):
        if name in frame:
            summary[name] = _distribution(frame[name].to_numpy())
    for name in ("static_dielectric", "onset_eV", "band_gap_eV"):
        if f"{name}_error" not in frame:
            continue
        reference, predicted = (frame[f"{name}_{w}"].to_numpy() for w in ("reference", "predicted"))
        known = ~(np.isnan(reference) | np.isnan(predicted))
        summary[name] = {
            "absolute_error": _distribution(np.abs(predicted - reference)[known]),
            "r2": coefficient_of_determination(predicted[known], reference[known]),
            "without_prediction": int((~np.isnan(reference) & np.isnan(predicted)).sum()),
        }
    if "onset_eV" not in summary:
        summary["onset_left_out"] = (
            "only without broadening or with a Gaussian of σ ≤ 0.1 eV does the onset belong to the "
            "material and not to the broadening"
        )
    return summary


def coefficient_of_determination(
    predicted: NDArray[np.float64], reference: NDArray[np.float64]
) -> float:
    """R² = 1 − Σ(y − ŷ)² / Σ(y − ȳ)²; NaN for fewer than two or all equal references."""
    if len(reference) < 2:
        return float("nan")
    spread = float(((reference - reference.mean()) ** 2).sum())
    residual = float(((reference - predicted) ** 2).sum())
    return 1.0 - residual / spread if spread > 0.0 else float("nan")


def _compare(
    frame: pd.DataFrame, name: str, predicted: NDArray[np.float64], reference: NDArray[np.float64]
) -> None:
    frame[f"{name}_reference"] = reference
    frame[f"{name}_predicted"] = predicted
    frame[f"{name}_error"] = predicted - reference


def _distribution(values: NDArray[np.float64]) -> dict[str, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return dict.fromkeys(("mean", "median", "quartile_1", "quartile_3"), float("nan"))
    lower, median, upper = np.quantile(known, (0.25, 0.5, 0.75))
    return {
        "mean": float(known.mean()),
        "median": float(median),
        "quartile_1": float(lower),
        "quartile_3": float(upper),
    }


def _window(grid: EnergyGrid) -> tuple[EnergyGrid, int]:
    """Cut the grid off at 15 eV; also its number of points."""
    cut = int((grid.values <= LOG_ABSORPTION_WINDOW + 1e-9).sum())
    if cut in (grid.num, 0, 1):
        return grid, grid.num
    return EnergyGrid(start=grid.start, stop=float(grid.values[cut - 1]), num=cut), cut
