"""Bands on disk and in figures: names of columns, lists of a table, areas of a plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opalign.spectrum.bands import QUANTITIES

if TYPE_CHECKING:
    from opalign.dataset.schema import ListInfo
    from opalign.prediction.uncertainty import Bands

Array = NDArray[np.float64]

#: Quantities as the CSV of a spectrum calls them.
_CSV_NAMES = {"refractive_index": "n", "absorption_coefficient": "absorption_per_cm"}
_UNITS = {"absorption_coefficient": "cm^-1"}
#: cm⁻¹, far below the axis of a figure of log₁₀ α.
_LEAST_ABSORPTION = 1e-2
_SIDES = ("lower", "upper")


def csv_columns(bands: Bands) -> dict[str, Array]:
    """Return columns such as ``epsilon_imaginary_lower`` and ``n_upper``."""
    return {
        f"{_CSV_NAMES.get(quantity, quantity)}_{side}": bound
        for quantity, bounds in bands.items()
        for side, bound in zip(_SIDES, bounds, strict=True)
    }


def list_schema(levels: Iterable[str], coverage: float) -> dict[str, ListInfo]:
    """Declare a table's lists such as ``rpa_epsilon_imaginary_lower``."""
    from opalign.dataset.schema import ListInfo

    return {
        f"{level}_{quantity}_{side}": ListInfo(
            unit=_UNITS.get(quantity, ""),
            description=f"{side} bound of the {coverage:.0%} band, on the grid of the spectra",
        )
        for level in levels
        for quantity in QUANTITIES
        for side in _SIDES
    }


def list_values(bands: Mapping[str, Bands]) -> dict[str, Array]:
    """Return the values of those lists for one material."""
    return {
        f"{level}_{quantity}_{side}": bound
        for level, of_level in bands.items()
        for quantity, bounds in of_level.items()
        for side, bound in zip(_SIDES, bounds, strict=True)
    }


def plotted(bands: Bands) -> dict[str, tuple[Array, Array]]:
    """Return bands under the names, and of the quantities, that figures draw."""
    found = {name: bounds for name, bounds in bands.items() if name != "absorption_coefficient"}
    if "absorption_coefficient" in bands:
        lower, upper = (
            np.log10(np.maximum(bound, _LEAST_ABSORPTION))
            for bound in bands["absorption_coefficient"]
        )
        found["log_absorption"] = lower, upper
    return found
