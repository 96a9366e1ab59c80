"""What all figures share: colours, curves, axes, heads, and files written whole.

Nothing here touches pyplot or matplotlib's global settings, so figures can be made in threads and
need not be closed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from opalign.errors import ConfigurationError
from opalign.files import atomic_path
from opalign.spectrum.arrays import require_grid_length
from opalign.spectrum.optical import OpticalSpectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LineStyle = Literal["-", "--"]
Bands = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Quantity → its lower and upper bound, (n,) each, on the grid of the first spectrum."""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours, which colour-blind readers tell apart."""

REFERENCE_COLOR = "#404040"
TEXT_COLOR = "#222222"
FAINT_COLOR = "#6E6E6E"
FORMATS: Mapping[str, Mapping[str, None]] = {
    ".png": {},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
"""Suffixes that can be written, with what keeps the time of writing out of the file."""

QUANTITIES = (
    "epsilon_real",
    "epsilon_imaginary",
    "refractive_index",
    "extinction_coefficient",
    "log_absorption",
    "reflectivity",
    "loss_function",
)
"""Names under which bands are given."""


@dataclass(frozen=True)
class Curve:
    """One spectrum in the figure and how it is drawn."""

    spectrum: OpticalSpectrum
    label: str
    colors: tuple[str, str]
    styles: tuple[LineStyle, LineStyle]
    width: float
    bands: Bands = field(default_factory=dict)

    def values(self, quantity: str) -> np.ndarray:
        """Return one of :data:`QUANTITIES`, (n,)."""
        if quantity == "log_absorption":
            # Far below the axis, so that the drop to zero under the gap is drawn as one.
            return self.spectrum.log_absorption(floor=-2.0)
        values: np.ndarray = getattr(self.spectrum, quantity)
        return values


def as_list(spectrum: OpticalSpectrum | Sequence[OpticalSpectrum]) -> list[OpticalSpectrum]:
    """Return one or several spectra as a list."""
    return [spectrum] if isinstance(spectrum, OpticalSpectrum) else list(spectrum)


def curves_of(
    spectra: list[OpticalSpectrum],
    reference: OpticalSpectrum | None = None,
    labels: Sequence[str] | None = None,
    bands: Bands | None = None,
) -> list[Curve]:
    """Return the reference, if there is one, and the spectra as curves; tensors as averages.

    Raises
    ------
    ConfigurationError
        If there are more spectra than colours, or not one label each, or a band of what is not
        drawn.
    SpectrumError
        If a band does not lie on the grid of the first spectrum.
    """
    if not 1 <= len(spectra) <= len(COLORS):
        raise ConfigurationError(
            f"{len(spectra)} spectra do not fit one figure", expected=f"1 to {len(COLORS)}"
        )
    if labels is not None and len(labels) != len(spectra):
        raise ConfigurationError(
            f"{len(labels)} labels for {len(spectra)} spectra", expected="one label per spectrum"
        )
    _check_bands(bands or {}, spectra[0])
    if labels is None:
        labels = [label_of(one) for one in spectra]
    several = len(spectra) > 1
    curves = []
    styles: tuple[LineStyle, LineStyle]
    if reference is not None:
        styles = ("--", "-") if several else ("--", "--")
        label = f"Reference: {describe(reference)}"
        gray = (REFERENCE_COLOR, REFERENCE_COLOR)
        curves.append(Curve(reference.isotropic(), label, gray, styles, 1.1))
    for place, (one, label, color) in enumerate(zip(spectra, labels, COLORS, strict=False)):
        # One spectrum: a colour per quantity. Several: a colour per spectrum, a dash per quantity.
        colors = (color, color) if several else (COLORS[1], COLORS[0])
        styles = ("--", "-") if several else ("-", "-")
        own = (bands or {}) if place == 0 else {}
        curves.append(Curve(one.isotropic(), label, colors, styles, 1.7, own))
    return curves


def describe(spectrum: OpticalSpectrum) -> str:
    """Level of theory and broadening, such as ``RPA · Gaussian σ = 0.1 eV``."""
    level = spectrum.level.upper() if len(spectrum.level) <= 3 else spectrum.level
    return f"{level} · {spectrum.broadening}"


def label_of(spectrum: OpticalSpectrum) -> str:
    """Material, level of theory and broadening."""
    return " · ".join(filter(None, (spectrum.material_id, describe(spectrum))))


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches that belongs to nobody."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def check_suffix(path: str | os.PathLike[str] | None) -> None:
    """Raise :class:`ConfigurationError` unless a figure can be written to ``path``."""
    if path is not None and Path(path).suffix.lower() not in FORMATS:
        raise ConfigurationError(
            f"a figure cannot be written as {Path(path).suffix or 'a file without suffix'}",
            where=str(path),
            expected=", ".join(FORMATS),
        )


def save(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """Write ``figure`` to ``path``, atomically, unless that is None; return the figure."""
    if path is not None:
        suffix = Path(path).suffix.lower()
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=suffix[1:], metadata=dict(FORMATS[suffix]))
    return figure


def line(panel: Axes, curve: Curve, x: Any, y: Any, color: str, style: LineStyle) -> None:
    """Draw a curve; references lie above, since they are thin."""
    front = 4 if curve.colors[0] == REFERENCE_COLOR else 3
    panel.plot(
        x, y, color=color, linestyle=style, linewidth=curve.width, zorder=front,
        solid_capstyle="round", solid_joinstyle="round",
    )  # fmt: skip


def style_axes(panel: Axes) -> None:
    """Thin axes, a faint grid, round steps."""
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


def head(figure: Figure, curves: list[Curve], title: str | None, from_tensor: bool) -> None:
    """Title, and below it what the spectra are: a line of text for one, a legend for several."""
    from matplotlib.lines import Line2D

    ids = dict.fromkeys(one.spectrum.material_id for one in curves if one.spectrum.material_id)
    average = "isotropic average" if from_tensor else ""
    heading(figure, title or ", ".join(ids) or "Optical spectrum")
    if len(curves) == 1:
        subheading(figure, " · ".join(filter(None, (describe(curves[0].spectrum), average))))
        return
    handles = [
        Line2D([], [], color=one.colors[1], linestyle=one.styles[1], linewidth=one.width)
        for one in curves
    ]
    width, height = figure.get_size_inches()
    longest = max(len(one.label) for one in curves)
    fitting = int(width / (0.65 + 0.085 * longest))
    figure.legend(
        handles,
        [one.label for one in curves],
        loc="upper left",
        bbox_to_anchor=(0.02 * 10.0 / width, 1.0 - 0.396 / height),
        ncols=max(1, min(len(curves), fitting, 2 if len(curves) > 3 else 3)),
        frameon=False,
        fontsize=9.5,
        handlelength=2.0,
        columnspacing=1.8,
    )
    if average:
        figure.text(
            0.98, 1.0 - 0.25 / height, average, ha="right", va="top", fontsize=9.5,
            color=FAINT_COLOR,
        )  # fmt: skip


def heading(figure: Figure, text: str) -> None:
    """Write the title, top left."""
    width, height = figure.get_size_inches()
    figure.text(
        0.28 / width, 1.0 - 0.18 / height, text, ha="left", va="top",
        fontsize=15, fontweight="bold", color=TEXT_COLOR,
    )  # fmt: skip


def subheading(figure: Figure, text: str) -> None:
    """Write a line below the title."""
    width, height = figure.get_size_inches()
    figure.text(
        0.28 / width, 1.0 - 0.54 / height, text, ha="left", va="top",
        fontsize=10.5, color=FAINT_COLOR,
    )  # fmt: skip


def _check_bands(bands: Bands, spectrum: OpticalSpectrum) -> None:
    for quantity, bounds in bands.items():
        if quantity not in QUANTITIES:
            raise ConfigurationError(
                f"a band of {quantity!r} cannot be drawn", expected=", ".join(QUANTITIES)
            )
        for values in bounds:
            require_grid_length(values, spectrum.grid, f"bounds of {quantity}")
