"""What goes wrong around VASP, in the few words that a campaign counts."""

from __future__ import annotations

import contextlib
import json
import traceback
from collections.abc import Iterator
from pathlib import Path

from opalign.errors import MissingExtraError, OpalignError
from opalign.firstprinciples.engine import EngineFailure, FailureReason

CURE_COMMAND = "set ATOMATE2_VASP_CMD, or VASP_CMD in ~/.atomate2.yaml, to the command of VASP 5.4+"
CURE_POTENTIALS = "set PMG_VASP_PSP_DIR in ~/.pmgrc.yaml to the folder of VASP's PAW potentials"
_PARSER = "get_vasp_task_document"
"""Function of atomate2 that reads what VASP wrote; damaged files fail in it in every way."""
_LOGS = ("vasp.out", "std_err.txt")
_LAST_LINES = 5


def require_atomate2() -> None:
    """Raise MissingExtraError where atomate2 is not installed."""
    try:
        import atomate2  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"atomate2 cannot be imported ({error})", cure="pip install 'opalign[hpc]'"
        ) from error


@contextlib.contextmanager
def failures_named(step: str, folder: Path) -> Iterator[None]:
    """Turn whatever atomate2 and custodian raise into an :class:`EngineFailure`.

    ``folder`` is where the step runs: the last words of VASP come from there.
    """
    from custodian.custodian import CustodianError
    from pymatgen.io.vasp.inputs import PmgVaspPspDirError

    try:
        yield
    except OpalignError:
        raise
    except PmgVaspPspDirError as error:
        raise EngineFailure("unsupported", f"{step}: {error}", cure=CURE_POTENTIALS) from error
    except MemoryError as error:
        raise EngineFailure("out of memory", f"{step}: {error}") from error
    except CustodianError as error:
        mended = _mended(folder)
        said = f"{step}: {error}{mended}{_last_words(folder)}"
        raise EngineFailure(_reason(said), said) from error
    except Exception as error:
        said = f"{type(error).__name__}: {error}"[:300]
        if "POTCAR" in said:
            raise EngineFailure("unsupported", f"{step}: {said}", cure=CURE_POTENTIALS) from error
        if "was not successful" in said:
            # atomate2's words for loops that ended at NELM or NSW.
            raise EngineFailure("not converged", f"{step}: {error}") from error
        places = {frame.name for frame in traceback.extract_tb(error.__traceback__)}
        reason: FailureReason = "bad output" if _PARSER in places else "crashed"
        raise EngineFailure(reason, f"{step}: {said}{_last_words(folder)}") from error


def _reason(said: str) -> FailureReason:
    plain = said.lower()
    if "unconverged" in plain or "nonconverging" in plain:
        return "not converged"
    if "walltime" in plain:
        return "time limit"
    if any(word in plain for word in ("out of memory", "oom-kill", "cannot allocate")):
        return "out of memory"
    return "crashed"


def _mended(folder: Path) -> str:
    """Return what custodian tried to mend last; its own message says only that it gave up."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, IndexError):
        runs = json.loads((folder / "custodian.json").read_text(encoding="utf-8"))
        errors = [error for each in runs[-1]["corrections"] for error in each["errors"]]
        if errors:
            return f"; last error: {', '.join(str(error) for error in errors[-3:])}"
    return ""


def _last_words(folder: Path) -> str:
    for name in _LOGS:
        with contextlib.suppress(OSError):
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").split("\n")
            kept = [line.strip() for line in lines if line.strip()][-_LAST_LINES:]
            if kept:
                return f"; {name} ends: {' | '.join(kept)}"[:600]
    return ""
