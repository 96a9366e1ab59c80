import itertools

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from opalign.spectrum.plots.labels import label_points


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


def test_a_line_leads_from_a_name_to_its_point_at_any_resolution():
    figure = Figure(figsize=(3, 3))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, 1), ylim=(0, 1))
    (label,) = label_points(axis, [0.5], [0.5], ["MgO"], [0])
    (line,) = [text for text in axis.texts if text.arrow_patch is not None]
    assert line.xy == label.xy
    for dpi in (100, 300):
        figure.set_dpi(dpi)
        (box,) = boxes(figure, [label])
        start = axis.transData.transform(line.xy) + np.array(line.xyann) * dpi / 72
        assert box.expanded(1.1, 1.2).contains(*start)


def test_no_points_no_names():
    figure = Figure(figsize=(3, 3))
    assert label_points(figure.subplots(), [], [], [], []) == []
