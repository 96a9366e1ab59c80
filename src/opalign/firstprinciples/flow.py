"""The same campaign on a cluster: its jobs as jobflow flows, for jobflow-remote or FireWorks.

Every material is a flow of two or three jobs: the calculation, guarded as on one machine by a
worker within its limits; for GPAW the correction by the hybrid, guarded alike; and the quality
check of the result. State and result are written into the campaign's folder, which therefore has to
be on a file system that the cluster's nodes share; what goes into the job store is a summary. So
``opalign compute status`` and ``export`` work wherever the jobs were run, and a flow submitted
twice computes nothing twice. docs/campaigns.md has a worked example.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opalign.errors import MissingExtraError
from opalign.firstprinciples.campaign import Campaign
from opalign.firstprinciples.campaign_config import Limits
from opalign.firstprinciples.correction_run import Correction, correct_jobs, known_correction
from opalign.firstprinciples.engine import EngineFailure
from opalign.firstprinciples.hybrid import HybridSettings
from opalign.firstprinciples.job_state import (
    LOCK_FILE,
    job_lock,
    load_result,
    read_state,
    settled_state,
)
from opalign.firstprinciples.jobs import Job, require_engines, write_job
from opalign.firstprinciples.pool import run_pool
from opalign.firstprinciples.quality import check_result

if TYPE_CHECKING:
    from jobflow.core.flow import Flow

WORKER_LOG = "worker.log"
CORRECTED_ENGINE = "gpaw"
"""The engine whose results a hybrid corrects afterwards; VASP's flow has its own."""


def campaign_flows(
    campaign: Campaign, identifiers: Collection[str] | None = None, *, correct: bool = True
) -> list[Flow]:
    """Return a flow for every job of a campaign that is neither done nor failed, cheapest first.

    Parameters
    ----------
    identifiers
        These materials alone.
    correct
        Correct what GPAW computed: also what is done and waits for that.

    Raises
    ------
    MissingExtraError
        jobflow is not installed.
    """
    waiting = [
        job
        for job in campaign.plan.jobs
        if (identifiers is None or job.identifier in identifiers)
        and _waits(job, campaign.job_folder(job), correct)
    ]
    waiting.sort(key=lambda job: job.expected_seconds)
    return [material_flow(campaign, job, correct=correct) for job in waiting]


def _waits(job: Job, folder: Path, correct: bool) -> bool:
    status = read_state(folder).status
    if status == "done" and correct and job.engine == CORRECTED_ENGINE:
        return known_correction(job, folder, HybridSettings()) is None
    return status in ("waiting", "running")


def material_flow(campaign: Campaign, job: Job, *, correct: bool = True) -> Flow:
    """Return the flow of one material: calculation, correction (of GPAW's results), quality check.

    Raises
    ------
    MissingExtraError
        jobflow is not installed.
    """
    try:
        from jobflow.core.flow import Flow
        from jobflow.core.job import Job as FlowJob
    except ImportError as error:
        raise MissingExtraError(
            f"jobflow cannot be imported ({error})", cure="pip install 'opalign[dft]'"
        ) from error

    limits = campaign.config.limits
    metadata = {
        "material_id": job.identifier,
        "key": job.key,
        "expected_seconds": job.expected_seconds,
    }
    work = {
        "folder": str(campaign.job_folder(job).resolve()),
        # As text: serialisers would make an object of the structure's dictionary, and the job
        # another one by its key.
        "job": json.dumps(job.to_dict()),
        "time_seconds": limits.time_seconds,
        "memory_gb": limits.memory_gb,
    }
    jobs = [
        FlowJob(
            compute_material,
            function_kwargs=work,
            name=f"compute {job.identifier}",
            metadata=metadata,
        )
    ]
    if correct and job.engine == CORRECTED_ENGINE:
        jobs.append(
            FlowJob(
                correct_material,
                function_args=(jobs[-1].output,),
                function_kwargs=work,
                name=f"correct {job.identifier}",
                metadata=metadata,
            )
        )
    jobs.append(
        FlowJob(
            check_material,
            function_args=(jobs[-1].output,),
            name=f"check {job.identifier}",
            metadata=metadata,
        )
    )
    return Flow(jobs, output=jobs[-1].output, name=job.identifier)


def compute_material(
    folder: str, job: str, time_seconds: float, memory_gb: float
) -> dict[str, Any]:
    """Compute one material in its folder unless it is done, and say how it ended.

    A calculation without a spectrum is an outcome and no error of the flow: the summary says
    ``status`` and ``reason``.

    Raises
    ------
    MissingExtraError
        The engine's code is not installed where this runs.
    StorageError
        The folder cannot be locked where this runs.
    """
    place, described = Path(folder), Job.from_dict(json.loads(job))
    require_engines([described])
    place.mkdir(parents=True, exist_ok=True)
    if settled_state(place).status != "done":
        # A node on which locks do not work says so here; it is no failure of the material.
        with job_lock(place / LOCK_FILE):
            write_job(place, described)
        run_pool(
            [place],
            workers=1,
            time_seconds=time_seconds,
            memory_gb=memory_gb,
            log=place / WORKER_LOG,
            report=lambda ended: None,
        )
    state = read_state(place)
    return {
        "material_id": described.identifier,
        "key": described.key,
        "folder": folder,
        "status": state.status,
        "reason": state.reason,
        "detail": state.detail,
        "core_seconds": sum(attempt.cpu_seconds for attempt in state.attempts),
    }


def correct_material(
    summary: dict[str, Any], folder: str, job: str, time_seconds: float, memory_gb: float
) -> dict[str, Any]:
    """Correct the result of a calculation that is done, unless it is corrected, and say how.

    Adds the numbers of the hybrid to the summary, or ``correction_failure``, which is no error of
    the flow: the levels that were computed are there.
    """
    if summary["status"] != "done":
        return summary
    place, described = Path(folder), Job.from_dict(json.loads(job))
    settings, ended = HybridSettings(), list[Correction]()
    correction = known_correction(described, place, settings)
    if correction is None:
        correct_jobs(
            [(described, place)],
            settings,
            workers=1,
            limits=Limits(time_seconds=time_seconds, memory_gb=memory_gb),
            log=place / WORKER_LOG,
            report=ended.append,
        )
        correction = ended[0] if ended else None
    if correction is None:
        return {**summary, "correction_failure": "another process is at it"}
    if correction.scalars is None:
        return {**summary, "correction_failure": correction.failure}
    names = ("corrected_gap_eV", "corrected_direct_gap_eV", "exchange_fraction")
    return {**summary, **{name: correction.scalars[name] for name in names}}


def check_material(summary: dict[str, Any]) -> dict[str, Any]:
    """Add gaps, quality flags and measures to the summary of a calculation that is done."""
    if summary["status"] != "done":
        return summary
    try:
        result = load_result(Path(summary["folder"]))
    except EngineFailure as failure:
        return {**summary, "status": "failed", "reason": failure.reason, "detail": failure.detail}
    quality = check_result(result)
    return {
        **summary,
        "band_gap_eV": result.band_gap,
        "direct_gap_eV": result.direct_gap,
        "quality_flags": list(quality.flags),
        "measures": quality.measures,
    }
