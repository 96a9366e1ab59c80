"""Many structures through a trained network: filtered, ranked, on one machine or many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opalign.lazy import lazy_names

if TYPE_CHECKING:
    from opalign.screening.config import Execution, ScreenConfig
    from opalign.screening.quantities import quantity_names
    from opalign.screening.run import ScreenReport, screen

__all__ = ["Execution", "ScreenConfig", "ScreenReport", "quantity_names", "screen"]

_HOMES = {
    "Execution": "config",
    "ScreenConfig": "config",
    "ScreenReport": "run",
    "quantity_names": "quantities",
    "screen": "run",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
