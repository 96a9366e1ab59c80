"""Computed spectra moved to the gap of the nsc-dd hybrid, right away or long after the campaign.

ε∞ of the RPA gives the share of exact exchange, 1/ε∞; the hybrid the shift of the gap; and
:func:`~opalign.spectrum.scissor.scissor_shift` onset and shape. Spectra are not computed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from opalign.errors import ConfigurationError, OpalignError, StorageError
from opalign.files import sha256, write_text
from opalign.firstprinciples.engine import RESULT_FILE, EngineFailure, EngineResult
from opalign.firstprinciples.gpaw_settings import GpawSettings
from opalign.firstprinciples.hybrid import HybridGap, HybridSettings, hybrid_gap
from opalign.firstprinciples.jobs import RESULT_FOLDER

LEVELS = ("ipa", "rpa")
SCREENING = "rpa"
"""The level whose ε∞ screens the exchange."""
HYBRID_FOLDER = "hybrid"
CORRECTED_FOLDER = "corrected"
FAILURE_FILE = "failure.json"
LARGEST_MISMATCH = 0.1
"""eV between the gaps of a result and of its hybrid run: beyond, they are of different things."""


def exchange_fraction(result: EngineResult, level: str = SCREENING) -> float:
    """Return 1/ε∞, with ε∞ the isotropic average (trace/3) of ε₁(0) at ``level``.

    Raises
    ------
    EngineFailure
        ``"bad output"`` without that level, if its grid does not start at 0, or if ε∞ ≤ 1.
    """
    if level not in result.epsilon:
        raise EngineFailure("bad output", f"no spectrum at level {level} to take ε∞ from")
    if result.grid.start != 0.0:
        raise EngineFailure("bad output", f"the spectrum starts at {result.grid.start:g} eV, not 0")
    static = float(np.trace(result.epsilon[level][0].real)) / 3.0
    if static <= 1.0:
        raise EngineFailure("bad output", f"ε∞ is {static:.3f}, which screens nothing")
    return 1.0 / static


def corrected_result(
    result: EngineResult,
    hybrid: HybridGap,
    *,
    levels: Sequence[str] = LEVELS,
    screening: str = SCREENING,
) -> EngineResult:
    """Return the result with ``ipa_corrected``, ``rpa_corrected`` and the numbers of the hybrid.

    New scalars: ``exchange_fraction``, ``hybrid_shift_eV``, ``corrected_gap_eV``,
    ``corrected_direct_gap_eV``, ``pbe0_shift_eV`` (a quarter of exchange) and
    ``hybrid_change_eV`` (what the last refinement of the mesh of exchange did to the gap). The
    direct gap moves as the fundamental one does.

    Raises
    ------
    EngineFailure
        ``"bad output"``, if the gaps of both differ, a level is absent, or ε cannot be shifted;
        ``"unsupported"``, if the hybrid closes or narrows the gap.
    """
    mismatch = hybrid.semilocal_gap - result.band_gap
    if abs(mismatch) > LARGEST_MISMATCH:
        raise EngineFailure(
            "bad output",
            f"the gap of the result is {result.band_gap:.3f} eV, "
            f"that of the hybrid's orbitals {hybrid.semilocal_gap:.3f} eV",
            cure="compute both with the same structure, functional and cutoff",
        )
    fraction = exchange_fraction(result, screening)
    shift = hybrid.shift(fraction)
    if shift < 0.0:
        raise EngineFailure("unsupported", f"the hybrid narrows the gap by {-shift:.3f} eV")
    epsilon = dict(result.epsilon)
    for level in levels:
        epsilon[f"{level}_corrected"] = _shifted(result, level, shift)
    scalars = {
        "exchange_fraction": fraction,
        "hybrid_shift_eV": shift,
        "corrected_gap_eV": result.band_gap + shift,
        "corrected_direct_gap_eV": result.direct_gap + shift,
        "pbe0_shift_eV": hybrid.pbe0_shift,
        "hybrid_change_eV": hybrid.change,
    }
    content = hybrid.to_dict()
    cost = {f"hybrid-{name}": value for name, value in content.pop("seconds").items()}
    return replace(
        result,
        epsilon=epsilon,
        scalars={**result.scalars, **scalars},
        seconds={**result.seconds, **cost},
        provenance={
            **result.provenance,
            "hybrid": {**content, "screening": screening, "scissor": f"direct gap {shift:+.4f} eV"},
        },
    )


def correct_result(
    result: EngineResult, folder: str | Path, settings: HybridSettings | None = None
) -> EngineResult:
    """Compute the hybrid gap of a result of GPAW in ``folder``, resumably, and correct with it.

    Functional, cutoff, U and mesh are those of the result.

    Raises
    ------
    EngineFailure
        As of :func:`~opalign.firstprinciples.hybrid.hybrid_gap` and :func:`corrected_result`;
        ``"unsupported"`` for a result of another engine.
    """
    engine = result.provenance.get("engine")
    if engine != "gpaw":
        raise EngineFailure("unsupported", f"a result of engine {engine!r}, not of GPAW")
    try:
        semilocal = GpawSettings.model_validate(result.provenance["settings"])
        mesh = tuple(int(points) for points in result.provenance["mesh"])
    except (KeyError, TypeError, ValidationError) as error:
        raise EngineFailure("bad output", f"provenance without settings: {error}") from error
    numerics = result.provenance.get("numerics") or {}
    if "cutoff" in numerics:
        semilocal = semilocal.model_copy(update={"cutoff": float(numerics["cutoff"])})
    hybrid = hybrid_gap(
        result.structure,
        folder,
        fraction=exchange_fraction(result),
        semilocal=semilocal,
        settings=settings,
        edge_mesh=mesh,
    )
    return corrected_result(result, hybrid)


def correct_folder(
    folder: str | Path,
    settings: HybridSettings | None = None,
) -> EngineResult:
    """Correct the finished result of one job and keep the outcome beside it.

    Reads ``result/``, works in ``hybrid/`` and writes an EngineResult with all levels to
    ``corrected/``. A correction of the same result with the same settings is read, not computed.

    Raises
    ------
    EngineFailure
        There is no whole result, or it cannot be corrected.
    """
    folder = Path(folder)
    settings = settings or HybridSettings()
    result = EngineResult.load(folder / RESULT_FOLDER)
    key = _key(folder / RESULT_FOLDER, settings)
    finished = load_corrected(folder)
    if finished is not None and finished.provenance["hybrid"].get("key") == key:
        return finished
    corrected = correct_result(result, folder / HYBRID_FOLDER, settings)
    hybrid = {**corrected.provenance["hybrid"], "key": key}
    corrected = replace(corrected, provenance={**corrected.provenance, "hybrid": hybrid})
    corrected.save(folder / CORRECTED_FOLDER)
    return corrected


def load_corrected(folder: str | Path) -> EngineResult | None:
    """Return the corrected result of a job's folder; None where there is none, or no whole one."""
    try:
        found = EngineResult.load(Path(folder) / CORRECTED_FOLDER)
    except EngineFailure:
        return None
    return found if isinstance(found.provenance.get("hybrid"), dict) else None


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
    report: Callable[[Correction], None] | None = None,
) -> list[Correction]:
    """Correct every finished result of a campaign, cheapest first; stop and call again at will.

    ``identifiers`` names those to correct, if not all. What was corrected is not computed again. A
    job that cannot be corrected is recorded in ``hybrid/failure.json`` and skipped until
    ``retry_failed``.

    Raises
    ------
    ConfigurationError
        There is no campaign in the folder, none of its jobs is called so, or less than one process
        is asked for.
    StorageError
        A process was killed from outside.
    """
    from opalign.firstprinciples.campaign import open_campaign

    if processes < 1:
        raise ConfigurationError(f"{processes} processes are none", expected="1 or more")
    campaign = open_campaign(folder)
    campaign.require(identifiers or ())
    done = [
        job
        for job, state in zip(campaign.plan.jobs, campaign.states(), strict=True)
        if state.status == "done" and (identifiers is None or job.identifier in identifiers)
    ]
    done.sort(key=lambda job: job.expected_seconds)
    work = [(job.identifier, campaign.job_folder(job)) for job in done]
    correct = partial(_correct_job, settings=settings or HybridSettings(), retry=retry_failed)
    found: list[Correction] = []
    for correction in _map(correct, work, processes):
        found.append(correction)
        if report is not None:
            report(correction)
    return found


def _map(
    correct: Callable[[tuple[str, Path]], Correction], work: list[tuple[str, Path]], processes: int
) -> Any:
    if processes == 1:
        yield from map(correct, work)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool

    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            for future in as_completed([pool.submit(correct, item) for item in work]):
                yield future.result()
    except BrokenProcessPool as error:
        raise StorageError(
            "a process was killed, most likely for want of memory",
            cure="call again with fewer processes; what is finished is kept",
        ) from error


def _correct_job(item: tuple[str, Path], *, settings: HybridSettings, retry: bool) -> Correction:
    identifier, folder = item
    path = folder / HYBRID_FOLDER / FAILURE_FILE
    key = ""
    try:
        key = _key(folder / RESULT_FOLDER, settings)
        if not retry and (known := _recorded(path, key)):
            return Correction(identifier, None, known)
        corrected = correct_folder(folder, settings)
    except Exception as error:
        # One material that goes wrong in a way of its own must not end a campaign.
        known = str(error) if isinstance(error, OpalignError) else f"crashed: {error!r}"
        write_text(path, json.dumps({"key": key, "failure": known}, ensure_ascii=False))
        return Correction(identifier, None, known)
    path.unlink(missing_ok=True)
    return Correction(identifier, dict(corrected.scalars))


def _recorded(path: Path, key: str) -> str:
    """Return why this correction failed before; empty if it did not."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return str(content["failure"]) if content["key"] == key else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _key(folder: Path, settings: HybridSettings) -> str:
    try:
        content = sha256(folder / RESULT_FILE) + settings.model_dump_json()
    except OSError as error:
        raise EngineFailure("bad output", f"no result: {error}", where=str(folder)) from error
    return hashlib.sha256(content.encode()).hexdigest()


def _shifted(result: EngineResult, level: str, shift: float) -> np.ndarray:
    from opalign.spectrum.scissor import scissor_shift

    if level not in result.epsilon:
        raise EngineFailure("bad output", f"no spectrum at level {level} to correct")
    try:
        shifted = scissor_shift(
            result.spectrum(level), shift, gap=result.direct_gap, level=f"{level}_corrected"
        )
    except OpalignError as error:
        raise EngineFailure("bad output", f"{level} cannot be shifted: {error}") from error
    return np.asarray(shifted.epsilon)
