"""The card of a computed set: what is in it, how good it is, what it has cost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opalign.dataset.table import SpectraTable
from opalign.errors import ConfigurationError
from opalign.files import write_text
from opalign.firstprinciples.campaign import Campaign
from opalign.firstprinciples.campaign_cost import CostFit, fit_cost
from opalign.firstprinciples.campaign_status import CampaignStatus, campaign_status
from opalign.firstprinciples.card_figures import draw_cost, draw_distributions
from opalign.firstprinciples.known import failures_of, write_failures
from opalign.firstprinciples.structure_types import structure_types

CARD_FILE = "README.md"
FAILURES_FILE = "failures.json"
DISTRIBUTIONS_FILE = "distributions.png"
COST_FILE = "cost.png"
ESTIMATED_SIZES = (2, 4, 8, 16, 32)
"""Atoms for which larger campaigns are estimated."""
REACH = 2
"""Sizes up to this many times the largest measured are estimated."""
CORES = {1_000: 128, 10_000: 1_024}
"""Materials → cores of the cluster in the estimate."""
PARTS = (
    ("Band gap", "band_gap_eV", "eV"),
    ("Direct gap", "direct_gap_eV", "eV"),
    ("Corrected gap", "corrected_gap_eV", "eV"),
    ("Onset", "{level}_onset_eV", "eV"),
    ("Static ε", "{level}_static_epsilon", ""),
)
"""Name, column and unit of the distributions; a column that a table lacks is passed over."""


@dataclass(frozen=True)
class Distribution:
    """The values of one column."""

    name: str
    unit: str
    level: str
    values: NDArray[np.float64]


def write_card(
    table: SpectraTable,
    folder: str | PathLike[str],
    *,
    campaigns: Sequence[Campaign] = (),
    title: str = "Computed optical spectra",
) -> Path:
    """Write ``README.md`` with figures about an exported table.

    Parameters
    ----------
    campaigns
        Those that the table stems from tell also what failed, and the time it took; failures are
        listed in ``failures.json``, which a later campaign can name as known.

    Raises
    ------
    DatasetError
        The table was not written by :func:`~opalign.firstprinciples.export.export_campaign`.
    """
    folder = Path(folder)
    statuses = [campaign_status(campaign) for campaign in campaigns]
    found = _distributions(table)
    draw_distributions(found, folder / DISTRIBUTIONS_FILE)
    lines = [f"# {title}", "", *_contents(table, statuses), ""]
    lines += [*_elements(table), "", *_types(table), ""]
    lines += [*_distribution_table(found), "", f"![Distributions]({DISTRIBUTIONS_FILE})", ""]
    lines += ["The last bin of a histogram holds all that lies beyond it.", ""]
    lines += [*_quality(table), ""]
    lines += _cost(table, statuses, folder)
    failures = list({e["key"]: e for campaign in campaigns for e in failures_of(campaign)}.values())
    if failures:
        lines += ["", *_failures(failures)]
        write_failures(failures, folder / FAILURES_FILE)
    lines += ["", *_settings(table)]
    return write_text(folder / CARD_FILE, "\n".join(lines).rstrip() + "\n")


def _contents(table: SpectraTable, statuses: Sequence[CampaignStatus]) -> list[str]:
    hours = float(np.nansum(table.scalar("core_seconds"))) / 3600.0
    # Failed attempts cost, too; of what was joined from elsewhere, only what succeeded is told.
    hours = max(hours, sum(status.core_hours for status in statuses))
    described = ", ".join(f"`{name}` ({info.description})" for name, info in table.levels.items())
    lines = [
        f"{len(table)} materials ({len(set(table.formulas))} reduced formulas), "
        f"{len(table) * len(table.levels)} spectra, {hours:.1f} core hours.",
        "",
        f"- Levels: {described}.",
        f"- Photon energies: {table.grid}.",
        f"- Source: {table.source or 'not stated'}.",
        f"- Licence: {table.licence or 'not stated'}.",
    ]
    if table.citation:
        lines.append(f"- Citation: {table.citation.rstrip('.')}.")
    lines.append(
        "- Missing in all levels: electron–hole interaction (excitons), phonon-assisted "
        "transitions, defects."
    )
    return lines


def _elements(table: SpectraTable) -> list[str]:
    counts = Counter(
        symbol for row in range(len(table)) for symbol in set(table.structure(row).symbol_set)
    )
    listed = ", ".join(f"{symbol} {number}" for symbol, number in _ranked(counts))
    return ["## Elements", "", f"{len(counts)}, with the number of materials: {listed}."]


def _types(table: SpectraTable) -> list[str]:
    counts = Counter(_type_of(table, row) for row in range(len(table)))
    return [
        "## Structure types",
        "",
        f"{len(counts)}, as the structures were set up (relaxation keeps their symmetry):",
        "",
        "| type | materials |",
        "|---|---:|",
        *(f"| {name} | {number} |" for name, number in _ranked(counts)),
    ]


def _type_of(table: SpectraTable, row: int) -> str:
    told = _provenance(table, row)
    if told.get("structure_source") == "prototype generator":
        return str(told.get("notes", "")).partition(";")[0]
    spacegroup = int(table.scalar("spacegroup_number")[row])
    # Structures from elsewhere that are named as the generator names its own.
    kind = structure_types().get(table.ids[row].partition("-")[0])
    if kind is not None and kind.spacegroup == spacegroup:
        return kind.title
    return f"space group {spacegroup}"


def _provenance(table: SpectraTable, row: int) -> dict[str, Any]:
    try:
        told = json.loads(table.provenance(row) or "{}")
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _distributions(table: SpectraTable) -> list[Distribution]:
    found = []
    for name, column, unit in PARTS:
        for level in table.levels if "{level}" in column else ("",):
            if (place := column.format(level=level)) not in table.schema.scalars:
                continue
            values = table.scalar(place)
            found.append(Distribution(name, unit, level, values[np.isfinite(values)]))
    return found


def _distribution_table(found: Sequence[Distribution]) -> list[str]:
    lines = [
        "## Distributions",
        "",
        "| quantity | level | materials | least | quartile | median | quartile | most |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for each in found:
        if not len(each.values):
            continue
        numbers = np.quantile(each.values, [0.0, 0.25, 0.5, 0.75, 1.0])
        name = f"{each.name} / {each.unit}" if each.unit else each.name
        cells = " | ".join(f"{number:.2f}" for number in numbers)
        lines.append(f"| {name} | {each.level or '–'} | {len(each.values)} | {cells} |")
    return lines


def _quality(table: SpectraTable) -> list[str]:
    flags = [table.list_value(row, "quality_flags") or [] for row in range(len(table))]
    flagged = sum(bool(each) for each in flags)
    lines = [
        "## Quality",
        "",
        f"{len(table) - flagged} of {len(table)} materials pass all checks at all levels: "
        "Im ε ≥ 0, the symmetry of the crystal, the f-sum rule against the number of valence "
        "electrons, Kramers–Kronig, and the onset against the direct gap.",
    ]
    if not flagged:
        return lines
    lines += ["", "| flag | materials | which |", "|---|---:|---|"]
    for flag, number in _ranked(Counter(flag for each in flags for flag in each)):
        names = [name for name, each in zip(table.ids, flags, strict=True) if flag in each]
        shown = ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
        lines.append(f"| {flag} | {number} | {shown} |")
    return lines


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    """Most common first, equals by name, so that a card does not change by itself."""
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))


def _cost(table: SpectraTable, statuses: Sequence[CampaignStatus], folder: Path) -> list[str]:
    atoms, seconds = table.scalar("num_sites"), table.scalar("core_seconds")
    lines = ["## Cost", ""]
    lines += ["| atoms | materials | median core seconds | longest |", "|---:|---:|---:|---:|"]
    for size in np.unique(atoms):
        of_size = seconds[(atoms == size) & np.isfinite(seconds)]
        if len(of_size):
            lines.append(
                f"| {size:.0f} | {len(of_size)} | {np.median(of_size):.0f} | {of_size.max():.0f} |"
            )
    try:
        fit = fit_cost(atoms.tolist(), seconds.tolist())
    except ConfigurationError as error:
        return [*lines, "", f"No estimate for larger campaigns: {error.problem}."]
    draw_cost(atoms, seconds, fit, folder / COST_FILE)
    return [*lines, "", f"![Cost]({COST_FILE})", "", *_estimate(fit, statuses)]


def _estimate(fit: CostFit, statuses: Sequence[CampaignStatus]) -> list[str]:
    lines = [
        f"Fit to {fit.materials} materials of {fit.smallest} to {fit.largest} atoms: "
        f"{fit.prefactor:.2g} s × atoms^{fit.exponent:.2f} for the typical material "
        f"(R² {fit.determination:.2f}, two thirds within a factor of {fit.scatter:.1f}), "
        f"{fit.mean_ratio:.2f} times that on average.",
        "",
    ]
    useful = sum(status.states["done"] for status in statuses)
    if useful:
        ended = useful + sum(status.states["failed"] for status in statuses)
        lines += [
            f"{useful} of {ended} jobs that ended gave a spectrum; "
            "the estimate is for materials that do.",
            "",
        ]
    cells = " | ".join(
        f"{count:,} materials / core hours | hours on {cores:,} cores"
        for count, cores in CORES.items()
    )
    lines += [f"| atoms | seconds each | {cells} |", "|---:" * (2 + 2 * len(CORES)) + "|"]
    for size in (size for size in ESTIMATED_SIZES if size <= REACH * fit.largest):
        each = fit.mean_seconds(size)
        numbers = " | ".join(
            f"{count * each / 3600.0:,.0f} | {count * each / 3600.0 / cores:.2g}"
            for count, cores in CORES.items()
        )
        beyond = "" if fit.smallest <= size <= fit.largest else " (extrapolated)"
        lines.append(f"| {size}{beyond} | {each:,.0f} | {numbers} |")
    return lines


def _failures(failures: Sequence[Mapping[str, Any]]) -> list[str]:
    names: dict[str, list[str]] = {}
    for entry in failures:
        names.setdefault(entry["reason"], []).append(entry["material_id"])
    lines = ["## Without a spectrum", "", "| reason | materials | which |", "|---|---:|---|"]
    for reason, found in sorted(names.items(), key=lambda item: -len(item[1])):
        shown = ", ".join(found[:12]) + (" …" if len(found) > 12 else "")
        lines.append(f"| {reason} | {len(found)} | {shown} |")
    return lines


def _settings(table: SpectraTable) -> list[str]:
    told = _provenance(table, 0)
    calculation = told.get("calculation", {})
    settings = calculation.get("settings", told.get("settings", {}))
    versions = calculation.get("versions", {})
    lines = ["## Settings", "", f"Engine: {told.get('engine', 'not stated')}."]
    if versions:
        lines.append(f"Versions: {', '.join(f'{name} {v}' for name, v in versions.items())}.")
    lines += ["Of the first material (each row carries its own in `provenance`):", "", "```json"]
    return [*lines, json.dumps(settings, indent=1, ensure_ascii=False), "```"]
