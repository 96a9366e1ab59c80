"""Out-of-fold predictions held against the costly level: per material, and over materials."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opalign.ladder.data import LadderData
from opalign.ladder.jobs import Job
from opalign.ladder.store import read_fit, read_record
from opalign.spectrum.broadening import Broadening
from opalign.training.baselines import as_level
from opalign.training.metrics import coefficient_of_determination, per_material
from opalign.training.spectra import SpectraSet, join

BROADENINGS = (Broadening("gaussian", 0.1), Broadening("gaussian", 0.3))
AS_IT_IS = "cheap level as it is"
REPLICATES = 1000
#: Quantiles of a 95 % interval.
INTERVAL = (0.025, 0.975)

Array = NDArray[np.float64]


def out_of_fold(data: LadderData, folder: Path, jobs: Iterable[Job], level: str) -> SpectraSet:
    """Join the test materials of jobs that differ in the fold alone, in the order of the tables."""
    reference = data.reference(level)
    parts = [read_fit(job.path(folder).with_suffix(".parquet"), reference) for job in jobs]
    return join(parts).select(data.ids)


def score_fits(data: LadderData, folder: Path, fits: Sequence[Job]) -> pd.DataFrame:
    """Figures of every material by every strategy, subset, seed and broadening, and the baseline.

    Columns: ``strategy``, ``subset``, ``seed``, ``fold``, those of
    :func:`opalign.training.metrics.per_material`.
    """
    level = data.config.costly
    fold_of = {m: number for number, split in enumerate(data.splits, 1) for m in split.test}
    baseline = as_level(data.reference(data.config.cheap), level)
    sets: list[tuple[str, str, int, SpectraSet]] = [(AS_IT_IS, "", data.config.seeds[0], baseline)]
    groups: dict[tuple[str, str, int], list[Job]] = {}
    for job in fits:
        groups.setdefault((job.variant, job.subset, job.seed), []).append(job)
    for (strategy, subset, seed), jobs in groups.items():
        sets.append((strategy, subset, seed, out_of_fold(data, folder, jobs, level)))
    frames = []
    reference = data.reference(level)
    for broadening in broadenings_of(data):
        truth = reference.broadened(broadening)
        for strategy, subset, seed, spectra in sets:
            frame = per_material(spectra.broadened(broadening), truth)
            frame.insert(0, "strategy", strategy)
            frame.insert(1, "subset", subset)
            frame.insert(2, "seed", seed)
            frame.insert(3, "fold", [fold_of[m] for m in frame["material_id"]])
            frame.insert(4, "sites", [data.sites[m] for m in frame["material_id"]])
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def broadenings_of(data: LadderData) -> list[Broadening]:
    """Those of :data:`BROADENINGS` that are no narrower than what was learned, or that itself."""
    own = data.config.broadening
    wider = [b for b in BROADENINGS if own.shape != "lorentzian" and b.width >= own.width]
    return wider or [own]


def over_seeds(frame: pd.DataFrame, column: str, statistic: str = "median") -> dict[str, float]:
    """Mean, least and greatest over the seeds of a statistic over the materials."""
    values = frame.groupby("seed")[column].agg(statistic)
    return {
        "mean": float(values.mean()),
        "low": float(values.min()),
        "high": float(values.max()),
    }


def onset_r2(frame: pd.DataFrame, replicates: int = REPLICATES) -> dict[str, float]:
    """R² of the onset, mean over seeds, with a 95 % bootstrap interval over formulas.

    NaN where the onset does not belong to the material; see :mod:`opalign.training.metrics`.
    """
    if "onset_eV_reference" not in frame or frame["onset_eV_reference"].isna().all():
        return dict.fromkeys(("value", "low", "high"), float("nan"))
    pivot = frame.pivot_table(
        index=["formula", "material_id"],
        columns="seed",
        values=["onset_eV_reference", "onset_eV_predicted"],
        dropna=False,
    )
    reference = pivot["onset_eV_reference"].to_numpy()
    predicted = pivot["onset_eV_predicted"].to_numpy()
    formulas = pivot.index.get_level_values("formula").to_numpy()

    def r2(rows: NDArray[np.int64]) -> float:
        values = []
        for x, y in zip(predicted[rows].T, reference[rows].T, strict=True):
            known = ~(np.isnan(x) | np.isnan(y))
            values.append(coefficient_of_determination(x[known], y[known]))
        return float(np.mean(values))

    low, high = bootstrap(formulas, r2, replicates)
    return {"value": r2(np.arange(len(formulas))), "low": low, "high": high}


def bootstrap(
    formulas: NDArray[Any],
    statistic: Callable[[NDArray[np.int64]], float],
    replicates: int = REPLICATES,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of a statistic of rows, drawn with replacement formula by formula.

    Polymorphs are drawn together: they are no independent observations.
    """
    names, codes = np.unique(formulas, return_inverse=True)
    members = [np.flatnonzero(codes == code) for code in range(len(names))]
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(replicates):
        drawn = generator.integers(0, len(names), len(names))
        values.append(statistic(np.concatenate([members[code] for code in drawn])))
    low, high = np.nanquantile(values, INTERVAL)
    return float(low), float(high)


def gain(frame: pd.DataFrame, other: pd.DataFrame, column: str = "similarity") -> dict[str, float]:
    """Mean difference of two strategies over materials, seeds averaged, with its interval."""
    first = frame.groupby(["formula", "material_id"])[column].mean()
    second = other.groupby(["formula", "material_id"])[column].mean()
    difference = (first - second).dropna()
    values = difference.to_numpy()
    formulas = difference.index.get_level_values("formula").to_numpy()
    low, high = bootstrap(formulas, lambda rows: float(values[rows].mean()))
    return {"value": float(values.mean()), "low": low, "high": high}


def spent(folder: Path, jobs: Sequence[Job]) -> pd.DataFrame:
    """Budget of fits, one row each: steps and structure passes of all stages, core seconds.

    The core seconds of a shared stage stand in every fit that begins with it, as if it were alone.
    """
    rows = []
    for job in jobs:
        record = read_record(job.path(folder))
        rows.append(
            {
                "strategy": job.variant,
                "subset": job.subset,
                "fold": job.fold,
                "seed": job.seed,
                "costly_labels": _labels(record),
                "steps": sum(record["steps"].values()),
                "structure_passes": sum(record["passes"].values()),
                "core_seconds": sum(record["core_seconds"].values()),
                "own_core_seconds": record["core_seconds"]["fit"],
                "tuning_steps": record.get("tuning_steps", 0),
                "tuning_core_seconds": record.get("tuning_core_seconds", 0.0),
                "learning_rate": record["learning_rate"],
                "encoder": record["encoder"] or "model.encoder",
            }
        )
    return pd.DataFrame(rows)


def _labels(record: dict[str, Any]) -> int:
    return len(record["trained_on"][f"fit {record['level']}"])
