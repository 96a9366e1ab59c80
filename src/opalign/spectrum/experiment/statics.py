"""ε₁(0) of the electrons against experiment, as computed and after the scissor correction."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from opalign.spectrum.experiment.comparison import (
    RIGID_POWER,
    Crystal,
    gap_of,
    plain,
    scissored,
)
from opalign.spectrum.experiment.scoring import orient, without_narrow_line
from opalign.spectrum.measured.tables import (
    MeasuredGap,
    MeasuredStatic,
    measured_gaps,
    measured_statics,
    same_crystal,
)
from opalign.spectrum.optical import OpticalSpectrum


@dataclass(frozen=True)
class StaticComparison:
    """ε₁(0) of one crystal at one level against experiment, before and after the scissor.

    ``corrected`` is that with the factor (E − Δ)/E, ``rigid`` that without.
    """

    crystal: Crystal
    measured: MeasuredStatic
    computed: float
    corrected: float | None
    rigid: float | None

    @property
    def error(self) -> float:
        """Relative error of ε₁(0) as computed."""
        return self.computed / self.measured.static - 1.0

    @property
    def corrected_error(self) -> float:
        """Relative error after the scissor correction; NaN without one."""
        return math.nan if self.corrected is None else self.corrected / self.measured.static - 1.0

    @property
    def rigid_error(self) -> float:
        """Relative error after a rigid shift; NaN without one."""
        return math.nan if self.rigid is None else self.rigid / self.measured.static - 1.0


def compare_statics(
    crystals: Iterable[Crystal],
    *,
    statics: Sequence[MeasuredStatic] | None = None,
    gaps: Sequence[MeasuredGap] | None = None,
) -> list[StaticComparison]:
    """Hold ε₁(0) of every crystal against the measured one of the same composition and group.

    For the orientation that was measured; a spectrum that has only the average over directions is
    left out where the average was not measured.
    """
    known = measured_statics() if statics is None else statics
    table = measured_gaps() if gaps is None else gaps
    results = []
    for crystal in crystals:
        for row in known:
            if not same_crystal(row.formula, row.spacegroup, crystal.formula, crystal.spacegroup):
                continue
            spectrum = without_narrow_line(crystal.spectrum)
            if row.orientation != "mean" and not spectrum.is_tensor:
                continue
            gap = gap_of(crystal, table)
            corrected, _, _ = scissored(crystal, gap)
            rigid, _, _ = scissored(crystal, gap, RIGID_POWER)
            results.append(
                StaticComparison(
                    crystal,
                    row,
                    _static(spectrum, row),
                    None if corrected is None else _static(corrected, row),
                    None if rigid is None else _static(rigid, row),
                )
            )
    return results


def static_rows(comparisons: Iterable[StaticComparison]) -> list[dict[str, Any]]:
    """Return one row per crystal and level, of plain numbers and text."""
    return [
        {
            "material_id": one.crystal.material_id,
            "formula": one.measured.formula,
            "spacegroup": one.crystal.spacegroup,
            "phase": one.measured.phase,
            "level": one.crystal.spectrum.level,
            "known_to_model": one.crystal.known,
            "orientation": one.measured.orientation,
            "measured": one.measured.static,
            "computed": one.computed,
            "error": one.error,
            "corrected": one.corrected,
            "corrected_error": plain(one.corrected_error),
            "rigid": one.rigid,
            "rigid_error": plain(one.rigid_error),
            "certainty": one.measured.certainty,
            "source": one.measured.source,
        }
        for one in comparisons
    ]


def _static(spectrum: OpticalSpectrum, measured: MeasuredStatic) -> float:
    return float(orient(spectrum, measured.orientation)[0].static_dielectric)
