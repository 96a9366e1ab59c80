"""k-fold cross-validation by formula: configurations and baselines, every material tested once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from opalign.dataset.split import Split, kfold_by_formula
from opalign.dataset.table import SpectraTable, concatenate
from opalign.errors import ConfigurationError
from opalign.files import sha256, write_text
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.training.absent import without_absent_terms
from opalign.training.baselines import as_level, baselines, composition_features
from opalign.training.calibration_report import CalibrationReport, write_calibration
from opalign.training.conclusion import RESULT_FILE
from opalign.training.config import FoldSplit, TrainingConfig
from opalign.training.config_file import differing_keys, read_config, write_config
from opalign.training.crossvalidated import IRRELEVANT
from opalign.training.data import open_tables
from opalign.training.ensemble import average_predictions, expand, member_configs
from opalign.training.metrics import per_material, summarize
from opalign.training.out_of_fold import read_out_of_fold
from opalign.training.predictions import PREDICTED_GAP
from opalign.training.processes import Job, run_jobs
from opalign.training.run import CONFIG_FILE
from opalign.training.spectra import SpectraSet, join, read_spectra

PLAN_FILE = "plan.json"
DEFAULT_BROADENINGS = (Broadening("gaussian", 0.1), Broadening("gaussian", 0.3))

NOTE = """\
Every material is predicted by a model that has seen neither it nor another material of its formula.
One model per method and fold; at broadenings wider than its own, its predictions are broadened
further (σ_extra² = σ² − σ_own²), and so are the references. Onsets are left out beyond σ = 0.1 eV,
where they belong to the broadening.
"""


@dataclass(frozen=True)
class CrossValidation:
    """What :func:`cross_validate` found and wrote."""

    folder: Path
    summary: pd.DataFrame
    """One row per level, broadening and method."""
    per_material: pd.DataFrame
    predictions: dict[str, Path]
    """Method → table of out-of-fold predictions."""
    calibrations: tuple[CalibrationReport, ...] = ()
    """One a configuration, if asked for."""


def cross_validate(
    configs: Mapping[str, TrainingConfig],
    table: str | os.PathLike[str] | None,
    out: str | os.PathLike[str],
    *,
    folds: int = 5,
    seed: int = 0,
    processes: int = 2,
    validation_fraction: float = 0.1,
    broadenings: Sequence[Broadening] = DEFAULT_BROADENINGS,
    members: int = 1,
    calibrate: bool = False,
    console: Console | None = None,
) -> CrossValidation:
    """Train each configuration on each fold, predict what was left out, compare with baselines.

    Finished runs in ``out`` are kept and stopped ones resumed, if the plan is the same.

    Parameters
    ----------
    configs
        By name; their own split is replaced by the folds.
    table
        Spectra table in place of those in the configurations.
    validation_fraction
        Share of each fold's training rows by which the best epoch is chosen; 0 trains on all of
        them and takes the last epoch.
    broadenings
        At which all methods are scored. A method whose model is broader is left out there.
    members
        Networks per configuration and fold, with seeds counted up from the configuration's own.
        Their mean is a method too, called ``…-ensemble``.
    calibrate
        Calibrate bands and error estimates of each configuration's ensemble.

    Raises
    ------
    ConfigurationError
        The configurations differ in tables, ``out`` holds another plan, or a run failed.
    KeyboardInterrupt
        Someone stopped it; the same call goes on from there.
    """
    out, console = Path(out), console or Console()
    methods = {
        name: without_absent_terms(_with_table(config, table), console)
        for name, config in configs.items()
    }
    configs, ensembles = expand(methods, members)
    tables = open_tables(_common_tables(configs))
    ids = [material_id for t in tables for material_id in t.ids]
    formulas = [formula for t in tables for formula in t.formulas]
    splits = kfold_by_formula(ids, formulas, folds, seed, validation_fraction)
    _claim(out, configs, tables, splits)
    jobs = []
    for name, config in configs.items():
        for number in range(1, folds + 1):
            split = FoldSplit(
                fold=number, folds=folds, seed=seed, validation_fraction=validation_fraction
            )
            data = config.data.model_copy(update={"split": split})
            jobs.append(_job(out, name, number, config.model_copy(update={"data": data})))
    waiting = [job for job in jobs if not (job.folder / RESULT_FILE).is_file()]
    if len(waiting) < len(jobs):
        console.print(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are finished already")
    done = len(jobs) - len(waiting)

    def report(job: Job, seconds: float) -> None:
        nonlocal done
        done += 1
        console.print(f"run {done}/{len(jobs)}: {job.name} in {seconds:.0f} s")

    run_jobs(waiting, processes, report)
    predictions = {
        name: _out_of_fold(out, name, [j for j in jobs if j.folder.parent.name == name])
        for name in configs
    }
    for name, names in ensembles.items():
        parts = [SpectraTable.open(predictions[member]) for member in names]
        predictions[name] = average_predictions(out / f"predictions_{name}.parquet", parts)
        configs[name] = configs[names[0]]
    frames = _score(configs, predictions, tables, splits, broadenings)
    reports = []
    for name, config in methods.items() if calibrate else ():
        console.print(f"calibrating {name}")
        folders = [out / "runs" / member for member in member_configs(name, config, members)]
        checkpoints = [
            [folder / f"fold_{number}" / "checkpoint" for folder in folders]
            for number in range(1, folds + 1)
        ]
        reports.append(write_calibration(read_out_of_fold(checkpoints, tables), out, name))
    return _write(out, frames, predictions, tuple(reports))


def _with_table(config: TrainingConfig, table: str | os.PathLike[str] | None) -> TrainingConfig:
    if table is None:
        return config
    data = config.data.model_copy(update={"tables": (Path(table).resolve(),)})
    return config.model_copy(update={"data": data})


def _common_tables(configs: Mapping[str, TrainingConfig]) -> tuple[Path, ...]:
    found = {config.data.tables for config in configs.values()}
    if len(found) != 1:
        raise ConfigurationError(
            "no configuration is given"
            if not found
            else "the configurations are about different tables",
            expected="configurations that differ in method and share data.tables",
            cure="name one table with --table",
        )
    return found.pop()


def _claim(
    out: Path,
    configs: Mapping[str, TrainingConfig],
    tables: Sequence[SpectraTable],
    splits: Sequence[Split],
) -> None:
    """Write the plan, or check that what stands there is this plan (more methods may join)."""
    path = out / PLAN_FILE
    plan: dict[str, Any] = {
        "tables": [sha256(table.path) for table in tables],
        "folds": [split.model_dump() for split in splits],
    }
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else plan
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"cannot be read: {error}", where=str(path), cure="choose another folder"
        ) from error
    if known != plan:
        raise ConfigurationError(
            "a cross-validation with other folds or of another table stands here",
            where=str(out),
            cure="choose another folder, or the same --folds, --seed, --validation and table",
        )
    write_text(path, json.dumps(plan, indent=1) + "\n")
    for name in configs:
        if not name or "/" in name or name.startswith("."):
            raise ConfigurationError(f"{name!r} cannot name a folder", cure="rename the file")


def _job(out: Path, name: str, number: int, config: TrainingConfig) -> Job:
    folder = out / "runs" / name
    kept = folder / f"fold_{number}" / CONFIG_FILE
    known = read_config(kept) if kept.is_file() else config
    changed = [key for key in differing_keys(known, config) if not key.startswith(IRRELEVANT)]
    if changed:
        raise ConfigurationError(
            f"the runs of {name!r} that stand here have another {', '.join(changed)}",
            where=str(folder),
            cure="give the changed configuration another file name, or choose another folder",
        )
    path = write_config(folder / f"fold_{number}.yaml", config)
    return Job(
        f"{name}, fold {number}", path, folder / f"fold_{number}", folder / f"fold_{number}.log"
    )


def _out_of_fold(out: Path, name: str, jobs: Sequence[Job]) -> Path:
    parts = [SpectraTable.open(job.folder / "predictions_test.parquet") for job in jobs]
    return concatenate(out / f"predictions_{name}.parquet", parts)


def _score(
    configs: Mapping[str, TrainingConfig],
    predictions: Mapping[str, Path],
    tables: Sequence[SpectraTable],
    splits: Sequence[Split],
    broadenings: Sequence[Broadening],
) -> list[pd.DataFrame]:
    """Figures per material of every method, level and broadening."""
    fold_of = {m: number for number, split in enumerate(splits, start=1) for m in split.test}
    column = next(iter(configs.values())).loss.band_gap_column
    narrowest = min(broadenings, key=lambda broadening: broadening.width)
    frames = []
    for level in dict.fromkeys(level for c in configs.values() for level in c.data.levels):
        methods = {
            name: read_spectra(SpectraTable.open(path), level, band_gap_column=PREDICTED_GAP)
            for name, path in predictions.items()
            if level in configs[name].data.levels
        }
        grid = _common_grid(methods)
        reference = _read_all(tables, level, narrowest, grid, column)
        methods |= _fold_baselines(reference, tables, splits)
        for other in tables[0].levels:
            if other != level:
                cheaper = _read_all(tables, other, narrowest, grid, column)
                methods[f"{other} taken as {level}"] = as_level(cheaper, level)
        for broadening in broadenings:
            truth = reference.broadened(broadening)
            for name, predicted in methods.items():
                if predicted.broadening.width > broadening.width:
                    continue
                frame = per_material(predicted.broadened(broadening).select(truth.ids), truth)
                frame.insert(0, "method", name)
                frame.insert(2, "fold", [fold_of[m] for m in frame["material_id"]])
                frames.append(frame)
    return frames


def _read_all(
    tables: Sequence[SpectraTable],
    level: str,
    broadening: Broadening,
    grid: EnergyGrid,
    band_gap_column: str,
) -> SpectraSet:
    return join([read_spectra(t, level, broadening, grid, band_gap_column) for t in tables])


def _common_grid(methods: Mapping[str, SpectraSet]) -> EnergyGrid:
    grids = {spectra.grid for spectra in methods.values()}
    if len(grids) > 1:
        raise ConfigurationError(
            f"the configurations use different energy grids: {', '.join(map(str, grids))}",
            cure="give all of them the same model.grid: their errors are averages over it",
        )
    return grids.pop()


def _fold_baselines(
    reference: SpectraSet, tables: Sequence[SpectraTable], splits: Sequence[Split]
) -> dict[str, SpectraSet]:
    """Out-of-fold predictions of the baselines, fitted to all that a fold does not test."""
    features = composition_features(tables)
    place = {material_id: row for row, material_id in enumerate(reference.ids)}
    parts: dict[str, list[SpectraSet]] = {}
    for split in splits:
        test = [place[m] for m in split.test]
        training = [place[m] for m in (*split.train, *split.validation)]
        found = baselines(
            reference.rows(training), reference.rows(test), features[training], features[test]
        )
        for name, spectra in found.items():
            parts.setdefault(name, []).append(spectra)
    return {name: join(spectra) for name, spectra in parts.items()}


def _write(
    out: Path,
    frames: Sequence[pd.DataFrame],
    predictions: dict[str, Path],
    calibrations: tuple[CalibrationReport, ...],
) -> CrossValidation:
    per_row = pd.concat(frames, ignore_index=True)
    rows = [
        {"level": level, "broadening": broadening, "method": method, **_flat(summarize(group))}
        for (level, broadening, method), group in per_row.groupby(
            ["level", "broadening", "method"], sort=False
        )
    ]
    summary = pd.DataFrame(rows)
    write_text(out / "per_material.csv", per_row.to_csv(index=False))
    write_text(out / "summary.csv", summary.to_csv(index=False))
    write_text(out / "summary.md", summary_markdown(summary))
    return CrossValidation(out, summary, per_row, predictions, calibrations)


def _flat(summary: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in summary.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}_")
        elif not isinstance(value, str):
            flat[f"{prefix}{name}"] = value
    return flat


def summary_markdown(summary: pd.DataFrame) -> str:
    """Write the summary as one Markdown table per level and broadening."""
    columns = {
        "similarity_median": "SC median",
        "similarity_mean": "SC mean",
        "mae_median": "MAE median",
        "mae_mean": "MAE mean",
        "mse_median": "MSE median",
        "log_absorption_mae_median": "log₁₀ α MAE median",
        "onset_eV_absolute_error_mean": "onset MAE / eV",
        "onset_eV_r2": "onset R²",
        "static_dielectric_relative_error_median": "ε₁(0) rel. error median",
        "band_gap_eV_absolute_error_mean": "gap MAE / eV",
    }
    lines = ["# Cross-validation", "", NOTE]
    for (level, broadening), group in summary.groupby(["level", "broadening"], sort=False):
        shown = [c for c in columns if c in group and group[c].notna().any()]
        lines += [
            f"## {level}, {broadening}, {int(group['materials'].max())} materials",
            "",
            "| method | " + " | ".join(columns[c] for c in shown) + " |",
            "|---" * (len(shown) + 1) + "|",
        ]
        for _, row in group.iterrows():
            cells = ["–" if pd.isna(row[c]) else f"{row[c]:.3f}" for c in shown]
            lines.append(f"| {row['method']} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)
