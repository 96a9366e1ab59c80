"""What goes wrong in GPAW, in the few words that a campaign counts."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator

from opalign.errors import MissingExtraError, OpalignError
from opalign.firstprinciples.engine import EngineFailure


def require_gpaw() -> None:
    """Raise MissingExtraError where GPAW is not installed."""
    try:
        import gpaw  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"GPAW cannot be imported ({error})",
            cure="pip install 'opalign[dft]'; libxc and a BLAS come from the system",
        ) from error


@contextlib.contextmanager
def failures_named(step: str) -> Iterator[None]:
    """Turn whatever GPAW raises during ``step`` into an :class:`EngineFailure`."""
    from gpaw import KohnShamConvergenceError

    try:
        yield
    except OpalignError:
        raise
    except KohnShamConvergenceError as error:
        raise EngineFailure("not converged", f"{step}: {error}") from error
    except MemoryError as error:
        raise EngineFailure("out of memory", f"{step}: {error}") from error
    except FileNotFoundError as error:
        if "PAW dataset" in str(error):
            raise EngineFailure("unsupported", f"{step}: {error}") from error
        raise EngineFailure("crashed", _last_place(step, error)) from error
    except Exception as error:
        raise EngineFailure("crashed", _last_place(step, error)) from error


def _last_place(step: str, error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    said = f"{type(error).__name__}: {error}"[:300]
    return f"{step}: {said} (in {frame.name}, {frame.filename.rsplit('/', 1)[-1]}:{frame.lineno})"
