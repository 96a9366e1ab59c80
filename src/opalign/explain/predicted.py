"""What the network itself predicts for the materials of a table, beside their spectra."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from opalign.dataset.table import SpectraTable
from opalign.errors import OpalignError
from opalign.explain.targets import Array, Curve, Target
from opalign.prediction.predictor import Predictor
from opalign.spectrum.similarity import similarity_coefficient
from opalign.training.spectra import read_spectra

OUT_OF_FOLD = "out of fold"
IN_TRAINING = "by the explained model"


def predicted_target(
    predictor: Predictor,
    table: SpectraTable,
    target: Target,
    cross_validation: str | os.PathLike[str] | None = None,
    method: str | None = None,
) -> tuple[Target | None, str]:
    """Return the predicted spectra of the materials of ``target``, and where they come from.

    Those of the cross-validation where there is one, otherwise the explained model's, which may
    have been trained on these very spectra; None where the model predicts something else.
    """
    if {"imaginary", "log_absorption"} != set(target.curves):
        return None, ""
    if cross_validation is not None:
        found = _kept(Path(cross_validation), method, target)
        if found is not None:
            return found, OUT_OF_FOLD
    if target.name not in predictor.levels:
        return None, ""
    structures = list(table.structures())
    imaginary, absorption = [], []
    try:
        for prediction in predictor.predict(structures, levels=[target.name]):
            spectrum = prediction.spectra[target.name]
            energies = np.asarray(spectrum.grid.values)
            imaginary.append(spectrum.epsilon_imaginary)
            absorption.append(spectrum.log_absorption())
    except OpalignError:
        return None, ""
    if len(imaginary) != len(target.ids):
        return None, ""
    return _on_grid_of(target, energies, imaginary, absorption), IN_TRAINING


def similarity_to(predicted: Target | None, target: Target) -> Array:
    """Return SC (M,) of predicted Im ε to the target's; NaN where there is no prediction."""
    if predicted is None:
        return np.full(len(target.ids), np.nan)
    reference = target.curves["imaginary"]
    from opalign.spectrum.grid import EnergyGrid

    grid = EnergyGrid.from_values(reference.x)
    return np.asarray(
        similarity_coefficient(predicted.curves["imaginary"].values, reference.values, grid)
    )


def _kept(folder: Path, method: str | None, target: Target) -> Target | None:
    """Read out-of-fold predictions; None where they are of other materials or levels."""
    files = sorted(folder.glob(f"predictions_{method or '*'}.parquet"))
    if len(files) != 1:
        return None
    table = SpectraTable.open(files[0])
    if target.name not in table.levels or not set(target.ids) <= set(table.ids):
        return None
    spectra = read_spectra(table.select(target.ids), target.name)
    return _on_grid_of(
        target, spectra.grid.values, list(spectra.imaginary), list(spectra.log_absorption())
    )


def _on_grid_of(
    target: Target,
    energies: Array,
    imaginary: Sequence[Array],
    absorption: Sequence[Array],
) -> Target:
    curves = {}
    for name, rows in (("log_absorption", absorption), ("imaginary", imaginary)):
        shown = target.curves[name]
        values = np.array([np.interp(shown.x, energies, row) for row in rows])
        curves[name] = Curve(values, shown.x, shown.label, shown.x_label)
    return Target(target.name, target.ids, curves)
