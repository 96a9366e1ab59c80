"""Figures of the explanation of one material."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opalign.explain.material import MaterialExplanation
from opalign.explain.occlusion import Occluded
from opalign.explain.report.style import COLOURS, GREY, INK, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {"epsilon_imaginary": "Im ε", "log_absorption": "log₁₀(α / cm⁻¹)"}
#: Kinds of bonds or angles that are drawn.
MOST_BARS = 8
#: Share of the largest value that is rounding.
ROUNDING = 1e-6
#: Angles weaker than this share of the strongest are left out.
SMALLEST_SHARE = 0.02


def site_figure(explanation: MaterialExplanation) -> Figure:
    """Draw the spectrum as the sum of its elements' and, where it differs, surroundings' parts."""
    sites = explanation.sites
    parts = [("by element", sites.by_element())]
    around = sites.by_label(explanation.surroundings)
    if set(around) != set(parts[0][1]):
        parts.append(("by element and coordination", around))
    figure, grid = new_figure(6.0 * len(parts), 3.6, 1, len(parts))
    for axes, (title, contributions) in zip(np.atleast_1d(grid), parts, strict=True):
        _contributions(axes, explanation, contributions)
        axes.set_title(title, fontsize=10)
    return figure


def _contributions(
    axes: Axes, explanation: MaterialExplanation, parts: Mapping[str, NDArray[np.float64]]
) -> None:
    sites = explanation.sites
    colours = [COLOURS[place % len(COLOURS)] for place in range(len(parts))]
    values = np.array(list(parts.values()))
    scale = max(float(np.abs(sites.total).max()), np.finfo(float).tiny)
    apart = bool(np.abs(sites.rest).max() > ROUNDING * scale)
    if values.min() >= -ROUNDING * scale and not apart:
        axes.stackplot(sites.energies, values, labels=list(parts), colors=colours, alpha=0.85)
    else:
        # What may be negative does not stack.
        for (name, row), colour in zip(parts.items(), colours, strict=True):
            axes.plot(sites.energies, row, label=name, color=colour, lw=1.4)
        if apart:
            axes.plot(sites.energies, sites.rest, label="no site", color=GREY, lw=1.4)
    axes.plot(sites.energies, sites.total, color=INK, lw=1.4, label="prediction")
    axes.set_xlim(sites.energies[0], sites.energies[-1])
    axes.set_xlabel("photon energy (eV)")
    axes.set_ylabel(LABELS.get(sites.quantity, sites.quantity))
    axes.legend(fontsize=8, frameon=False)


def nearest_figure(explanation: MaterialExplanation) -> Figure | None:
    """Draw the prediction among the spectra of its nearest training materials, if there are any."""
    if not explanation.nearest_spectra:
        return None
    names = {item.id: item.formula for item in explanation.nearest}
    figure, grid = new_figure(12.0, 3.6, 1, 2)
    spectrum = explanation.spectrum
    for place, (material_id, other) in enumerate(explanation.nearest_spectra.items()):
        label, colour = f"{names[material_id]} ({material_id})", COLOURS[place % len(COLOURS)]
        grid[0].plot(other.energies, other.epsilon_imaginary, color=colour, lw=1.1, label=label)
        grid[1].plot(other.energies, other.log_absorption(), color=colour, lw=1.1)
    grid[0].plot(
        spectrum.energies, spectrum.epsilon_imaginary, color=INK, lw=2.0, label="prediction"
    )
    grid[1].plot(spectrum.energies, spectrum.log_absorption(), color=INK, lw=2.0)
    for axes, name in zip(grid, ("epsilon_imaginary", "log_absorption"), strict=True):
        axes.set_xlim(spectrum.energies[0], spectrum.energies[-1])
        axes.set_xlabel("photon energy (eV)")
        axes.set_ylabel(LABELS[name])
    grid[0].legend(fontsize=8, frameon=False)
    return figure


def importance_figure(explanation: MaterialExplanation) -> Figure | None:
    """Draw what the prediction loses without each kind of bond and angle; None without bonds."""
    panels = [
        (title, _strongest(items))
        for title, items in (("bonds", explanation.bonds), ("angles", explanation.angles))
        if items
    ]
    if not panels:
        return None
    rows = max(len(items) for _, items in panels)
    figure, grid = new_figure(6.0 * len(panels), 0.8 + 0.3 * rows, 1, len(panels))
    for axes, (title, items) in zip(np.atleast_1d(grid), panels, strict=True):
        names = [f"{item.name}  ({item.count}×)" for item in items]
        axes.barh(names, [item.importance for item in items], color=COLOURS[0], height=0.62)
        axes.invert_yaxis()
        axes.set_ylim(rows - 0.5, -0.5)
        axes.set_xlim(left=0.0)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("change of the spectrum without them")
    return figure


def _strongest(items: tuple[Occluded, ...]) -> list[Occluded]:
    least = SMALLEST_SHARE * items[0].importance
    return [item for item in items[:MOST_BARS] if item.importance >= least]
