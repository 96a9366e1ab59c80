"""Opalign: optical spectra of crystals from their structure.

The names below are loaded when first used, so that ``import opalign`` costs next to nothing.

>>> import opalign
>>> "load_model" in dir(opalign)
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opalign.lazy import lazy_names

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

_HOMES = {
    "EnergyGrid": "spectrum",
    "OpticalSpectrum": "spectrum",
    "SpectraTable": "dataset",
    "load_model": "prediction",
    "predict": "prediction",
    "read_structure": "crystal.read",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
