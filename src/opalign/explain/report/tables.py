"""Tables of a report in HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from opalign.explain.explanation import Explanation
from opalign.explain.report.html import text
from opalign.explain.report.style import group_colour
from opalign.explain.tetrahedral import EDGE, ONSET

if TYPE_CHECKING:
    import pandas as pd

#: Column of the validity table, or its beginning → block, and name within it.
_MEASURES = {
    "distance_ratio": ("spectra", "distance"),
    "spread": ("spectra", "spread"),
    "ami": ("chemistry", "AMI"),
    "nmi": ("chemistry", "NMI"),
    "purity": ("chemistry", "purity"),
    "ari_bootstrap": ("come back (ARI)", "part of the materials"),
    "ari_unseen": ("come back (ARI)", "out of fold"),
    "ari_seed": ("come back (ARI)", "other seed"),
    "ari_architecture": ("come back (ARI)", "other network"),
}
_WORDS = {
    "log_absorption": "log α",
    "imaginary": "Im ε",
    "values": "spectra",
    "onset_eV": "onset",
    "edge_integral_eV_per_cm": "edge integral",
    "static_dielectric": "static ε₁",
    "cation_family": "cation family",
}
#: Measures in which a small number is good.
_SMALL_IS_GOOD = ("distance_ratio", "spread")
#: Measures that are shown in the whole table only: NMI and purity grow with the number of groups.
_SECONDARY = ("nmi", "purity", "spread_edge", "spread_static")
_UNSEEN = "_unseen"
#: Formulas of a group that its line names.
_MOST_NAMES = 5


def validity_tables(frame: pd.DataFrame) -> str:
    """Return the validity table in HTML: what matters most, and all of it to be unfolded."""
    columns = [
        column
        for column in frame.columns
        if _prefix(column) is not None and frame[column].notna().any()
    ]
    blocks = list(dict.fromkeys(block for block, _ in _MEASURES.values()))
    columns.sort(key=lambda column: blocks.index(_MEASURES[_prefix(column) or ""][0]))
    main = [column for column in columns if not column.startswith(_SECONDARY)]
    whole = _validity(frame, columns, "validity-all")
    return (
        f"{_validity(frame, main, 'validity-table')}"
        f"<details><summary>with all measures</summary>{whole}</details>"
    )


def _validity(frame: pd.DataFrame, columns: Sequence[str], name: str) -> str:
    blocks: list[tuple[str, int]] = []
    for column in columns:
        block = _MEASURES[_prefix(column) or ""][0]
        if blocks and blocks[-1][0] == block:
            blocks[-1] = (block, blocks[-1][1] + 1)
        else:
            blocks.append((block, 1))
    upper = "".join(
        f'<th class="block" colspan="{size}">{text(block)}</th>' for block, size in blocks
    )
    starts = {sum(size for _, size in blocks[:place]) for place in range(len(blocks))}
    lower = "".join(
        f"<th{_start(place, starts)}>{text(_heading(column))}</th>"
        for place, column in enumerate(columns)
    )
    lines = []
    for _, row in frame.iterrows():
        cells = "".join(
            _cell(frame, column, row[column], _start(place, starts))
            for place, column in enumerate(columns)
        )
        style = ' class="control"' if row["kind"] == "control" else ""
        lines.append(f"<tr{style}><td>{text(row['representation'])}</td>{cells}</tr>")
    return (
        f'<div class="scroll"><table class="validity" id="{name}"><thead><tr><th></th>{upper}</tr>'
        f"<tr><th>groups made from</th>{lower}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
        "</div>"
    )


def _prefix(column: str) -> str | None:
    for prefix in sorted(_MEASURES, key=len, reverse=True):
        if column == prefix or column.startswith(prefix + "_"):
            return None if column.endswith("_error") else prefix
    return None


def _heading(column: str) -> str:
    prefix = _prefix(column) or column
    rest = column.removeprefix(prefix).removeprefix("_")
    unseen = rest.endswith(_UNSEEN.removeprefix("_"))
    rest = rest.removesuffix(_UNSEEN) if unseen else rest
    words = f"{_MEASURES[prefix][1]} {_WORDS.get(rest, rest.replace('_', ' '))}".strip()
    return f"{words}, out of fold" if unseen and rest else words


def _start(place: int, starts: set[int]) -> str:
    return ' class="start"' if place in starts else ""


def _cell(frame: pd.DataFrame, column: str, value: float, attributes: str) -> str:
    if value is None or not math.isfinite(value):
        return f"<td{attributes}>–</td>"
    values = frame[column].dropna()
    low, high = float(values.min()), float(values.max())
    share = (value - low) / (high - low) if high > low else 0.5
    if column.startswith(_SMALL_IS_GOOD):
        share = 1.0 - share
    shade = f"background:rgba(0,114,178,{0.38 * share:.2f})"
    return f'<td{attributes} style="{shade}">{value:.2f}</td>'


def groups_table(explanation: Explanation) -> str:
    """Return one line a group: its materials, and the first thing that sets it apart."""
    lines = []
    frame = explanation.enrichments
    passed = frame.loc[frame["significant"], "group"].value_counts()
    for group in range(explanation.groups.number):
        members = explanation.groups.members(group)
        names = sorted({explanation.formulas[row] for row in members})
        shown = ", ".join(names[:_MOST_NAMES])
        if len(names) > _MOST_NAMES:
            more = len(names) - _MOST_NAMES
            shown += f" and {more} other{'s' if more > 1 else ''}"
        sentences = explanation.sentences.get(group, [])
        apart = [sentence.text for sentence in sentences[1:]]
        lines.append(
            f'<tr data-group="{group}"><td><i class="dot" style="background:'
            f'{group_colour(group)}"></i>{group + 1}</td><td>{len(members)}</td>'
            f'<td class="text">{text(shown)}</td><td>{int(passed.get(group, 0))}</td>'
            f'<td class="text">{text(apart[0] if apart else "")}</td></tr>'
        )
    return (
        '<div class="scroll tall"><table id="groups-table"><thead><tr><th>group</th><th>materials'
        '</th><th class="text">formulas</th><th>tests passed</th><th class="text">what sets it '
        f"apart</th></tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def tetrahedral_table(found: pd.DataFrame) -> str:
    """Return the materials of :func:`opalign.explain.tetrahedral.tetrahedral_d0`; none, nothing."""
    if found.empty:
        return ""
    numbers = {ONSET: "onset (eV)", EDGE: "edge integral (eV/cm)", "edge_rank": "weaker edges"}
    own = [name for name in numbers if name in found.columns]
    head = "".join(f"<th>{text(numbers[name])}</th>" for name in own)
    lines = ""
    for material_id, row in found.iterrows():
        group = row["group"] + 1 if row["group"] >= 0 else "–"
        cells = "".join(f"<td>{_number(name, row[name])}</td>" for name in own)
        lines += (
            f"<tr><td>{text(row['formula'])} ({text(material_id)})</td><td class='text'>"
            f"{text(', '.join(row['cations']))}</td><td>{group}</td>{cells}</tr>"
        )
    return (
        f"<div class='scroll tall'><table class='narrow'><thead><tr><th>material</th>"
        f"<th class='text'>cations</th><th>group</th>{head}</tr></thead><tbody>{lines}</tbody>"
        "</table></div>"
    )


def _number(name: str, value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return (
        f"{value:.0%}" if name == "edge_rank" else f"{value:.3g}" if value < 1e3 else f"{value:.1e}"
    )


def probe_table(frame: pd.DataFrame) -> str:
    """Return the probes in HTML."""
    if frame.empty:
        return "<p class='note'>No property of the sites could be probed.</p>"
    names = ("layer", "property", "measure", "score", "control", "gain", "gain_error", "sites")
    kinds = {name: " class='text'" for name in ("property", "measure")}
    head = "".join(f"<th{kinds.get(name, '')}>{name.replace('_', ' ')}</th>" for name in names)
    lines = "".join(
        "<tr>"
        + "".join(
            f"<td{kinds.get(name, '')}>"
            + (f"{row[name]:.2f}" if isinstance(row[name], float) else text(row[name]))
            + "</td>"
            for name in names
        )
        + "</tr>"
        for _, row in frame.iterrows()
    )
    return (
        f'<div class="scroll tall"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody>'
        "</table></div>"
    )
