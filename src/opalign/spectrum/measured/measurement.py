"""Measured n and k at irregular energies, and ε on a grid from them: never beyond them.

n and k are linear in the photon energy between neighbouring samples; ε of several axes is averaged
as ε, not as n. No value is made up: outside the samples, and between two that lie too far apart,
there is nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from opalign.errors import SpectrumError
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum

Orientation = Literal["mean", "perpendicular", "parallel"]
"""Of the field: the average over all directions, or across or along the optic axis."""

LEVEL = "experiment"

LOWEST_ENERGY = 0.5
"""eV; below, lattice vibrations and free carriers answer too, and no calculation here has them."""

LARGEST_SPACING = 0.25
"""eV; samples farther apart than this leave a hole between them."""


@dataclass(frozen=True, eq=False)
class Samples:
    """n and k of one polarisation, where they were measured.

    Parameters
    ----------
    energies
        Photon energies (m,) in eV, increasing.
    index, extinction
        n and k, (m,); NaN where not measured.

    Raises
    ------
    SpectrumError
        If shapes differ, energies do not increase, n is not positive or k is negative.
    """

    energies: np.ndarray
    index: np.ndarray
    extinction: np.ndarray

    def __post_init__(self) -> None:
        for name in ("energies", "index", "extinction"):
            values = np.array(getattr(self, name), dtype=float)
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        if not (self.energies.ndim == 1 and self.energies.size >= 2):
            raise SpectrumError("n and k need at least two samples", expected="rows of E, n, k")
        if not self.energies.shape == self.index.shape == self.extinction.shape:
            raise SpectrumError(
                f"{self.energies.size} energies, {self.index.size} n and {self.extinction.size} k",
                expected="as many of each",
            )
        if not (np.isfinite(self.energies).all() and (np.diff(self.energies) > 0.0).all()):
            raise SpectrumError("the energies do not increase", expected="each energy once")
        if self.energies[0] <= 0.0:
            raise SpectrumError(
                f"a photon of {self.energies[0]:g} eV", expected="positive energies"
            )
        for name, values, lowest in (("n", self.index, 1e-6), ("k", self.extinction, 0.0)):
            wrong = np.isinf(values) | (values < lowest)
            if wrong.any():
                place = int(wrong.argmax())
                raise SpectrumError(
                    f"{name} is {values[place]:g} at {self.energies[place]:g} eV",
                    expected="n > 0 and k ≥ 0",
                    cure="check the columns and the sign convention n + ik",
                )

    @classmethod
    def unordered(cls, energies: np.ndarray, index: np.ndarray, extinction: np.ndarray) -> Samples:
        """Return samples that come in any order; those at the same energy are averaged."""
        columns = np.stack([np.asarray(values, dtype=float) for values in (index, extinction)])
        unique, place = np.unique(np.asarray(energies, dtype=float), return_inverse=True)
        count = np.bincount(place)
        mean = [np.bincount(place, weights=row) / count for row in columns]
        return cls(unique, mean[0], mean[1])

    def index_at(self, energies: np.ndarray, spacing: float = LARGEST_SPACING) -> np.ndarray:
        """Return n at ``energies`` (n,) in eV, NaN where it was not measured."""
        return _between(energies, self.energies, self.index, spacing)

    def extinction_at(self, energies: np.ndarray, spacing: float = LARGEST_SPACING) -> np.ndarray:
        """Return k at ``energies`` (n,) in eV, NaN where it was not measured."""
        return _between(energies, self.energies, self.extinction, spacing)


@dataclass(frozen=True, eq=False)
class Measurement:
    """Measured n and k of a crystal.

    Parameters
    ----------
    formula, spacegroup, phase
        Reduced formula, number of the space group or None, and the name of the structure.
    samples
        One polarisation or several.
    weights
        Share of each in ε, summing to one: (2/3, 1/3) for the ordinary and the extraordinary ray.
    orientation
        To what direction of the field that adds up.
    source, sample, note
        Where it was published, on what it was measured, and what to mind.
    """

    formula: str
    spacegroup: int | None
    samples: tuple[Samples, ...]
    weights: tuple[float, ...] = (1.0,)
    orientation: Orientation = "mean"
    phase: str = ""
    source: str = ""
    sample: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if len(self.samples) != len(self.weights) or abs(sum(self.weights) - 1.0) > 1e-9:
            raise SpectrumError(
                f"{len(self.samples)} polarisations with weights {self.weights}",
                where=self.formula,
                expected="one weight each, together one",
            )

    def permittivity_at(self, energies: np.ndarray, spacing: float = LARGEST_SPACING) -> np.ndarray:
        """Return ε (n,), complex, at ``energies`` (n,) in eV; NaN unless n and k were measured."""
        energies = np.asarray(energies, dtype=float)
        total = np.zeros(energies.shape, dtype=complex)
        for weight, one in zip(self.weights, self.samples, strict=True):
            index, extinction = (
                one.index_at(energies, spacing),
                one.extinction_at(energies, spacing),
            )
            total += weight * (index + 1j * extinction) ** 2
        return total

    def transparent_permittivity_at(
        self, energies: np.ndarray, spacing: float = LARGEST_SPACING
    ) -> np.ndarray:
        """Return ε₁ (n,) at ``energies`` (n,) in eV, with k = 0 where only n was measured."""
        energies = np.asarray(energies, dtype=float)
        total = np.zeros(energies.shape)
        for weight, one in zip(self.weights, self.samples, strict=True):
            extinction = np.nan_to_num(one.extinction_at(energies, spacing))
            total += weight * (one.index_at(energies, spacing) ** 2 - extinction**2)
        return total

    def spectrum(
        self,
        step: float = 0.025,
        *,
        lowest: float = LOWEST_ENERGY,
        spacing: float = LARGEST_SPACING,
    ) -> OpticalSpectrum:
        """Return ε on multiples of ``step`` in eV, over the widest window without holes.

        Only where n and k were measured, from ``lowest`` in eV on. Samples farther apart than
        ``spacing`` in eV leave a hole.

        Raises
        ------
        SpectrumError
            If nowhere two neighbouring grid points have both n and k.
        """
        top = max(float(one.energies[-1]) for one in self.samples)
        first = int(np.ceil(max(lowest, 0.0) / step - 1e-9))
        energies = step * np.arange(max(first, 1), int(np.floor(top / step + 1e-9)) + 1)
        epsilon = self.permittivity_at(energies, spacing)
        runs = list(_runs(np.isfinite(epsilon)))
        begin, end = max(runs, key=lambda run: run[1] - run[0], default=(0, 0))
        if end - begin < 2:
            raise SpectrumError(
                "n and k were not both measured anywhere",
                where=f"{self.formula}, {self.source}",
                expected=f"a window from {lowest:g} eV up, with samples every {spacing:g} eV",
            )
        return OpticalSpectrum(
            EnergyGrid(energies[begin], energies[end - 1], end - begin),
            epsilon[begin:end],
            LEVEL,
            material_id=self.formula,
            provenance=self.source or None,
        )

    def tensor(self, step: float = 0.025, *, lowest: float = LOWEST_ENERGY) -> OpticalSpectrum:
        """Return the uniaxial tensor diag(ε_o, ε_o, ε_e), the optic axis along z.

        Raises
        ------
        SpectrumError
            Unless an ordinary and an extraordinary ray were measured.
        """
        if len(self.samples) != 2:
            raise SpectrumError(
                "there are not two rays",
                where=self.formula,
                expected="an ordinary and an extraordinary one",
            )
        grid = self.spectrum(step, lowest=lowest).grid
        rays = [
            (one.index_at(grid.values) + 1j * one.extinction_at(grid.values)) ** 2
            for one in self.samples
        ]
        epsilon = np.zeros((grid.num, 3, 3), dtype=complex)
        for axis, ray in enumerate((rays[0], rays[0], rays[1])):
            epsilon[:, axis, axis] = ray
        return OpticalSpectrum(
            grid, epsilon, LEVEL, material_id=self.formula, provenance=self.source or None
        )

    def static(self, upper: float, *, lowest: float = 0.0) -> float:
        """Return ε₁(0) of the electrons: n² of a transparent window, extrapolated to E = 0.

        1/(n² − 1) is fitted as a + b·E² from ``lowest`` to ``upper`` in eV, the single oscillator
        of S. H. Wemple and M. DiDomenico, Phys. Rev. B 3, 1338 (1971). ``lowest`` keeps lattice
        vibrations out.

        Raises
        ------
        SpectrumError
            With fewer than three samples in that window, or a fit that is no oscillator.
        """
        total = 0.0
        for weight, one in zip(self.weights, self.samples, strict=True):
            inside = (one.energies >= lowest) & (one.energies <= upper) & np.isfinite(one.index)
            if inside.sum() < 3:
                raise SpectrumError(
                    f"{inside.sum()} values of n from {lowest:g} to {upper:g} eV",
                    where=f"{self.formula}, {self.source}",
                    expected="at least three",
                )
            inverse = 1.0 / (one.index[inside] ** 2 - 1.0)
            slope, constant = np.polyfit(one.energies[inside] ** 2, inverse, 1)
            if not (constant > 0.0 and slope < 0.0):
                raise SpectrumError(
                    "n² does not rise with energy as that of an oscillator",
                    where=f"{self.formula}, {self.source}",
                    expected="a transparent window of normal dispersion",
                )
            total += weight * (1.0 + 1.0 / constant)
        return total


def _between(
    energies: np.ndarray, positions: np.ndarray, values: np.ndarray, spacing: float
) -> np.ndarray:
    """Interpolate linearly where two measured neighbours are at most ``spacing`` apart."""
    energies = np.asarray(energies, dtype=float)
    known = np.isfinite(values)
    positions, values = positions[known], values[known]
    if positions.size < 2:
        return np.full(energies.shape, np.nan)
    slack = 1e-9 * positions[-1]
    clipped = np.clip(energies, positions[0], positions[-1])
    right = np.clip(np.searchsorted(positions, clipped), 1, positions.size - 1)
    wide = (positions[right] - positions[right - 1] > spacing) & ~np.isclose(
        clipped, positions[right], rtol=1e-12
    )
    outside = np.abs(energies - clipped) > slack
    return np.where(outside | wide, np.nan, np.interp(clipped, positions, values))


def _runs(flags: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(int), [0]))))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
