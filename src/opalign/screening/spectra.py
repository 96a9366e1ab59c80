"""Spectra of a whole batch as arrays, and what is derived from them row by row at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.relations import absorption_coefficient, refractive_index
from opalign.spectrum.units import HC

Rows = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SpectraRows:
    """Isotropic spectra of B materials at one level of theory, and what the model says beside."""

    grid: EnergyGrid
    epsilon_real: Rows
    """(B, n)"""
    epsilon_imaginary: Rows
    """(B, n), not negative"""
    band_gap: Rows | None = None
    """(B,) eV"""
    relative_distance: Rows | None = None
    """(B,) to the nearest training material, over the typical one"""
    unseen_elements: Rows | None = None
    """(B,) how many elements the training set had not"""
    expected_error: Rows | None = None
    """(B,) 1 − SC of Im ε, as calibrated"""

    def __len__(self) -> int:
        return len(self.epsilon_real)

    @cached_property
    def _index(self) -> tuple[Rows, Rows]:
        index, extinction = refractive_index(self.epsilon_real, self.epsilon_imaginary)
        return index, extinction

    @property
    def index(self) -> Rows:
        """Refractive index n, (B, n)."""
        return self._index[0]

    @property
    def extinction(self) -> Rows:
        """Extinction coefficient k, (B, n)."""
        return self._index[1]

    @cached_property
    def absorption(self) -> Rows:
        """α in cm⁻¹, (B, n)."""
        return np.asarray(absorption_coefficient(self.extinction, self.grid))

    def at(self, values: Rows, energies: ArrayLike) -> Rows:
        """Interpolate ``values`` (B, n) linearly at ``energies`` (m,) within the grid: (B, m)."""
        wanted = np.atleast_1d(np.asarray(energies, dtype=np.float64))
        position = np.clip((wanted - self.grid.start) / self.grid.step, 0.0, self.grid.num - 1.0)
        lower = np.minimum(position.astype(np.int64), self.grid.num - 2)
        fraction = position - lower
        return values[:, lower] * (1.0 - fraction) + values[:, lower + 1] * fraction

    def index_at(self, wavelengths: ArrayLike) -> tuple[Rows, Rows]:
        """Return n and k, each (B, m), at vacuum ``wavelengths`` (m,) in nm."""
        energies = HC / np.atleast_1d(np.asarray(wavelengths, dtype=np.float64))
        return self.at(self.index, energies), self.at(self.extinction, energies)
