"""One job of a campaign: what to compute, with what settings, in which folder.

A job is a folder, named by material id and content key, with

    job.json    structure, engine, settings (written when the job starts)
    state.json  status, reason of a failure, every attempt with its cost (atomic)
    work/       the engine's own files, from which it goes on
    result/     the EngineResult
    log.txt     what the engine printed
    retry.json  other settings with which the job was tried again, as a job of its own
    lock        held while a process works on the job
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opalign.errors import ConfigurationError
from opalign.files import write_text
from opalign.firstprinciples.engine import Engine, EngineFailure, engine_from_settings

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

JOB_FILE = "job.json"
RESULT_FOLDER = "result"
WORK_FOLDER = "work"
LOG_FILE = "log.txt"
RETRY_FILE = "retry.json"
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
    retry_of
        Keys of the failed jobs that this one stands for, tried again with other settings; the one
        that was planned comes first.
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
    retry_of: tuple[str, ...] = ()

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
        """Read :meth:`to_dict`; raises TypeError or ValueError for anything else."""
        fields = dict(content)
        return cls(**{**fields, "retry_of": tuple(fields.get("retry_of", ()))})

    def retried(self, settings: Mapping[str, Any]) -> Job:
        """Return the job of other settings that stands for this one, which has failed."""
        other = replace(self, settings=settings)
        if other.key == self.key:
            return other
        return replace(other, retry_of=(*self.retry_of, self.key))


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


def require_engines(jobs: Iterable[Job]) -> None:
    """Ask the engines of these jobs whether their codes are there, before any job can fail for it.

    Raises
    ------
    MissingExtraError
        An engine's code is not installed.
    EngineFailure
        ``"unsupported"``: the command of a code cannot be found.
    """
    for job in {job.engine: job for job in jobs}.values():
        try:
            require = getattr(load_engine(job.engine, job.settings), "require", None)
        except ConfigurationError:
            continue  # Jobs of an engine that cannot be had say so themselves.
        if require is not None:
            require()


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


def write_retry(folder: Path, settings: Mapping[str, Any]) -> None:
    """Note in the folder of a failed job with which settings it is tried again."""
    write_text(folder / RETRY_FILE, json.dumps(settings, indent=1, ensure_ascii=False))


def latest_retry(job: Job, jobs_folder: Path) -> Job:
    """Return the job that stands for ``job`` now: itself, or its last retry with other settings."""
    passed = {job.key}
    while True:
        try:
            path = jobs_folder / job.folder_name / RETRY_FILE
            other = job.retried(dict(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError):
            return job
        if other.key in passed:
            return job
        passed.add(other.key)
        job = other
