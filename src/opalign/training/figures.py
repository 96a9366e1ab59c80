"""Figures of an evaluation: onset parity, largest errors by quartile, deciles of similarity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from opalign.files import atomic_path
from opalign.spectrum.plots.labels import label_points
from opalign.training.metrics import coefficient_of_determination
from opalign.training.spectra import SpectraSet

#: Okabe and Ito's colours, told apart with any colour vision; line styles differ as well.
REFERENCE_COLOR, PREDICTION_COLOR = "#000000", "#D55E00"


def draw_figures(
    predicted: SpectraSet, reference: SpectraSet, frame: pd.DataFrame, out: Path
) -> list[Path]:
    """Draw all figures of one level into ``out``; returns the files written."""
    level = reference.level
    files = [
        _spectra_grid(
            out / f"{level}_largest_errors.png",
            predicted,
            reference,
            frame,
            _largest_of_quartiles(frame),
            f"{level}: largest errors within each quartile of the MAE",
            4,
        ),
        _spectra_grid(
            out / f"{level}_similarity_deciles.png",
            predicted,
            reference,
            frame,
            _deciles(frame),
            f"{level}: materials at the deciles of the similarity coefficient",
            3,
        ),
    ]
    if "onset_eV_error" in frame:
        files.append(_onset_parity(out / f"{level}_onset_parity.png", frame, level))
    return files


def _largest_of_quartiles(frame: pd.DataFrame) -> list[tuple[str, int]]:
    """Find the four largest errors of each quartile of the MAE, as (label, row)."""
    order = np.argsort(frame["mae"].to_numpy(), kind="stable")
    return [
        (f"quartile {number}", int(row))
        for number, quartile in enumerate(np.array_split(order, 4), start=1)
        for row in quartile[::-1][:4]
    ]


def _deciles(frame: pd.DataFrame) -> list[tuple[str, int]]:
    """Find the materials nearest to the nine inner deciles of SC, as (label, row)."""
    values = frame["similarity"].to_numpy()
    return [
        (f"decile {tenth}", int(np.nanargmin(np.abs(values - np.nanquantile(values, tenth / 10)))))
        for tenth in range(1, 10)
    ]


def _spectra_grid(
    path: Path,
    predicted: SpectraSet,
    reference: SpectraSet,
    frame: pd.DataFrame,
    chosen: list[tuple[str, int]],
    title: str,
    columns: int,
) -> Path:
    rows = -(-len(chosen) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.3 * rows + 0.7), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True)
    energies = reference.grid.values
    for axis, (label, row) in zip(axes.flat, chosen, strict=False):
        axis.plot(energies, reference.imaginary[row], color=REFERENCE_COLOR, lw=1.2)
        axis.plot(energies, predicted.imaginary[row], color=PREDICTION_COLOR, lw=1.2, ls="--")
        figures = frame.iloc[row]
        axis.set_title(
            f"{figures['formula']} ({figures['material_id']})\n"
            f"{label}, MAE {figures['mae']:.3f}, SC {figures['similarity']:.2f}",
            fontsize=8,
        )
        axis.set_xlim(reference.grid.start, reference.grid.stop)
        axis.set_ylim(bottom=0.0)
        axis.tick_params(labelsize=7)
    for axis in axes.flat[len(chosen) :]:
        axis.set_visible(False)
    _label_outside(axes)
    handles = axes[0, 0].get_lines()
    figure.legend(
        handles, ["reference", "prediction"], loc="outside lower center", ncols=2, fontsize=9
    )
    figure.suptitle(f"{title} ({reference.broadening})", fontsize=11)
    return _save(figure, path)


def _label_outside(axes: np.ndarray) -> None:
    for row in axes:
        row[0].set_ylabel("Im ε", fontsize=8)
    for column in axes.T:
        shown = [axis for axis in column if axis.get_visible()]
        if shown:
            shown[-1].set_xlabel("photon energy / eV", fontsize=8)
            shown[-1].tick_params(labelbottom=True)


def _onset_parity(path: Path, frame: pd.DataFrame, level: str) -> Path:
    reference = frame["onset_eV_reference"].to_numpy()
    predicted = frame["onset_eV_predicted"].to_numpy()
    known = ~(np.isnan(reference) | np.isnan(predicted))
    reference, predicted = reference[known], predicted[known]
    figure = Figure(figsize=(4.6, 4.6), layout="constrained")
    axis: Axes = figure.subplots()
    top = 1.05 * float(max([1.0, *reference, *predicted]))
    axis.plot([0, top], [0, top], color="0.6", lw=1, zorder=1)
    axis.scatter(reference, predicted, s=22, color="#0072B2", edgecolor="white", lw=0.5, zorder=2)
    axis.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    axis.set_xlabel("onset of the reference / eV")
    axis.set_ylabel("onset of the prediction / eV")
    error = float(np.abs(predicted - reference).mean()) if len(reference) else float("nan")
    r2 = coefficient_of_determination(predicted, reference)
    axis.set_title(
        f"{level}: onset energy, {len(reference)} materials\nMAE {error:.2f} eV, R² {r2:.2f}",
        fontsize=10,
    )
    worst = np.argsort(-np.abs(predicted - reference))[:4]
    label_points(axis, reference, predicted, list(frame["formula"].to_numpy()[known]), worst)
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)
    return path
