"""One folder for all questions about one climb: claimed once, filled job by job, resumed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from opalign.errors import ConfigurationError
from opalign.files import sha256, write_text
from opalign.ladder.config import LadderConfig
from opalign.ladder.data import LadderData
from opalign.ladder.jobs import Job, plan
from opalign.ladder.workers import run_jobs

PLAN_FILE = "plan.json"
#: Keys to which more may come in a folder: what is there stays valid.
_GROWING = ("strategies", "sizes", "cells", "seeds", "similarity")
LINES_IN_A_LOG = 60


def open_climb(config: LadderConfig, out: Path) -> LadderData:
    """Read the data and claim the folder, or check that what stands there is this climb.

    More strategies, sizes, cells and seeds may join one that has begun, and settings that it did
    not know yet, as long as they have their default. The configuration of what
    is returned has the strategies of both, those that stand there first; strategies that begin
    with scalars are left out where their table is not named now.

    Raises
    ------
    ConfigurationError
        ``out`` holds another climb, or other things.
    DatasetError, SpectrumError, StructureError
        The tables are not as the configuration says.
    """
    data = LadderData(config)
    for level in (config.cheap, config.costly):
        data.reference(level)
    content: dict[str, Any] = {
        "tables": [sha256(table.path) for table in data.tables],
        "folds": [split.model_dump() for split in data.splits],
        "config": config.model_dump(mode="json"),
    }
    # Where a table lies is no part of what a climb is.
    content["config"].pop("tables")
    if config.pretraining is not None:
        content["pretraining"] = sha256(config.pretraining.table)
        content["config"]["pretraining"].pop("table")
    path = out / PLAN_FILE
    if path.is_file():
        known = _read(path)
        known["config"] = _completed(known.get("config") or {}, config)
        content["config"] = _joined(known, content, path)
        data.config = _with_strategies(config, content["config"]["strategies"])
    elif out.is_dir() and any(out.iterdir()):
        raise ConfigurationError(
            "the folder holds other things", where=str(out), cure="choose a new or empty folder"
        )
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return data


def climb(
    data: LadderData,
    out: Path,
    subsets: Sequence[str],
    strategies: Sequence[str],
    *,
    processes: int,
    console: Console,
) -> list[Job]:
    """Train what is missing of the strategies on the subsets; returns the fits.

    See :func:`work_off` for the errors.
    """
    jobs = plan(data.config, subsets, strategies)
    # Asked for now, not after hours of training: it may be empty.
    for job in jobs:
        data.labelled(job.subset, job.fold, job.seed)
    work_off(jobs, data, out, processes=processes, console=console)
    return [job for job in jobs if job.stage == "fit"]


def work_off(
    jobs: Sequence[Job], data: LadderData, out: Path, *, processes: int, console: Console
) -> None:
    """Do the jobs that are not done yet, and say how it goes.

    Raises
    ------
    ConfigurationError
        A training failed; the same call goes on from there.
    KeyboardInterrupt
        Someone stopped it; the same call goes on from there.
    """
    done = sum(job.path(out).is_file() for job in jobs)
    console.print(
        f"{len(jobs)} trainings, {done} of them finished already; "
        f"a strategy has {data.config.steps} steps of {data.config.batch_size} structures"
    )
    every = max(1, len(jobs) // LINES_IN_A_LOG)

    def report(job: Job, seconds: float) -> None:
        nonlocal done
        done += 1
        if console.is_terminal or done % every == 0 or done == len(jobs):
            console.print(f"{done}/{len(jobs)}  {job.name}  {seconds:.1f} s", markup=False)

    run_jobs(jobs, data, out, processes, report)


def _with_strategies(config: LadderConfig, strategies: dict[str, Any]) -> LadderConfig:
    content = config.model_dump()
    content["strategies"] = {
        name: strategy
        for name, strategy in strategies.items()
        if config.pretraining is not None or not strategy["scalars"]
    }
    return LadderConfig.model_validate(content)


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"cannot be read: {error}", where=str(path), cure="choose another folder"
        ) from error
    return content


def _completed(kept: dict[str, Any], config: LadderConfig) -> dict[str, Any]:
    """Return a kept configuration with the defaults of settings that came after it was written.

    One that is no configuration any more is returned as it is.
    """
    # Where tables lie is not kept; for this, those of now do as well.
    whole = kept | {"tables": config.tables}
    if isinstance(kept.get("pretraining"), dict):
        table = config.tables[0] if config.pretraining is None else config.pretraining.table
        whole["pretraining"] = kept["pretraining"] | {"table": table}
    try:
        full = LadderConfig.model_validate(whole).model_dump(mode="json")
    except ValueError:
        return kept
    full.pop("tables")
    if full["pretraining"] is not None:
        full["pretraining"].pop("table")
    return _filled(kept, full)


def _filled(kept: dict[str, Any], full: dict[str, Any]) -> dict[str, Any]:
    """Add what is missing, at all depths; what is there stays as it was written."""
    return full | {
        key: _filled(value, full[key])
        if isinstance(value, dict) and isinstance(full.get(key), dict)
        else value
        for key, value in kept.items()
    }


def _joined(known: dict[str, Any], asked: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the configuration of both; ConfigurationError where they contradict one another."""
    config: dict[str, Any] = dict(asked["config"])
    before = known["config"]
    # A table of scalars may join, or not be asked for; two of them are two climbs.
    scalars = None not in (before.get("pretraining"), config["pretraining"])
    free = {"config"} if scalars else {"config", "pretraining"}
    differing = [name for name in asked if name not in free and known.get(name) != asked[name]]
    differing += [
        key
        for key in config
        if key not in (*_GROWING, *free) and before.get(key) != config.get(key)
    ]
    differing += [
        f"strategies.{name}"
        for name, strategy in config["strategies"].items()
        if before.get("strategies", {}).get(name, strategy) != strategy
    ]
    # Tuning is done with the first seed.
    if before.get("seeds", config["seeds"])[:1] != config["seeds"][:1]:
        differing.append("first seed")
    if differing:
        raise ConfigurationError(
            f"the climb that stands here has another {', '.join(differing)}",
            where=str(path),
            cure="choose another folder, or the configuration that it was begun with",
        )
    if config["pretraining"] is None and before.get("pretraining"):
        config["pretraining"], asked["pretraining"] = before["pretraining"], known["pretraining"]
    config["strategies"] = {**before.get("strategies", {}), **config["strategies"]}
    for name in ("sizes", "cells", "seeds"):
        config[name] = [*before[name], *(v for v in config[name] if v not in before[name])]
    return config
