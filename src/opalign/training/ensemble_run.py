"""Training an ensemble: one run per member, side by side, then one checkpoint of all of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rich.console import Console

from opalign.dataset.split import PARTS
from opalign.errors import ConfigurationError, OpalignError
from opalign.files import write_text
from opalign.model.calibration import Calibration, read_calibration
from opalign.model.checkpoint import load_checkpoint
from opalign.model.ensemble import EnsembleModel, members_of
from opalign.training.absent import without_absent_terms
from opalign.training.conclusion import RESULT_FILE, RunResult, conclude
from opalign.training.config import CrossValidatedConfig, TrainingConfig
from opalign.training.config_file import write_config
from opalign.training.crossvalidated import read_figures
from opalign.training.data import load_materials, make_split, open_tables
from opalign.training.ensemble import ensemble_name, member_configs
from opalign.training.further import with_further
from opalign.training.processes import Job, run_jobs
from opalign.training.run import CONFIG_FILE, build_model_config, claim, read_result, release

#: What makes a folder that of an ensemble, and not of a single run.
ENSEMBLE_FILE = "ensemble.json"


def train_ensemble(
    config: TrainingConfig | None,
    out: str | os.PathLike[str],
    *,
    members: int | None = None,
    processes: int = 2,
    resume: bool = False,
    advice: str | os.PathLike[str] | None = None,
    console: Console | None = None,
) -> RunResult:
    """Train the members and write their checkpoint into ``out``/checkpoint.

    The members differ in their seeds, counted up from the configuration's own. Where the
    configuration names a cross-validation (``cross_validated``), the checkpoint reports the figures
    of its ensembles, and carries their calibration if they were calibrated.

    Parameters
    ----------
    config, members
        May be None when resuming: a run keeps both.
    processes
        Runs side by side, with one thread each.
    resume
        Go on with an ensemble that was stopped; its finished members are kept.
    advice
        Checkpoint of a similarity model that goes along.

    Raises
    ------
    ConfigurationError
        ``out`` holds something else, the cross-validation is not of this configuration or was not
        made with several members, or a run failed.
    KeyboardInterrupt
        Someone stopped it; resuming goes on from there.
    """
    out, console = Path(out), console or Console()
    config = None if config is None else without_absent_terms(config, console)
    begun = (out / CONFIG_FILE).is_file()
    if begun and not (out / ENSEMBLE_FILE).is_file():
        raise ConfigurationError(
            "a run of a single network stands here",
            where=str(out),
            cure="choose another folder, or resume without --members",
        )
    config = claim(config, out, resume)
    try:
        members = _claim_members(out, members)
        configs = member_configs("member", config, members)
        if advice is not None:
            load_checkpoint(advice)  # now, not after the training
        crossed, calibration = _cross_validated(config.cross_validated, config)
        tables = open_tables(config.data.tables)
    except OpalignError:
        if not begun:
            (out / ENSEMBLE_FILE).unlink(missing_ok=True)
            release(out)
        raise
    if (out / RESULT_FILE).is_file():
        return RunResult(out, read_result(out / RESULT_FILE), was_finished=True)
    jobs = []
    for number, member in enumerate(configs.values(), start=1):
        folder = out / "members" / str(number)
        # Figures of the ensemble's cross-validation are none of a single member's.
        own = member.model_copy(update={"cross_validated": None})
        path = write_config(folder.with_suffix(".yaml"), own)
        jobs.append(Job(f"member {number}", path, folder, folder.with_suffix(".log")))
    waiting = [job for job in jobs if not (job.folder / RESULT_FILE).is_file()]
    if len(waiting) < len(jobs):
        console.print(f"{len(jobs) - len(waiting)} of {members} members are trained already")
    run_jobs(
        waiting, processes, lambda job, seconds: console.print(f"{job.name} in {seconds:.0f} s")
    )
    loaded = [load_checkpoint(job.folder / "checkpoint") for job in jobs]
    network = EnsembleModel(member for one in loaded for member in members_of(one.model))
    ids = [material_id for table in tables for material_id in table.ids]
    formulas = [formula for table in tables for formula in table.formulas]
    split = make_split(config.data.split, ids, formulas)
    materials = load_materials(tables, build_model_config(config, tables), config.data, config.loss)
    parts = {name: materials.select(getattr(split, name)) for name in PARTS}
    held_out = [*parts["validation"].formulas, *parts["test"].formulas]
    parts["train"] = with_further(
        parts["train"], config.data, network.config, config.loss, held_out
    )
    metrics: dict[str, Any] = {"members": members}
    if crossed is not None:
        metrics["cross_validation"] = crossed
    return conclude(
        config,
        tables,
        split,
        parts,
        network,
        metrics,
        out,
        calibration=calibration,
        advice=advice,
    )


def is_ensemble(out: str | os.PathLike[str]) -> bool:
    """Whether an ensemble, and not a single run, stands in a folder."""
    return (Path(out) / ENSEMBLE_FILE).is_file()


def _claim_members(out: Path, members: int | None) -> int:
    """Write the number of members, or check it against the one that is there."""
    path = out / ENSEMBLE_FILE
    if not path.is_file():
        if members is None:
            raise ConfigurationError("no number of members is given", cure="add --members")
        write_text(path, json.dumps({"members": members}) + "\n")
        return members
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))["members"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"cannot be read: {error}", where=str(path), cure="choose another folder"
        ) from error
    if type(kept) is not int or members not in (None, kept):
        raise ConfigurationError(
            f"the ensemble that stands here has {kept} members",
            where=str(out),
            cure="resume it without --members, or choose another folder",
        )
    return kept


def _cross_validated(
    reported: CrossValidatedConfig | None, config: TrainingConfig
) -> tuple[list[dict[str, Any]] | None, Calibration | None]:
    """Figures and calibration of the ensembles of a cross-validation; None where there are none."""
    if reported is None:
        return None, None
    figures = read_figures(reported, config, ensemble_name(reported.method))
    path = reported.folder / f"calibration_{reported.method}.json"
    if not path.is_file():
        return figures, None
    return figures, read_calibration(path, config.data.levels)
