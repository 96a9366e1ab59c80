"""Figures of a computed set: distributions, and cost by cell size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from opalign.firstprinciples.campaign_cost import CostFit
from opalign.spectrum.plots.style import COLORS, FAINT_COLOR, new_figure, save, style_axes

if TYPE_CHECKING:
    from matplotlib.artist import Artist

    from opalign.firstprinciples.card import Distribution

BINS = 24


def draw_distributions(found: Sequence[Distribution], path: Path) -> Path:
    """Draw histograms, one panel a quantity, the levels as outlines of their own."""
    names = list(dict.fromkeys(each.name for each in found))
    figure = new_figure(3.0 * len(names), 3.1)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for panel, name in zip(panels, names, strict=True):
        parts = [each for each in found if each.name == name and len(each.values)]
        values = np.concatenate([each.values for each in parts]) if parts else np.zeros(1)
        # A few giants would press all others into the first bin.
        top = float(np.quantile(values, 0.98)) * 1.05 + 1e-9
        edges = np.linspace(0.0, top, BINS + 1)
        for number, each in enumerate(parts):
            panel.hist(
                np.minimum(each.values, top * (1 - 1e-9)),
                bins=edges.tolist(),
                histtype="stepfilled" if number == 0 else "step",
                alpha=0.35 if number == 0 else 1.0,
                color=COLORS[number % len(COLORS)],
                linewidth=1.4,
                label=each.level or None,
            )
        style_axes(panel)
        unit = parts[0].unit if parts else ""
        panel.set_xlabel(f"{name} / {unit}" if unit else name)
        panel.set_xlim(0.0, top)
    panels[0].set_ylabel("Materials")
    levels: dict[str, Artist] = {}
    for panel in panels:
        handles, labels = panel.get_legend_handles_labels()
        levels |= zip(labels, handles, strict=True)
    if levels:
        # Above all panels: within one it lies on the curves.
        figure.legend(
            levels.values(), levels, loc="outside upper right", ncols=4, frameon=False, fontsize=9
        )
    save(figure, path)
    return path


def draw_cost(atoms: np.ndarray, seconds: np.ndarray, fit: CostFit, path: Path) -> Path:
    """Draw core seconds against atoms, both logarithmic, with the fit."""
    figure = new_figure(5.4, 3.8)
    figure.set_layout_engine("constrained")
    panel = figure.subplots()
    style_axes(panel)
    # Cells of one size would hide each other.
    spread = 1.0 + 0.06 * (np.random.default_rng(0).random(len(atoms)) - 0.5)
    panel.loglog(
        atoms * spread, seconds, "o", color=COLORS[0], markersize=4, alpha=0.6, markeredgewidth=0
    )
    sizes = np.geomspace(fit.smallest * 0.9, fit.largest * 1.1, 50)
    typical = np.array([fit.typical_seconds(size) for size in sizes])
    panel.plot(
        sizes,
        typical,
        color=COLORS[1],
        label=f"{fit.prefactor:.2g} s × atoms$^{{{fit.exponent:.2f}}}$",
    )
    panel.fill_between(
        sizes,
        typical / fit.scatter,
        typical * fit.scatter,
        color=COLORS[1],
        alpha=0.12,
        linewidth=0,
    )
    from matplotlib.ticker import FuncFormatter, NullFormatter

    ticks = sorted({int(size) for size in atoms if np.isfinite(size)})
    panel.set_xticks(ticks if len(ticks) <= 10 else ticks[:: -(-len(ticks) // 10)])
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.set_xlabel("Atoms in the cell")
    panel.set_ylabel("Core seconds")
    panel.legend(frameon=False, fontsize=9, labelcolor=FAINT_COLOR)
    save(figure, path)
    return path
