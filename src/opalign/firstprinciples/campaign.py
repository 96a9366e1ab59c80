"""Campaigns: a plan of jobs in a folder.

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
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from opalign.errors import ConfigurationError, StorageError, StructureError
from opalign.files import write_text
from opalign.firstprinciples.campaign_config import (
    CampaignConfig,
    read_campaign,
    with_spin_check,
    write_campaign,
)
from opalign.firstprinciples.campaign_source import Selection, select_candidates
from opalign.firstprinciples.engine import Engine, EngineFailure
from opalign.firstprinciples.job_state import (
    JobState,
    job_lock,
    read_state,
)
from opalign.firstprinciples.jobs import (
    Job,
    latest_retry,
    load_engine,
    new_job,
)
from opalign.firstprinciples.known import known_keys

CONFIG_FILE = "campaign.yaml"
PLAN_FILE = "plan.json"
JOBS_FOLDER = "jobs"
WORKERS_LOG = "workers.log"
LOCK_FILE = "lock"
PLAN_VERSION = 1
COST_RULE = "expected cost"
KNOWN_RULE = "known"


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

    def require(self, identifiers: Iterable[str]) -> None:
        """Raise ConfigurationError for one that no job has."""
        known = {job.identifier for job in self.plan.jobs}
        for name in identifiers:
            if name not in known:
                raise ConfigurationError(f"no job of this campaign is called {name!r}")


def plan_campaign(config: CampaignConfig, folder: str | Path) -> Campaign:
    """Choose the candidates, plan their jobs and write both into ``folder``.

    In a folder with a plan, jobs that are planned again keep their state, results and retries.
    Where the study's criteria ask for a spin-polarised run, the configuration that is kept says so
    (:func:`~opalign.firstprinciples.campaign_config.with_spin_check`).

    Raises
    ------
    ConfigurationError
        An unknown engine, or settings that it does not have.
    StructureError, DatasetError
        The source cannot be read.
    StorageError
        A run is at work in the folder.
    """
    return _planned(with_spin_check(config), Path(folder))


def _planned(config: CampaignConfig, folder: Path) -> Campaign:
    """Plan the configuration as it is."""
    engine = load_engine(config.engine, config.settings)
    jobs, funnel = _jobs(select_candidates(config), engine, config)
    jobs = _without_known(jobs, funnel, config)
    jobs = [latest_retry(job, folder / JOBS_FOLDER) for job in jobs]
    with job_lock(folder / LOCK_FILE) as free:
        require_free(free, folder)
        write_campaign(folder / CONFIG_FILE, config)
        plan = Plan(tuple(jobs), funnel)
        write_plan(folder, plan)
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
        campaign = _planned(config, folder)
        problem = f"{PLAN_FILE} was made anew: {type(error).__name__}: {error}"
        return replace(campaign, problems=(problem,))


def _jobs(
    selection: Selection, engine: Engine, config: CampaignConfig
) -> tuple[list[Job], dict[str, Any]]:
    """Return the jobs of what the engine takes and the budget allows, and all counts."""
    limit = config.limits.expected_seconds
    jobs: list[Job] = []
    refused: dict[str, str] = {}
    for candidate in selection.candidates:
        try:
            job = new_job(
                candidate.identifier,
                candidate.structure,
                config.engine,
                engine,
                source=candidate.source,
                notes=candidate.notes,
                keep_work=config.keep_work,
            )
        except (EngineFailure, StructureError) as error:
            refused[candidate.identifier] = error.problem
            continue
        if limit is not None and job.expected_seconds > limit:
            refused[job.identifier] = f"{job.expected_seconds:.0f} s expected"
            continue
        jobs.append(job)
    funnel = selection.funnel.to_dict()
    funnel["unreadable"] = [{"id": name, "reason": why} for name, why in selection.unreadable]
    if refused or limit is not None:
        within = f", at most {limit:g} s expected" if limit is not None else ""
        step = {
            "rule": COST_RULE,
            "description": f"the engine takes it{within}",
            "entered": len(jobs) + len(refused),
            "passed": len(jobs),
        }
        funnel["steps"].append(step)
    funnel["rejections"] += [
        {"id": name, "rule": COST_RULE, "reason": reason} for name, reason in refused.items()
    ]
    return jobs, funnel | {"kept": len(jobs)}


def _without_known(jobs: list[Job], funnel: dict[str, Any], config: CampaignConfig) -> list[Job]:
    """Leave out what the tables and lists of ``known`` hold, and count it in ``funnel``."""
    if not config.known:
        return jobs
    known = known_keys(config.known)
    kept = [job for job in jobs if job.key not in known]
    funnel["steps"].append(
        {
            "rule": KNOWN_RULE,
            "description": "not computed elsewhere with these settings",
            "entered": len(jobs),
            "passed": len(kept),
        }
    )
    funnel["rejections"] += [
        {"id": job.identifier, "rule": KNOWN_RULE, "reason": f"in {known[job.key]}"}
        for job in jobs
        if job.key in known
    ]
    funnel["kept"] = len(kept)
    return kept


def write_plan(folder: Path, plan: Plan) -> None:
    """Write ``plan.json`` atomically."""
    content = {
        "version": PLAN_VERSION,
        "funnel": plan.funnel,
        "jobs": [job.to_dict() for job in plan.jobs],
    }
    write_text(folder / PLAN_FILE, json.dumps(content, ensure_ascii=False))


def require_free(free: bool, folder: Path) -> None:
    """Raise StorageError unless the lock of a campaign is held by this process."""
    if not free:
        raise StorageError(
            "another run is at work in this campaign",
            where=str(folder),
            cure="wait for it, stop it, or look on with `opalign compute status`",
        )
