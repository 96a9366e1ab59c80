"""Computed spectra moved to the gap of the nsc-dd hybrid, right away or long after the campaign.

ε∞ of the RPA gives the share of exact exchange, 1/ε∞; the hybrid the shift of the gap; and
:func:`~opalign.spectrum.scissor.scissor_shift` onset and shape. Spectra are not computed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from opalign.errors import OpalignError
from opalign.files import sha256
from opalign.firstprinciples.engine import RESULT_FILE, EngineFailure, EngineResult
from opalign.firstprinciples.gpaw_settings import GpawSettings
from opalign.firstprinciples.hybrid import HybridGap, HybridSettings, hybrid_gap
from opalign.firstprinciples.jobs import JOB_FILE, RESULT_FOLDER, load_engine, read_job

LEVELS = ("ipa", "rpa")
SCREENING = "rpa"
"""The level whose ε∞ screens the exchange."""
HYBRID_FOLDER = "hybrid"
CORRECTED_FOLDER = "corrected"
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
        ``"not converged"``, if the finest mesh of exchange still moved the gap;
        ``"unsupported"``, if the hybrid closes or narrows the gap.
    """
    if not hybrid.converged:
        raise EngineFailure(
            "not converged",
            f"the last mesh of exchange still moved the gap by {hybrid.change:.3f} eV",
            cure="give HybridSettings denser meshes or a larger tolerance",
        )
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
    An engine of the user's own may bring a method ``correct``, which takes what
    :func:`correct_result` takes.

    Raises
    ------
    EngineFailure
        There is no whole result, or it cannot be corrected.
    """
    folder = Path(folder)
    settings = settings or HybridSettings()
    result = EngineResult.load(folder / RESULT_FOLDER)
    key = correction_key(folder, settings)
    finished = finished_correction(folder, key)
    if finished is not None:
        return finished
    corrected = _method_of(folder)(result, folder / HYBRID_FOLDER, settings)
    hybrid = {**corrected.provenance["hybrid"], "key": key}
    corrected = replace(corrected, provenance={**corrected.provenance, "hybrid": hybrid})
    corrected.save(folder / CORRECTED_FOLDER)
    return corrected


def finished_correction(folder: str | Path, key: str) -> EngineResult | None:
    """Return the correction with this key (:func:`correction_key`), if there is one."""
    found = load_corrected(folder)
    if found is None or found.provenance["hybrid"].get("key") != key:
        return None
    return found


def load_corrected(folder: str | Path) -> EngineResult | None:
    """Return the corrected result of a job's folder; None where there is none, or no whole one."""
    try:
        found = EngineResult.load(Path(folder) / CORRECTED_FOLDER)
    except EngineFailure:
        return None
    return found if isinstance(found.provenance.get("hybrid"), dict) else None


def correction_key(folder: str | Path, settings: HybridSettings) -> str:
    """SHA-256 of what decides about the correction of a job's result.

    Raises
    ------
    EngineFailure
        ``"bad output"``, if there is no result.
    """
    place = Path(folder) / RESULT_FOLDER
    try:
        content = sha256(place / RESULT_FILE) + settings.model_dump_json()
    except OSError as error:
        raise EngineFailure("bad output", f"no result: {error}", where=str(place)) from error
    return hashlib.sha256(content.encode()).hexdigest()


def _method_of(folder: Path) -> Callable[[EngineResult, Path, HybridSettings], EngineResult]:
    """Return how the engine of a job corrects: its own way, if it has one."""
    if not (folder / JOB_FILE).exists():
        return correct_result
    job = read_job(folder)
    return getattr(load_engine(job.engine, job.settings), "correct", correct_result)


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
