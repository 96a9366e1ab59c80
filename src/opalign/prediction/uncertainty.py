"""Calibrated bands and an expected error beside every spectrum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opalign.model.calibration import Calibration
from opalign.model.ensemble import MEMBER
from opalign.model.familiarity import Familiarity, ingredients
from opalign.spectrum.bands import band, quantity_of, scale_terms

if TYPE_CHECKING:
    from torch import Tensor

    from opalign.model.config import ModelConfig
    from opalign.model.nearest import NearestMaterials

Array = NDArray[np.float64]
Bands = dict[str, tuple[Array, Array]]
"""Quantity → lower and upper bound, (n,) each."""

#: Decimals kept of bounds, as of spectra: what lies beyond depends on what shares a batch.
DECIMALS = {"absorption_coefficient": 3}
_DECIMALS = 9


@dataclass(frozen=True)
class ErrorEstimate:
    """The expected error of a spectrum, 1 − SC of Im ε, and an interval that holds it."""

    expected: float
    lower: float
    upper: float

    @property
    def similarity(self) -> float:
        """Expected similarity coefficient."""
        return 1.0 - self.expected

    @property
    def similarity_interval(self) -> tuple[float, float]:
        """Interval of the similarity coefficient."""
        return 1.0 - self.upper, 1.0 - self.lower


@dataclass(frozen=True, eq=False)
class RowUncertainty:
    """What is known of one material's errors, by level of theory; empty without calibration."""

    bands: dict[str, Bands] = field(default_factory=dict)
    errors: dict[str, ErrorEstimate] = field(default_factory=dict)


class UncertaintyModel:
    """Applies the calibration of a checkpoint to what its network gives.

    Parameters
    ----------
    config
        Of the network.
    calibration
        None for a model that was not calibrated, of which then nothing is said.
    materials
        Those it was trained on.
    """

    def __init__(
        self, config: ModelConfig, calibration: Calibration | None, materials: NearestMaterials
    ) -> None:
        self.config, self.calibration = config, calibration
        self._familiarity = Familiarity(materials) if calibration is not None else None

    def of_batch(
        self,
        output: Mapping[str, Tensor | Any],
        atomic_numbers: Sequence[ArrayLike],
        levels: Sequence[str],
    ) -> list[RowUncertainty]:
        """Bands and expected errors of a batch's output, one entry per structure."""
        rows = [RowUncertainty() for _ in atomic_numbers]
        if self.calibration is None:
            return rows
        for level in levels:
            real, imaginary = (_members(output, f"epsilon_{part}") for part in _PARTS)
            place = self.config.levels.index(level)
            real, imaginary = real[:, :, place], imaginary[:, :, place]
            expected = self._expected(output, atomic_numbers, imaginary, level)
            error = self.calibration.levels[level].error
            bands = self._bands(real, imaginary, level)
            for number, row in enumerate(rows):
                row.errors[level] = ErrorEstimate(
                    float(expected[number]),
                    float(expected[number] * error.lower_factor),
                    float(expected[number] * error.upper_factor),
                )
                row.bands[level] = {
                    name: (lower[number], upper[number]) for name, (lower, upper) in bands.items()
                }
        return rows

    def expected_errors(
        self,
        output: Mapping[str, Tensor | Any],
        atomic_numbers: Sequence[ArrayLike],
        level: str,
    ) -> Array | None:
        """Return the expected 1 − SC of a batch at one level, (B,); None without calibration."""
        if self.calibration is None:
            return None
        place = self.config.levels.index(level)
        imaginary = _members(output, "epsilon_imaginary")[:, :, place]
        return self._expected(output, atomic_numbers, imaginary, level)

    def _expected(
        self,
        output: Mapping[str, Tensor | Any],
        atomic_numbers: Sequence[ArrayLike],
        imaginary: Array,
        level: str,
    ) -> Array:
        if self.calibration is None or self._familiarity is None:
            raise RuntimeError("there is no calibration to apply")
        found = ingredients(
            self._familiarity,
            np.nan_to_num(_array(output["features"])),
            atomic_numbers,
            imaginary,
            _members(output, "band_gap"),
        )
        return self.calibration.levels[level].error.expected(np.nan_to_num(found))

    def _bands(self, real: Array, imaginary: Array, level: str) -> Bands:
        """Bounds (B, n) of every quantity, from ε of all members, (B, K, n)."""
        if self.calibration is None:
            raise RuntimeError("there is no calibration to apply")
        grid = self.config.grid
        means = real.mean(axis=1), imaginary.mean(axis=1)
        found: Bands = {}
        calibrations = self.calibration.levels[level].bands
        predictions = [quantity_of(name, *means, grid) for name in calibrations]
        members = [quantity_of(name, real, imaginary, grid) for name in calibrations]
        # Of all quantities at once: what takes the time is the calls.
        terms = scale_terms(np.stack(predictions), np.stack(members), grid)
        for number, (name, calibrated) in enumerate(calibrations.items()):
            bounds = band(name, predictions[number], calibrated.width(terms[number], grid))
            decimals = DECIMALS.get(name, _DECIMALS)
            lower, upper = (np.round(bound, decimals) for bound in bounds)
            found[name] = lower, upper
        return found


_PARTS = ("real", "imaginary")


def _members(output: Mapping[str, Tensor | Any], name: str) -> Array:
    """Values of each member, (B, K, …); a single network is an ensemble of one."""
    if MEMBER + name in output:
        return np.nan_to_num(_array(output[MEMBER + name]))
    return np.nan_to_num(_array(output[name]))[:, None]


def _array(values: Tensor | Any) -> Array:
    return np.asarray(values.cpu().numpy(), dtype=np.float64)
