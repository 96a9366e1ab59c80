"""Energy grids, dielectric functions, and everything that is derived from them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opalign.spectrum.broadening import Broadening
    from opalign.spectrum.grid import EnergyGrid
    from opalign.spectrum.kramers_kronig import Oscillator, real_from_imaginary
    from opalign.spectrum.onset import onset_energy
    from opalign.spectrum.optical import OpticalSpectrum
    from opalign.spectrum.plot import plot_spectrum
    from opalign.spectrum.similarity import similarity_coefficient

_HOMES = {
    "Broadening": "broadening",
    "EnergyGrid": "grid",
    "OpticalSpectrum": "optical",
    "Oscillator": "kramers_kronig",
    "onset_energy": "onset",
    "plot_spectrum": "plot",
    "real_from_imaginary": "kramers_kronig",
    "similarity_coefficient": "similarity",
}

__all__ = [
    "Broadening",
    "EnergyGrid",
    "OpticalSpectrum",
    "Oscillator",
    "onset_energy",
    "plot_spectrum",
    "real_from_imaginary",
    "similarity_coefficient",
]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that the command line starts without SciPy.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
