"""How a job stands: its state, every attempt with its cost, its result, and who works on it.

What is finished is told by the result itself; a state that is absent or damaged is made anew from
it, and is never a reason to stop.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from opalign.errors import StorageError
from opalign.files import write_text
from opalign.firstprinciples.engine import (
    ARRAYS_FILE,
    RESULT_FILE,
    EngineFailure,
    EngineResult,
    FailureReason,
)
from opalign.firstprinciples.jobs import RESULT_FOLDER

Status = Literal["waiting", "running", "done", "failed"]
Outcome = Literal["done", "failed", "interrupted"]

STATE_FILE = "state.json"
LOCK_FILE = "lock"


@dataclass(frozen=True)
class Attempt:
    """One time that a job was worked on."""

    started: str
    seconds: float
    outcome: Outcome
    reason: FailureReason | None = None
    detail: str = ""
    cpu_seconds: float = 0.0
    peak_gb: float = 0.0


@dataclass(frozen=True)
class JobState:
    """How a job stands."""

    status: Status = "waiting"
    reason: FailureReason | None = None
    detail: str = ""
    attempts: tuple[Attempt, ...] = ()
    problem: str = field(default="", compare=False)
    """What was wrong with the state file, if it had to be made anew."""

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of all attempts."""
        return sum(attempt.seconds for attempt in self.attempts)

    def after(self, attempt: Attempt) -> JobState:
        """Return the state after one more attempt; an interrupted job waits again."""
        status: Status = "waiting" if attempt.outcome == "interrupted" else attempt.outcome
        reason = attempt.reason if status == "failed" else None
        detail = attempt.detail if status == "failed" else ""
        return JobState(status, reason, detail, (*self.attempts, attempt))


def write_state(folder: Path, state: JobState) -> None:
    """Write ``state.json`` atomically."""
    content = asdict(state)
    del content["problem"]
    write_text(folder / STATE_FILE, json.dumps(content, indent=1, ensure_ascii=False))


def read_state(folder: Path) -> JobState:
    """Return how a job stands; never raises for what is in the folder.

    A damaged state is made anew: done where a whole result stands, else waiting. ``running``
    is what the file says; whether a process is still at it only :func:`job_lock` tells.
    """
    try:
        text = (folder / STATE_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return _state_from_result(folder, "")
    except (OSError, UnicodeDecodeError) as error:
        return _state_from_result(folder, f"state unreadable ({error})")
    try:
        content = json.loads(text)
        attempts = tuple(Attempt(**attempt) for attempt in content["attempts"])
        state = JobState(content["status"], content["reason"], content["detail"], attempts)
        if state.status not in get_args(Status) or not isinstance(state.detail, str):
            raise ValueError(f"status {state.status!r}")
        if state.status == "failed" and state.reason not in get_args(FailureReason):
            raise ValueError(f"reason {state.reason!r}")
        sum(float(attempt.seconds) for attempt in attempts)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return _state_from_result(folder, f"state damaged ({type(error).__name__}: {error})")
    if state.status == "done" and not _has_result(folder):
        return replace(state, status="waiting", problem="done, but its result is gone")
    return state


def settled_state(folder: Path) -> JobState:
    """Return the state of a job at which no process is: what was running is done or waits.

    The result of a job whose process was killed before it could report counts as done.
    """
    state = read_state(folder)
    if state.status == "done" or not _has_result(folder):
        return replace(state, status="waiting") if state.status == "running" else state
    found = _state_from_result(folder, state.problem)
    if found.status == "done":
        return replace(found, attempts=state.attempts or found.attempts)
    return replace(state, status="waiting") if state.status == "running" else state


def load_result(folder: Path) -> EngineResult:
    """Read the result of a job; raises EngineFailure "bad output" for a damaged one."""
    return EngineResult.load(folder / RESULT_FOLDER)


def _has_result(folder: Path) -> bool:
    files = (folder / RESULT_FOLDER / name for name in (RESULT_FILE, ARRAYS_FILE))
    try:
        return all(file.stat().st_size > 0 for file in files)
    except OSError:
        return False


def _state_from_result(folder: Path, problem: str) -> JobState:
    if not _has_result(folder):
        return JobState(problem=problem)
    try:
        result = load_result(folder)
    except EngineFailure as failure:
        return JobState(problem=problem or failure.detail)
    seconds = float(sum(result.seconds.values()))
    attempt = Attempt("", seconds, "done", cpu_seconds=seconds)
    return JobState("done", attempts=(attempt,), problem=problem)


@contextlib.contextmanager
def job_lock(path: Path) -> Iterator[bool]:
    """Hold the lock file at ``path``; yields whether nobody else does.

    The system lets go of it when the process ends, however it ends; processes forked meanwhile
    hold it too.

    Raises
    ------
    StorageError
        There are no locks on this file system.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            raise StorageError(
                f"cannot be locked: {error}",
                where=str(path),
                expected="a file system with flock",
                cure="use another file system, or have this one mounted with locks "
                "(Lustre: flock; NFS: version 4 without nolock)",
            ) from error
        yield True
