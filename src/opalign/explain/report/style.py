"""Colours of a report's figures, and how they become files and parts of a page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from opalign.explain.report.html import text
from opalign.files import write_atomically, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Colours that the colour-blind tell apart, for groups in turn; as on the page.
COLOURS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#cc79a7",
    "#56b4e9",
    "#7f6b00",
    "#882255",
    "#44aa99",
    "#332288",
    "#999933",
    "#6f6f6f",
)
GREY = "#c9ced6"
INK = "#1d2530"


def group_colour(group: int) -> str:
    """Colour of a group; grey for none."""
    return GREY if group < 0 else COLOURS[group % len(COLOURS)]


def new_figure(
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    *,
    layout: Literal["constrained"] | None = "constrained",
) -> tuple[Figure, Any]:
    """Return a figure outside pyplot's global state, with its axes or an array of them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout, dpi=150)
    grid = figure.subplots(rows, columns)
    for axes in np.atleast_1d(grid).ravel():
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure, grid


@dataclass(frozen=True)
class Drawn:
    """A figure that has been drawn."""

    svg: str
    png: bytes

    def write(self, stem: Path) -> list[Path]:
        """Write ``stem.png`` and ``stem.svg``."""
        png = stem.with_name(stem.name + ".png")
        return [
            write_atomically(png, lambda path: path.write_bytes(self.png)),
            write_text(stem.with_name(stem.name + ".svg"), self.svg),
        ]


def draw(figure: Figure) -> Drawn:
    """Draw a figure once for both formats."""
    vector, pixels = io.StringIO(), io.BytesIO()
    figure.savefig(vector, format="svg", metadata={"Date": None})
    # What was laid out once need not be laid out for the next format.
    figure.set_layout_engine("none")
    figure.savefig(pixels, format="png")
    return Drawn(vector.getvalue(), pixels.getvalue())


def image(drawn: Drawn | None, description: str) -> str:
    """Return a figure as an image within a page; nothing for None."""
    if drawn is None:
        return ""
    data = base64.b64encode(drawn.svg.encode()).decode("ascii")
    return f'<img class="figure" alt="{text(description)}" src="data:image/svg+xml;base64,{data}">'
