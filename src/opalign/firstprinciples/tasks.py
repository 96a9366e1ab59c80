"""What a worker can be told to do in a job's folder: compute the job, or correct its result.

Both are guarded alike (time, memory, one process at a time) and leave a state behind; that of a
correction lies in ``hybrid/``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from opalign.firstprinciples.engine import EngineFailure
from opalign.firstprinciples.job_run import as_failures, run_job
from opalign.firstprinciples.job_state import Attempt, JobState, read_state, settled_state

TaskName = Literal["compute", "correct"]


class Task(Protocol):
    """Something to be done once."""

    @property
    def folder(self) -> Path:
        """Where its state, its lock and its log are."""
        ...

    def settled(self) -> JobState:
        """Return how it stands, while no process is at it."""
        ...

    def run(self) -> None:
        """Do it in this process, going on from what is there.

        Raises
        ------
        EngineFailure
            If it cannot be done; any other error of the engine's is one.
        """
        ...


@dataclass(frozen=True)
class Compute:
    """The calculation of a job."""

    folder: Path

    def settled(self) -> JobState:
        """Return how the calculation stands."""
        return settled_state(self.folder)

    def run(self) -> None:
        """Compute."""
        run_job(self.folder)


@dataclass(frozen=True)
class Correct:
    """The correction of a job's result by a hybrid, see :mod:`.correction`."""

    job: Path
    settings: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """``hybrid/`` of the job."""
        from opalign.firstprinciples.correction import HYBRID_FOLDER

        return self.job / HYBRID_FOLDER

    def settled(self) -> JobState:
        """Return how the correction stands: done only for this result and these settings."""
        from opalign.firstprinciples.correction import correction_key, finished_correction
        from opalign.firstprinciples.hybrid import HybridSettings

        state, finished = read_state(self.folder), False
        with contextlib.suppress(EngineFailure):  # No result: running says so.
            settings = HybridSettings.model_validate(self.settings)
            finished = finished_correction(self.job, correction_key(self.job, settings)) is not None
        if finished:
            return JobState("done", attempts=state.attempts or (Attempt("", 0.0, "done"),))
        return replace(state, status="waiting") if state.status == "running" else state

    def run(self) -> None:
        """Correct."""
        from opalign.firstprinciples.correction import correct_folder
        from opalign.firstprinciples.hybrid import HybridSettings

        with as_failures():
            correct_folder(self.job, HybridSettings.model_validate(self.settings))


def task_of(name: TaskName, job: Path, settings: Mapping[str, Any] | None = None) -> Task:
    """Return the task ``name`` of the job in this folder."""
    return Correct(job, settings or {}) if name == "correct" else Compute(job)
