"""One optical spectrum: ε(E), everything derived from it, and where it comes from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opalign.errors import SpectrumError
from opalign.spectrum import relations
from opalign.spectrum.absorption import epsilon_from_absorption
from opalign.spectrum.broadening import Broadening, broaden
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import (
    Beyond,
    Oscillator,
    kramers_kronig_weights,
    real_from_imaginary,
)
from opalign.spectrum.onset import ONSET_THRESHOLD, onset_energy
from opalign.spectrum.units import LOG_ABSORPTION_FLOOR, energy_from_wavelength
from opalign.spectrum.validation import checked_epsilon, unit_vector

if TYPE_CHECKING:
    import pandas as pd
    from pymatgen.core.structure import Structure

    from opalign.spectrum.tensor import PrincipalTensor

ONSET_BROADENING_LIMIT = 0.1
"""Largest σ in eV of a Gaussian that leaves the onset of absorption where it is."""


@dataclass(frozen=True, eq=False)
class OpticalSpectrum:
    """The dielectric function of a material on an energy grid, with its provenance.

    n, k, α, R and the loss function are derived from ε here and never stored beside it. They are
    those of isotropic matter: a tensor has to be reduced first by :meth:`isotropic` or
    :meth:`along`, and raises :class:`SpectrumError` otherwise.

    Parameters
    ----------
    grid
        Photon energies.
    epsilon
        ε₁ + iε₂, complex (n,) for an isotropic average or one direction, or (n, 3, 3) for the
        symmetric tensor. Kept as a read-only complex128 copy.
    level
        Level of theory or kind of measurement: ``"ipa"``, ``"rpa"``, ``"experiment"``, …
    broadening
        Line shape and width that ε contains.
    material_id, provenance
        Whose spectrum it is, and where it comes from.

    Raises
    ------
    SpectrumError
        If the shape does not fit the grid, a value is not finite, the tensor is not symmetric, or
        Im ε is negative beyond 1e-6 (relative to the largest |ε| where that exceeds 1); the message
        names the energy. Smaller negative values of an isotropic ε are rounding and become zero.
    """

    grid: EnergyGrid
    epsilon: np.ndarray
    level: str
    broadening: Broadening = field(default_factory=Broadening)
    material_id: str | None = None
    provenance: str | None = None

    def __post_init__(self) -> None:
        where = self.material_id or "spectrum"
        if not self.level:
            raise SpectrumError(
                "the level of theory is missing", where=where, expected="a name such as 'ipa'"
            )
        object.__setattr__(self, "epsilon", checked_epsilon(self.epsilon, self.grid, where))

    # Ways to get one

    @classmethod
    def from_imaginary(
        cls,
        grid: EnergyGrid,
        epsilon_imaginary: np.ndarray,
        level: str,
        broadening: Broadening | None = None,
        material_id: str | None = None,
        provenance: str | None = None,
        oscillator: Oscillator | None = None,
        beyond: Beyond = "zero",
    ) -> OpticalSpectrum:
        """Return the spectrum with this ε₂, (n,) or (n, 3, 3), and ε₁ by Kramers–Kronig.

        ``oscillator`` stands for isotropic absorption above the window; without it, and with ε₂
        zero ``beyond`` the window, ε₁ is too low.
        """
        imaginary = np.asarray(epsilon_imaginary, dtype=float)
        if imaginary.ndim == 3:
            rows = np.moveaxis(imaginary, 0, -1)
            real = np.moveaxis(real_from_imaginary(rows, grid, beyond=beyond) - 1.0, -1, 0)
            diagonal = 1.0 + (oscillator.real_part(grid.values) if oscillator else 0.0)
            real = real + np.eye(3) * np.broadcast_to(diagonal, grid.num)[:, None, None]
        else:
            real = real_from_imaginary(imaginary, grid, oscillator, beyond=beyond)
        return cls(
            grid, real + 1j * imaginary, level, broadening or Broadening(), material_id, provenance
        )

    @classmethod
    def from_absorption(
        cls,
        grid: EnergyGrid,
        alpha_per_cm: np.ndarray,
        level: str,
        broadening: Broadening | None = None,
        material_id: str | None = None,
        provenance: str | None = None,
        oscillator: Oscillator | None = None,
    ) -> OpticalSpectrum:
        """Return the spectrum with this absorption coefficient (n,) in cm⁻¹.

        n follows by Kramers–Kronig of k, as
        :func:`~opalign.spectrum.absorption.epsilon_from_absorption` says.
        """
        epsilon = epsilon_from_absorption(alpha_per_cm, grid, oscillator)
        return cls(grid, epsilon, level, broadening or Broadening(), material_id, provenance)

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str], level: str | None = None) -> OpticalSpectrum:
        """Read a file that :meth:`to_csv` wrote, or any CSV with the same columns of ε.

        ``level`` is needed for a file without Opalign's header, and wins over the header.
        """
        from opalign.spectrum.formats.csv import read_csv

        return read_csv(path, level)

    # Tensor and scalar

    @property
    def is_tensor(self) -> bool:
        """Whether ε is an (n, 3, 3) tensor."""
        return self.epsilon.ndim == 3

    def isotropic(self) -> OpticalSpectrum:
        """Return the isotropic average, trace/3; an isotropic spectrum returns itself."""
        if not self.is_tensor:
            return self
        return replace(self, epsilon=np.trace(self.epsilon, axis1=1, axis2=2) / 3.0)

    def along(self, vector: Sequence[float]) -> OpticalSpectrum:
        """Return the spectrum d·ε·d for fields along ``vector`` (3,), Cartesian, of any length."""
        direction = unit_vector(vector)
        if not self.is_tensor:
            return self
        return replace(self, epsilon=self.epsilon @ direction @ direction)

    def principal(self) -> PrincipalTensor:
        """Return principal values and axes of Re ε and Im ε, followed through energy.

        An isotropic ε has the same value along all axes.
        """
        from opalign.spectrum.tensor import principal_tensor

        epsilon = self.epsilon if self.is_tensor else self.epsilon[:, None, None] * np.eye(3)
        return principal_tensor(epsilon)

    def projected(self, structure: Structure) -> OpticalSpectrum:
        """Return the spectrum averaged over the point group of ``structure``, in the same frame.

        :func:`opalign.spectrum.symmetry.project` tells what that took away.

        Raises
        ------
        StructureError
            If the structure's symmetry cannot be found.
        """
        from opalign.spectrum.symmetry import project

        return project(self, structure).spectrum

    def normal_reflectivity(
        self, normal: Sequence[float], polarization: Sequence[float] | None = None
    ) -> np.ndarray:
        """Return R (n,) at normal incidence on the face with this ``normal``, tensors included.

        ``polarization`` is the direction of the incoming field; None is unpolarised light. See
        :func:`opalign.spectrum.normal_incidence.normal_reflectivity`.
        """
        from opalign.spectrum.normal_incidence import normal_reflectivity

        return normal_reflectivity(self, normal, polarization)

    # Quantities

    @property
    def energies(self) -> np.ndarray:
        """Photon energies (n,) in eV."""
        return self.grid.values

    @property
    def epsilon_real(self) -> np.ndarray:
        """ε₁, (n,) or (n, 3, 3)."""
        return self.epsilon.real

    @property
    def epsilon_imaginary(self) -> np.ndarray:
        """ε₂, (n,) or (n, 3, 3)."""
        return self.epsilon.imag

    @property
    def refractive_index(self) -> np.ndarray:
        """Refractive index n, (n,), of the branch with k ≥ 0."""
        return self._index()[0]

    @property
    def extinction_coefficient(self) -> np.ndarray:
        """Extinction coefficient k ≥ 0, (n,)."""
        return self._index()[1]

    @property
    def absorption_coefficient(self) -> np.ndarray:
        """α = 2Ek/(ħc), (n,) in cm⁻¹."""
        return relations.absorption_coefficient(self.extinction_coefficient, self.grid)

    def log_absorption(self, floor: float = LOG_ABSORPTION_FLOOR) -> np.ndarray:
        """Return log₁₀(α/cm⁻¹), (n,), not below ``floor``."""
        return np.log10(np.maximum(self.absorption_coefficient, 10.0**floor))

    @property
    def reflectivity(self) -> np.ndarray:
        """R at normal incidence, (n,), between 0 and 1."""
        return relations.reflectivity(*self._index())

    @property
    def loss_function(self) -> np.ndarray:
        """Im(−1/ε), (n,)."""
        self._require_scalar()
        return relations.loss_function(self.epsilon_real, self.epsilon_imaginary)

    @property
    def static_dielectric(self) -> Any:
        """ε₁ at E = 0 of the electrons: a float, or (3, 3) for a tensor.

        On a grid that starts above zero it is ε₁ at the first energy plus the difference that the
        Kramers–Kronig relation of ε₂ gives between there and zero, with ε₂ rising linearly up to
        there. Absorption above the window matters little to that difference.
        """
        real = self.epsilon_real[0]
        if self.grid.start > 0.0:
            weights = kramers_kronig_weights(
                self.grid, np.array([0.0, self.grid.start]), rising_from_zero=True
            )
            change = weights[0] - weights[1]
            real = real + np.tensordot(change, self.epsilon_imaginary, axes=(0, 0))
        return np.array(real) if self.is_tensor else float(real)

    @property
    def has_sharp_onset(self) -> bool:
        """Whether the broadening leaves the onset of absorption readable.

        Only without broadening or with a Gaussian of σ ≤ 0.1 eV: the threshold is reached at ε₂ of
        a few thousandths, where the tail of a wider line decides.
        """
        if self.broadening.shape == "none":
            return True
        return (
            self.broadening.shape == "gaussian" and self.broadening.width <= ONSET_BROADENING_LIMIT
        )

    def onset_energy(self, threshold: float = ONSET_THRESHOLD) -> float | None:
        """Return the lowest energy in eV at which log₁₀(α/cm⁻¹) exceeds ``threshold``, or None.

        Raises
        ------
        SpectrumError
            If the spectrum is too broad for an onset, see :attr:`has_sharp_onset`, or a tensor.
        """
        if not self.has_sharp_onset:
            raise SpectrumError(
                f"with {self.broadening} the onset shows the broadening and not the material",
                where=self.material_id,
                expected=f"no broadening, or a Gaussian of σ ≤ {ONSET_BROADENING_LIMIT:g} eV",
                cure="take the onset of the unbroadened spectrum",
            )
        return onset_energy(self.grid.values, self.absorption_coefficient, threshold)

    def at_wavelength(self, wavelength: Any) -> tuple[Any, Any]:
        """Return n and k at a vacuum ``wavelength`` in nm, a number or an array of them.

        Interpolated linearly in energy.

        Raises
        ------
        SpectrumError
            If a wavelength is not positive or lies outside the grid, or for a tensor.
        """
        wavelength = np.asarray(wavelength, dtype=float)
        index, extinction = self._index()
        if not (wavelength > 0.0).all():
            raise SpectrumError("a wavelength is not positive", expected="nanometres above zero")
        energy = np.asarray(energy_from_wavelength(wavelength))
        # Rounding must not throw out the grid's own ends.
        slack = 1e-9 * self.grid.stop
        outside = (energy < self.grid.start - slack) | (energy > self.grid.stop + slack)
        if outside.any():
            raise SpectrumError(
                f"{wavelength[outside].flat[0]:g} nm is {energy[outside].flat[0]:.4g} eV, "
                "outside the spectrum",
                expected=f"photon energies of {self.grid}",
            )
        pair = tuple(np.interp(energy, self.grid.values, values) for values in (index, extinction))
        return (float(pair[0]), float(pair[1])) if wavelength.ndim == 0 else (pair[0], pair[1])

    # Other spectra from this one

    def broadened(self, broadening: Broadening) -> OpticalSpectrum:
        """Return the spectrum with this ``broadening`` in all, counting what it already has.

        Raises
        ------
        SpectrumError
            If it is already broader, or broadened by another line shape.
        """
        extra = self.broadening.remaining(broadening)
        rows = np.moveaxis(self.epsilon, 0, -1)
        real = broaden(rows.real, self.grid, extra, "even")
        imaginary = broaden(rows.imag, self.grid, extra, "odd")
        epsilon = np.moveaxis(real + 1j * imaginary, -1, 0)
        return replace(self, epsilon=epsilon, broadening=broadening)

    def resampled(self, grid: EnergyGrid) -> OpticalSpectrum:
        """Return the spectrum on another ``grid`` within this one, by linear interpolation.

        Structure narrower than the new step is lost; broaden first where that matters.

        Raises
        ------
        SpectrumError
            If ``grid`` reaches beyond this spectrum's.
        """
        slack = 1e-9 * self.grid.stop
        if grid.start < self.grid.start - slack or grid.stop > self.grid.stop + slack:
            raise SpectrumError(
                f"a grid of {grid} reaches beyond the spectrum",
                where=self.material_id,
                expected=f"a window within {self.grid}",
            )
        rows = self.epsilon.reshape(self.grid.num, -1).T
        values = [np.interp(grid.values, self.grid.values, row) for row in rows]
        epsilon = np.stack(values, axis=-1).reshape(grid.num, *self.epsilon.shape[1:])
        return replace(self, grid=grid, epsilon=epsilon)

    def to_frame(self) -> pd.DataFrame:
        """Return a table with one row per energy.

        Columns ``energy_eV``, ``epsilon_real``, ``epsilon_imaginary``, ``n``, ``k``,
        ``absorption_per_cm``, ``reflectivity`` and ``loss``; for a tensor the energy and the real
        and imaginary parts of its six components.
        """
        from opalign.spectrum.formats.csv import to_frame

        return to_frame(self)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`to_frame` below a header; :meth:`from_csv` reads it back exactly."""
        from opalign.spectrum.formats.csv import write_csv

        write_csv(self, path)

    def _index(self) -> tuple[np.ndarray, np.ndarray]:
        self._require_scalar()
        return relations.refractive_index(self.epsilon_real, self.epsilon_imaginary)

    def _require_scalar(self) -> None:
        if self.is_tensor:
            raise SpectrumError(
                "n, k, α, R and the loss function of a tensor depend on the direction",
                where=self.material_id,
                expected="an isotropic average or one direction",
                cure="call .isotropic() or .along((1, 0, 0)) first",
            )
