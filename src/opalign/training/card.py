"""The model card: what a model is for, what it learned from, how well it does, where it ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opalign.dataset.split import Split
from opalign.dataset.table import SpectraTable
from opalign.model.calibration import Calibration
from opalign.model.ensemble import Network, members_of
from opalign.training.config import TrainingConfig

LIMITS = """\
- No excitons: electron–hole interaction is in none of the training spectra.
- No phonon-assisted transitions, no point defects, no surfaces, no free carriers.
- Gaps and absorption edges are those of the level of theory learned; where that is semi-local
  density-functional theory they are too small, often by a third or more.
- Far from the training materials it extrapolates. Elements it has not seen are named in
  `config.json` by their absence; the distance to `reference.parquet` tells the rest.
"""


def model_card(
    config: TrainingConfig,
    network: Network,
    tables: list[SpectraTable],
    split: Split,
    metrics: dict[str, Any],
    pretraining_table: SpectraTable | None = None,
    further: Sequence[SpectraTable] = (),
    calibration: Calibration | None = None,
) -> str:
    """Markdown text of the card, ``README.md`` of a checkpoint."""
    model = network.config
    parameters = sum(parameter.numel() for parameter in network.parameters())
    members = len(members_of(network))
    of_several = f"ensemble of {members} networks; " if members > 1 else ""
    lines = [
        f"# Optical spectra of crystals, level {', '.join(model.levels)}",
        "",
        f"A graph network ({of_several}{model.encoder.architecture}, {model.head.kind} head, "
        f"{parameters:,} weights) that predicts optical spectra from crystal structures. Trained "
        "with Opalign.",
        "",
        "## Data",
        "",
    ]
    for table in tables:
        lines += _source(table, f"{len(table)} materials")
    for table in further:
        lines += _source(
            table, "only learned from, without the formulas of validation and test materials"
        )
    if pretraining_table is not None:
        lines += _source(
            pretraining_table,
            "for a first stage on its scalars, without the formulas of validation and test",
        )
    lines += [
        "",
        f"- Levels: {_levels(tables, model.levels)}",
        f"- Broadening of what was learned: {model.broadening}",
        f"- Energies: {model.grid}",
        f"- Split: {split.method}, seed {split.seed}; {len(split.train)} training, "
        f"{len(split.validation)} validation, {len(split.test)} test materials. Their ids are in "
        "`splits.json`.",
    ]
    if config.initial is not None:
        lines.append(f"- Started from the weights of {config.initial.checkpoint.name}.")
    lines += ["", "## Figures", "", *_figures(metrics)]
    lines += ["", "## Uncertainty", "", *_uncertainty(calibration)]
    lines += ["", "## Limits", "", LIMITS]
    return "\n".join(lines)


def _uncertainty(calibration: Calibration | None) -> list[str]:
    if calibration is None:
        return ["Not calibrated: the model predicts without bands."]
    lines = [
        f"Bands of {calibration.coverage:.0%} by conformal prediction from the out-of-fold errors "
        f"of {calibration.materials}",
        f"materials ({calibration.folds} folds by formula, {calibration.members} networks each). "
        "What follows was measured on folds",
        "that the bands were not made from, where prediction or reference exceeds 1 % of its "
        "maximum.",
        "",
        "| level | coverage | width of the band / height of the reference | errors inside their "
        "interval | rank correlation of expected and true error |",
        "|---|---|---|---|---|",
    ]
    for level, found in calibration.levels.items():
        measured = found.measured
        lines.append(
            f"| {level} | {measured.coverage:.3f} | {measured.sharpness:.2f} "
            f"| {measured.error_coverage:.3f} | {_number(measured.rank_correlation)} |"
        )
    advice = calibration.advice
    if advice is not None:
        lines += [
            "",
            f"SC[{advice.costly}; {advice.cheap}] of the two predicted spectra, from which the "
            f"level of theory is advised: mean",
            f"absolute error {advice.mean_absolute_error:.3f}; taking the mean for every material: "
            f"{advice.mean_predictor_error:.3f}.",
        ]
    return lines


def _source(table: SpectraTable, use: str) -> list[str]:
    return [
        f"- {table.path.name}, {use}: {table.source or 'no source'}",
        f"  Licence: {table.licence or 'not stated'}. {table.citation}".rstrip(),
    ]


def _levels(tables: list[SpectraTable], levels: tuple[str, ...]) -> str:
    texts = []
    for level in levels:
        description = next((t.levels[level].description for t in tables if level in t.levels), "")
        texts.append(f"{level} ({description})" if description else level)
    return ", ".join(texts)


def _figures(metrics: dict[str, Any]) -> list[str]:
    rows = [
        (part, level, summary)
        for part in ("validation", "test")
        for level, summary in metrics.get(part, {}).items()
    ]
    crossed = metrics.get("cross_validation")
    lines = []
    if crossed:
        lines += [
            "From a cross-validation by formula of this very configuration; the weights here were",
            "then trained on more, so that no material is left to test them on. SC is the",
            "similarity coefficient of Im ε; median or mean over materials.",
            "",
            *_cross_validated(crossed),
            "",
        ]
    if not rows:
        return lines or ["None: no material was held out."]
    lines += [
        "Median over materials; SC is the similarity coefficient of Im ε.",
        "",
        "| part | level | materials | SC | MAE | onset MAE / eV | ε₁(0), relative error |",
        "|---|---|---|---|---|---|---|",
    ]
    for part, level, summary in rows:
        onset = summary.get("onset_eV", {}).get("absolute_error", {}).get("mean")
        static = summary.get("static_dielectric_relative_error", {}).get("median")
        lines.append(
            f"| {part} | {level} | {summary['materials']} | {summary['similarity']['median']:.3f} "
            f"| {summary['mae']['median']:.3f} | {_number(onset)} | {_number(static)} |"
        )
    return lines


def _cross_validated(figures: list[dict[str, Any]]) -> list[str]:
    columns = (
        "similarity_median",
        "mae_median",
        "onset_mae_eV",
        "onset_r2",
        "static_dielectric_relative_error_median",
    )
    lines = [
        "| level | broadening | materials | SC median | MAE median | onset MAE / eV | onset R² "
        "| ε₁(0), relative error, median |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in figures:
        cells = " | ".join(_number(row.get(column)) for column in columns)
        lines.append(
            f"| {row['level']} | {row['broadening']} | {int(row['materials'])} | {cells} |"
        )
    return lines


def _number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.3f}"
