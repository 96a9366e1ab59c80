"""Computing one job in this process: from its folder to its result."""

from __future__ import annotations

import contextlib
import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path

from opalign.crystal.convert import to_structure
from opalign.errors import MissingExtraError, OpalignError, StorageError
from opalign.firstprinciples.engine import EngineFailure, EngineResult
from opalign.firstprinciples.jobs import (
    RESULT_FOLDER,
    WORK_FOLDER,
    Job,
    load_engine,
    read_job,
)


def run_job(folder: Path) -> EngineResult:
    """Compute the job of ``folder`` in this process and save its result there.

    Raises
    ------
    EngineFailure
        If there is no spectrum; any error of the engine's is one.
    MissingExtraError
        The engine's code is not installed.
    """
    job = read_job(folder)
    with as_failures():
        result = _computed(job, folder)
        result.save(folder / RESULT_FOLDER)
        # What cannot be read back was never computed.
        result = EngineResult.load(folder / RESULT_FOLDER)
    if not job.keep_work:
        shutil.rmtree(folder / WORK_FOLDER, ignore_errors=True)
    return result


@contextlib.contextmanager
def as_failures() -> Iterator[None]:
    """Turn whatever an engine raises into an :class:`EngineFailure`.

    A code that is not installed is no property of the material and stays a MissingExtraError.
    """
    try:
        yield
    except (EngineFailure, MissingExtraError):
        raise
    except MemoryError as error:
        raise EngineFailure("out of memory", str(error) or "an allocation failed") from error
    except StorageError as error:
        raise EngineFailure("crashed", str(error)) from error
    except OpalignError as error:
        raise EngineFailure("unsupported", str(error)) from error
    except Exception as error:
        traceback.print_exc()
        raise EngineFailure("crashed", f"{type(error).__name__}: {error}") from error


def _computed(job: Job, folder: Path) -> EngineResult:
    engine = load_engine(job.engine, job.settings)
    work = folder / WORK_FOLDER
    work.mkdir(parents=True, exist_ok=True)
    result = engine.run(to_structure(job.structure, job.identifier), work)
    if not isinstance(result, EngineResult):
        raise EngineFailure("bad output", f"the engine returned a {type(result).__name__}")
    return result
