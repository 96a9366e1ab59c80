"""Energy grids, dielectric functions, and everything that is derived from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opalign.lazy import lazy_names

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

# The command line starts without SciPy.
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
