"""Training on small cells alone, whose costly spectra are the affordable ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from opalign.ladder.config import LadderConfig
from opalign.ladder.curve import Answer, Comparison, compare, write_answer
from opalign.ladder.figures import draw_cells
from opalign.ladder.jobs import cell_subset
from opalign.ladder.scores import AS_IT_IS
from opalign.ladder.tables import budget_lines, shown, table

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
    subsets = [cell_subset(atoms) for atoms in config.cells]
    found = compare(config, out, subsets, strategies, processes=processes, console=console)
    by_cell = error_by_cell(found.frame)
    files = write_answer(NAME, out, found, _markdown(found, by_cell))
    files.append(draw_cells(out / f"{NAME}.png", found.data, by_cell))
    return Answer(found.summary, found.frame, tuple(files))


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


def _markdown(found: Comparison, by_cell: pd.DataFrame) -> str:
    data, config = found.data, found.data.config
    many = len(config.seeds) > 1
    spread = ", in brackets the least and the greatest of the seeds" if many else ""
    lines = [
        f"# {config.costly} from small cells alone",
        "",
        f"Costly spectra of the training materials with at most so many atoms in the primitive "
        f"cell; {config.folds} folds by reduced formula, {config.counted_seeds}. Medians of Im ε̄ "
        f"of {config.costly} over all {len(data.ids)} test materials{spread}; then SC by the size "
        "of the tested cell.",
        "",
    ]
    head = ("strategy", "atoms in training cells", "costly spectra", "SC", "MAE")
    for broadening, part in found.summary.groupby("broadening", sort=False):
        rows = [
            (
                row["strategy"],
                _atoms(str(row["subset"]), row["strategy"] == AS_IT_IS),
                "–" if row["strategy"] == AS_IT_IS else f"{row['costly_labels']:.0f}",
                shown(row, "similarity"),
                shown(row, "mae"),
            )
            for _, row in part.iterrows()
        ]
        tested = by_cell[by_cell["broadening"] == broadening]
        lines += [
            *(f"## {broadening}", "", *table(head, rows), ""),
            *("Median SC by the size of the tested cell, with the number of materials:", ""),
            *(*_by_size(tested), ""),
        ]
    return "\n".join([*lines, *budget_lines(data, found.costs), ""])


def _by_size(tested: pd.DataFrame) -> list[str]:
    sizes = sorted(tested["sites"].unique())
    counts = tested.groupby("sites")["materials"].max()
    head = [f"{size} atoms ({counts.loc[size]:.0f})" for size in sizes]
    rows = []
    for key, group in tested.groupby(["strategy", "subset"], sort=False):
        found = group.set_index("sites")["similarity"]
        values = [f"{found.loc[s]:.3f}" if s in found.index else "–" for s in sizes]
        name, subset = map(str, key)
        rows.append((name, _atoms(subset, not subset), *values))
    return table(("strategy", "training cells", *head), rows)


def _atoms(subset: str, without_training: bool) -> str:
    return "–" if without_training else f"≤ {subset.removeprefix('cells-')}"
