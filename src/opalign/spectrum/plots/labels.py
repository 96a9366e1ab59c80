"""Names beside points of a figure, put where they cover neither each other nor many points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import BboxBase
from numpy.typing import ArrayLike, NDArray

SIZE = 7
#: Offsets in points, and how the text is aligned there; the first that is free is taken.
PLACES = tuple(
    (x * reach, y * reach, {1: "left", -1: "right", 0: "center"}[x])
    for reach in (4.0, 9.0, 15.0)
    for x, y in ((1, 1), (1, -2), (-1, 1), (-1, -2), (0, 2), (0, -3))
)


def label_points(
    axis: Axes, x: ArrayLike, y: ArrayLike, names: Sequence[str], rows: Iterable[int]
) -> list[Annotation]:
    """Name some points of a scatter plot, as the last thing: axes keep their places from here on.

    Parameters
    ----------
    x, y
        All points drawn, (n,), in the data's coordinates; the axes must have their final limits.
    names
        (n,); only those of ``rows`` are written, the first of them at the best places.

    Returns
    -------
    The labels, in the order of ``rows``.
    """
    figure = cast(Figure, axis.get_figure(root=True))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")  # Axes stay where the labels have been fitted to them.
    renderer = canvas.get_renderer()
    points = axis.transData.transform(np.stack([np.asarray(x), np.asarray(y)], axis=1))
    taken: list[BboxBase] = []
    labels: list[Annotation] = []

    def extent(label: Annotation) -> BboxBase:
        return label.get_window_extent(renderer).expanded(1.02, 1.05)

    def covered(label: Annotation, place: tuple[float, float, str]) -> int:
        """How bad the place is: a name on a name cannot be read, one on a point hides it."""
        _move(label, place)
        box = extent(label)
        outside = not all(axis.bbox.contains(*corner) for corner in (box.min, box.max))
        return 100 * (box.count_overlaps(taken) + outside) + box.count_contains(points)

    for row in rows:
        label = axis.annotate(
            names[row], (np.asarray(x)[row], np.asarray(y)[row]), fontsize=SIZE,
            xytext=(0, 0), textcoords="offset points",
        )  # fmt: skip
        _move(label, min(PLACES, key=lambda place: covered(label, place)))
        taken.append(extent(label))
        _lead(axis, label, extent(label), points[row])
        labels.append(label)
    return labels


def _lead(axis: Axes, label: Annotation, box: BboxBase, point: NDArray[np.float64]) -> None:
    """Draw a thin line from a name to its point: beside other points it could be of any of them."""
    nearest = np.clip(point, box.min, box.max)
    offset = (nearest - point) * 72.0 / axis.figure.dpi
    axis.annotate(
        "", label.xy, xytext=tuple(offset), textcoords="offset points", zorder=1,
        arrowprops={"arrowstyle": "-", "lw": 0.6, "color": "0.4", "shrinkA": 0, "shrinkB": 2},
    )  # fmt: skip


def _move(label: Annotation, place: tuple[float, float, str]) -> None:
    label.set_position(place[:2])
    label.set_horizontalalignment(place[2])  # type: ignore[arg-type]
