"""Figures of spectra over measured ones: one crystal in three panels, or many side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from opalign.errors import ConfigurationError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.experiment.comparison import Comparison
from opalign.spectrum.experiment.scoring import (
    BROADENING,
    broadened_to,
    common_window,
    orient,
    without_narrow_line,
)
from opalign.spectrum.onset import ONSET_THRESHOLD
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.plots.style import (
    COLORS,
    FAINT_COLOR,
    REFERENCE_COLOR,
    check_suffix,
    heading,
    new_figure,
    save,
    style_axes,
    subheading,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN_BEYOND = 2.0
"""eV of the computed spectra that are shown above the measured window."""

LOWEST_LOG = 2.0


def plot_experiment(
    comparisons: Sequence[Comparison],
    path: str | os.PathLike[str] | None = None,
    *,
    broadening: Broadening = BROADENING,
) -> Figure:
    """Draw ε₂, ε₁ and log₁₀ α of one crystal: measured, as computed, and after the scissor.

    Parameters
    ----------
    comparisons
        Of one crystal with one measurement; one per level, at most three.
    path
        File to write, ``.png``, ``.svg`` or ``.pdf``; None writes nothing.
    broadening
        Of the computed ε; log α is drawn unbroadened.

    Raises
    ------
    ConfigurationError
        If the comparisons are of several measurements, none or too many.
    """
    check_suffix(path)
    first = _checked(comparisons)
    figure = new_figure(12.0, 4.4)
    panels = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.055, right=0.985, bottom=0.13, top=0.76, wspace=0.2)
    title = f"{first.measurement.formula}, {first.measurement.phase or first.crystal.spacegroup}"
    heading(figure, title)
    subheading(figure, _field(first))
    curves = _curves(comparisons)
    end = _end(first)
    for label, spectrum, color, style in curves:
        smooth = broadened_to(without_narrow_line(spectrum), broadening)
        for panel, values in zip(
            panels[:2], (smooth.epsilon_imaginary, smooth.epsilon_real), strict=True
        ):
            panel.plot(smooth.energies, values, color=color, linestyle=style, label=label, lw=1.6)
        panels[2].plot(
            spectrum.energies, spectrum.log_absorption(-2.0), color=color, linestyle=style, lw=1.6
        )
    _draw_measured(panels, first)
    for panel, name in zip(panels, ("ε₂", "ε₁", "log₁₀(α / cm⁻¹)"), strict=True):
        style_axes(panel)
        panel.set_xlim(0.0, end)
        panel.set_xlabel("Photon energy / eV")
        panel.set_ylabel(name)
    _limit(panels[0], end, floor=0.0)
    _limit(panels[1], end)
    panels[2].axhline(ONSET_THRESHOLD, color=FAINT_COLOR, linewidth=0.8, linestyle=":")
    panels[2].set_ylim(LOWEST_LOG, 6.6)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(0.015, 0.85), ncols=len(labels),
        frameon=False, fontsize=9.5, handlelength=2.0, columnspacing=1.6,
    )  # fmt: skip
    return save(figure, path)


def plot_experiment_sheet(
    groups: Sequence[Sequence[Comparison]],
    path: str | os.PathLike[str] | None = None,
    *,
    broadening: Broadening = BROADENING,
    columns: int = 4,
) -> Figure:
    """Draw ε₂ of many crystals side by side, each as :func:`plot_experiment` does.

    ``groups`` holds the comparisons of one crystal each.
    """
    check_suffix(path)
    if not groups:
        raise ConfigurationError("there is no comparison to draw", expected="at least one crystal")
    rows = -(-len(groups) // columns)
    figure = new_figure(3.3 * columns, 2.45 * rows + 0.9)
    panels = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    height = figure.get_size_inches()[1]
    figure.subplots_adjust(
        left=0.04, right=0.99, bottom=0.5 / height, top=1.0 - 1.0 / height, wspace=0.18, hspace=0.5
    )
    heading(figure, "Im ε, measured and computed")
    known: dict[str, Artist] = {}
    for panel, comparisons in zip(panels, groups, strict=False):
        first = _checked(comparisons)
        for label, spectrum, color, style in _curves(comparisons):
            smooth = broadened_to(without_narrow_line(spectrum), broadening)
            (drawn,) = panel.plot(
                smooth.energies, smooth.epsilon_imaginary, color=color, linestyle=style, lw=1.3
            )
            known.setdefault(label.split(" by ")[0], drawn)
        measured = common_window(first.crystal.spectrum, first.measurement)
        (drawn,) = panel.plot(
            measured.energies, measured.epsilon_imaginary, color=REFERENCE_COLOR, lw=2.0, zorder=5
        )
        known.setdefault("measured", drawn)
        end = _end(first)
        style_axes(panel)
        panel.set_xlim(0.0, end)
        _limit(panel, end, floor=0.0)
        phase = f" {first.measurement.phase}" if first.measurement.phase else ""
        mark = "" if first.sufficient else " *"
        panel.set_title(
            f"{first.measurement.formula}{phase}{mark}", loc="left", fontsize=10.5,
            fontweight="bold",
        )  # fmt: skip
    for panel in panels[len(groups) :]:
        panel.set_visible(False)
    figure.legend(
        list(known.values()), list(known), loc="upper left",
        bbox_to_anchor=(0.015, 1.0 - 0.42 / height), ncols=len(known), frameon=False, fontsize=9.5,
    )  # fmt: skip
    figure.text(
        0.99, 1.0 - 0.2 / height, "Photon energy in eV; * measured range too short", ha="right",
        va="top", fontsize=9.5, color=FAINT_COLOR,
    )  # fmt: skip
    return save(figure, path)


def _checked(comparisons: Sequence[Comparison]) -> Comparison:
    if not 1 <= len(comparisons) <= 3:
        raise ConfigurationError(
            f"{len(comparisons)} levels do not fit one figure", expected="one to three"
        )
    if len({id(one.measurement) for one in comparisons}) > 1:
        raise ConfigurationError(
            "the comparisons are of several measurements", expected="one crystal, one measurement"
        )
    return comparisons[0]


def _curves(
    comparisons: Sequence[Comparison],
) -> list[tuple[str, OpticalSpectrum, str, str]]:
    """Return label, spectrum, colour and line style of everything computed."""
    curves = []
    for place, one in enumerate(comparisons):
        orientation = one.measurement.orientation
        level = one.crystal.spectrum.level
        name = level.upper() if len(level) <= 3 else level
        raw = orient(one.crystal.spectrum, orientation)[0]
        curves.append((name, raw, COLORS[2 * place], "-"))
        if one.corrected is not None and one.shift is not None:
            moved = orient(one.corrected, orientation)[0]
            label = f"{name}, scissor by {one.shift:+.2f} eV"
            curves.append((label, moved, COLORS[2 * place + 1], "--"))
    return curves


def _draw_measured(panels: Sequence[Axes], first: Comparison) -> None:
    measured = common_window(first.crystal.spectrum, first.measurement)
    label = f"measured: {first.measurement.source}"
    for panel, values in zip(
        panels,
        (measured.epsilon_imaginary, measured.epsilon_real, measured.log_absorption(-2.0)),
        strict=True,
    ):
        panel.plot(measured.energies, values, color=REFERENCE_COLOR, lw=2.2, zorder=5, label=label)


def _end(first: Comparison) -> float:
    grid = first.crystal.spectrum.grid
    return float(min(grid.stop, first.score.window[1] + SHOWN_BEYOND))


def _field(first: Comparison) -> str:
    orientation = {
        "mean": "average over directions",
        "perpendicular": "field across the optic axis",
        "parallel": "field along the optic axis",
    }[first.measurement.orientation]
    return " · ".join(filter(None, (orientation, first.measurement.sample, first.reason)))


def _limit(panel: Axes, end: float, floor: float | None = None) -> None:
    """Fit the vertical axis to what is seen: lines beyond the shown energies do not count."""
    seen = [
        np.asarray(line.get_ydata(), dtype=float)[np.asarray(line.get_xdata(), dtype=float) <= end]
        for line in panel.lines
    ]
    values = np.concatenate([one for one in seen if one.size])
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * max(high - low, 1e-6)
    panel.set_ylim(low - margin if floor is None else floor, high + margin)
