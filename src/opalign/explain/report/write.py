"""Write the report of an explanation: page, figures, and a file for chemiscope."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opalign.dataset.table import SpectraTable
from opalign.explain.explanation import Explanation
from opalign.explain.report import figures
from opalign.explain.report.page import page
from opalign.explain.report.payload import page_payload
from opalign.explain.report.style import draw
from opalign.files import write_atomically, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "report.html"
CHEMISCOPE = "chemiscope.json"


def write_report(explanation: Explanation, out: str | os.PathLike[str]) -> list[Path]:
    """Write ``report.html``, ``figures/`` (PNG and SVG) and ``chemiscope.json`` into ``out``.

    The page holds its scripts, figures and data, and asks for nothing from outside.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    MissingExtraError
        If plotly is not installed.
    """
    out = Path(out)
    table = SpectraTable.open(explanation.config.table).select(explanation.ids)
    drawn = {name: draw(figure) for name, figure in _overview(explanation)}
    written = [write_text(out / PAGE, page(explanation, page_payload(explanation, table), drawn))]
    folder = out / "figures"
    for name, figure in drawn.items():
        written += figure.write(folder / name)
    for group in range(explanation.groups.number):
        one = draw(figures.group_figure(explanation, group))
        written += one.write(folder / f"group_{group + 1:03d}")
    if (chemiscope := _chemiscope(explanation, table, out / CHEMISCOPE)) is not None:
        written.append(chemiscope)
    return written


def _overview(explanation: Explanation) -> Iterator[tuple[str, Figure]]:
    yield "map", figures.map_figure(explanation)
    for name, figure in (
        ("dendrogram", figures.dendrogram_figure(explanation)),
        ("criterion", figures.criterion_figure(explanation)),
        ("probes", figures.probes_figure(explanation)),
    ):
        if figure is not None:
            yield name, figure


def _chemiscope(explanation: Explanation, table: SpectraTable, path: Path) -> Path | None:
    """Write a dataset for the viewer chemiscope; None where the package is absent."""
    try:
        import chemiscope
    except ImportError:
        return None
    from pymatgen.io.ase import AseAtomsAdaptor

    frames = [AseAtomsAdaptor.get_atoms(structure) for structure in table.structures()]
    properties: dict[str, Any] = {
        "group": {"target": "structure", "values": explanation.groups.labels + 1},
        "formula": {"target": "structure", "values": list(explanation.formulas)},
        "material id": {"target": "structure", "values": list(explanation.ids)},
    }
    for name, points in explanation.maps.items():
        for axis in (0, 1):
            properties[f"{name} {axis + 1}"] = {"target": "structure", "values": points[:, axis]}
    for name, values in explanation.target.numbers.items():
        # The format has no gaps: where there is no onset there is a zero.
        properties[name] = {"target": "structure", "values": np.nan_to_num(values)}

    def write(target: Path) -> None:
        chemiscope.write_input(
            str(target),
            structures=frames,
            properties=properties,
            metadata={"name": f"{explanation.model}, {explanation.features.layer}"},
        )

    return write_atomically(path, write)
