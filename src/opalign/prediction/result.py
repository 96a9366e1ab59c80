"""What a prediction is, and what stands in its place where there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opalign.errors import SpectrumError
from opalign.spectrum.units import visible

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

    from opalign.model.nearest import Neighbor
    from opalign.prediction.advice import LevelAdvice
    from opalign.prediction.uncertainty import Bands, ErrorEstimate
    from opalign.spectrum.optical import OpticalSpectrum

#: nm, the sodium D line, at which refractive indices are customarily stated.
SODIUM_LINE = 589.0


@dataclass(frozen=True)
class Failure:
    """A structure that gave no spectrum."""

    file: str
    """File, or the id of what was handed over in memory."""
    reason: str


@dataclass(frozen=True, eq=False)
class Prediction:
    """The spectra predicted for one structure, and how far they are to be trusted."""

    id: str
    """Unique within a run, and fit for a file name."""
    file: str
    """Where the structure came from; the id itself for one handed over in memory."""
    structure: Structure
    spectra: dict[str, OpticalSpectrum]
    """By level of theory, isotropic averages."""
    level: str
    """The level that :attr:`spectrum` is of."""
    band_gap: float | None
    """eV; where predicted absorption begins. None for a model that predicts no gap."""
    nearest: tuple[Neighbor, ...]
    """Training materials, the nearest first."""
    features: NDArray[np.float64]
    """(D,) pooled, in whose space distances are."""
    warnings: tuple[str, ...] = field(default=())
    bands: dict[str, Bands] = field(default_factory=dict)
    """By level of theory: quantity → lower and upper bound, (n,) each, that hold 90 % of the
    energies of a new material. Empty for a model that was not calibrated."""
    error_estimates: dict[str, ErrorEstimate] = field(default_factory=dict)
    """By level of theory: the expected error 1 − SC and its 90 % interval. Empty likewise."""
    advice: LevelAdvice | None = None
    """Which level of theory the material needs; None where nothing can be said."""

    @property
    def formula(self) -> str:
        """Reduced formula."""
        return str(self.structure.composition.reduced_formula)

    @property
    def spectrum(self) -> OpticalSpectrum:
        """The spectrum of the most complete level that was predicted."""
        return self.spectra[self.level]

    @property
    def error_estimate(self) -> ErrorEstimate | None:
        """Expected error of :attr:`spectrum`; None for a model that was not calibrated."""
        return self.error_estimates.get(self.level)

    @property
    def distance(self) -> float | None:
        """Distance to the nearest training material, 1 being typical among those themselves."""
        return self.nearest[0].relative_distance if self.nearest else None

    @property
    def onset_energy(self) -> float | None:
        """eV; None without absorption or with a broadening too wide to tell."""
        return self.spectrum.onset_energy() if self.spectrum.has_sharp_onset else None

    @property
    def static_dielectric(self) -> float:
        """ε₁ of the electrons at E = 0."""
        return float(self.spectrum.static_dielectric)

    @property
    def sodium_index(self) -> float | None:
        """Refractive index n at 589 nm; None where the grid does not reach there."""
        try:
            return float(self.spectrum.at_wavelength(SODIUM_LINE)[0])
        except SpectrumError:
            return None

    @property
    def visible_absorption(self) -> float | None:
        """Largest absorption coefficient in visible light, cm⁻¹; None where the grid has none."""
        inside = visible(self.spectrum.energies)
        if not inside.any():
            return None
        return float(self.spectrum.absorption_coefficient[inside].max())
