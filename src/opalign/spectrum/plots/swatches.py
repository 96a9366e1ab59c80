"""Colours as they look, with their numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from opalign.errors import ConfigurationError
from opalign.spectrum.plots.style import (
    FAINT_COLOR,
    TEXT_COLOR,
    check_suffix,
    heading,
    new_figure,
    save,
    subheading,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from opalign.spectrum.colour import Colour

PER_ROW = 4
_SIDE, _GAP, _TEXT, _TOP = 1.75, 0.3, 0.85, 0.95


def plot_colours(
    colours: Mapping[str, Colour],
    path: str | os.PathLike[str] | None = None,
    *,
    title: str | None = None,
) -> Figure:
    """Draw a field of each colour with its name, hexadecimal sRGB and L*a*b*.

    Raises
    ------
    ConfigurationError
        If there is no colour, or the suffix is not supported.
    StorageError
        If the file cannot be written.
    """
    from matplotlib.patches import Rectangle

    check_suffix(path)
    if not colours:
        raise ConfigurationError("there is no colour to draw", expected="one at least")
    columns = min(PER_ROW, len(colours))
    rows = -(-len(colours) // PER_ROW)
    width = 0.28 + columns * (_SIDE + _GAP)
    height = _TOP + rows * (_SIDE + _TEXT)
    figure = new_figure(max(width, 4.4), height)
    width = figure.get_size_inches()[0]
    for place, (name, colour) in enumerate(colours.items()):
        row, column = divmod(place, PER_ROW)
        left = 0.28 + column * (_SIDE + _GAP)
        bottom = height - _TOP - row * (_SIDE + _TEXT) - _SIDE
        figure.add_artist(
            Rectangle(
                (left / width, bottom / height),
                _SIDE / width,
                _SIDE / height,
                transform=figure.transFigure,
                facecolor=colour.srgb,
                # Whites and near-whites need an edge on white paper.
                edgecolor="#B0B0B0",
                linewidth=0.8,
            )
        )
        lightness, red, yellow = colour.lab
        lines = (
            (name, 10.5, TEXT_COLOR),
            (colour.hex + (" (outside sRGB)" if colour.clipped else ""), 9.0, FAINT_COLOR),
            (f"L*a*b* {lightness:.0f}, {red:+.0f}, {yellow:+.0f}", 9.0, FAINT_COLOR),
        )
        for number, (text, size, color) in enumerate(lines):
            figure.text(
                left / width,
                (bottom - 0.08 - 0.21 * number) / height,
                text.replace("-", "−") if number == 2 else text,
                ha="left",
                va="top",
                fontsize=size,
                color=color,
            )
    heading(figure, title or "Colours")
    subheading(figure, "Daylight D65, 2° observer")
    return save(figure, path)
