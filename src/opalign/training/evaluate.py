"""Predictions held against a table: figures of merit, tables and drawings, with every id."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from opalign.dataset.table import SpectraTable
from opalign.errors import ConfigurationError, DatasetError
from opalign.files import write_text
from opalign.model.checkpoint import Checkpoint, load_checkpoint
from opalign.model.manifest import plain
from opalign.spectrum.broadening import Broadening
from opalign.training.data import Materials, build_graphs, open_tables
from opalign.training.metrics import per_material, summarize
from opalign.training.predictions import PREDICTED_GAP, write_predictions
from opalign.training.spectra import SpectraSet, join, read_spectra

Part = Literal["test", "validation", "train", "all"]
GAP_COLUMN = "direct_gap_eV"
TRAINING_FORMULA = "training formula"
"""Label of a material that is not a training material, but a polymorph or duplicate of one."""


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` found and wrote."""

    folder: Path
    per_material: pd.DataFrame
    summary: dict[str, Any]
    """level → broadening → summary as of :func:`opalign.training.metrics.summarize`."""
    files: tuple[Path, ...]


def reference_for(
    predicted: SpectraSet, tables: list[SpectraTable], band_gap_column: str
) -> SpectraSet:
    """Spectra of the tables for the materials, grid and broadening of a prediction."""
    parts = []
    for table in tables:
        inside = set(table.ids)
        chosen = [material_id for material_id in predicted.ids if material_id in inside]
        if chosen:
            parts.append(
                read_spectra(
                    table.select(chosen),
                    predicted.level,
                    predicted.broadening,
                    predicted.grid,
                    band_gap_column,
                )
            )
    if not parts:
        raise DatasetError(
            "none of the predicted materials is in the table",
            expected="a table with the same material ids",
        )
    return join(parts).select(predicted.ids)


def compare(
    predictions: SpectraTable,
    tables: list[SpectraTable],
    band_gap_column: str = GAP_COLUMN,
    broadening: Broadening | None = None,
) -> dict[str, tuple[pd.DataFrame, dict[str, Any]]]:
    """Figures of merit of a table of predictions: level → rows per material, and their summary.

    With ``broadening`` both sides are first broadened further, to that in all.
    """
    result = {}
    for level in predictions.levels:
        if not any(level in table.levels for table in tables):
            continue
        predicted = read_spectra(predictions, level, band_gap_column=PREDICTED_GAP)
        reference = reference_for(predicted, tables, band_gap_column)
        if broadening is not None:
            predicted, reference = (s.broadened(broadening) for s in (predicted, reference))
        frame = per_material(predicted, reference)
        result[level] = (frame, summarize(frame))
    if not result:
        raise DatasetError(
            f"has none of the predicted levels {', '.join(predictions.levels)}",
            where=", ".join(str(table.path) for table in tables),
        )
    return result


def evaluate(
    source: str | os.PathLike[str],
    table: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    part: Part = "test",
    broadenings: tuple[Broadening, ...] = (),
    band_gap_column: str = GAP_COLUMN,
) -> Evaluation:
    """Hold a checkpoint, or a table of predictions, against the spectra of ``table``.

    Parameters
    ----------
    source
        Folder of a checkpoint, or a table of predictions (all its materials are compared).
    part
        Materials of a checkpoint's own split to score. ``"all"`` scores every row of ``table``,
        and then each row of the result says whether the model was trained on it.
    broadenings
        Further ones at which both sides are compared, besides that of the model.

    Writes ``per_material.csv``, ``metrics.json``, ``summary.md``, ``predictions.parquet`` (for a
    checkpoint) and figures into ``out``.

    Raises
    ------
    ConfigurationError, DatasetError, CheckpointError
        The part is empty, or model and table do not fit one another.
    """
    from opalign.training.figures import draw_figures

    source, out = Path(source), Path(out)
    (reference_table,) = open_tables([Path(table)])
    files: list[Path] = []
    part_of: Callable[[str, str], str] = _unknown_part
    if source.is_dir():
        checkpoint = load_checkpoint(source)
        part_of = _membership(checkpoint)
        chosen = _chosen_ids(checkpoint, reference_table, part)
        path = _predict(checkpoint, reference_table.select(chosen), out / "predictions.parquet")
        predictions = SpectraTable.open(path)
        files.append(path)
    else:
        (predictions,) = open_tables([source])
    frames: list[pd.DataFrame] = []
    summary: dict[str, Any] = {}
    for broadening in (None, *broadenings):
        for level, (frame, figures) in compare(
            predictions, [reference_table], band_gap_column, broadening
        ).items():
            pairs = zip(frame["material_id"], frame["formula"], strict=True)
            frame.insert(1, "part", [part_of(m, formula) for m, formula in pairs])
            frames.append(frame)
            summary.setdefault(level, {})[str(frame["broadening"].iloc[0])] = figures
    table_of_all = pd.concat(frames, ignore_index=True)
    files.append(write_text(out / "per_material.csv", table_of_all.to_csv(index=False)))
    scored = part if source.is_dir() else "predicted"
    content = {"part": scored, "levels": plain(summary, "metrics")}
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    files.append(write_text(out / "metrics.json", text))
    seen = table_of_all.drop_duplicates("material_id")["part"].value_counts().to_dict()
    files.append(write_text(out / "summary.md", summary_markdown(summary, scored, seen)))
    for level in summary:
        predicted = read_spectra(predictions, level, band_gap_column=PREDICTED_GAP)
        reference = reference_for(predicted, [reference_table], band_gap_column)
        files += draw_figures(predicted, reference, per_material(predicted, reference), out)
    return Evaluation(out, table_of_all, summary, tuple(files))


def summary_markdown(summary: dict[str, Any], part: str, seen: Mapping[Any, int]) -> str:
    """Write the summary as a Markdown table, one row per level and broadening.

    ``seen`` counts the materials by the part of the model's split that they belong to.
    """
    lines = [f"# Evaluation: {part} materials", ""]
    known = {
        "were used in training": seen.get("train", 0),
        "share their formula with training materials": seen.get(TRAINING_FORMULA, 0),
    }
    if any(known.values()):
        counts = ", ".join(f"{n} of these materials {what}" for what, n in known.items() if n)
        lines += [
            f"**{counts}: the figures below are no measure of what the model knows of unseen "
            "materials.**",
            "",
        ]
    lines += [
        "Errors as median (mean).",
        "",
        "| level | broadening | materials | SC | MAE | MAE quartiles | MSE | onset error / eV "
        "| onset R² | ε₁(0) relative error | gap error / eV |",
        "|---" * 11 + "|",
    ]
    for level, by_broadening in summary.items():
        for broadening, s in by_broadening.items():
            onset, gap = s.get("onset_eV"), s.get("band_gap_eV")
            static = s.get("static_dielectric_relative_error")
            lines.append(
                f"| {level} | {broadening} | {s['materials']} "
                f"| {_shown_both(s['similarity'])} | {_shown_both(s['mae'])} "
                f"| {s['mae']['quartile_1']:.3f} – {s['mae']['quartile_3']:.3f} "
                f"| {_shown_both(s['mse'])} "
                f"| {_shown_both(onset and onset['absolute_error'])} "
                f"| {_shown(onset and onset['r2'])} "
                f"| {_shown_both(static)} "
                f"| {_shown_both(gap and gap['absolute_error'])} |"
            )
    notes = {s.get("onset_left_out") for levels in summary.values() for s in levels.values()}
    lines += ["", *(f"Onsets left out: {note}." for note in sorted(n for n in notes if n))]
    return "\n".join(lines) + "\n"


def _shown(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.3f}"


def _shown_both(figures: dict[str, float] | None) -> str:
    return f"{_shown(figures['median'])} ({_shown(figures['mean'])})" if figures else "–"


def _unknown_part(material_id: str, formula: str) -> str:
    """Stand in for :func:`_membership` where predictions come without their model."""
    return "unknown"


def _membership(checkpoint: Checkpoint) -> Callable[[str, str], str]:
    """Tell the part of the checkpoint's split that a material, by id and formula, belongs to."""
    parts = {
        material_id: part
        for part in ("train", "validation", "test")
        for material_id in checkpoint.splits.get(part, [])
    }
    formulas = set(checkpoint.reference.formulas) if checkpoint.reference else set()

    def part_of(material_id: str, formula: str) -> str:
        return parts.get(material_id, TRAINING_FORMULA if formula in formulas else "unseen")

    return part_of


def _chosen_ids(checkpoint: Checkpoint, table: SpectraTable, part: Part) -> list[str]:
    if part == "all":
        return table.ids
    inside = set(table.ids)
    listed = checkpoint.splits.get(part, [])
    chosen = [material_id for material_id in listed if material_id in inside]
    if not chosen:
        raise ConfigurationError(
            f"none of the checkpoint's {len(listed)} {part} materials is in the table",
            where=str(table.path),
            cure="give the table it was trained with, or choose --split all for materials that it "
            "has never seen",
        )
    return chosen


def _predict(checkpoint: Checkpoint, table: SpectraTable, path: Path) -> Path:
    graphs = build_graphs([table], checkpoint.config.graph, None)
    materials = Materials(tuple(table.ids), tuple(table.formulas), graphs, {})
    source = f"checkpoint {checkpoint.identifier}"
    return write_predictions(path, checkpoint.model, materials, [table], source)
