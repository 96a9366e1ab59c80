"""Corrections of a whole campaign: guarded like its jobs, stopped and resumed at will."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from opalign.errors import ConfigurationError
from opalign.files import write_text
from opalign.firstprinciples.campaign import open_campaign
from opalign.firstprinciples.campaign_config import Limits, with_limits
from opalign.firstprinciples.correction import (
    HYBRID_FOLDER,
    correction_key,
    finished_correction,
    load_corrected,
)
from opalign.firstprinciples.engine import EngineFailure
from opalign.firstprinciples.hybrid import HybridSettings
from opalign.firstprinciples.job_state import Attempt
from opalign.firstprinciples.jobs import Job, require_engines
from opalign.firstprinciples.pool import Report, run_pool

FAILURE_FILE = "failure.json"
LOG_FILE = "corrections.log"


@dataclass(frozen=True)
class Correction:
    """How the correction of one job ended: the numbers, or why there are none."""

    identifier: str
    scalars: dict[str, float] | None
    failure: str = ""


def correct_campaign(
    folder: str | Path,
    settings: HybridSettings | None = None,
    *,
    processes: int = 1,
    retry_failed: bool = False,
    identifiers: frozenset[str] | None = None,
    limits: Sequence[str] = (),
    report: Callable[[Correction], None] | None = None,
) -> list[Correction]:
    """Correct every finished result of a campaign, cheapest first; stop and call again at will.

    What was corrected is not computed again. A job that cannot be corrected, or exceeds the limits
    of time and memory of the campaign, is recorded in ``hybrid/failure.json`` and skipped until
    ``retry_failed``. Campaign and corrections may run beside each other.

    Parameters
    ----------
    processes
        Workers of one core each.
    identifiers
        Those to correct, if not all.
    limits
        ``limits.KEY=VALUE`` that differ from the configuration in this run.
    report
        Called for every correction: first those known, then each that ended.

    Raises
    ------
    ConfigurationError
        There is no campaign in the folder, none of its jobs is called so, or less than one process
        is asked for.
    MissingExtraError
        GPAW is not installed.
    KeyboardInterrupt
        After the corrections at work were stopped. What they reached is kept.
    StorageError
        A state cannot be written, as on a full disk.
    """
    if processes < 1:
        raise ConfigurationError(f"{processes} processes are none", expected="1 or more")
    campaign = open_campaign(folder)
    campaign.require(identifiers or ())
    allowed = with_limits(campaign.config, limits).limits
    settings = settings or HybridSettings()
    jobs = [
        job
        for job, state in zip(campaign.plan.jobs, campaign.states(), strict=True)
        if state.status == "done" and (identifiers is None or job.identifier in identifiers)
    ]
    jobs.sort(key=lambda job: job.expected_seconds)
    found: list[Correction] = []

    def tell(correction: Correction) -> None:
        found.append(correction)
        if report is not None:
            report(correction)

    left: list[tuple[Job, Path]] = []
    for job in jobs:
        job_folder = campaign.job_folder(job)
        known = known_correction(job, job_folder, settings, failures=not retry_failed)
        if known is None:
            left.append((job, job_folder))
        else:
            tell(known)
    if left:
        log = campaign.folder / LOG_FILE
        correct_jobs(left, settings, workers=processes, limits=allowed, log=log, report=tell)
    return found


def known_correction(
    job: Job, folder: Path, settings: HybridSettings, *, failures: bool = True
) -> Correction | None:
    """Return how the correction of a job in this folder ended, if it was done before.

    ``failures`` counts what failed as done.
    """
    try:
        key = correction_key(folder, settings)
        corrected = finished_correction(folder, key)
    except EngineFailure as failure:
        return Correction(job.identifier, None, str(failure))
    if corrected is not None:
        return Correction(job.identifier, dict(corrected.scalars))
    try:
        content = json.loads((folder / HYBRID_FOLDER / FAILURE_FILE).read_text(encoding="utf-8"))
        if failures and content["key"] == key:
            return Correction(job.identifier, None, str(content["failure"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def correct_jobs(
    jobs: Sequence[tuple[Job, Path]],
    settings: HybridSettings,
    *,
    workers: int,
    limits: Limits,
    log: Path,
    report: Callable[[Correction], None],
) -> None:
    """Correct the results of these jobs, each in its folder, and record what cannot be corrected.

    Raises
    ------
    MissingExtraError
        GPAW is not installed.
    KeyboardInterrupt, StorageError
        As of :func:`~opalign.firstprinciples.pool.run_pool`.
    """
    require_engines(job for job, _ in jobs if job.engine == "gpaw")
    names = {folder: job.identifier for job, folder in jobs}

    def hear(ended: Report) -> None:
        if ended.attempt.outcome != "interrupted":
            report(_recorded(names[ended.folder], ended.folder, settings, ended.attempt))

    run_pool(
        list(names),
        workers=workers,
        time_seconds=limits.time_seconds,
        memory_gb=limits.memory_gb,
        log=log,
        report=hear,
        name="correct",
        settings=settings.model_dump(mode="json"),
    )


def _recorded(
    identifier: str, folder: Path, settings: HybridSettings, attempt: Attempt
) -> Correction:
    path = folder / HYBRID_FOLDER / FAILURE_FILE
    corrected = load_corrected(folder) if attempt.outcome == "done" else None
    if corrected is not None:
        path.unlink(missing_ok=True)
        return Correction(identifier, dict(corrected.scalars))
    reason = attempt.reason or "bad output"
    failure = f"{reason}: {attempt.detail}" if attempt.detail else reason
    with contextlib.suppress(EngineFailure):  # The result went away meanwhile: nothing to record.
        content = {"key": correction_key(folder, settings), "failure": failure}
        write_text(path, json.dumps(content, ensure_ascii=False))
    return Correction(identifier, None, failure)
