"""The report of one material: a small page, figures, and all numbers as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from opalign.explain.material import MaterialExplanation
from opalign.explain.report import material_figures
from opalign.explain.report.html import (
    filled,
    script_json,
    static_text,
    text,
    viewer_elements,
    viewer_structure,
)
from opalign.explain.report.style import Drawn, draw, image
from opalign.files import write_text


def write_material_report(
    explanation: MaterialExplanation, out: str | os.PathLike[str]
) -> list[Path]:
    """Write ``material.html``, ``material.json`` and figures (PNG and SVG) into ``out``.

    The page holds all it needs and asks for nothing from outside.
    """
    out = Path(out)
    figures = {
        "sites": material_figures.site_figure(explanation),
        "nearest": material_figures.nearest_figure(explanation),
        "importance": material_figures.importance_figure(explanation),
    }
    drawn = {name: draw(figure) for name, figure in figures.items() if figure is not None}
    summary = json.dumps(explanation.summary(), indent=1, ensure_ascii=False, allow_nan=False)
    written = [
        write_text(out / "material.html", _page(explanation, drawn)),
        write_text(out / "material.json", summary + "\n"),
    ]
    for name, one in drawn.items():
        written += one.write(out / name)
    return written


def _page(explanation: MaterialExplanation, drawn: Mapping[str, Drawn]) -> str:
    prediction = explanation.prediction
    structure = prediction.structure
    shown = viewer_structure(
        structure.lattice.matrix, structure.atomic_numbers, structure.frac_coords
    )
    return filled(
        "material.html",
        title=text(f"{prediction.formula} ({prediction.id})"),
        model=text(explanation.model),
        level=text(explanation.level),
        style=static_text("report.css"),
        viewer=static_text("viewer.js"),
        elements=script_json(viewer_elements()),
        structure=script_json(shown),
        facts=_facts(explanation),
        doubts=_doubts(explanation),
        group=_group(explanation),
        nearest=_nearest(explanation),
        nearest_figure=image(drawn.get("nearest"), "spectra of the nearest training materials"),
        sites_figure=image(drawn.get("sites"), "the spectrum as a sum of its sites"),
        sites_method=text(explanation.sites.method),
        importance_figure=image(drawn.get("importance"), "important bonds and angles")
        or "<p class='note'>The graph has no bonds.</p>",
    )


def _facts(explanation: MaterialExplanation) -> str:
    prediction, chemistry = explanation.prediction, explanation.chemistry
    states = ", ".join(
        f"{element} {', '.join(f'{state:+g}' for state in states)}"
        for element, states in chemistry.oxidation_states.items()
    )
    around = list(dict.fromkeys(name for name in explanation.surroundings if " " in name))
    rows = [
        ("space group", chemistry.space_group),
        ("structure type", chemistry.prototype),
        ("oxidation states", states or "bond valences gave none"),
        ("coordination", ", ".join(around) or "–"),
        ("onset", _number(prediction.onset_energy, "eV")),
        ("gap", _number(prediction.band_gap, "eV")),
        ("static ε₁", _number(prediction.static_dielectric)),
    ]
    return "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in rows)


def _doubts(explanation: MaterialExplanation) -> str:
    if not explanation.doubts:
        return "<p class='good'>Nothing about it lies outside what the network has seen.</p>"
    items = "".join(f"<li>{text(doubt)}</li>" for doubt in explanation.doubts)
    return f"<div class='doubt'><b>Trust this prediction less:</b><ul>{items}</ul></div>"


def _group(explanation: MaterialExplanation) -> str:
    placement = explanation.placement
    if placement is None:
        return "<p class='note'>No explained table was given, so it is put into no group.</p>"
    second = ""
    if placement.second is not None and placement.second_distance == placement.second_distance:
        second = (
            f" The next one, group {placement.second + 1}, is {placement.second_distance:.2f} "
            "times as far."
        )
    distance = ""
    if placement.distance == placement.distance:
        distance = (
            f", at {placement.distance:.2f} times the typical distance of its members from its "
            "middle"
        )
    chips = "".join(f"<span>{text(name)}</span>" for name in placement.members)
    sentences = "".join(f"<p class='sentence'>{text(item)}</p>" for item in placement.sentences)
    return (
        f"<p>It falls into <b>group {placement.group + 1}</b> by layer {text(placement.layer)}"
        f"{distance}.{second}</p>{sentences}<div class='chips'>{chips}</div>"
    )


def _nearest(explanation: MaterialExplanation) -> str:
    if not explanation.nearest:
        return "<p class='note'>The checkpoint does not say what it was trained on.</p>"
    rows = "".join(
        f"<tr><td>{text(item.formula)}</td><td class='text'>{text(item.id)}</td>"
        f"<td>{_number(item.relative_distance)}</td></tr>"
        for item in explanation.nearest
    )
    note = ""
    if not explanation.nearest_spectra:
        note = "<p class='note'>No table with their spectra is at hand; give one with --table.</p>"
    return (
        "<table class='narrow'><thead><tr><th>material</th><th class='text'>id</th>"
        f"<th>distance</th></tr></thead><tbody>{rows}</tbody></table>{note}"
    )


def _number(value: float | None, unit: str = "") -> str:
    return "–" if value is None or value != value else f"{value:.2f} {unit}".rstrip()
