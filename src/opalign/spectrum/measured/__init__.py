"""What was measured, with its sources: n and k of crystals, band gaps, ε₁(0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opalign.lazy import lazy_names

if TYPE_CHECKING:
    from opalign.spectrum.measured.csv_files import read_measurement
    from opalign.spectrum.measured.database import read_page
    from opalign.spectrum.measured.measurement import Measurement, Samples
    from opalign.spectrum.measured.tables import (
        all_measurements,
        find_measurements,
        measured_gap,
        measured_static,
    )

_HOMES = {
    "Measurement": "measurement",
    "Samples": "measurement",
    "all_measurements": "tables",
    "find_measurements": "tables",
    "measured_gap": "tables",
    "measured_static": "tables",
    "read_measurement": "csv_files",
    "read_page": "database",
}

__all__ = [
    "Measurement",
    "Samples",
    "all_measurements",
    "find_measurements",
    "measured_gap",
    "measured_static",
    "read_measurement",
    "read_page",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
