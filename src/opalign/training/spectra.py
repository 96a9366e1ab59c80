"""Spectra of many materials at one level, as arrays: references, predictions, baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from opalign.dataset.table import SpectraTable
from opalign.errors import DatasetError
from opalign.spectrum.broadening import Broadening, broaden
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.onset import onset_energies
from opalign.spectrum.optical import ONSET_BROADENING_LIMIT
from opalign.spectrum.relations import absorption_coefficient, refractive_index
from opalign.spectrum.units import LOG_ABSORPTION_FLOOR

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SpectraSet:
    """Isotropic averages of ε of many materials, one row each, with their ids.

    ``imaginary`` and ``real`` are (rows, n); ``real_known`` says whether ``real`` is more than the
    Kramers–Kronig transform of a cut-off Im ε, so that ε₁(0) can be compared; ``band_gap`` is
    (rows,) in eV, NaN where unknown.
    """

    level: str
    grid: EnergyGrid
    broadening: Broadening
    ids: tuple[str, ...]
    formulas: tuple[str, ...]
    imaginary: Array
    real: Array
    real_known: bool
    band_gap: Array

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, index: Sequence[int] | NDArray[np.int64]) -> SpectraSet:
        """Return the chosen rows, in the order given."""
        chosen = np.asarray(index, dtype=np.int64)
        return replace(
            self,
            ids=tuple(self.ids[i] for i in chosen),
            formulas=tuple(self.formulas[i] for i in chosen),
            imaginary=self.imaginary[chosen],
            real=self.real[chosen],
            band_gap=self.band_gap[chosen],
        )

    def select(self, ids: Sequence[str]) -> SpectraSet:
        """Return the rows of these ids, in the order given; DatasetError if one is missing."""
        place = {material_id: row for row, material_id in enumerate(self.ids)}
        missing = [material_id for material_id in ids if material_id not in place]
        if missing:
            raise DatasetError(
                f"{len(missing)} materials have no spectrum of level {self.level!r}, the first is "
                f"{missing[0]!r}",
                cure="give the table or predictions that hold them",
            )
        return self.rows([place[material_id] for material_id in ids])

    def broadened(self, broadening: Broadening) -> SpectraSet:
        """With this broadening in all, counting what the spectra already have.

        Gaussians add in variance: from σ₁ to σ₂ one of √(σ₂² − σ₁²) is applied.
        """
        extra = self.broadening.remaining(broadening)
        if extra.shape == "none":
            return self
        return replace(
            self,
            broadening=broadening,
            imaginary=broaden(self.imaginary, self.grid, extra, "odd"),
            real=broaden(self.real, self.grid, extra, "even"),
        )

    def resampled(self, grid: EnergyGrid, where: str | None = None) -> SpectraSet:
        """On another grid within this one, by linear interpolation; ``where`` serves messages."""
        if grid == self.grid:
            return self
        return replace(
            self,
            grid=grid,
            imaginary=resample(self.imaginary, self.grid, grid, where),
            real=resample(self.real, self.grid, grid, where),
        )

    @property
    def has_sharp_onset(self) -> bool:
        """Whether the broadening leaves the onset where it is: none, or Gaussian σ ≤ 0.1 eV."""
        shape, width = self.broadening.shape, self.broadening.width
        return shape == "none" or (shape == "gaussian" and width <= ONSET_BROADENING_LIMIT)

    @property
    def absorption(self) -> Array:
        """Absorption coefficient (rows, n) in cm⁻¹."""
        _, extinction = refractive_index(self.real, self.imaginary)
        return np.asarray(absorption_coefficient(extinction, self.grid))

    def log_absorption(self, floor: float = LOG_ABSORPTION_FLOOR) -> Array:
        """log₁₀(α/cm⁻¹), (rows, n), not below ``floor``."""
        return np.log10(np.maximum(self.absorption, 10.0**floor))

    @property
    def onsets(self) -> Array:
        """Onset energies (rows,) in eV, NaN where α never exceeds the threshold."""
        return onset_energies(self.grid.values, self.absorption)

    @property
    def static_dielectric(self) -> Array:
        """ε₁ at the first energy of the grid, (rows,)."""
        return self.real[:, 0]


def resample(values: Array, old: EnergyGrid, new: EnergyGrid, where: str | None = None) -> Array:
    """Interpolate ``values`` (..., n) linearly from one grid to another within it."""
    slack = 1e-9 * old.stop
    if new.start < old.start - slack or new.stop > old.stop + slack:
        raise DatasetError(
            f"spectra on {old} do not reach over {new}",
            where=where,
            expected="a window within that of the spectra",
            cure="give model.grid a smaller window",
        )
    flat = values.reshape(-1, old.num)
    result = np.array([np.interp(new.values, old.values, row) for row in flat])
    return result.reshape(*values.shape[:-1], new.num)


def effective_broadening(stored: Broadening, grid: EnergyGrid) -> Broadening:
    """Return what stored spectra are to be taken as having.

    A line narrower than half a step of the grid, as the small imaginary frequency of a calculation
    leaves it, cannot be told from none, and must not keep Gaussians from being applied on top.
    """
    return Broadening() if stored.width < 0.5 * grid.step else stored


def read_spectra(
    table: SpectraTable,
    level: str,
    broadening: Broadening | None = None,
    grid: EnergyGrid | None = None,
    band_gap_column: str | None = None,
) -> SpectraSet:
    """Read one level of a table, broadened to ``broadening`` in all and put on ``grid``.

    Raises
    ------
    DatasetError, SpectrumError
        The table lacks the level, is broadened more than asked for, or ends below ``grid``.
    """
    if level not in table.levels:
        raise DatasetError(
            f"has no level {level!r}",
            where=str(table.path),
            expected=", ".join(table.levels) or "a table with spectra",
        )
    info = table.levels[level]
    extra = None
    if broadening is not None and broadening != info.broadening:
        extra = effective_broadening(info.broadening, table.grid).remaining(broadening)
        extra = None if extra.shape == "none" else extra
    if band_gap_column is not None and band_gap_column in table.schema.scalars:
        band_gap = table.scalar(band_gap_column)
    else:
        band_gap = np.full(len(table), np.nan)
    spectra = SpectraSet(
        level=level,
        grid=table.grid,
        broadening=info.broadening if broadening is None else broadening,
        ids=tuple(table.ids),
        formulas=tuple(table.formulas),
        imaginary=np.asarray(table.isotropic_imaginary(level, extra)),
        real=np.asarray(table.isotropic_real(level, extra)),
        real_known=info.has_real,
        band_gap=band_gap,
    )
    return spectra if grid is None else spectra.resampled(grid, str(table.path))


def join(sets: Sequence[SpectraSet]) -> SpectraSet:
    """All rows of sets on one grid, of one level and broadening."""
    first = sets[0]
    return replace(
        first,
        ids=tuple(material_id for s in sets for material_id in s.ids),
        formulas=tuple(formula for s in sets for formula in s.formulas),
        imaginary=np.concatenate([s.imaginary for s in sets]),
        real=np.concatenate([s.real for s in sets]),
        real_known=all(s.real_known for s in sets),
        band_gap=np.concatenate([s.band_gap for s in sets]),
    )
