"""Campaigns: a plan of jobs in a folder, run by the local pool, stopped and resumed at will.

A campaign is a folder with

    campaign.yaml   the configuration
    plan.json       every candidate's job, and how many candidates each filter left
    jobs/           one folder a job (:mod:`opalign.firstprinciples.jobs`)
    workers.log     what went wrong in the workers themselves

A job is known by the content of its structure, engine and settings. So a plan that is made again,
or with other settings, computes only what is not there yet.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from opalign.errors import ConfigurationError, StorageError
from opalign.files import write_text
from opalign.firstprinciples.campaign_config import (
    CampaignConfig,
    parse_campaign,
    read_campaign,
    with_overrides,
    write_campaign,
)
from opalign.firstprinciples.campaign_source import Selection, select_candidates
from opalign.firstprinciples.engine import FailureReason
from opalign.firstprinciples.jobs import (
    Job,
    JobState,
    job_lock,
    load_engine,
    new_job,
    read_state,
    settled_state,
    write_job,
    write_state,
)
from opalign.firstprinciples.pool import Report, run_pool

CONFIG_FILE = "campaign.yaml"
PLAN_FILE = "plan.json"
JOBS_FOLDER = "jobs"
WORKERS_LOG = "workers.log"
LOCK_FILE = "lock"
PLAN_VERSION = 1


@dataclass(frozen=True)
class Plan:
    """The jobs of a campaign in the order of their candidates."""

    jobs: tuple[Job, ...]
    funnel: dict[str, Any]
    """Counts after each filter, and why each candidate fell out."""


@dataclass(frozen=True)
class Campaign:
    """A campaign in its folder."""

    folder: Path
    config: CampaignConfig
    plan: Plan
    problems: tuple[str, ...] = ()
    """What had to be made anew on opening."""

    def job_folder(self, job: Job) -> Path:
        """Folder of one job."""
        return self.folder / JOBS_FOLDER / job.folder_name

    def states(self) -> list[JobState]:
        """How each job of the plan stands, in its order."""
        return [read_state(self.job_folder(job)) for job in self.plan.jobs]


def plan_campaign(config: CampaignConfig, folder: str | Path) -> Campaign:
    """Choose the candidates, plan their jobs and write both into ``folder``.

    In a folder with a plan, jobs that are planned again keep their state and results.

    Raises
    ------
    ConfigurationError
        An unknown engine, or settings that it does not have.
    StructureError, DatasetError
        The source cannot be read.
    StorageError
        A run is at work in the folder.
    """
    folder = Path(folder)
    engine = load_engine(config.engine, config.settings)
    selection = select_candidates(config)
    jobs = [
        new_job(
            candidate.identifier,
            candidate.structure,
            config.engine,
            engine,
            source=candidate.source,
            notes=candidate.notes,
            keep_work=config.keep_work,
        )
        for candidate in selection.candidates
    ]
    jobs, funnel = _affordable(jobs, selection, config)
    with job_lock(folder / LOCK_FILE) as free:
        _require_free(free, folder)
        write_campaign(folder / CONFIG_FILE, config)
        plan = Plan(tuple(jobs), funnel)
        _write_plan(folder, plan)
    return Campaign(folder, config, plan)


def open_campaign(folder: str | Path) -> Campaign:
    """Open a campaign; a plan that is damaged is made anew from its configuration.

    Raises
    ------
    ConfigurationError
        There is no campaign in the folder.
    """
    folder = Path(folder)
    if not (folder / CONFIG_FILE).is_file():
        raise ConfigurationError(
            "is no folder of a campaign",
            where=str(folder),
            expected=f"a folder with {CONFIG_FILE}",
            cure="make one with `opalign compute plan CONFIG --out FOLDER`",
        )
    config = read_campaign(folder / CONFIG_FILE)
    try:
        content = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
        if content["version"] != PLAN_VERSION:
            raise ValueError(f"version {content['version']}")
        jobs = tuple(Job.from_dict(job) for job in content["jobs"])
        return Campaign(folder, config, Plan(jobs, content["funnel"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        campaign = plan_campaign(config, folder)
        problem = f"{PLAN_FILE} was made anew: {type(error).__name__}: {error}"
        return replace(campaign, problems=(problem,))


def retry(campaign: Campaign, reason: FailureReason | str, overrides: Sequence[str] = ()) -> int:
    """Let the jobs that failed for ``reason`` wait again, with other settings or limits.

    Parameters
    ----------
    reason
        A reason of :class:`~opalign.firstprinciples.engine.EngineFailure`, or ``"all"``.
    overrides
        ``settings.KEY=VALUE``: other settings of the engine for these jobs, which thereby become
        jobs of their own (the old ones keep their record). Without, the same jobs go on from
        where they stopped.

    Returns
    -------
    int
        How many jobs wait again.

    Raises
    ------
    ConfigurationError
        A key is no setting of the engine.
    StorageError
        A run is at work in the folder.
    """
    content = campaign.config.model_dump(mode="json")
    changed = with_overrides(content, overrides)
    if {key: changed[key] for key in changed if key != "settings"} != {
        key: content[key] for key in content if key != "settings"
    }:
        raise ConfigurationError(
            "only settings of the engine can differ from job to job",
            expected="settings.KEY=VALUE",
            cure="give limits to the run itself",
        )
    differing = {
        key: value
        for key, value in changed["settings"].items()
        if content["settings"].get(key) != value or key not in content["settings"]
    }
    jobs, count = list(campaign.plan.jobs), 0
    with job_lock(campaign.folder / LOCK_FILE) as free:
        _require_free(free, campaign.folder)
        for place, (job, state) in enumerate(zip(jobs, campaign.states(), strict=True)):
            if state.status != "failed" or reason not in ("all", state.reason):
                continue
            count += 1
            if differing:
                engine = load_engine(job.engine, {**job.settings, **differing})
                settings = engine.settings.model_dump(mode="json")
                jobs[place] = replace(job, settings=settings)
            again = campaign.job_folder(jobs[place])
            state = read_state(again)
            if state.status == "failed":
                write_state(again, replace(state, status="waiting", reason=None, detail=""))
        _write_plan(campaign.folder, replace(campaign.plan, jobs=tuple(jobs)))
    return count


@dataclass(frozen=True)
class Progress:
    """A job that ended, and where the campaign stands."""

    job: Job
    state: JobState
    finished: int
    total: int
    seconds_left: float | None


def run_campaign(
    campaign: Campaign,
    *,
    workers: int | None = None,
    limits: Sequence[str] = (),
    hours: float | None = None,
    identifiers: Collection[str] | None = None,
    report: Callable[[Progress], None] | None = None,
    message: Callable[[str], None] | None = None,
) -> int:
    """Compute what is not computed yet.

    Parameters
    ----------
    workers
        Processes of one core each; as configured by default.
    limits
        ``limits.KEY=VALUE`` that differ from the configuration in this run.
    hours
        After this time no further job is started; those at work go on to their end.
    identifiers
        These materials alone.
    report, message
        Called for every job that ended; and with what had to be mended.

    Returns
    -------
    int
        How many jobs still wait.

    Raises
    ------
    KeyboardInterrupt
        After the jobs at work were stopped. What they reached is kept.
    StorageError
        Another run is at work in the folder, or the disk is full.
    """
    tell = message or (lambda text: None)
    start = time.monotonic()
    changed = with_overrides(campaign.config.model_dump(mode="json"), limits)
    config = parse_campaign(changed, where="limits of this run")
    with job_lock(campaign.folder / LOCK_FILE) as free:
        _require_free(free, campaign.folder)
        for problem in campaign.problems:
            tell(problem)
        tally = _Tally(workers or config.workers)
        chosen = [
            job
            for job in campaign.plan.jobs
            if identifiers is None or job.identifier in identifiers
        ]
        waiting: dict[Path, Job] = {}
        for job in chosen:
            folder = campaign.job_folder(job)
            state = _made_ready(folder, job, tell)
            if state.status == "waiting":
                waiting[folder] = job
            tally.add(job, state)
        order = _ordered(waiting, config.order)
        left = len(order)

        def hear(ended: Report) -> None:
            nonlocal left
            if ended.attempt.outcome == "interrupted":
                return
            left -= 1
            job, state = waiting[ended.folder], read_state(ended.folder)
            tally.finish(job, state)
            if report is not None:
                seconds = tally.seconds_left()
                report(Progress(job, state, tally.finished, len(chosen), seconds))

        run_pool(
            order,
            workers=workers or config.workers,
            time_seconds=config.limits.time_seconds,
            memory_gb=config.limits.memory_gb,
            log=campaign.folder / WORKERS_LOG,
            report=hear,
            before=None if hours is None else start + 3600.0 * hours,
        )
        return left


class _Tally:
    """Measured against expected cost: what is left takes its expected time by their ratio."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._measured = self._expected = self._waiting = 0.0
        self.finished = 0

    def add(self, job: Job, state: JobState) -> None:
        if state.status == "waiting":
            self._waiting += job.expected_seconds
        else:
            self.finished += 1
            self._measured += state.seconds
            self._expected += job.expected_seconds

    def finish(self, job: Job, state: JobState) -> None:
        self._waiting -= job.expected_seconds
        self.finished += 1
        self._measured += state.seconds
        self._expected += job.expected_seconds

    def seconds_left(self) -> float | None:
        if self._expected <= 0.0:
            return None
        return max(self._waiting, 0.0) * self._measured / self._expected / self._workers


def _made_ready(folder: Path, job: Job, tell: Callable[[str], None]) -> JobState:
    """Return the state of a job as a run finds it, mended where need be; it can then be started."""
    state = settled_state(folder)
    if state.problem:
        tell(f"{job.identifier}: {state.problem}; it {_fate(state)}")
    elif state.status == "waiting" and read_state(folder).status == "running":
        tell(f"{job.identifier}: an earlier run was cut off here; it goes on")
    if state.status == "waiting":
        write_job(folder, job)
    if state.problem or state != read_state(folder):
        write_state(folder, state)
    return state


def _fate(state: JobState) -> str:
    return "counts as done, its result is whole" if state.status == "done" else "is computed again"


def _ordered(waiting: dict[Path, Job], order: str) -> list[Path]:
    if order == "plan":
        return list(waiting)
    dearest = order == "dearest"
    return sorted(waiting, key=lambda folder: waiting[folder].expected_seconds, reverse=dearest)


def _affordable(
    jobs: list[Job], selection: Selection, config: CampaignConfig
) -> tuple[list[Job], dict[str, Any]]:
    funnel = selection.funnel.to_dict()
    funnel["unreadable"] = [{"id": name, "reason": why} for name, why in selection.unreadable]
    limit = config.limits.expected_seconds
    if limit is None:
        return jobs, funnel
    kept = [job for job in jobs if job.expected_seconds <= limit]
    rule = "expected cost"
    funnel["steps"].append(
        {
            "rule": rule,
            "description": f"at most {limit:g} s expected",
            "entered": len(jobs),
            "passed": len(kept),
        }
    )
    funnel["rejections"] += [
        {"id": job.identifier, "rule": rule, "reason": f"{job.expected_seconds:.0f} s expected"}
        for job in jobs
        if job.expected_seconds > limit
    ]
    return kept, funnel | {"kept": len(kept)}


def _write_plan(folder: Path, plan: Plan) -> None:
    content = {
        "version": PLAN_VERSION,
        "funnel": plan.funnel,
        "jobs": [job.to_dict() for job in plan.jobs],
    }
    write_text(folder / PLAN_FILE, json.dumps(content, ensure_ascii=False))


def _require_free(free: bool, folder: Path) -> None:
    if not free:
        raise StorageError(
            "another run is at work in this campaign",
            where=str(folder),
            cure="wait for it, stop it, or look on with `opalign compute status`",
        )
