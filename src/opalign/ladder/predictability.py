"""What is hard at one level, is it hard at the other? Per material, across levels and methods."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from scipy.stats import rankdata

from opalign.errors import ConfigurationError
from opalign.files import write_text
from opalign.ladder.climb import climb, open_climb
from opalign.ladder.config import DirectConfig, LadderConfig, TransferConfig
from opalign.ladder.curve import Answer
from opalign.ladder.data import LadderData
from opalign.ladder.jobs import Job, cheap_variant, size_subset
from opalign.ladder.predictability_figures import draw_correlations, draw_deciles
from opalign.ladder.scores import bootstrap, broadenings_of, out_of_fold
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.similarity import similarity_coefficient
from opalign.training.spectra import SpectraSet

NAME = "predictability"

Array = NDArray[np.float64]

#: Pairs of columns that the study sets against one another, and what is asked.
PAIRS = (
    ("transfer", "levels", "is a material hard because the costly level changes it much?"),
    ("direct", "levels", "the same of direct learning"),
    ("transfer", "cheap", "is what is hard at one level hard at the other?"),
    ("direct", "cheap", "the same of direct learning"),
    ("direct", "transfer", "do both ways of learning find the same materials hard?"),
)


def predictability(
    config: LadderConfig, out: Path, *, processes: int = 2, console: Console | None = None
) -> Answer:
    """Correlate, material by material, how well levels are learned; draw examples at the deciles.

    Takes the first strategy of direct learning and the first of transfer at the largest size from
    the climb in ``out``; what is missing is trained. Writes ``predictability.csv``, ``.md``,
    ``.png``, ``predictability_per_material.csv`` and ``predictability_deciles.png``.

    See :func:`opalign.ladder.curve.curve` for the errors.
    """
    console = console or Console()
    data = open_climb(config, out)
    config = data.config
    direct = _first(config, DirectConfig)
    transfer = _first(config, TransferConfig)
    subset = size_subset(config.sizes[-1])
    climb(data, out, [subset], [direct, transfer], processes=processes, console=console)
    strategy = config.strategies[transfer]
    if not isinstance(strategy, TransferConfig):
        raise TypeError(f"{transfer} is no transfer")  # it has been looked for as one
    stage = cheap_variant(config, strategy)
    spectra: dict[str, list[SpectraSet]] = {}
    for seed in config.seeds:
        folds = range(1, config.folds + 1)
        for name, variant in (("direct", direct), ("transfer", transfer)):
            jobs = [Job("fit", variant, subset, fold, seed) for fold in folds]
            spectra.setdefault(name, []).append(out_of_fold(data, out, jobs, config.costly))
        jobs = [Job("cheap", stage, "all", fold, seed) for fold in folds]
        spectra.setdefault("cheap", []).append(out_of_fold(data, out, jobs, config.cheap))
    frames = [_per_material(data, spectra, broadening) for broadening in broadenings_of(data)]
    frame = pd.concat(frames, ignore_index=True)
    summary = pd.concat(
        [correlations(part) for _, part in frame.groupby("broadening", sort=False)],
        ignore_index=True,
    )
    last = frames[-1]
    files = [
        write_text(out / f"{NAME}.md", _markdown(data, summary, (direct, transfer), subset)),
        write_text(out / f"{NAME}.csv", summary.to_csv(index=False)),
        write_text(out / f"{NAME}_per_material.csv", frame.to_csv(index=False)),
        draw_correlations(out / f"{NAME}.png", data, last, summary),
        draw_deciles(out / f"{NAME}_deciles.png", data, last, spectra, broadenings_of(data)[-1]),
    ]
    return Answer(summary, frame, tuple(files))


def _first(config: LadderConfig, kind: type) -> str:
    for name, strategy in config.strategies.items():
        if isinstance(strategy, kind):
            return name
    raise ConfigurationError(
        "the climb lacks a strategy to compare",
        expected="one of kind direct and one of kind transfer",
    )


def _per_material(
    data: LadderData, spectra: dict[str, list[SpectraSet]], broadening: Broadening
) -> pd.DataFrame:
    """SC of each material, mean over seeds: levels, cheap, direct, transfer."""
    references = {
        level: data.reference(level).broadened(broadening)
        for level in (data.config.cheap, data.config.costly)
    }
    costly = references[data.config.costly].imaginary

    def mean(name: str, reference: NDArray[np.float64]) -> NDArray[np.float64]:
        values = [
            similarity_coefficient(one.broadened(broadening).imaginary, reference, data.grid)
            for one in spectra[name]
        ]
        return np.asarray(np.mean(values, axis=0))

    cheap = references[data.config.cheap].imaginary
    return pd.DataFrame(
        {
            "material_id": data.ids,
            "formula": data.formulas,
            "broadening": str(broadening),
            "levels": np.asarray(similarity_coefficient(cheap, costly, data.grid)),
            "cheap": mean("cheap", cheap),
            "direct": mean("direct", costly),
            "transfer": mean("transfer", costly),
        }
    )


def correlations(frame: pd.DataFrame) -> pd.DataFrame:
    """Spearman and Pearson correlations of :data:`PAIRS`, with 95 % intervals over formulas."""
    formulas = frame["formula"].to_numpy()
    rows = []
    for first, second, question in PAIRS:
        x, y = frame[first].to_numpy(), frame[second].to_numpy()
        row: dict[str, object] = {
            "broadening": frame["broadening"].iloc[0],
            "first": first,
            "second": second,
            "question": question,
        }
        for name, statistic in (("spearman", _spearman), ("pearson", _pearson)):
            value = partial(_of_rows, statistic, x, y)
            row[f"{name}_value"] = value(np.arange(len(x)))
            row[f"{name}_low"], row[f"{name}_high"] = bootstrap(formulas, value)
        rows.append(row)
    return pd.DataFrame(rows)


def _of_rows(
    statistic: Callable[[Array, Array], float], x: Array, y: Array, rows: NDArray[np.int64]
) -> float:
    return statistic(x[rows], y[rows])


def _pearson(x: Array, y: Array) -> float:
    return float(np.corrcoef(x, y)[0, 1])


def _spearman(x: Array, y: Array) -> float:
    return _pearson(rankdata(x), rankdata(y))


def _markdown(data: LadderData, summary: pd.DataFrame, names: tuple[str, str], subset: str) -> str:
    config = data.config
    words = {
        "levels": f"SC[{config.cheap}; {config.costly}] of the references",
        "cheap": f"SC of the learned {config.cheap}",
        "direct": f"SC of {config.costly}, {names[0]}",
        "transfer": f"SC of {config.costly}, {names[1]}",
    }
    lines = [
        "# What is hard to learn, across levels",
        "",
        f"{len(data.ids)} materials out of fold, {subset}, SC averaged over "
        f"{config.counted_seeds}. 95 % bootstrap intervals over formulas.",
        "",
    ]
    for broadening, part in summary.groupby("broadening", sort=False):
        lines += [
            f"## {broadening}",
            "",
            "| | against | Spearman | Pearson | question |",
            "|---|---|---|---|---|",
        ]
        for _, row in part.iterrows():
            figures = [
                f"{row[f'{n}_value']:.2f} ({row[f'{n}_low']:.2f} – {row[f'{n}_high']:.2f})"
                for n in ("spearman", "pearson")
            ]
            lines.append(
                f"| {words[row['first']]} | {words[row['second']]} | {figures[0]} | {figures[1]} "
                f"| {row['question']} |"
            )
        lines.append("")
    return "\n".join(lines)
