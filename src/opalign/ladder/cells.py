"""Training on small cells alone, whose costly spectra are the affordable ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from opalign.ladder.climb import climb, open_climb
from opalign.ladder.config import LadderConfig
from opalign.ladder.curve import Answer, chosen_strategies, summarize_fits, write_answer
from opalign.ladder.data import LadderData
from opalign.ladder.figures import draw_cells
from opalign.ladder.jobs import cell_subset
from opalign.ladder.scores import AS_IT_IS, score_fits, spent
from opalign.ladder.tables import budget_lines, shown

NAME = "cells"


def cells(
    config: LadderConfig,
    out: Path,
    *,
    strategies: Sequence[str] = (),
    processes: int = 2,
    console: Console | None = None,
) -> Answer:
    """Train on costly spectra of cells up to a size; write ``cells.csv``, ``.md`` and ``.png``.

    ``strategies`` are some of the configured ones, by default all. In ``out`` the stages of other
    commands about the same climb are used. See :func:`opalign.ladder.curve.curve` for the errors.
    """
    console = console or Console()
    data = open_climb(config, out)
    subsets = [cell_subset(atoms) for atoms in config.cells]
    names = chosen_strategies(data.config, strategies)
    fits = climb(data, out, subsets, names, processes=processes, console=console)
    frame = score_fits(data, out, fits)
    costs = spent(out, fits)
    summary = summarize_fits(data, frame, costs)
    by_cell = error_by_cell(frame)
    text = _markdown(data, summary, by_cell, costs)
    files = write_answer(NAME, out, summary, frame, costs, text)
    files.append(draw_cells(out / f"{NAME}.png", data, by_cell))
    return Answer(summary, frame, tuple(files))


def error_by_cell(frame: pd.DataFrame) -> pd.DataFrame:
    """Medians over the test materials of each cell size, seeds averaged.

    Columns: ``broadening``, ``strategy``, ``subset``, ``sites``, ``materials``, ``similarity``,
    ``mae``.
    """
    keys = ["broadening", "strategy", "subset", "sites"]
    per_seed = frame.groupby([*keys, "seed"], sort=False).agg(
        materials=("material_id", "nunique"), similarity=("similarity", "median"),
        mae=("mae", "median"),
    )  # fmt: skip
    return per_seed.groupby(keys, sort=False).mean().reset_index()


def _markdown(
    data: LadderData, summary: pd.DataFrame, by_cell: pd.DataFrame, costs: pd.DataFrame
) -> str:
    config = data.config
    lines = [
        f"# {config.costly} from small cells alone",
        "",
        f"Costly spectra of the training materials with at most so many atoms in the primitive "
        f"cell; {config.folds} folds by reduced formula, {len(config.seeds)} seeds. Medians of Im "
        f"ε̄ of {config.costly} over all {len(data.ids)} test materials, in brackets the least and "
        "the greatest of the seeds; then SC by the size of the tested cell.",
        "",
    ]
    for broadening, part in summary.groupby("broadening", sort=False):
        lines += [
            f"## {broadening}",
            "",
            "| strategy | atoms in training cells | costly spectra | SC | MAE |",
            "|---|---|---|---|---|",
        ]
        for _, row in part.iterrows():
            as_it_is = row["strategy"] == AS_IT_IS
            atoms = "–" if as_it_is else f"≤ {str(row['subset']).removeprefix('cells-')}"
            labels = "–" if as_it_is else f"{row['costly_labels']:.0f}"
            lines.append(
                f"| {row['strategy']} | {atoms} | {labels} | {shown(row, 'similarity')} "
                f"| {shown(row, 'mae')} |"
            )
        tested = by_cell[by_cell["broadening"] == broadening]
        sizes = sorted(tested["sites"].unique())
        counts = tested.groupby("sites")["materials"].max()
        head = " | ".join(f"{size} atoms ({counts.loc[size]:.0f})" for size in sizes)
        lines += [
            "",
            "Median SC by the size of the tested cell, with the number of materials:",
            "",
            f"| strategy | training cells | {head} |",
            "|---" * (len(sizes) + 2) + "|",
        ]
        for key, group in tested.groupby(["strategy", "subset"], sort=False):
            found = group.set_index("sites")["similarity"]
            values = [f"{found.loc[s]:.3f}" if s in found.index else "–" for s in sizes]
            name, subset = map(str, key)
            atoms = f"≤ {subset.removeprefix('cells-')}" if subset else "–"
            lines.append(f"| {name} | {atoms} | {' | '.join(values)} |")
        lines.append("")
    return "\n".join([*lines, *budget_lines(data, costs), ""])
