"""Tables and figures of a comparison with experiment, written into one folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from opalign.files import write_text
from opalign.spectrum.experiment.comparison import Comparison, table_rows
from opalign.spectrum.experiment.scoring import Score
from opalign.spectrum.experiment.statics import StaticComparison, static_rows

NONE = "–"
LEGEND = (
    "Three numbers are: as computed → after the scissor correction, which keeps the f-sum "
    "/ after a rigid shift, which keeps the dipoles; both by Δ, measured gap − computed gap."
)


def write_experiment_report(
    comparisons: Sequence[Comparison],
    statics: Sequence[StaticComparison],
    out: Path,
    *,
    plots: bool = True,
    progress: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write ``experiment.csv``, ``static.csv``, ``experiment.md`` and a figure per crystal.

    Parameters
    ----------
    comparisons, statics
        What :func:`~opalign.spectrum.experiment.comparison.compare` and
        :func:`~opalign.spectrum.experiment.statics.compare_statics` found.
    out
        The folder, made if need be.
    plots
        Whether to draw ``plots/<formula>-<space group>.png`` and the sheet of all of them,
        ``plots/sheet.png``.
    progress
        Called with the name of each figure before it is drawn.

    Returns
    -------
    list[Path]
        What was written.

    Raises
    ------
    StorageError
        If the disk is full or the folder cannot be written to.
    """
    files = [
        write_text(out / "experiment.csv", _csv(table_rows(comparisons))),
        write_text(out / "static.csv", _csv(static_rows(statics))),
        write_text(out / "experiment.md", markdown(comparisons, statics)),
    ]
    if plots and comparisons:
        from opalign.spectrum.plots.experiment import plot_experiment, plot_experiment_sheet

        groups = by_crystal(comparisons)
        for name, group in groups.items():
            if progress is not None:
                progress(name)
            path = out / "plots" / f"{name}.png"
            plot_experiment(group, path)
            files.append(path)
        path = out / "plots" / "sheet.png"
        plot_experiment_sheet(list(groups.values()), path)
        files.append(path)
    return files


def by_crystal(comparisons: Iterable[Comparison]) -> dict[str, list[Comparison]]:
    """Return comparisons of one crystal with one measurement under a name fit for a file.

    At most three levels each; a material that several tables have at the same level counts once.
    """
    groups: dict[str, list[Comparison]] = {}
    keys: dict[tuple[str, int, int], str] = {}
    for one in sorted(comparisons, key=lambda one: one.measurement.formula):
        key = (one.measurement.formula, one.crystal.spacegroup, id(one.measurement))
        if key not in keys:
            plain = f"{one.measurement.formula}-{one.crystal.spacegroup}"
            number = sum(name.split("_")[0] == plain for name in groups)
            keys[key] = f"{plain}_{number + 1}" if number else plain
        group = groups.setdefault(keys[key], [])
        levels = {other.crystal.spectrum.level for other in group}
        if one.crystal.spectrum.level not in levels and len(group) < 3:
            group.append(one)
    return groups


def markdown(comparisons: Sequence[Comparison], statics: Sequence[StaticComparison]) -> str:
    """Return both tables, their medians, and what could not be scored, as Markdown."""
    lines = [LEGEND, ""]
    levels = dict.fromkeys(one.crystal.spectrum.level for one in comparisons)
    for level in levels:
        of_level = [one for one in comparisons if one.crystal.spectrum.level == level]
        full = [one for one in of_level if one.sufficient]
        short = [one for one in of_level if not one.sufficient]
        lines += [f"## {level}: measured over a sufficient range, {len(full)} spectra", ""]
        lines += [*_spectra_table(full), "", *_summary(full), ""]
        if short:
            lines += [f"### {level}: measured over less, {len(short)} spectra", ""]
            lines += [*_spectra_table(short), ""]
            lines += [f"- {_name(one)}: {one.reason}." for one in sorted(short, key=_name)]
            lines += [""]
    for level in dict.fromkeys(one.crystal.spectrum.level for one in statics):
        chosen = [one for one in statics if one.crystal.spectrum.level == level]
        lines += [f"## ε₁(0), {level}: {len(chosen)} spectra", "", *_static_table(chosen), ""]
    return "\n".join(lines).rstrip() + "\n"


def _spectra_table(comparisons: Sequence[Comparison]) -> list[str]:
    lines = [
        "| crystal | id | measured / eV | Δ / eV | SC of Im ε | onset shift / eV | edge shift / eV "
        "| error of ε₁ | note |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in sorted(comparisons, key=_name):
        cells = [
            _three(one, lambda s: s.similarity, ".2f"),
            _three(one, lambda s: s.onset_shift, "+.2f"),
            _three(one, lambda s: s.edge_shift, "+.2f"),
            _three(one, lambda s: s.permittivity_error, "+.0%"),
            "; ".join(
                filter(
                    None,
                    (one.crystal.known, one.score.note, one.shift_note, one.measurement.note),
                )
            ),
        ]
        window = f"{one.score.window[0]:.2f}–{one.score.window[1]:.2f}"
        shift = _number(one.shift, "+.2f")
        head = f"{_name(one)} | {one.crystal.material_id}"
        lines.append(f"| {head} | {window} | {shift} | {' | '.join(cells)} |")
    return lines


def _summary(comparisons: Sequence[Comparison]) -> list[str]:
    all_three = [
        (one.score, one.corrected_score, one.rigid_score)
        for one in comparisons
        if one.corrected_score and one.rigid_score
    ]
    if not all_three:
        return []
    measures: tuple[tuple[str, Callable[[Score], float], str], ...] = (
        ("median SC", lambda s: s.similarity, ".2f"),
        ("median size of onset shift / eV", lambda s: abs(s.onset_shift), ".2f"),
        ("median size of edge shift / eV", lambda s: abs(s.edge_shift), ".2f"),
        ("median size of error of ε₁", lambda s: abs(s.permittivity_error), ".0%"),
    )
    rows = []
    for name, pick, form in measures:
        values = np.array([[pick(one) for one in scores] for scores in all_three])
        values = values[np.isfinite(values).all(axis=1)]
        if len(values):
            medians = " | ".join(f"{median:{form}}" for median in np.median(values, axis=0))
            rows.append(f"| {name} | {len(values)} | {medians} |")
    return ["| over spectra with all three | spectra | as computed | scissor | rigid shift |",
            "|---|---|---|---|---|", *rows]  # fmt: skip


def _static_table(comparisons: Sequence[StaticComparison]) -> list[str]:
    lines = [
        "| crystal | id | measured | computed | after scissor | rigid shift | certainty | note |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in sorted(comparisons, key=lambda one: (one.measured.formula, one.crystal.spacegroup)):
        orientation = one.measured.orientation
        side = {"mean": "", "perpendicular": ", across c", "parallel": ", along c"}[orientation]
        values = (
            (one.computed, one.error),
            (one.corrected, one.corrected_error),
            (one.rigid, one.rigid_error),
        )
        shown = " | ".join(
            NONE if value is None else f"{value:.2f} ({error:+.0%})" for value, error in values
        )
        lines.append(
            f"| {one.measured.formula}, {one.measured.phase}{side} | {one.crystal.material_id} "
            f"| {one.measured.static:.2f} "
            f"| {shown} | {one.measured.certainty} "
            f"| {one.crystal.known} |"
        )
    errors = np.array([(one.error, one.corrected_error, one.rigid_error) for one in comparisons])
    if len(errors):
        whole = errors[np.isfinite(errors).all(axis=1)]
        lines += ["", f"Median size of the error as computed {np.median(abs(errors[:, 0])):.0%}"]
        if len(whole):
            sizes, medians = np.median(abs(whole), axis=0), np.median(whole, axis=0)
            named = zip(("as computed", "after the scissor", "after a rigid shift"),
                        sizes, medians, strict=True)  # fmt: skip
            lines[-1] += f"; over the {len(whole)} with a correction " + ", ".join(
                f"{size:.0%} {name} (median {median:+.0%})" for name, size, median in named
            )
        lines[-1] += "."
    return lines


def _name(one: Comparison) -> str:
    return f"{one.measurement.formula}, {one.measurement.phase or one.crystal.spacegroup}"


def _number(value: float | None, form: str) -> str:
    return NONE if value is None or not np.isfinite(value) else f"{value:{form}}"


def _three(one: Comparison, pick: Callable[[Score], float], form: str) -> str:
    before = _number(pick(one.score), form)
    if one.corrected_score is None or one.rigid_score is None:
        return before
    after, rigid = (_number(pick(score), form) for score in (one.corrected_score, one.rigid_score))
    return NONE if before == after == rigid == NONE else f"{before} → {after} / {rigid}"


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()
