"""Many spectra against measured n and k: one row per crystal, level and measurement.

Each spectrum is scored as it is and after the scissor correction with the *measured* gap, from a
table with its sources; nothing is fitted to the spectrum that it is then scored on. The correction
is made twice: with the factor (E − Δ)/E, which keeps the f-sum, and as a rigid shift of Im ε, which
keeps the dipoles (see :mod:`opalign.spectrum.scissor`). Measurements
that don't start below the gap, or end less than 2 eV beyond the onset, are scored all the same and
marked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from opalign.errors import OpalignError, SpectrumError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.experiment.scoring import (
    BROADENING,
    Score,
    measured_onset,
    score,
    without_narrow_line,
)
from opalign.spectrum.measured.measurement import LOWEST_ENERGY, Measurement
from opalign.spectrum.measured.tables import (
    MeasuredGap,
    measured_gaps,
    same_crystal,
)
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.scissor import scissor_shift

F_SUM_POWER = 1.0
RIGID_POWER = 0.0
"""Powers of (E − Δ)/E of the two corrections."""

ENOUGH_BEYOND = 2.0
"""eV beyond the onset to which a measurement has to reach to count as covering the absorption."""


@dataclass(frozen=True)
class Crystal:
    """A computed or predicted spectrum and whose it is.

    ``band_gap`` and ``direct_gap`` in eV are those of the same calculation, None where unknown;
    ``known`` says of a prediction what the model had seen of the crystal.
    """

    material_id: str
    formula: str
    spacegroup: int
    spectrum: OpticalSpectrum
    band_gap: float | None = None
    direct_gap: float | None = None
    known: str = ""


@dataclass(frozen=True)
class Comparison:
    """One crystal, one level, one measurement, and what came of it.

    ``sufficient`` says whether the measurement starts below the gap and reaches 2 eV beyond the
    onset, ``reason`` why not. ``corrected`` and its score are those after the scissor correction by
    ``shift`` in eV, ``rigid`` and its score those of the rigid shift; None where a gap is unknown,
    and then ``shift_note`` tells which.
    """

    crystal: Crystal
    measurement: Measurement
    sufficient: bool
    reason: str
    gap: MeasuredGap | None
    score: Score
    shift: float | None = None
    shift_note: str = ""
    corrected: OpticalSpectrum | None = None
    corrected_score: Score | None = None
    rigid: OpticalSpectrum | None = None
    rigid_score: Score | None = None


def compare(
    crystals: Iterable[Crystal],
    measurements: Sequence[Measurement],
    *,
    gaps: Sequence[MeasuredGap] | None = None,
    broadening: Broadening = BROADENING,
    lowest: float = LOWEST_ENERGY,
) -> list[Comparison]:
    """Hold every crystal against every measurement of the same composition and space group.

    See :func:`scissored` for the correction.

    Parameters
    ----------
    crystals
        Spectra of one or more levels.
    measurements
        Such as :func:`opalign.spectrum.measured.tables.all_measurements` gives.
    gaps
        Measured gaps, by default those that come with Opalign.
    broadening, lowest
        As of :func:`score`.
    """
    table = measured_gaps() if gaps is None else gaps
    results = []
    for crystal in crystals:
        for measurement in measurements:
            if not same_crystal(
                crystal.formula,
                crystal.spacegroup,
                measurement.formula,
                measurement.spacegroup,
            ):
                continue
            results.append(_compare_one(crystal, measurement, table, broadening, lowest))
    return results


def sufficient_range(
    measurement: Measurement,
    gap: float | None,
    *,
    lowest: float = LOWEST_ENERGY,
    beyond: float = ENOUGH_BEYOND,
) -> tuple[bool, str]:
    """Tell whether n and k reach from below the gap to ``beyond`` eV above the onset, or why not.

    The onset is the measured one, or where that is not resolved the measured ``gap`` in eV.
    """
    try:
        measured = measurement.spectrum(lowest=lowest)
    except SpectrumError as error:
        return False, error.problem
    onset, note = measured_onset(measurement, measured)
    if math.isnan(onset):
        if gap is None:
            return False, f"no onset ({note}) and no measured gap"
        onset = gap
    start, stop = measured.grid.start, measured.grid.stop
    if start >= min(onset, gap if gap is not None else onset):
        return False, f"starts at {start:.2f} eV, not below the gap"
    # The grid cuts off up to one step of what was measured.
    if stop + measured.grid.step < onset + beyond:
        return False, f"ends at {stop:.2f} eV, {stop - onset:.1f} eV beyond the onset"
    return True, ""


def table_rows(comparisons: Iterable[Comparison]) -> list[dict[str, Any]]:
    """Return one row per score, as computed and twice corrected, of plain numbers and text.

    Energies in eV; ``None`` where something is undefined. ``scissor_power`` is that of (E − Δ)/E.
    """
    rows = []
    for one in comparisons:
        for result, shift, power in (
            (one.score, None, None),
            (one.corrected_score, one.shift, F_SUM_POWER),
            (one.rigid_score, one.shift, RIGID_POWER),
        ):
            if result is None:
                continue
            rows.append(
                {
                    "material_id": one.crystal.material_id,
                    "formula": one.measurement.formula,
                    "spacegroup": one.crystal.spacegroup,
                    "phase": one.measurement.phase,
                    "level": one.crystal.spectrum.level,
                    "scissor_eV": shift,
                    "scissor_power": power,
                    "known_to_model": one.crystal.known,
                    "window_start_eV": result.window[0],
                    "window_stop_eV": result.window[1],
                    "similarity": plain(result.similarity),
                    "onset_measured_eV": plain(result.onset_measured),
                    "onset_shift_eV": plain(result.onset_shift),
                    "edge_measured_eV": plain(result.edge_measured),
                    "edge_shift_eV": plain(result.edge_shift),
                    "permittivity_energy_eV": result.low_energy,
                    "permittivity_measured": plain(result.permittivity_measured),
                    "permittivity_error": plain(result.permittivity_error),
                    "sufficient": one.sufficient,
                    "reason": one.reason,
                    "onset_note": result.onset_note,
                    "note": "; ".join(
                        filter(None, (result.note, one.shift_note, one.measurement.note))
                    ),
                    "sample": one.measurement.sample,
                    "source": one.measurement.source,
                }
            )
    return rows


def _compare_one(
    crystal: Crystal,
    measurement: Measurement,
    gaps: Sequence[MeasuredGap],
    broadening: Broadening,
    lowest: float,
) -> Comparison:
    gap = gap_of(crystal, gaps)
    sufficient, reason = sufficient_range(measurement, gap.gap if gap else None, lowest=lowest)
    corrected, shift, note = scissored(crystal, gap)
    rigid, _, _ = scissored(crystal, gap, RIGID_POWER)

    def scored(spectrum: OpticalSpectrum) -> Score:
        return score(spectrum, measurement, broadening=broadening, lowest=lowest)

    return Comparison(
        crystal,
        measurement,
        sufficient,
        reason,
        gap,
        scored(crystal.spectrum),
        shift,
        note,
        corrected,
        None if corrected is None else scored(corrected),
        rigid,
        None if rigid is None else scored(rigid),
    )


def scissored(
    crystal: Crystal, gap: MeasuredGap | None, power: float = F_SUM_POWER
) -> tuple[OpticalSpectrum | None, float | None, str]:
    """Return the spectrum with the measured gap and Δ in eV, or why there is none.

    Δ is the measured gap minus the computed one of the same kind: the direct one for an optical
    gap, otherwise the smallest, or the direct one if that is known alone and the measured gap is
    direct. Nothing is left below the computed direct gap + Δ. ``power`` is that of (E − Δ)/E.
    """
    if gap is None:
        return None, None, "no measured gap in the table"
    computed = crystal.direct_gap if gap.kind == "optical" else crystal.band_gap
    if computed is None and gap.kind == "fundamental" and gap.transition == "direct":
        computed = crystal.direct_gap
    if computed is None:
        return None, None, "the computed gap of the measured kind is unknown"
    shift = gap.gap - computed
    spectrum = without_narrow_line(crystal.spectrum)
    cut = crystal.direct_gap if crystal.direct_gap is not None else computed
    # A broadened edge reaches below its gap, so nothing is cut off there.
    sharp = spectrum.broadening.shape == "none"
    try:
        corrected = scissor_shift(
            spectrum,
            shift,
            gap=cut if sharp or shift < 0.0 else None,
            level=f"{spectrum.level} + scissor",
            power=power,
        )
    except OpalignError as error:
        return None, None, error.problem
    return corrected, shift, ""


def gap_of(crystal: Crystal, gaps: Sequence[MeasuredGap]) -> MeasuredGap | None:
    """Return the measured gap of a crystal; None if the table has none."""
    for row in gaps:
        if same_crystal(row.formula, row.spacegroup, crystal.formula, crystal.spacegroup):
            return row
    return None


def plain(number: float) -> float | None:
    """Return a number, or None for NaN: what CSV and JSON have for undefined."""
    return None if math.isnan(number) else float(number)
