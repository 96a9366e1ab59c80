"""Campaigns at work: run by the local pool, stopped and resumed at will, failures tried again."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from opalign.errors import ConfigurationError
from opalign.firstprinciples.campaign import (
    LOCK_FILE,
    Campaign,
    require_free,
    write_plan,
)
from opalign.firstprinciples.campaign_config import with_limits, with_overrides
from opalign.firstprinciples.engine import FailureReason
from opalign.firstprinciples.job_state import (
    JobState,
    job_lock,
    read_state,
    settled_state,
    write_state,
)
from opalign.firstprinciples.jobs import Job, load_engine, require_engines, write_job, write_retry
from opalign.firstprinciples.pool import Report, run_pool

WORKERS_LOG = "workers.log"


def retry(
    campaign: Campaign,
    reason: FailureReason | str,
    overrides: Sequence[str] = (),
    *,
    identifiers: Collection[str] | None = None,
) -> int:
    """Let the jobs that failed for ``reason`` wait again, with other settings or limits.

    Parameters
    ----------
    reason
        A reason of :class:`~opalign.firstprinciples.engine.EngineFailure`, or ``"all"``.
    overrides
        ``settings.KEY=VALUE``: other settings of the engine for these jobs, which thereby become
        jobs of their own (the old ones keep their record). Without, the same jobs go on from
        where they stopped.
    identifiers
        These materials alone.

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
        require_free(free, campaign.folder)
        for place, (job, state) in enumerate(zip(jobs, campaign.states(), strict=True)):
            if state.status != "failed" or reason not in ("all", state.reason):
                continue
            if identifiers is not None and job.identifier not in identifiers:
                continue
            count += 1
            if differing:
                engine = load_engine(job.engine, {**job.settings, **differing})
                settings = engine.settings.model_dump(mode="json")
                jobs[place] = job.retried(settings)
                write_retry(campaign.job_folder(job), settings)
            again = campaign.job_folder(jobs[place])
            state = read_state(again)
            if state.status == "failed":
                write_state(again, replace(state, status="waiting", reason=None, detail=""))
        write_plan(campaign.folder, replace(campaign.plan, jobs=tuple(jobs)))
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
    MissingExtraError
        The engine's code is not installed.
    StorageError
        Another run is at work in the folder, or the disk is full.
    """
    tell = message or (lambda text: None)
    start = time.monotonic()
    config = with_limits(campaign.config, limits)
    with job_lock(campaign.folder / LOCK_FILE) as free:
        require_free(free, campaign.folder)
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
        require_engines(waiting.values())
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
