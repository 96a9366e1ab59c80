"""The energy axis: uniform photon energies in eV."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, model_validator

from opalign.errors import ConfigurationError
from opalign.spectrum.positional import PositionalModel


class EnergyGrid(PositionalModel):
    """``num`` photon energies in eV, evenly spaced from ``start`` to ``stop``, both included.

    Frozen, compared by value and hashable, so that operators on it can be cached. Fields out of
    range raise :class:`pydantic.ValidationError`.

    >>> EnergyGrid(start=0.0, stop=20.0, num=801).step
    0.025
    """

    start: float = Field(ge=0.0, allow_inf_nan=False, description="first photon energy in eV")
    stop: float = Field(gt=0.0, allow_inf_nan=False, description="last photon energy in eV")
    num: int = Field(ge=2, description="number of energies")

    if TYPE_CHECKING:

        def __init__(self, start: float, stop: float, num: int) -> None: ...

    @model_validator(mode="after")
    def _ordered(self) -> EnergyGrid:
        if self.stop <= self.start:
            raise ValueError(f"stop ({self.stop} eV) must lie above start ({self.start} eV)")
        return self

    @classmethod
    def from_step(cls, start: float, stop: float, step: float) -> EnergyGrid:
        """Return the grid with this ``step`` in eV.

        Raises
        ------
        ConfigurationError
            If ``step`` is not positive or does not divide ``stop - start``.
        """
        if not (step > 0.0 and np.isfinite(step)):
            raise ConfigurationError(
                f"an energy step of {step} eV is of no use", expected="a positive number of eV"
            )
        intervals = (stop - start) / step
        if not np.isfinite(intervals) or abs(intervals - round(intervals)) > 1e-6:
            raise ConfigurationError(
                f"a step of {step} eV does not divide the window from {start} to {stop} eV",
                expected="a whole number of steps",
                cure="change step or stop, or give the number of points with EnergyGrid",
            )
        return cls(start=start, stop=stop, num=round(intervals) + 1)

    @classmethod
    def from_values(cls, energies: np.ndarray, tolerance: float = 1e-3) -> EnergyGrid:
        """Return the grid on which ``energies`` (n,) in eV lie.

        ``tolerance`` is the largest distance from the uniform grid in steps: files round energies.

        Raises
        ------
        ConfigurationError
            If the energies are not evenly spaced and increasing.
        """
        energies = np.asarray(energies, dtype=float)
        if energies.ndim != 1 or energies.size < 2 or not np.isfinite(energies).all():
            raise ConfigurationError(
                f"energies of shape {energies.shape} make no grid",
                expected="at least two finite energies in a row",
            )
        grid = cls(start=energies[0], stop=energies[-1], num=energies.size)
        distance = np.abs(energies - grid.values)
        worst = int(distance.argmax())
        if distance[worst] > tolerance * grid.step:
            raise ConfigurationError(
                f"energies are not evenly spaced: number {worst} is {energies[worst]:g} eV",
                expected=f"{grid.values[worst]:g} eV, on the uniform {grid}",
                cure="interpolate to a uniform grid first, for example with numpy.interp",
            )
        return grid

    @property
    def step(self) -> float:
        """Distance of neighbouring energies in eV."""
        return (self.stop - self.start) / (self.num - 1)

    @property
    def values(self) -> np.ndarray:
        """The energies in eV, (num,) float64, read-only."""
        return _values(self)

    @property
    def weights(self) -> np.ndarray:
        """Weights of the trapezoidal rule in eV, (num,) float64, read-only."""
        return _weights(self)

    def __str__(self) -> str:
        return f"{self.start:g}–{self.stop:g} eV, {self.num} points"


@lru_cache(maxsize=64)
def _values(grid: EnergyGrid) -> np.ndarray:
    values = np.linspace(grid.start, grid.stop, grid.num)
    values.flags.writeable = False
    return values


@lru_cache(maxsize=64)
def _weights(grid: EnergyGrid) -> np.ndarray:
    weights = np.full(grid.num, grid.step)
    weights[[0, -1]] *= 0.5
    weights.flags.writeable = False
    return weights
