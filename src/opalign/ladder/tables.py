"""Parts of the tables that the commands write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from opalign.ladder.config import DirectConfig
from opalign.ladder.data import LadderData
from opalign.ladder.jobs import budget

COLUMNS = ("similarity", "mae", "mse", "log_absorption_mae")


def merits(
    frame: pd.DataFrame, statistic: Callable[[pd.DataFrame, str], dict[str, float]]
) -> dict[str, float]:
    """Mean and band of the median of each error, as columns ``similarity_mean`` and so on."""
    return {
        f"{column}_{key}": value
        for column in COLUMNS
        for key, value in statistic(frame, column).items()
    }


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    lines = [head, *rows]
    written = [f"| {' | '.join(map(str, cells))} |" for cells in lines]
    return [written[0], "|---" * len(head) + "|", *written[1:]]


def shown(row: pd.Series, name: str, value: str = "mean") -> str:
    """Write a figure with its band or interval; a dash where there is none."""
    figures = [row.get(f"{name}_{key}") for key in (value, "low", "high")]
    if any(figure is None or pd.isna(figure) for figure in figures):
        return "–"
    middle, low, high = (f"{figure:.3f}" for figure in figures)
    return middle if middle == low == high else f"{middle} ({low} – {high})"


def budget_lines(data: LadderData, costs: pd.DataFrame) -> list[str]:
    """Write what was spent: the same steps for all, structure passes, time, and the tuning."""
    config = data.config
    lines = [
        "## Budget",
        "",
        f"Every strategy takes {config.steps} steps of the optimiser in all its stages, of at most "
        f"{config.batch_size} structures each; where fewer are labelled, a step has fewer. Core "
        "seconds of a stage that several runs share (the cheap level) are counted in each of them; "
        "`spent` is what was computed, each stage once. Tuning comes on top.",
        "",
    ]
    head = (
        "strategy", "stages (steps)", "runs", "structure passes a run", "core seconds a run",
        "core seconds spent", "tuning: steps, core seconds",
    )  # fmt: skip
    rows = []
    for name, group in costs.groupby("strategy", sort=False):
        strategy = config.strategies[str(name)]
        parts = budget(config, strategy)
        stages = [
            f"{stage} {steps}"
            for stage, steps in (
                ("scalars", parts.scalars),
                (config.cheap, parts.cheap),
                ("all levels" if strategy.kind == "multi_fidelity" else config.costly, parts.main),
            )
            if steps
        ]
        shared = group.drop_duplicates(["fold", "seed"])
        spent = group["own_core_seconds"].sum()
        spent += (shared["core_seconds"] - shared["own_core_seconds"]).sum()
        # Trials are shared by the seeds.
        tuned = group.drop_duplicates(["subset", "fold"])
        passes = group["structure_passes"]
        tuning = "–"
        if isinstance(strategy, DirectConfig) and strategy.tuning is not None:
            tuning = f"{tuned['tuning_steps'].sum():.0f}, {tuned['tuning_core_seconds'].sum():.0f}"
        rows.append(
            (
                name, " + ".join(stages), len(group), f"{passes.min():.0f} – {passes.max():.0f}",
                f"{group['core_seconds'].mean():.1f}", f"{spent:.0f}", tuning,
            )
        )  # fmt: skip
    lines += table(head, rows)
    chosen = costs[costs["tuning_steps"] > 0]
    if len(chosen):
        lines += ["", "What the tuning chose, by how many of the folds:", ""]
        first = chosen.drop_duplicates(["strategy", "subset", "fold"])
        for key, group in first.groupby(["strategy", "subset"], sort=False):
            choices = [
                f"{encoder} at {rate:g}"
                for encoder, rate in zip(group["encoder"], group["learning_rate"], strict=True)
            ]
            text = ", ".join(f"{choice} ({n})" for choice, n in sorted(Counter(choices).items()))
            lines.append(f"- {', '.join(map(str, key))}: {text}")
    return lines
