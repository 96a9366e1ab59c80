"""The page of a report: one HTML file with everything in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opalign.errors import MissingExtraError
from opalign.explain.explanation import Explanation
from opalign.explain.report.html import filled, script_json, static_text, text, viewer_elements
from opalign.explain.report.style import Drawn, image
from opalign.explain.report.tables import (
    groups_table,
    probe_table,
    tetrahedral_table,
    validity_tables,
)
from opalign.explain.stability import agreement
from opalign.explain.tetrahedral import tetrahedral_d0, tetrahedral_sentence


def page(explanation: Explanation, payload: dict[str, Any], drawn: Mapping[str, Drawn]) -> str:
    """Return the HTML of a report; it asks for nothing from outside itself.

    Parameters
    ----------
    drawn
        Figures by name: ``dendrogram``, ``criterion``, ``probes``, those that there are.
    """
    groups = explanation.groups
    tetrahedral = tetrahedral_d0(explanation)
    return filled(
        "report.html",
        title=text(payload["title"]),
        target=text(explanation.target.name),
        style=static_text("report.css"),
        plotly=_plotly(),
        viewer=static_text("viewer.js"),
        panels=static_text("panels.js"),
        script=static_text("report.js"),
        payload=script_json(payload),
        elements=script_json(viewer_elements()),
        cards=_cards(explanation),
        number=groups.number,
        method="Ward's linkage" if groups.method == "ward" else "density (HDBSCAN)",
        chosen=text(_chosen(explanation)),
        dendrogram=image(drawn.get("dendrogram"), "dendrogram of the groups"),
        criterion=_criterion(drawn.get("criterion")),
        groups=groups_table(explanation),
        tetrahedral=text(tetrahedral_sentence(explanation, tetrahedral)),
        tetrahedral_table=tetrahedral_table(tetrahedral),
        validity=validity_tables(explanation.validity),
        probes=image(drawn.get("probes"), "what each layer knows"),
        probe_table=probe_table(explanation.probes),
        notes="".join(f"<li>{text(note)}</li>" for note in _notes(explanation)),
        similarity=text(explanation.similarity_of or "not available"),
        significance=f"{explanation.config.significance:g}",
        neighbors=explanation.config.map_neighbors,
        minimum_distance=f"{explanation.config.map_minimum_distance:g}",
        layer=text(explanation.features.layer),
    )


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingExtraError(
            "the report needs plotly", cure="pip install 'opalign[explain]'"
        ) from error
    return str(get_plotlyjs())


def _criterion(drawn: Drawn | None) -> str:
    if drawn is None:
        return ""
    shown = image(drawn, "criterion and number of groups")
    return f"<details><summary>how the number was chosen</summary>{shown}</details>"


def _cards(explanation: Explanation) -> str:
    tested = explanation.enrichments["basis"].eq("tested")
    cards: list[tuple[object, str]] = [
        (len(explanation.ids), "materials"),
        (len(set(explanation.formulas)), "formulas"),
        (explanation.groups.number, "groups"),
        (int(explanation.enrichments["significant"].sum()), f"of {int(tested.sum())} tests passed"),
    ]
    if explanation.unseen_labels is not None:
        seen = explanation.unseen_labels >= 0
        value = agreement(explanation.groups.labels[seen], explanation.unseen_labels[seen])
        cards.append((f"{value:.2f}", "adjusted Rand index with groups out of fold"))
    alone = int((explanation.groups.labels < 0).sum())
    if alone:
        cards.append((alone, "materials in no group"))
    return "".join(
        f'<div class="card"><b>{text(value)}</b>{text(name)}</div>' for value, name in cards
    )


def _chosen(explanation: Explanation) -> str:
    groups = explanation.groups
    if groups.method == "hdbscan":
        return f"Chosen by {groups.chosen_by}."
    if groups.chosen_by in ("number", "distance"):
        return f"Cut at the {groups.chosen_by} that was asked for."
    found = f"Chosen by the criterion “{groups.chosen_by}”: {groups.criterion.get('rule', '')}."
    tried = groups.criterion.get("numbers", [])
    if tried and groups.number == tried[-1]:
        found += " That is the largest number that was tried: the data show no natural one."
    return found


def _notes(explanation: Explanation) -> list[str]:
    notes = list(explanation.notes)
    problems = explanation.chemistry.problems
    failed = {name for name, problem in problems if "oxidation" in problem}
    if failed:
        notes.append(
            f"Bond valences gave no oxidation states for {len(failed)} of "
            f"{len(explanation.ids)} materials; they are left out of what is said about those."
        )
    others = [problem for _, problem in problems if "oxidation" not in problem]
    if others:
        notes.append(f"{len(others)} cation sites have no coordination: {others[0]} …")
    if explanation.skipped:
        name, reason = explanation.skipped[0]
        notes.append(
            f"{len(explanation.skipped)} materials were left out, the first is {name}: {reason}"
        )
    return notes
