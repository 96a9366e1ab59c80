"""What is drawn into one set of axes over the photon energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from opalign.errors import ConfigurationError
from opalign.spectrum.onset import ONSET_THRESHOLD
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.plots.style import COLORS, FAINT_COLOR, Curve, LineStyle, line
from opalign.spectrum.units import VISIBLE_RANGE, wavelength_from_energy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOWEST_LOG_ABSORPTION = 2.0
SPECTRAL_COLORS = (
    (750, "#5A0000"),
    (680, "#E00000"),
    (610, "#FF7A00"),
    (578, "#FFE100"),
    (530, "#30D000"),
    (490, "#00D0D8"),
    (455, "#1030FF"),
    (380, "#4B007A"),
)
"""How light of a wavelength in nm looks, roughly."""


def draw_dielectric_function(panel: Axes, curves: list[Curve], end: float) -> None:
    """Draw ε₁ and ε₂."""
    _draw_pair(panel, curves, ("epsilon_real", "epsilon_imaginary"), ("ε₁", "ε₂"), end)
    panel.axhline(0.0, color="#B0B0B0", linewidth=0.8, zorder=1)
    panel.set_ylabel("Dielectric function ε = ε₁ + iε₂")


def draw_refractive_index(panel: Axes, curves: list[Curve], end: float) -> None:
    """Draw n and k."""
    _draw_pair(panel, curves, ("refractive_index", "extinction_coefficient"), ("n", "k"), end)
    panel.set_ylim(bottom=0.0)
    panel.set_ylabel("Refractive index n, extinction k")


def draw_reflectivity(panel: Axes, curves: list[Curve], end: float) -> None:
    """Draw R."""
    highest = max(0.2, _draw_each(panel, curves, "reflectivity", end))
    panel.set_ylim(0.0, min(1.0, np.ceil(10.0 * highest + 0.5) / 10.0))
    panel.set_ylabel("Reflectivity R at normal incidence")


def draw_loss(panel: Axes, curves: list[Curve], end: float) -> None:
    """Draw the energy-loss function."""
    _draw_each(panel, curves, "loss_function", end)
    panel.set_ylim(bottom=0.0)
    panel.set_ylabel("Loss function Im(−1/ε)")


def draw_absorption(
    panel: Axes,
    curves: list[Curve],
    end: float,
    threshold: float = ONSET_THRESHOLD,
    onsets: Sequence[float | None] | None = None,
) -> None:
    """Draw log₁₀ α above the visible light, with the onset of each curve marked.

    ``onsets`` in eV, one per curve, stand in for those that would be read from the curves.
    """
    draw_visible(panel)
    notes = []
    highest = LOWEST_LOG_ABSORPTION + 1.0
    for place, curve in enumerate(curves):
        color = curve.colors[1]
        highest = max(highest, _draw_one(panel, curve, "log_absorption", 1, end))
        sharp = curve.spectrum.has_sharp_onset
        if onsets is not None:
            onset = onsets[place]
        else:
            onset = curve.spectrum.onset_energy(threshold) if sharp else None
        if onset is None or onset > end:
            blurred = onset is None and not sharp
            notes.append(("broadened too far for an onset" if blurred else "no onset", color))
            continue
        notes.append((f"onset {onset:.2f} eV", color))
        panel.plot(
            [onset], [threshold], "o", color=color, markersize=7, markeredgecolor="white",
            markeredgewidth=1.2, zorder=6,
        )  # fmt: skip
    panel.axhline(threshold, color=FAINT_COLOR, linewidth=0.8, linestyle=(0, (1, 2)))
    panel.set_ylim(LOWEST_LOG_ABSORPTION, np.ceil(2.0 * highest + 0.2) / 2.0)
    panel.set_ylabel("Absorption log₁₀(α / cm⁻¹)")
    for row, (note, color) in enumerate(reversed(notes)):
        panel.text(
            0.975, 0.17 + 0.07 * row, note, transform=panel.transAxes, ha="right", va="bottom",
            color=color, fontsize=10,
        )  # fmt: skip


def check_onsets(onsets: Sequence[float | None] | None, curves: list[Curve]) -> None:
    """Raise :class:`ConfigurationError` unless ``onsets`` are as many as ``curves``, or None."""
    if onsets is not None and len(onsets) != len(curves):
        raise ConfigurationError(
            f"{len(onsets)} onsets for {len(curves)} curves",
            expected="one per spectrum, after that of the reference",
        )


def draw_visible(panel: Axes) -> None:
    """Fill the visible band with the colours of light, along an axis in eV."""
    from matplotlib.colors import LinearSegmentedColormap

    lower, upper = VISIBLE_RANGE
    energies = np.linspace(lower, upper, 256)
    position = np.interp(wavelength_from_energy(energies), (380.0, 750.0), (1.0, 0.0))
    anchors = [((750 - nanometres) / 370, color) for nanometres, color in SPECTRAL_COLORS]
    light = LinearSegmentedColormap.from_list("light", anchors)(position)[None]
    panel.imshow(
        light,
        extent=(lower, upper, 0.0, 1.0),
        transform=panel.get_xaxis_transform(),
        aspect="auto",
        alpha=0.28,
        zorder=0,
        interpolation="bilinear",
    )


def draw_sites(
    panel: Axes, spectrum: OpticalSpectrum, sites: Mapping[str, np.ndarray] | None
) -> None:
    """Stack contributions (n,) to ε₂, by name."""
    if not sites:
        return
    colors = [COLORS[(2 + index) % len(COLORS)] for index in range(len(sites))]
    areas = panel.stackplot(
        spectrum.energies, *sites.values(), colors=colors, alpha=0.35, linewidth=0.0, zorder=1.5
    )
    panel.legend(
        areas,
        [f"ε₂ of {name}" for name in sites],
        loc="upper right",
        bbox_to_anchor=(1.0, 0.82),
        frameon=False,
        fontsize=9,
        handlelength=1.2,
    )


def _draw_pair(
    panel: Axes,
    curves: list[Curve],
    quantities: tuple[str, str],
    names: tuple[str, str],
    end: float,
) -> None:
    for curve in curves:
        for which, quantity in enumerate(quantities):
            _draw_one(panel, curve, quantity, which, end)
    last = curves[-1]
    several = last.colors[0] == last.colors[1]
    colors = [FAINT_COLOR if several else color for color in last.colors]
    name_lines(panel, names, colors, last.styles)


def name_lines(
    panel: Axes, names: Sequence[str], colors: Sequence[str], styles: Sequence[LineStyle]
) -> None:
    """Write a legend of what the colours and dashes in these axes are, top right."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color, linestyle=style, linewidth=1.7)
        for color, style in zip(colors, styles, strict=True)
    ]
    legend = panel.legend(
        handles, list(names), loc="upper right", frameon=False, fontsize=11, handlelength=1.8
    )
    panel.add_artist(legend)


def _draw_each(panel: Axes, curves: list[Curve], quantity: str, end: float) -> float:
    return max(_draw_one(panel, curve, quantity, 1, end) for curve in curves)


def _draw_one(panel: Axes, curve: Curve, quantity: str, which: int, end: float) -> float:
    """Draw one quantity with its band in colour and style ``which``; return its largest value."""
    shown = curve.spectrum.energies <= end
    energies, values = curve.spectrum.energies[shown], curve.values(quantity)[shown]
    line(panel, curve, energies, values, curve.colors[which], curve.styles[which])
    highest = float(values.max())
    if quantity in curve.bands:
        lower, upper = (np.asarray(bound)[shown] for bound in curve.bands[quantity])
        panel.fill_between(
            energies, lower, upper, color=curve.colors[which], alpha=0.22, linewidth=0.0, zorder=2
        )
        highest = max(highest, float(upper.max()))
    return highest
