"""Tauc plots: (αE)² and (αE)^½ with the fitted window and the line down to the gap."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.plots.style import (
    COLORS,
    FAINT_COLOR,
    check_suffix,
    describe,
    heading,
    new_figure,
    save,
    style_axes,
    subheading,
)
from opalign.spectrum.tauc import TaucFit, tauc_fit, tauc_ordinate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEFORE, BEHIND = 0.4, 0.6
"""eV shown below the gap and above the fitted window."""

HIGHEST = 3.0
"""End of the ordinate in units of its value at the end of the fitted window."""

LABELS = {
    "direct": "(αE)² / (eV/cm)²",
    "indirect": "(αE)$^{1/2}$ / (eV/cm)$^{1/2}$",
}
NAMES = {"direct": "direct allowed", "indirect": "indirect"}


def plot_tauc(
    spectrum: OpticalSpectrum,
    path: str | os.PathLike[str] | None = None,
    *,
    fits: Sequence[TaucFit] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw one Tauc plot beside the other, each with its fitted window and line.

    Parameters
    ----------
    spectrum
        Isotropic, or one direction of a tensor.
    path
        File to write, atomically: ``.png``, ``.svg`` or ``.pdf``. None writes nothing.
    fits
        What to draw, one panel each; by default the direct and the indirect fit of the spectrum.
    title
        By default the material id.

    Raises
    ------
    SpectrumError
        If the spectrum is a tensor.
    ConfigurationError, StorageError
        If the suffix is not supported, or the file cannot be written.
    """
    check_suffix(path)
    energies, alpha = spectrum.energies, spectrum.absorption_coefficient
    if fits is None:
        fits = [tauc_fit(energies, alpha, kind) for kind in ("direct", "indirect")]
    figure = new_figure(5.0 * len(fits), 4.6)
    axes = figure.subplots(1, len(fits), squeeze=False)[0]
    for panel, fit in zip(axes, fits, strict=True):
        _draw(panel, energies, tauc_ordinate(energies, alpha, fit.transition), fit)
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=0.75 / width, right=1.0 - 0.25 / width, bottom=0.6 / height, top=1.0 - 1.05 / height,
        wspace=0.26,
    )  # fmt: skip
    heading(figure, title or spectrum.material_id or "Tauc plot")
    subheading(figure, describe(spectrum))
    return save(figure, path)


def _draw(panel: Axes, energies: np.ndarray, ordinate: np.ndarray, fit: TaucFit) -> None:
    start, end = _shown(energies, ordinate, fit)
    shown = (energies >= start) & (energies <= end)
    highest = float(ordinate[shown].max(initial=0.0)) or 1.0
    if fit.window is not None:
        # The fit has to be seen, however steeply the curve goes on above it.
        highest = min(highest, HIGHEST * float(np.interp(fit.window[1], energies, ordinate)))
    panel.plot(energies[shown], ordinate[shown], color=COLORS[0], linewidth=1.7, zorder=3)
    if fit.gap is not None and fit.window is not None:
        used = (energies >= fit.window[0] - 1e-9) & (energies <= fit.window[1] + 1e-9)
        panel.plot(
            energies[used], ordinate[used], color=COLORS[0], linewidth=6.0, alpha=0.3, zorder=2,
            solid_capstyle="butt",
        )  # fmt: skip
        ends = np.array([fit.gap, fit.window[1] + 0.15])
        panel.plot(ends, fit.line(ends), color=COLORS[1], linewidth=1.3, zorder=4)
        panel.plot(
            [fit.gap], [0.0], "o", color=COLORS[1], markersize=7, markeredgecolor="white",
            markeredgewidth=1.2, zorder=6, clip_on=False,
        )  # fmt: skip
        note = f"{fit.gap:.2f} eV\nfit {fit.window[0]:.2f}–{fit.window[1]:.2f} eV"
        color = COLORS[1]
    else:
        note, color = "no gap: no straight stretch", FAINT_COLOR
        if fit.reason and "straight" not in fit.reason:
            note = "no gap to be read"
    panel.text(
        0.03, 0.96, f"{NAMES[fit.transition]}\n{note}", transform=panel.transAxes,
        ha="left", va="top", color=color, fontsize=10, linespacing=1.4, zorder=7,
    )  # fmt: skip
    panel.set_xlim(start, end)
    panel.set_ylim(0.0, 1.08 * highest)
    panel.set_xlabel("Photon energy (eV)")
    panel.set_ylabel(LABELS[fit.transition])
    style_axes(panel)
    panel.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4), useMathText=True)


def _shown(energies: np.ndarray, ordinate: np.ndarray, fit: TaucFit) -> tuple[float, float]:
    """Energies around gap and fit; two eV above the edge where there is no fit."""
    if fit.gap is not None and fit.window is not None:
        start, end = fit.gap - BEFORE, fit.window[1] + BEHIND
    else:
        absorbing = energies[ordinate > 1e-6 * ordinate.max(initial=0.0)]
        start = (absorbing[0] if len(absorbing) else energies[0]) - BEFORE
        end = start + BEFORE + 2.0
    return max(start, float(energies[0])), min(end, float(energies[-1]))
