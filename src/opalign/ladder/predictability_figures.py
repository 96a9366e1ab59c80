"""Figures of predictability across levels: correlations, and spectra at the deciles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from opalign.ladder.data import LadderData
from opalign.ladder.figures import BASELINE_COLOR, COLORS, save_figure
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.plots.labels import label_points
from opalign.training.spectra import SpectraSet


def draw_correlations(
    path: Path, data: LadderData, frame: pd.DataFrame, summary: pd.DataFrame
) -> Path:
    """Draw the three comparisons of the study, one point a material."""
    config = data.config
    labels = {
        "levels": f"SC[{config.cheap}; {config.costly}]",
        "cheap": f"SC of the learned {config.cheap}",
        "direct": f"SC of {config.costly}, direct",
        "transfer": f"SC of {config.costly}, transfer",
    }
    broadening = frame["broadening"].iloc[0]
    figure = Figure(figsize=(11.0, 4.0), layout="constrained")
    pairs = (("transfer", "levels"), ("transfer", "cheap"), ("direct", "transfer"))
    for axis, (y, x) in zip(figure.subplots(1, 3), pairs, strict=True):
        axis.plot([-1, 1], [-1, 1], color="0.8", lw=1, zorder=1)
        axis.scatter(frame[x], frame[y], s=20, color=COLORS[0], edgecolor="white", lw=0.4)
        found = summary[
            (summary["broadening"] == broadening)
            & (summary["first"] == y)
            & (summary["second"] == x)
        ].iloc[0]
        axis.set_title(
            f"Spearman {found['spearman_value']:.2f} "
            f"({found['spearman_low']:.2f} – {found['spearman_high']:.2f})",
            fontsize=10,
        )
        low_x, low_y = frame[x].min() - 0.05, frame[y].min() - 0.05
        axis.set(xlim=(low_x, 1.0), ylim=(low_y, 1.0))
        axis.set_xlabel(labels[x], fontsize=9)
        axis.set_ylabel(labels[y], fontsize=9)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{len(frame)} materials, {broadening}", fontsize=11)
    for axis, (y, x) in zip(figure.axes, pairs, strict=True):
        rows = np.argsort(frame[y].to_numpy())[:3]
        label_points(axis, frame[x], frame[y], list(frame["formula"]), rows)
    return save_figure(figure, path)


def draw_deciles(
    path: Path,
    data: LadderData,
    frame: pd.DataFrame,
    spectra: dict[str, list[SpectraSet]],
    broadening: Broadening,
) -> Path:
    """Draw the materials at the nine deciles of SC[cheap; costly] with what the first seed says."""
    config = data.config
    levels = frame["levels"].to_numpy()
    rows = [
        int(np.argmin(np.abs(levels - np.quantile(levels, tenth / 10)))) for tenth in range(1, 10)
    ]
    lines = (
        (config.costly, data.reference(config.costly), "#000000", "-"),
        (config.cheap, data.reference(config.cheap), BASELINE_COLOR, ":"),
        ("direct", spectra["direct"][0], COLORS[0], "--"),
        ("transfer", spectra["transfer"][0], COLORS[1], "--"),
    )
    drawn = [(name, s.broadened(broadening).imaginary, c, style) for name, s, c, style in lines]
    figure = Figure(figsize=(9.6, 7.6), layout="constrained")
    for number, (axis, row) in enumerate(zip(figure.subplots(3, 3).flat, rows, strict=True), 1):
        for name, values, color, style in drawn:
            axis.plot(data.grid.values, values[row], color=color, ls=style, lw=1.2, label=name)
        axis.set_title(
            f"{number}0 %: {frame['formula'].iloc[row]}, SC {levels[row]:.2f}\n"
            f"direct {frame['direct'].iloc[row]:.2f}, transfer {frame['transfer'].iloc[row]:.2f}",
            fontsize=8,
        )
        axis.set_xlim(data.grid.start, data.grid.stop)
        axis.set_ylim(bottom=0.0)
        axis.tick_params(labelsize=7)
        axis.set_xlabel("photon energy / eV", fontsize=8)
        axis.set_ylabel("Im ε̄", fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    figure.suptitle(
        f"Materials at the deciles of SC[{config.cheap}; {config.costly}], {broadening}",
        fontsize=11,
    )
    return save_figure(figure, path)
