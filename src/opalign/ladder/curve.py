"""Error against the number of costly spectra, for all strategies on the same folds and budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

from opalign.errors import ConfigurationError
from opalign.files import write_text
from opalign.ladder.climb import climb, open_climb
from opalign.ladder.config import DirectConfig, LadderConfig
from opalign.ladder.data import LadderData
from opalign.ladder.figures import draw_curve
from opalign.ladder.jobs import size_subset
from opalign.ladder.scores import AS_IT_IS, gain, onset_r2, over_seeds, score_fits, spent
from opalign.ladder.tables import budget_lines, merits, shown, table

NAME = "curve"


@dataclass(frozen=True)
class Answer:
    """What a command of the ladder found and wrote."""

    summary: pd.DataFrame
    per_material: pd.DataFrame
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Comparison:
    """Strategies on the same subsets, before anything is written."""

    data: LadderData
    summary: pd.DataFrame
    """See :func:`summarize_fits`."""
    frame: pd.DataFrame
    """See :func:`opalign.ladder.scores.score_fits`."""
    costs: pd.DataFrame
    """See :func:`opalign.ladder.scores.spent`."""


def curve(
    config: LadderConfig,
    out: Path,
    *,
    strategies: Sequence[str] = (),
    processes: int = 2,
    console: Console | None = None,
) -> Answer:
    """Train every strategy at every size, fold and seed; write ``curve.csv``, ``.md`` and ``.png``.

    Also ``curve_per_material.csv`` and ``curve_budget.csv``. The same call goes on where it was
    stopped. ``strategies`` are some of the configured ones, by default all.

    Raises
    ------
    ConfigurationError
        ``out`` holds another climb, or a training failed.
    KeyboardInterrupt
        Someone stopped it.
    """
    subsets = [size_subset(share) for share in config.sizes]
    found = compare(config, out, subsets, strategies, processes=processes, console=console)
    files = write_answer(NAME, out, found, _markdown(found))
    files.append(draw_curve(out / f"{NAME}.png", found.data, found.summary))
    return Answer(found.summary, found.frame, tuple(files))


def compare(
    config: LadderConfig,
    out: Path,
    subsets: Sequence[str],
    strategies: Sequence[str],
    *,
    processes: int,
    console: Console | None,
) -> Comparison:
    """Train every strategy on every subset, fold and seed, and score it; see :func:`curve`."""
    data = open_climb(config, out)
    names = chosen_strategies(data.config, strategies)
    fits = climb(data, out, subsets, names, processes=processes, console=console or Console())
    frame = score_fits(data, out, fits)
    costs = spent(out, fits)
    return Comparison(data, summarize_fits(data, frame, costs), frame, costs)


def chosen_strategies(config: LadderConfig, names: Sequence[str]) -> list[str]:
    """Return names of strategies, all if none is asked for; ConfigurationError for an unknown."""
    for name in names:
        if name not in config.strategies:
            raise ConfigurationError(
                f"there is no strategy {name!r}", expected=", ".join(config.strategies)
            )
    return list(names) or list(config.strategies)


def summarize_fits(data: LadderData, frame: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """One row per strategy, subset and broadening, with bands over seeds and intervals."""
    labels = costs.groupby(["strategy", "subset"])["costly_labels"].mean()
    direct = [n for n, s in data.config.strategies.items() if isinstance(s, DirectConfig)]
    rows = []
    for key, group in frame.groupby(["broadening", "strategy", "subset"], sort=False):
        broadening, strategy, subset = map(str, key)
        row: dict[str, object] = {
            "broadening": broadening,
            "strategy": strategy,
            "subset": subset,
            "costly_labels": float("nan")
            if strategy == AS_IT_IS
            else labels.loc[(strategy, subset)],
            **merits(group, over_seeds),
            **{f"onset_r2_{key}": value for key, value in onset_r2(group).items()},
        }
        if direct and strategy not in (direct[0], AS_IT_IS):
            same = frame[
                (frame["broadening"] == broadening)
                & (frame["strategy"] == direct[0])
                & (frame["subset"] == subset)
            ]
            found = gain(group, same) if len(same) else {}
            row |= {f"gain_{key}": value for key, value in found.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def write_answer(name: str, out: Path, found: Comparison, markdown: str) -> list[Path]:
    """Write the tables of a command."""
    return [
        write_text(out / f"{name}.md", markdown),
        write_text(out / f"{name}.csv", found.summary.to_csv(index=False)),
        write_text(out / f"{name}_per_material.csv", found.frame.to_csv(index=False)),
        write_text(out / f"{name}_budget.csv", found.costs.to_csv(index=False)),
    ]


def _markdown(found: Comparison) -> str:
    data, config = found.data, found.data.config
    lines = [
        f"# From {config.cheap} to {config.costly}: error against the number of costly spectra",
        "",
        f"{len(data.ids)} materials, {config.folds} folds by reduced formula, "
        f"{config.counted_seeds} (of the start, the order and the choice of the costly "
        "spectra). Every material is predicted by networks that have seen neither it nor another "
        f"of its formula at any level. Medians over the materials of Im ε̄ of {config.costly}: mean "
        "over the seeds, in brackets the least and the greatest of them. Onset R²: 95 % bootstrap "
        "interval over formulas. Gain: mean SC above that of direct learning on the same "
        "materials, with its 95 % interval.",
        "",
    ]
    head = ("strategy", "costly spectra", "SC", "MAE", "MSE", "onset R²", "gain in SC")
    for broadening, part in found.summary.groupby("broadening", sort=False):
        rows = [
            (
                row["strategy"],
                "–" if pd.isna(row["costly_labels"]) else f"{row['costly_labels']:.0f}",
                *(shown(row, name) for name in ("similarity", "mae", "mse")),
                *(shown(row, name, "value") for name in ("onset_r2", "gain")),
            )
            for _, row in part.iterrows()
        ]
        lines += [f"## {broadening}", "", *table(head, rows), ""]
    return "\n".join([*lines, *budget_lines(data, found.costs), ""])
