"""The page of a report: one HTML file with everything in it."""

from __future__ import annotations

import base64
import html
import io
import json
import math
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any

from opalign.errors import MissingExtraError
from opalign.explain.explanation import Explanation
from opalign.explain.report import figures

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_TITLES = {
    "distance_ratio": "distance within / between",
    "spread": "spread within / all",
    "nmi": "NMI",
    "ami": "AMI",
    "purity": "purity",
    "chance_purity": "purity by chance",
    "ari_bootstrap": "ARI, part of the materials",
    "ari_unseen": "ARI, out of fold",
    "ari_seed": "ARI, another seed",
    "ari_architecture": "ARI, another architecture",
}
#: Columns of the validity table in which a small number is good.
_SMALL_IS_GOOD = ("distance_ratio", "spread")


def page(explanation: Explanation, payload: dict[str, Any]) -> str:
    """Return the HTML of a report; it asks for nothing from outside itself."""
    static = resources.files("opalign.explain.report") / "static"
    template = Template((static / "report.html").read_text(encoding="utf-8"))
    groups = explanation.groups
    return template.substitute(
        title=_text(payload["title"]),
        target=_text(explanation.target.name),
        style=(static / "report.css").read_text(encoding="utf-8"),
        plotly=_plotly(),
        viewer=(static / "viewer.js").read_text(encoding="utf-8"),
        script=(static / "report.js").read_text(encoding="utf-8"),
        payload=_json(payload),
        elements=_json(_elements()),
        cards=_cards(explanation),
        number=groups.number,
        method="Ward's linkage" if groups.method == "ward" else "density (HDBSCAN)",
        chosen=_text(_chosen(explanation)),
        dendrogram=_image(figures.dendrogram_figure(explanation), "dendrogram of the groups"),
        criterion=_image(figures.criterion_figure(explanation), "criterion and number of groups"),
        validity=_validity_table(explanation.validity),
        probes=_image(figures.probes_figure(explanation), "what each layer knows"),
        probe_table=_probe_table(explanation.probes),
        notes="".join(f"<li>{_text(note)}</li>" for note in _notes(explanation)),
        similarity=_text(explanation.similarity_of or "not available"),
        significance=f"{explanation.config.significance:g}",
        neighbors=explanation.config.map_neighbors,
        minimum_distance=f"{explanation.config.map_minimum_distance:g}",
        layer=_text(explanation.features.layer),
    )


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingExtraError(
            "the report needs plotly", cure="pip install 'opalign[explain]'"
        ) from error
    return str(get_plotlyjs())


def _text(value: object) -> str:
    return html.escape(str(value))


def _json(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _elements() -> dict[int, tuple[float, str]]:
    """Covalent radius in Å and colour of each element, by atomic number."""
    from ase.data import covalent_radii
    from ase.data.colors import jmol_colors

    return {
        number: (
            round(float(covalent_radii[number]), 2),
            "#" + "".join(f"{round(255 * float(c)):02x}" for c in jmol_colors[number]),
        )
        for number in range(1, min(len(covalent_radii), len(jmol_colors)))
    }


def _image(figure: Figure | None, description: str) -> str:
    if figure is None:
        return ""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<img class="figure" alt="{_text(description)}" src="data:image/svg+xml;base64,{data}">'


def _cards(explanation: Explanation) -> str:
    tested = explanation.enrichments["basis"].eq("tested")
    cards: list[tuple[object, str]] = [
        (len(explanation.ids), "materials"),
        (len(set(explanation.formulas)), "formulas"),
        (explanation.groups.number, "groups"),
        (int(explanation.enrichments["significant"].sum()), f"of {int(tested.sum())} tests passed"),
    ]
    if explanation.unseen_labels is not None:
        from opalign.explain.stability import agreement

        seen = explanation.unseen_labels >= 0
        value = agreement(explanation.groups.labels[seen], explanation.unseen_labels[seen])
        cards.append((f"{value:.2f}", "adjusted Rand index with groups out of fold"))
    return "".join(
        f'<div class="card"><b>{_text(value)}</b>{_text(name)}</div>' for value, name in cards
    )


def _chosen(explanation: Explanation) -> str:
    groups = explanation.groups
    if groups.method == "hdbscan":
        return f"Chosen by {groups.chosen_by}."
    if groups.chosen_by in ("number", "distance"):
        return f"Cut at the {groups.chosen_by} that was asked for."
    text = f"Chosen by the criterion “{groups.chosen_by}”: {groups.criterion.get('rule', '')}."
    tried = groups.criterion.get("numbers", [])
    if tried and groups.number == tried[-1]:
        text += " That is the largest number that was tried: the data show no natural one."
    return text


def _notes(explanation: Explanation) -> list[str]:
    notes = list(explanation.notes)
    failed = {name for name, text in explanation.chemistry.problems if "oxidation" in text}
    if failed:
        notes.append(
            f"Bond valences gave no oxidation states for {len(failed)} of "
            f"{len(explanation.ids)} materials; they are left out of what is said about those."
        )
    others = [item for item in explanation.chemistry.problems if "oxidation" not in item[1]]
    if others:
        notes.append(f"{len(others)} cation sites have no coordination: {others[0][1]} …")
    if explanation.skipped:
        name, reason = explanation.skipped[0]
        notes.append(
            f"{len(explanation.skipped)} materials were left out, the first is {name}: {reason}"
        )
    return notes


def _validity_table(frame: pd.DataFrame) -> str:
    """Return the table in HTML, good values shaded; empty columns left out."""
    shown = [
        column
        for column in frame.columns
        if column not in ("kind", "groups", "representation", "ari_bootstrap_error")
        and not column.startswith("chance_")
        and frame[column].notna().any()
    ]
    head = "".join(f"<th>{_text(_heading(column))}</th>" for column in shown)
    lines = []
    for _, row in frame.iterrows():
        cells = "".join(_cell(frame, column, row[column]) for column in shown)
        style = ' class="control"' if row["kind"] == "control" else ""
        lines.append(f"<tr{style}><td>{_text(row['representation'])}</td>{cells}</tr>")
    return (
        f'<div class="scroll"><table id="validity-table"><thead><tr><th>representation</th>{head}'
        f"</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _heading(column: str) -> str:
    for prefix, title in sorted(_TITLES.items(), key=lambda item: -len(item[0])):
        if column == prefix:
            return title
        if column.startswith(prefix + "_"):
            rest = column.removeprefix(prefix + "_").replace("_unseen", " (out of fold)")
            return f"{title}: {rest.replace('_', ' ').replace(' eV', '')}"
    return column


def _cell(frame: pd.DataFrame, column: str, value: float) -> str:
    if value is None or not math.isfinite(value):
        return "<td>–</td>"
    values = frame[column].dropna()
    low, high = float(values.min()), float(values.max())
    share = (value - low) / (high - low) if high > low else 0.5
    if column.startswith(_SMALL_IS_GOOD):
        share = 1.0 - share
    return f'<td style="background:rgba(0,114,178,{0.35 * share:.2f})">{value:.2f}</td>'


def _probe_table(frame: pd.DataFrame) -> str:
    if frame.empty:
        return "<p class='note'>No property of the sites could be probed.</p>"
    names = ("layer", "property", "measure", "score", "control", "gain", "gain_error", "sites")
    head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in names)
    lines = "".join(
        "<tr>"
        + "".join(
            f"<td>{row[name]:.2f}</td>" if isinstance(row[name], float) else f"<td>{row[name]}</td>"
            for name in names
        )
        + "</tr>"
        for _, row in frame.iterrows()
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody>'
        "</table></div>"
    )
