"""Opalign: optical spectra of crystals from their structure.

The names below are loaded when first used, so that ``import opalign`` costs next to nothing.

>>> import opalign
>>> "load_model" in dir(opalign)
True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opalign.crystal.read import read_structure
    from opalign.dataset import SpectraTable
    from opalign.prediction import load_model, predict
    from opalign.spectrum import EnergyGrid, OpticalSpectrum

__version__ = "0.1.0"

__all__ = [
    "EnergyGrid",
    "OpticalSpectrum",
    "SpectraTable",
    "__version__",
    "load_model",
    "predict",
    "read_structure",
]

_HOME_OF = {
    "EnergyGrid": "opalign.spectrum",
    "OpticalSpectrum": "opalign.spectrum",
    "SpectraTable": "opalign.dataset",
    "load_model": "opalign.prediction",
    "predict": "opalign.prediction",
    "read_structure": "opalign.crystal.read",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
