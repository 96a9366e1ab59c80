"""One job of a campaign on disk: what to compute, how it stands, its result, its log.

A job is a folder, named by material id and content key, with

    job.json    structure, engine, settings (written when the job starts)
    state.json  status, reason of a failure, every attempt with its cost (atomic)
    work/       the engine's own files, from which it goes on
    result/     the EngineResult
    log.txt     what the engine printed
    lock        held while a process works on the job

What is finished is told by the result itself; a state that is absent or damaged is made anew from
it, and is never a reason to stop.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from opalign.errors import ConfigurationError
from opalign.files import write_text
from opalign.firstprinciples.engine import (
    ARRAYS_FILE,
    RESULT_FILE,
    Engine,
    EngineFailure,
    EngineResult,
    FailureReason,
    engine_from_settings,
)

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

Status = Literal["waiting", "running", "done", "failed"]
Outcome = Literal["done", "failed", "interrupted"]

JOB_FILE = "job.json"
STATE_FILE = "state.json"
RESULT_FOLDER = "result"
WORK_FOLDER = "work"
LOG_FILE = "log.txt"
LOCK_FILE = "lock"
KEY_LENGTH = 12
"""Characters of the key in a folder's name; 10⁴ jobs of one name collide with chance 2e-7."""


@dataclass(frozen=True)
class Job:
    """One material to be computed with one engine and one set of settings.

    Parameters
    ----------
    identifier
        Material id of the candidate.
    structure
        pymatgen dictionary.
    engine, settings
        As :func:`load_engine` takes them; settings with all their defaults.
    expected_seconds
        Cost on one core, as the engine estimates it.
    source, notes
        Of the candidate.
    """

    identifier: str
    structure: Mapping[str, Any]
    engine: str
    settings: Mapping[str, Any]
    expected_seconds: float
    source: str = ""
    notes: str = ""
    num_sites: int = 0
    keep_work: bool = False

    @property
    def key(self) -> str:
        """SHA-256 of structure, engine and settings: what is equal is not computed twice."""
        return content_key(self.structure, self.engine, self.settings)

    @property
    def folder_name(self) -> str:
        """Name of the job's folder, safe on every file system."""
        plain = re.sub(r"[^A-Za-z0-9._+-]+", "_", self.identifier).strip(".")[:80]
        return f"{plain or 'job'}-{self.key[:KEY_LENGTH]}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON of all fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Job:
        """Read :meth:`to_dict`; raises TypeError or KeyError for anything else."""
        return cls(**content)


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


def content_key(structure: Mapping[str, Any], engine: str, settings: Mapping[str, Any]) -> str:
    """SHA-256 of what decides about a result; names, sources and limits do not."""
    sites = [
        [[(each["element"], each["occu"]) for each in site["species"]], _rounded(site["abc"])]
        for site in structure["sites"]
    ]
    lattice = [_rounded(row) for row in structure["lattice"]["matrix"]]
    content = {"lattice": lattice, "sites": sites, "engine": engine, "settings": settings}
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _rounded(values: Any) -> list[float]:
    # Below 1e-8 digits are noise of conversions; −0.0 and 0.0 are one number.
    return [round(float(value), 8) + 0.0 for value in values]


def load_engine(name: str, settings: Mapping[str, Any]) -> Engine:
    """Return a built-in engine, or one of the user's own named ``module:function``.

    Raises
    ------
    ConfigurationError
        There is no such engine, module or function, or the settings do not validate.
    """
    module, separator, attribute = name.partition(":")
    if not separator:
        return engine_from_settings(name, settings)
    try:
        engine: Engine = getattr(importlib.import_module(module), attribute)(dict(settings))
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"the engine {name!r} cannot be imported: {error}",
            expected="module:function of a module that Python finds",
            cure="correct the name, or put the module's folder into PYTHONPATH",
        ) from error
    except ValueError as error:
        raise ConfigurationError(str(error), where=f"settings of {name}") from error
    return engine


def new_job(
    identifier: str,
    structure: Structure,
    engine_name: str,
    engine: Engine,
    *,
    source: str = "",
    notes: str = "",
    keep_work: bool = False,
) -> Job:
    """Return the job of one structure, with all settings of the engine written out."""
    return Job(
        identifier=identifier,
        structure=structure.as_dict(),
        engine=engine_name,
        settings=engine.settings.model_dump(mode="json"),
        expected_seconds=float(engine.expected_seconds(structure)),
        source=source,
        notes=notes,
        num_sites=len(structure),
        keep_work=keep_work,
    )


def write_job(folder: Path, job: Job) -> None:
    """Write ``job.json``; an equal one is left as it is."""
    text = json.dumps(job.to_dict(), indent=1, ensure_ascii=False)
    path = folder / JOB_FILE
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if path.read_text(encoding="utf-8") == text:
            return
    write_text(path, text)


def read_job(folder: Path) -> Job:
    """Read ``job.json``; raises EngineFailure "bad output" for a damaged one."""
    try:
        return Job.from_dict(json.loads((folder / JOB_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise EngineFailure(
            "bad output", f"the job cannot be read: {error}", where=str(folder / JOB_FILE)
        ) from error


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
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
