"""Figures of spectra: ε, n and k, absorption with onset and visible band, reflectivity.

Nothing here touches pyplot or matplotlib's global settings, so figures can be made in threads and
need not be closed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from opalign.errors import ConfigurationError
from opalign.files import atomic_path
from opalign.spectrum.arrays import require_grid_length
from opalign.spectrum.onset import ONSET_THRESHOLD
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.units import VISIBLE_RANGE, wavelength_from_energy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LineStyle = Literal["-", "--"]

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours, which colour-blind readers tell apart."""

REFERENCE_COLOR = "#404040"
TEXT_COLOR = "#222222"
FAINT_COLOR = "#6E6E6E"
FORMATS = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
"""Suffixes that can be written, with what keeps the time of writing out of the file."""

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


@dataclass(frozen=True)
class _Curve:
    """One spectrum in the figure and how it is drawn."""

    spectrum: OpticalSpectrum
    label: str
    colors: tuple[str, str]
    styles: tuple[LineStyle, LineStyle]
    width: float


def plot_spectrum(
    spectrum: OpticalSpectrum | Sequence[OpticalSpectrum],
    path: str | os.PathLike[str] | None = None,
    reference: OpticalSpectrum | None = None,
    *,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    max_energy: float | None = None,
    sites: Mapping[str, np.ndarray] | None = None,
) -> Figure:
    """Draw one or several spectra in four panels; tensors by their isotropic average.

    Parameters
    ----------
    spectrum
        One spectrum, or up to six to be overlaid.
    path
        File to write, atomically: ``.png``, ``.svg`` or ``.pdf``. None writes nothing.
    reference
        A spectrum to compare with, drawn in dark grey.
    labels
        One name per spectrum for the legend; by default material id, level and broadening.
    title
        By default the material ids.
    max_energy
        End of the energy axis in eV; by default the largest energy of any spectrum.
    sites
        Contributions (n,) to ε₂ by name, such as those of the elements, that add up to it; drawn as
        stacked areas. Only with a single spectrum.

    Raises
    ------
    ConfigurationError
        If the suffix, the number of spectra or labels, or ``sites`` with several spectra is not
        supported.
    StorageError
        If the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    spectra = [spectrum] if isinstance(spectrum, OpticalSpectrum) else list(spectrum)
    _check(spectra, path, labels, sites)
    curves = _curves(spectra, reference, labels)
    shown = [curve.spectrum for curve in curves]
    end = max_energy or max(one.grid.stop for one in shown)

    figure = Figure(figsize=(10.0, 7.2), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2, sharex=True)
    figure.subplots_adjust(left=0.075, right=0.98, bottom=0.085, top=0.875, wspace=0.18, hspace=0.1)

    _draw_pair(axes[0, 0], curves, "epsilon_real", "epsilon_imaginary", ("ε₁", "ε₂"), end)
    _draw_sites(axes[0, 0], spectra[0], sites)
    axes[0, 0].axhline(0.0, color="#B0B0B0", linewidth=0.8, zorder=1)
    axes[0, 0].set_ylabel("Dielectric function ε = ε₁ + iε₂")
    _draw_pair(axes[0, 1], curves, "refractive_index", "extinction_coefficient", ("n", "k"), end)
    axes[0, 1].set_ylim(bottom=0.0)
    axes[0, 1].set_ylabel("Refractive index n, extinction k")
    _draw_absorption(axes[1, 0], curves, end)
    _draw_reflectivity(axes[1, 1], curves, end)
    for panel in axes.flat:
        _style(panel)
        panel.set_xlim(0.0, end)
    for panel in axes[1]:
        panel.set_xlabel("Photon energy (eV)")
    figure.align_ylabels(axes)
    _head(figure, curves, title, any(one.is_tensor for one in [*spectra, reference] if one))
    if path is not None:
        suffix = Path(path).suffix.lower()
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=suffix[1:], metadata=FORMATS[suffix])
    return figure


def _check(
    spectra: list[OpticalSpectrum],
    path: str | os.PathLike[str] | None,
    labels: Sequence[str] | None,
    sites: Mapping[str, np.ndarray] | None,
) -> None:
    if path is not None and Path(path).suffix.lower() not in FORMATS:
        raise ConfigurationError(
            f"a figure cannot be written as {Path(path).suffix or 'a file without suffix'}",
            where=str(path),
            expected=", ".join(FORMATS),
        )
    if not 1 <= len(spectra) <= len(COLORS):
        raise ConfigurationError(
            f"{len(spectra)} spectra do not fit one figure", expected=f"1 to {len(COLORS)}"
        )
    if labels is not None and len(labels) != len(spectra):
        raise ConfigurationError(
            f"{len(labels)} labels for {len(spectra)} spectra", expected="one label per spectrum"
        )
    if sites is not None:
        if len(spectra) > 1:
            raise ConfigurationError(
                "contributions of sites cannot be told apart in several spectra",
                expected="one spectrum with sites",
            )
        for name, contribution in sites.items():
            require_grid_length(contribution, spectra[0].grid, f"contributions of {name}")


def _describe(spectrum: OpticalSpectrum) -> str:
    """Level of theory and broadening, such as ``RPA · Gaussian σ = 0.1 eV``."""
    level = spectrum.level.upper() if len(spectrum.level) <= 3 else spectrum.level
    return f"{level} · {spectrum.broadening}"


def _curves(
    spectra: list[OpticalSpectrum],
    reference: OpticalSpectrum | None,
    labels: Sequence[str] | None,
) -> list[_Curve]:
    if labels is None:
        labels = [" · ".join(filter(None, (one.material_id, _describe(one)))) for one in spectra]
    several = len(spectra) > 1
    curves = []
    styles: tuple[LineStyle, LineStyle]
    if reference is not None:
        styles = ("--", "-") if several else ("--", "--")
        label = f"Reference: {_describe(reference)}"
        gray = (REFERENCE_COLOR, REFERENCE_COLOR)
        curves.append(_Curve(reference.isotropic(), label, gray, styles, 1.1))
    for one, label, color in zip(spectra, labels, COLORS, strict=False):
        # One spectrum: a colour per quantity. Several: a colour per spectrum, a dash per quantity.
        colors = (color, color) if several else (COLORS[1], COLORS[0])
        styles = ("--", "-") if several else ("-", "-")
        curves.append(_Curve(one.isotropic(), label, colors, styles, 1.7))
    return curves


def _draw_pair(
    panel: Axes, curves: list[_Curve], first: str, second: str, names: tuple[str, str], end: float
) -> None:
    from matplotlib.lines import Line2D

    for curve in curves:
        shown = curve.spectrum.energies <= end
        for name, color, style in zip((first, second), curve.colors, curve.styles, strict=True):
            values = getattr(curve.spectrum, name)
            _line(panel, curve, curve.spectrum.energies[shown], values[shown], color, style)
    last = curves[-1]
    several = last.colors[0] == last.colors[1]
    handles = [
        Line2D([], [], color=FAINT_COLOR if several else color, linestyle=style, linewidth=1.7)
        for color, style in zip(last.colors, last.styles, strict=True)
    ]
    legend = panel.legend(
        handles, names, loc="upper right", frameon=False, fontsize=11, handlelength=1.8
    )
    panel.add_artist(legend)


def _draw_sites(
    panel: Axes, spectrum: OpticalSpectrum, sites: Mapping[str, np.ndarray] | None
) -> None:
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


def _draw_absorption(panel: Axes, curves: list[_Curve], end: float) -> None:
    _draw_visible(panel)
    notes = []
    highest = LOWEST_LOG_ABSORPTION + 1.0
    for curve in curves:
        shown = curve.spectrum.energies <= end
        # Far below the axis, so that the drop to zero under the gap is drawn as one.
        values = curve.spectrum.log_absorption(floor=-2.0)[shown]
        color = curve.colors[1]
        _line(panel, curve, curve.spectrum.energies[shown], values, color, curve.styles[1])
        highest = max(highest, float(values.max()))
        if not curve.spectrum.has_sharp_onset:
            notes.append(("broadened too far for an onset", color))
            continue
        onset = curve.spectrum.onset_energy()
        if onset is None or onset > end:
            notes.append(("no onset", color))
            continue
        notes.append((f"onset {onset:.2f} eV", color))
        panel.plot(
            [onset], [ONSET_THRESHOLD], "o", color=color, markersize=7, markeredgecolor="white",
            markeredgewidth=1.2, zorder=6,
        )  # fmt: skip
    panel.axhline(ONSET_THRESHOLD, color=FAINT_COLOR, linewidth=0.8, linestyle=(0, (1, 2)))
    panel.set_ylim(LOWEST_LOG_ABSORPTION, np.ceil(2.0 * highest + 0.2) / 2.0)
    panel.set_ylabel("Absorption log₁₀(α / cm⁻¹)")
    for row, (note, color) in enumerate(reversed(notes)):
        panel.text(
            0.975, 0.17 + 0.07 * row, note, transform=panel.transAxes, ha="right", va="bottom",
            color=color, fontsize=10,
        )  # fmt: skip


def _draw_visible(panel: Axes) -> None:
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


def _draw_reflectivity(panel: Axes, curves: list[_Curve], end: float) -> None:
    highest = 0.2
    for curve in curves:
        shown = curve.spectrum.energies <= end
        values = curve.spectrum.reflectivity[shown]
        _line(
            panel, curve, curve.spectrum.energies[shown], values, curve.colors[1], curve.styles[1]
        )
        highest = max(highest, float(values.max()))
    panel.set_ylim(0.0, min(1.0, np.ceil(10.0 * highest + 0.5) / 10.0))
    panel.set_ylabel("Reflectivity R at normal incidence")


def _line(panel: Axes, curve: _Curve, x: Any, y: Any, color: str, style: LineStyle) -> None:
    front = 4 if curve.colors[0] == REFERENCE_COLOR else 3
    panel.plot(
        x, y, color=color, linestyle=style, linewidth=curve.width, zorder=front,
        solid_capstyle="round", solid_joinstyle="round",
    )  # fmt: skip


def _style(panel: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    # Steps of 1, 2 or 5: fewer digits on the axes than with the 2.5 of the default.
    panel.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 5, 10]))
    panel.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    panel.set_axisbelow(True)
    panel.grid(True, color="#E8E8E8", linewidth=0.7)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color("#8A8A8A")
    panel.tick_params(color="#8A8A8A", labelcolor="#444444", labelsize=9.5)
    panel.xaxis.label.set(color=TEXT_COLOR, fontsize=10.5)
    panel.yaxis.label.set(color=TEXT_COLOR, fontsize=10.5)


def _head(figure: Figure, curves: list[_Curve], title: str | None, from_tensor: bool) -> None:
    """Title, and below it what the spectra are: a line of text for one, a legend for several."""
    from matplotlib.lines import Line2D

    ids = dict.fromkeys(one.spectrum.material_id for one in curves if one.spectrum.material_id)
    figure.text(
        0.028, 0.975, title or ", ".join(ids) or "Optical spectrum", ha="left", va="top",
        fontsize=15, fontweight="bold", color=TEXT_COLOR,
    )  # fmt: skip
    average = "isotropic average" if from_tensor else ""
    if len(curves) == 1:
        text = " · ".join(filter(None, (_describe(curves[0].spectrum), average)))
        figure.text(0.028, 0.925, text, ha="left", va="top", fontsize=10.5, color=FAINT_COLOR)
        return
    handles = [
        Line2D([], [], color=one.colors[1], linestyle=one.styles[1], linewidth=one.width)
        for one in curves
    ]
    figure.legend(
        handles,
        [one.label for one in curves],
        loc="upper left",
        bbox_to_anchor=(0.02, 0.945),
        ncols=min(len(curves), 2 if len(curves) > 3 else 3),
        frameon=False,
        fontsize=9.5,
        handlelength=2.0,
        columnspacing=1.8,
    )
    if average:
        figure.text(0.98, 0.965, average, ha="right", va="top", fontsize=9.5, color=FAINT_COLOR)
