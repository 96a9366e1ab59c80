"""Which level a material needs: SC of the cheap level to the costly one, from the structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from scipy.stats import spearmanr

from opalign.dataset.table import SpectraTable
from opalign.files import write_text
from opalign.ladder.advice import save_advice
from opalign.ladder.climb import open_climb, work_off
from opalign.ladder.config import LadderConfig
from opalign.ladder.data import LadderData
from opalign.ladder.groups import composition, group_table
from opalign.ladder.jobs import Job, similarity_plan
from opalign.ladder.scores import bootstrap
from opalign.ladder.similarity_figures import draw_similarity
from opalign.ladder.store import read_record

NAME = "similarity"
STRONGEST = 10

Mapping = Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], str]]
"""Features (M, D) → points (M, 2) and what kind of map it is."""
Describe = Callable[[SpectraTable], pd.DataFrame]
"""Table → chemistry, one row a material, indexed by id; columns of texts."""


@dataclass(frozen=True)
class SimilarityAnswer:
    """What :func:`similarity` found and wrote."""

    per_material: pd.DataFrame
    groups: pd.DataFrame
    metrics: dict[str, Any]
    checkpoint: Path
    files: tuple[Path, ...]


def similarity(
    config: LadderConfig,
    out: Path,
    *,
    mapping: Mapping,
    describe: Describe | None = None,
    processes: int = 2,
    console: Console | None = None,
) -> SimilarityAnswer:
    """Train the model with one output, out of fold and on everything; say where levels differ.

    Writes ``similarity.csv``, ``similarity_groups.csv``, ``similarity.md``, ``similarity.png`` and
    the checkpoint ``similarity``, an ensemble over the seeds.

    Parameters
    ----------
    mapping
        Makes the map of the pooled features.
    describe
        Adds chemistry to what the formula says.

    See :func:`opalign.ladder.curve.curve` for the errors.
    """
    console = console or Console()
    data = open_climb(config, out)
    config = data.config
    jobs = similarity_plan(config)
    work_off(jobs, data, out, processes=processes, console=console)
    frame = _per_material(data, out, jobs)
    metrics = score(frame)
    described = [composition(table) for table in data.tables]
    if describe is not None:
        described = [
            first.join(describe(table)) for first, table in zip(described, data.tables, strict=True)
        ]
    chemistry = pd.concat(described)
    frame = frame.join(chemistry, on="material_id")
    groups = group_table(frame, list(chemistry.columns))
    checkpoint, features = save_advice(data, out, [j for j in jobs if j.stage == "advice"], metrics)
    points, kind = mapping(features)
    frame["map_x"], frame["map_y"] = points[:, 0], points[:, 1]
    seconds = sum(
        read_record(job.path(out))["core_seconds"][NAME]
        for job in jobs
        if job.stage in ("similarity", "advice")
    )
    files = [
        write_text(out / f"{NAME}.csv", frame.to_csv(index=False)),
        write_text(out / f"{NAME}_groups.csv", groups.to_csv(index=False)),
        write_text(out / f"{NAME}.md", _markdown(data, frame, groups, metrics, seconds)),
        draw_similarity(out / f"{NAME}.png", data, frame, metrics, kind),
    ]
    return SimilarityAnswer(frame, groups, metrics, checkpoint, tuple(files))


def _per_material(data: LadderData, out: Path, jobs: Sequence[Job]) -> pd.DataFrame:
    """Tell truth, out-of-fold prediction (mean over seeds, and each) and mean of the fold."""
    fold_of = {m: number for number, split in enumerate(data.splits, 1) for m in split.test}
    reference = data.similarity
    frame = pd.DataFrame(
        {
            "material_id": data.ids,
            "formula": data.formulas,
            "sites": [data.sites[m] for m in data.ids],
            "fold": [fold_of[m] for m in data.ids],
            "similarity": [reference[m] for m in data.ids],
        }
    )
    means = {
        number: float(np.mean([reference[m] for m in split.train]))
        for number, split in enumerate(data.splits, 1)
    }
    frame["training_mean"] = [means[fold] for fold in frame["fold"]]
    seeds, networks = [], []
    for seed in data.config.seeds:
        predicted: dict[str, float] = {}
        network: dict[str, float] = {}
        for job in jobs:
            if job.stage == "similarity" and job.seed == seed:
                record = read_record(job.path(out))
                predicted |= record["predicted"]
                network |= record["network"]
        frame[f"predicted_seed_{seed}"] = [predicted[m] for m in data.ids]
        seeds.append(f"predicted_seed_{seed}")
        networks.append([network[m] for m in data.ids])
    frame.insert(5, "predicted", frame[seeds].mean(axis=1))
    frame.insert(6, "network_alone", np.mean(networks, axis=0))
    return frame


def score(frame: pd.DataFrame) -> dict[str, Any]:
    """Errors of the mean over the seeds, of single seeds, and of predicting the training mean."""
    truth = frame["similarity"].to_numpy()
    formulas = frame["formula"].to_numpy()
    error = np.abs(frame["predicted"].to_numpy() - truth)
    trivial = np.abs(frame["training_mean"].to_numpy() - truth)
    single = [c for c in frame if str(c).startswith("predicted_seed_")]
    low, high = bootstrap(formulas, lambda rows: float(error[rows].mean() / trivial[rows].mean()))
    return {
        "materials": len(frame),
        "mae": float(error.mean()),
        "median_absolute_error": float(np.median(error)),
        "mae_single": float(np.mean([np.abs(frame[c] - truth).mean() for c in single])),
        "mae_network_alone": float(np.abs(frame["network_alone"] - truth).mean()),
        "mae_of_the_mean": float(trivial.mean()),
        "median_absolute_error_of_the_mean": float(np.median(trivial)),
        "ratio": float(error.mean() / trivial.mean()),
        "ratio_low": low,
        "ratio_high": high,
        "spearman": float(spearmanr(frame["predicted"], truth).statistic),
    }


def _markdown(
    data: LadderData,
    frame: pd.DataFrame,
    groups: pd.DataFrame,
    metrics: dict[str, Any],
    seconds: float,
) -> str:
    config, m = data.config, metrics
    alone = m["mae_network_alone"]
    start = "from a random start"
    if config.similarity.from_cheap:
        start = f"after the stage on {config.cheap} of the fold"
    lines = [
        f"# Which level a material needs: SC[{config.cheap}; {config.costly}] from its structure",
        "",
        f"SC of the {config.cheap} spectrum to the {config.costly} one, which is the reference "
        f"({config.broadening}): 1 where the costly level changes nothing. {m['materials']} "
        f"materials, {config.folds} folds by reduced formula, mean of {config.counted_seeds}.",
        "",
        "| prediction | mean absolute error | median absolute error |",
        "|---|---|---|",
        f"| model with one output, mean of the seeds | {m['mae']:.4f} "
        f"| {m['median_absolute_error']:.4f} |",
        f"| the same, single seeds | {m['mae_single']:.4f} | – |",
        *(
            [f"| the network without its kernel, mean of the seeds | {alone:.4f} | – |"]
            if config.similarity.kernel_share
            else []
        ),
        f"| mean of the training materials | {m['mae_of_the_mean']:.4f} "
        f"| {m['median_absolute_error_of_the_mean']:.4f} |",
        "",
        f"Ratio of the mean absolute errors: {m['ratio']:.2f} (95 % interval over formulas "
        f"{m['ratio_low']:.2f} – {m['ratio_high']:.2f}). Spearman correlation with the truth: "
        f"{m['spearman']:.2f}.",
        "",
        "## Strongest local-field effects" if config.costly == "rpa" else "## Largest differences",
        "",
        "| material | id | SC | predicted |",
        "|---|---|---|---|",
    ]
    for _, row in frame.sort_values("similarity").head(STRONGEST).iterrows():
        lines.append(
            f"| {row['formula']} | {row['material_id']} | {row['similarity']:.3f} "
            f"| {row['predicted']:.3f} |"
        )
    lines += [
        "",
        "## Groups",
        "",
        "Mean SC of the formulas of a group less that of all others, with its 95 % bootstrap "
        "interval; groups of three formulas or more whose interval leaves out zero, the lowest "
        "first. They are many comparisons: take a single one for a hint.",
        "",
        "| property | group | formulas | mean SC | difference |",
        "|---|---|---|---|---|",
    ]
    for _, row in groups[groups["low"] * groups["high"] > 0].iterrows():
        lines.append(
            f"| {row['property']} | {row['group']} | {row['formulas']} | {row['mean']:.3f} "
            f"| {row['difference']:+.3f} ({row['low']:+.3f} – {row['high']:+.3f}) |"
        )
    lines += [
        "",
        "## Budget",
        "",
        f"{config.similarity.steps} steps of {config.batch_size} structures a fit, {start}; "
        f"{(config.folds + 1) * len(config.seeds)} fits, {seconds:.0f} core seconds.",
        "",
    ]
    return "\n".join(lines)
