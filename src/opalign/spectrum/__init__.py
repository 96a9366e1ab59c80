"""Energy grids, dielectric functions, and everything that is derived from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opalign.lazy import lazy_names

if TYPE_CHECKING:
    from opalign.spectrum.analysis import OpticsConfig, analyse
    from opalign.spectrum.broadening import Broadening
    from opalign.spectrum.formats import read_spectra, write_spectrum
    from opalign.spectrum.grid import EnergyGrid
    from opalign.spectrum.kramers_kronig import Oscillator, imaginary_from_real, real_from_imaginary
    from opalign.spectrum.onset import onset_energy
    from opalign.spectrum.optical import OpticalSpectrum
    from opalign.spectrum.plot import plot_spectrum
    from opalign.spectrum.scissor import scissor_shift
    from opalign.spectrum.similarity import similarity_coefficient
    from opalign.spectrum.sum_check import sum_rules
    from opalign.spectrum.tauc import tauc_fit
    from opalign.spectrum.tensor import principal_tensor

_HOMES = {
    "Broadening": "broadening",
    "EnergyGrid": "grid",
    "OpticalSpectrum": "optical",
    "OpticsConfig": "analysis",
    "Oscillator": "kramers_kronig",
    "analyse": "analysis",
    "imaginary_from_real": "kramers_kronig",
    "onset_energy": "onset",
    "plot_spectrum": "plot",
    "principal_tensor": "tensor",
    "read_spectra": "formats",
    "real_from_imaginary": "kramers_kronig",
    "scissor_shift": "scissor",
    "similarity_coefficient": "similarity",
    "sum_rules": "sum_check",
    "tauc_fit": "tauc",
    "write_spectrum": "formats",
}

__all__ = [
    "Broadening",
    "EnergyGrid",
    "OpticalSpectrum",
    "OpticsConfig",
    "Oscillator",
    "analyse",
    "imaginary_from_real",
    "onset_energy",
    "plot_spectrum",
    "principal_tensor",
    "read_spectra",
    "real_from_imaginary",
    "scissor_shift",
    "similarity_coefficient",
    "sum_rules",
    "tauc_fit",
    "write_spectrum",
]

# The command line starts without SciPy.
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
