"""Figures of the ladder, drawn without pyplot's global state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from opalign.files import atomic_path
from opalign.ladder.data import LadderData
from opalign.ladder.scores import AS_IT_IS

#: Okabe and Ito's colours, told apart with any colour vision; markers differ as well.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
BASELINE_COLOR = "#404040"


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure whole or not at all."""
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)
    return path


def draw_curve(path: Path, data: LadderData, summary: pd.DataFrame) -> Path:
    """Draw SC, MAE and onset R² against the number of costly spectra, with bands."""
    broadenings = list(summary["broadening"].unique())
    panels = [
        ("median SC", "similarity", "mean", broadenings[-1]),
        ("median MAE of Im ε̄", "mae", "mean", broadenings[-1]),
        ("median SC", "similarity", "mean", broadenings[0]),
        ("onset R²", "onset_r2", "value", broadenings[0]),
    ]
    figure = Figure(figsize=(9.2, 7.2), layout="constrained")
    for axis, (label, name, value, broadening) in zip(
        figure.subplots(2, 2).flat, panels, strict=True
    ):
        part = summary[summary["broadening"] == broadening]
        _curves(axis, part, list(data.config.strategies), name, value)
        axis.set_title(f"{label}, {broadening}", fontsize=10)
        axis.set_xlabel(f"{data.config.costly} spectra to learn from", fontsize=9)
        axis.set_ylabel(label, fontsize=9)
        if name == "onset_r2":
            axis.set_ylim(top=1.02, bottom=max(-0.5, axis.get_ylim()[0]))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    figure.suptitle(
        f"From {data.config.cheap} to {data.config.costly}: {len(data.ids)} materials, "
        f"{data.config.folds} folds, {data.config.counted_seeds}",
        fontsize=11,
    )
    return save_figure(figure, path)


def draw_cells(path: Path, data: LadderData, by_cell: pd.DataFrame) -> Path:
    """Draw SC by the size of the tested cell, one panel a strategy, one line a training size."""
    broadening = by_cell["broadening"].iloc[-1]
    part = by_cell[by_cell["broadening"] == broadening]
    names = [name for name in data.config.strategies if name in set(part["strategy"])]
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.3 * rows + 0.9), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    shades = np.linspace(0.25, 1.0, max(2, len(data.config.cells)))
    for place, (axis, name) in enumerate(zip(axes.flat, names, strict=False)):
        own = part[part["strategy"] == name]
        for shade, (subset, group) in zip(shades, own.groupby("subset", sort=False), strict=False):
            group = group.sort_values("sites")
            axis.plot(
                group["sites"], group["similarity"], color=COLORS[place % len(COLORS)],
                alpha=float(shade), marker="o", ms=4, lw=1.4,
                label=f"≤ {str(subset).removeprefix('cells-')}",
            )  # fmt: skip
        baseline = part[part["strategy"] == AS_IT_IS].sort_values("sites")
        axis.plot(
            baseline["sites"], baseline["similarity"], color=BASELINE_COLOR, ls="--", lw=1.1,
            label=AS_IT_IS,
        )  # fmt: skip
        axis.set_title(name, fontsize=10)
        axis.legend(fontsize=7, frameon=False, title="trained on cells of", title_fontsize=7)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xlabel("atoms in the tested cell", fontsize=9)
        axis.set_ylabel("median SC", fontsize=9)
        axis.label_outer()
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    figure.suptitle(f"{data.config.costly} from small cells, {broadening}", fontsize=11)
    return save_figure(figure, path)


def _curves(axis: Axes, part: pd.DataFrame, strategies: list[str], name: str, value: str) -> None:
    for place, strategy in enumerate(strategies):
        rows = part[part["strategy"] == strategy].sort_values("costly_labels")
        if not len(rows):
            continue
        color = COLORS[place % len(COLORS)]
        x = rows["costly_labels"].to_numpy()
        axis.plot(
            x,
            rows[f"{name}_{value}"],
            color=color,
            marker=MARKERS[place % len(MARKERS)],
            ms=5,
            lw=1.5,
            label=strategy,
        )
        axis.fill_between(
            x, rows[f"{name}_low"], rows[f"{name}_high"], color=color, alpha=0.15, lw=0
        )
    baseline = part[part["strategy"] == AS_IT_IS]
    if len(baseline):
        axis.axhline(
            float(baseline[f"{name}_{value}"].iloc[0]),
            color=BASELINE_COLOR,
            ls="--",
            lw=1.2,
            label=AS_IT_IS,
        )
    ticks = np.unique(part["costly_labels"].dropna().round().astype(int))
    axis.set_xscale("log")
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25, lw=0.6)
    axis.spines[["top", "right"]].set_visible(False)
