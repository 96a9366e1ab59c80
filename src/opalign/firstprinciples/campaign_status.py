"""Where a campaign stands: counts by state and reason, hours used, an estimate of what is left."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from opalign.firstprinciples.campaign import JOBS_FOLDER, Campaign
from opalign.firstprinciples.job_state import LOCK_FILE, Attempt, JobState, job_lock, read_state
from opalign.firstprinciples.jobs import Job


@dataclass(frozen=True)
class Failure:
    """A job without a spectrum."""

    identifier: str
    reason: str
    detail: str


@dataclass(frozen=True)
class CampaignStatus:
    """Where a campaign stands.

    Parameters
    ----------
    total
        Jobs of the plan.
    states
        Status → number of jobs; ``running`` are those that a process is at now.
    reasons
        Reason → number of jobs that failed for it.
    running
        Material ids.
    failures
        In the order of the plan.
    core_hours
        Processor hours of all attempts in the folder, failed ones and earlier plans included.
    wall_hours
        The same by the clock: hours of one worker.
    hours_left
        Hours of one worker that the waiting jobs take, by measured against expected cost; None
        before the first job ended.
    """

    total: int
    states: dict[str, int]
    reasons: dict[str, int]
    running: tuple[str, ...]
    failures: tuple[Failure, ...]
    core_hours: float
    wall_hours: float
    hours_left: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON."""
        return {
            "total": self.total,
            "states": self.states,
            "reasons": self.reasons,
            "running": list(self.running),
            "failures": [vars(failure) for failure in self.failures],
            "core_hours": round(self.core_hours, 4),
            "wall_hours": round(self.wall_hours, 4),
            "hours_left": None if self.hours_left is None else round(self.hours_left, 4),
        }


def campaign_status(campaign: Campaign) -> CampaignStatus:
    """Look at every job of a campaign, also while a run is at work."""
    pairs = list(zip(campaign.plan.jobs, campaign.states(), strict=True))
    live = {job.identifier for job, state in pairs if _is_live(campaign, job, state)}
    kinds = Counter(
        # A job that is said to run, but at which nobody is, waits for the next run.
        "waiting" if state.status == "running" and job.identifier not in live else state.status
        for job, state in pairs
    )
    failures = tuple(
        Failure(job.identifier, str(state.reason), state.detail)
        for job, state in pairs
        if state.status == "failed"
    )
    attempts = _all_attempts(campaign)
    return CampaignStatus(
        total=len(pairs),
        states={kind: kinds.get(kind, 0) for kind in ("done", "failed", "running", "waiting")},
        reasons=dict(Counter(failure.reason for failure in failures).most_common()),
        running=tuple(sorted(live)),
        failures=failures,
        core_hours=sum(attempt.cpu_seconds for attempt in attempts) / 3600.0,
        wall_hours=sum(attempt.seconds for attempt in attempts) / 3600.0,
        hours_left=_hours_left(pairs),
    )


def _is_live(campaign: Campaign, job: Job, state: JobState) -> bool:
    if state.status != "running":
        return False
    with job_lock(campaign.job_folder(job) / LOCK_FILE) as free:
        return not free


def _all_attempts(campaign: Campaign) -> list[Attempt]:
    folder = campaign.folder / JOBS_FOLDER
    jobs = sorted(folder.iterdir()) if folder.is_dir() else []
    return [attempt for job in jobs for attempt in read_state(job).attempts]


def _hours_left(pairs: list[tuple[Job, JobState]]) -> float | None:
    ended = [(job, state) for job, state in pairs if state.status in ("done", "failed")]
    expected = sum(job.expected_seconds for job, _ in ended)
    if expected <= 0.0:
        return None
    measured = sum(state.seconds for _, state in ended)
    waiting = sum(
        job.expected_seconds for job, state in pairs if state.status in ("waiting", "running")
    )
    return waiting * measured / expected / 3600.0
