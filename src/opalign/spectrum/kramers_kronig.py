"""Kramers–Kronig relations on an energy grid, in closed form between the grid points.

ε₁(E) = 1 + (2/π) P∫ E′ ε₂(E′) / (E′² − E²) dE′

ε₂ is taken as piecewise linear, a sum of hat functions, and the principal value of each hat is
known: with E′/(E′² − E²) = ½ [1/(E′ − E) + 1/(E′ + E)] and the second antiderivative u·ln|u| − u of
1/u, it is a second difference of u·ln|u|. So there is no pole to step around and no error from
quadrature.

Outside the window ε₂ is zero but for what an :class:`Oscillator` stands for: a value at the edge
falls to zero within one step outside (at most down to E = 0), since a jump would make ε₁ infinite.
Even so ε₁ has a spike there. With ``beyond="cubic"`` ε₂ goes on from its last value as E⁻³, the
decay above all transitions and what broadening assumes too, and the spike is gone.
ε₂ is odd in E, so a value given at E = 0 itself does not count.

The way back is ε₂(E) = −(2E/π) P∫ [ε₁(E′) − 1] / (E′² − E²) dE′, for matter that conducts no
direct current. ε₁ − 1 falls off as E⁻² only, so what lies above the window weighs more than on the
way there: it goes on from the last value as E⁻² (free electrons), or to zero at once.

n − 1 and k obey the same relations as ε₁ − 1 and ε₂.
Source: e.g. F. Wooten, Optical Properties of Solids (1972), chapter 6 and appendix G.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import Field

from opalign.errors import ConfigurationError
from opalign.spectrum.arrays import ArrayT, apply_operator, is_tensor, require_grid_length
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.positional import PositionalModel

Beyond = Literal["zero", "cubic"]
RealBeyond = Literal["zero", "inverse_square"]

_REACH = 20.0
"""Window ends up to which an E⁻³ tail is followed; what is left out is below 1e-4 of its ε₁(0)."""


class Oscillator(PositionalModel):
    """All absorption above the window, put at one energy.

    Δε₂(E) = (π/2)·strength·energy·δ(E − energy), hence Δε₁(E) = strength·energy²/(energy² − E²) and
    a share (π/2)·strength·energy² of the f-sum.
    """

    energy: float = Field(gt=0.0, allow_inf_nan=False, description="eV, above the window")
    strength: float = Field(ge=0.0, allow_inf_nan=False, description="what it adds to ε₁(0)")

    if TYPE_CHECKING:

        def __init__(self, energy: float, strength: float) -> None: ...

    def real_part(self, energies: np.ndarray) -> np.ndarray:
        """Return Δε₁ at ``energies`` (n,) in eV.

        Raises
        ------
        ConfigurationError
            Unless all energies lie below the oscillator's own.
        """
        energies = np.asarray(energies, dtype=float)
        if energies.max() >= self.energy:
            raise ConfigurationError(
                f"an oscillator at {self.energy:g} eV stands within the window",
                expected=f"an energy above {energies.max():g} eV",
                cure="the oscillator stands for what lies above the window: choose a higher energy",
            )
        return self.strength * self.energy**2 / (self.energy**2 - energies**2)


def _x_log_x(u: np.ndarray) -> np.ndarray:
    magnitude = np.abs(u)
    return u * np.log(np.where(magnitude > 0.0, magnitude, 1.0))


def _energies_beyond(grid: EnergyGrid) -> np.ndarray:
    """Return nodes above the window, a step apart at first, then ever wider."""
    count = int(np.ceil(np.log(_REACH * grid.stop / grid.step) / np.log(1.05)))
    distances = grid.step * np.cumsum(1.05 ** np.arange(count))
    return grid.stop + distances[: int(np.searchsorted(distances, _REACH * grid.stop))]


def kramers_kronig_weights(
    grid: EnergyGrid,
    energies: np.ndarray,
    *,
    rising_from_zero: bool = False,
    beyond: Beyond = "zero",
) -> np.ndarray:
    """Return W (m, n) with ε₁ − 1 = W @ ε₂ at any ``energies`` (m,) in eV; ε₂ (n,) on ``grid``.

    ``rising_from_zero`` lets ε₂ rise linearly from E = 0 to the first value of a grid that starts
    later, in place of being zero up to one step before it. ``beyond`` says how it goes on above.
    """
    step = grid.step
    below = 0.0 if rising_from_zero else max(grid.start - step, 0.0)
    above = _energies_beyond(grid) if beyond == "cubic" else np.empty(0)
    last = above[-1] if len(above) else grid.stop
    nodes = np.concatenate(([below], grid.values, above, [last + step]))
    energies = np.asarray(energies, dtype=float)[:, None]
    primitive = _x_log_x(nodes - energies) + _x_log_x(nodes + energies)
    if grid.start == 0.0:
        # The hat at E = 0 carries no weight (ε₂ is odd); its left neighbour coincides with it.
        nodes, primitive = nodes[1:], primitive[:, 1:]
    slopes = np.diff(primitive, axis=1) / np.diff(nodes)
    weights = np.diff(slopes, axis=1) / np.pi
    if grid.start == 0.0:
        weights = np.pad(weights, ((0, 0), (1, 0)))
    weights, continued = weights[:, : grid.num], weights[:, grid.num :]
    weights[:, -1] += continued @ (grid.stop / above) ** 3
    return weights


@lru_cache(maxsize=8)
def kramers_kronig_matrix(grid: EnergyGrid, beyond: Beyond = "zero") -> np.ndarray:
    """Return K (n, n) float64, read-only and cached, with ε₁ − 1 = K @ ε₂ on ``grid``."""
    matrix = kramers_kronig_weights(grid, grid.values, beyond=beyond)
    matrix.flags.writeable = False
    return matrix


def real_from_imaginary(
    epsilon_imaginary: ArrayT,
    grid: EnergyGrid,
    oscillator: Oscillator | None = None,
    *,
    beyond: Beyond = "zero",
) -> ArrayT:
    """ε₁ (..., n) from ε₂ (..., n) on ``grid``; the energy is the last axis.

    NumPy in, NumPy out; torch in, torch out, on the same device and differentiable.
    ``oscillator`` stands for the absorption above the window, without it ε₁ comes out too low by
    about a constant far below the window's end. ``beyond`` tells how ε₂ goes on above the window:
    it falls to zero at once, or from its last value as E⁻³.

    Raises
    ------
    SpectrumError
        If the last axis does not fit the grid.
    ConfigurationError
        If the oscillator lies within the window.
    """
    require_grid_length(epsilon_imaginary, grid, "values of Im ε")
    real: Any = apply_operator(epsilon_imaginary, kramers_kronig_matrix, grid, beyond)
    real = real + 1.0
    if oscillator is not None:
        tail = oscillator.real_part(grid.values)
        real = real + (real.new_tensor(tail) if is_tensor(real) else tail)
    return cast(ArrayT, real)


@lru_cache(maxsize=8)
def inverse_kramers_kronig_matrix(
    grid: EnergyGrid, beyond: RealBeyond = "inverse_square"
) -> np.ndarray:
    """Return K (n, n) float64, read-only and cached, with ε₂ = K @ (ε₁ − 1) on ``grid``.

    ε₁ − 1 is piecewise linear, even in E, and below a window that starts above zero as it is there.
    """
    energies = grid.values[:, None]
    above = _energies_beyond(grid) if beyond == "inverse_square" else np.empty(0)
    last = above[-1] if len(above) else grid.stop
    inner = grid.values if grid.start == 0.0 else np.concatenate(([0.0], grid.values))
    # The mirror image of the first energy closes the hat at E = 0, of which half counts.
    nodes = np.concatenate(([-inner[1]], inner, above, [last + grid.step]))
    primitive = _x_log_x(nodes - energies) - _x_log_x(nodes + energies)
    weights = -np.diff(np.diff(primitive, axis=1) / np.diff(nodes), axis=1) / np.pi
    weights[:, 0] *= 0.5
    if grid.start > 0.0:
        weights[:, 1] += weights[:, 0]
        weights = weights[:, 1:]
    matrix, continued = weights[:, : grid.num], weights[:, grid.num :]
    matrix = matrix.copy()
    matrix[:, -1] += continued @ (grid.stop / above) ** 2
    matrix.flags.writeable = False
    return matrix


def imaginary_from_real(
    epsilon_real: ArrayT,
    grid: EnergyGrid,
    oscillator: Oscillator | None = None,
    *,
    beyond: RealBeyond = "inverse_square",
) -> ArrayT:
    """ε₂ (..., n) from ε₁ (..., n) on ``grid``; the energy is the last axis.

    NumPy in, NumPy out; torch in, torch out, differentiable. ``oscillator`` is what ε₁ owes to
    absorption above the window: it is taken away first. On Lorentz and
    Tauc–Lorentz oscillators ε₂ is right to 1e-3 of max |ε| up to half an eV below the end of a
    20 eV window (without a continuation to 4e-2); on first-principles spectra up to 20 eV to about
    0.2 % of max |ε| in the mean, and worst at the window's end.
    Nothing keeps the result from being negative where ε₁ is not consistent.

    Raises
    ------
    SpectrumError
        If the last axis does not fit the grid.
    ConfigurationError
        If the oscillator lies within the window.
    """
    require_grid_length(epsilon_real, grid, "values of Re ε")
    susceptibility: Any = epsilon_real - 1.0  # type: ignore[operator]
    if oscillator is not None:
        tail = oscillator.real_part(grid.values)
        susceptibility = susceptibility - (
            susceptibility.new_tensor(tail) if is_tensor(susceptibility) else tail
        )
    return cast(ArrayT, apply_operator(susceptibility, inverse_kramers_kronig_matrix, grid, beyond))


def index_from_extinction(
    extinction: ArrayT,
    grid: EnergyGrid,
    oscillator: Oscillator | None = None,
    *,
    beyond: Beyond = "zero",
) -> ArrayT:
    """Refractive index n (..., n) from the extinction coefficient k (..., n): the same relation.

    ``oscillator`` is then one of k: it adds ``strength`` to the static refractive index.
    """
    return real_from_imaginary(extinction, grid, oscillator, beyond=beyond)


def static_from_imaginary(
    epsilon_imaginary: np.ndarray, grid: EnergyGrid, oscillator: Oscillator | None = None
) -> np.ndarray:
    """ε₁(E = 0) (...) from ε₂ (..., n), whether or not ``grid`` starts at zero."""
    require_grid_length(epsilon_imaginary, grid, "values of Im ε")
    weights = kramers_kronig_weights(grid, np.zeros(1))[0]
    return 1.0 + epsilon_imaginary @ weights + (oscillator.strength if oscillator else 0.0)
