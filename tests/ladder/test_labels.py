import itertools

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from opalign.ladder.labels import label_points


def boxes(figure, labels):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return [label.get_window_extent(canvas.get_renderer()) for label in labels]


def test_names_of_neighbours_do_not_lie_on_each_other():
    figure = Figure(figsize=(4, 4))
    axis = figure.subplots()
    x = np.array([0.50, 0.51, 0.505, 0.52, 0.1])
    y = np.array([0.50, 0.50, 0.51, 0.505, 0.9])
    axis.scatter(x, y)
    axis.set(xlim=(0, 1), ylim=(0, 1))
    names = ["CsLiMoO4", "Rb2Se", "NaNO2", "K3AuO", "far"]
    labels = label_points(axis, x, y, names, [0, 1, 2, 3])
    assert [label.get_text() for label in labels] == names[:4]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes(figure, labels), 2))


def test_a_name_at_the_edge_stays_within_the_axes():
    figure = Figure(figsize=(3, 3))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, 1), ylim=(0, 1))
    labels = label_points(axis, [0.99, 0.5], [0.995, 0.5], ["Ce2SeN2", "MgO"], [0, 1])
    corner, middle = boxes(figure, labels)
    assert figure.bbox.contains(corner.x0, corner.y0)
    assert figure.bbox.contains(corner.x1, corner.y1)
    assert middle.x0 > figure.bbox.x1 / 2  # the first place, where nothing is in the way
