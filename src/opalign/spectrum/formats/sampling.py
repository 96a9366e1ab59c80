"""From the energies of a file to a uniform grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opalign.errors import SpectrumError
from opalign.spectrum.grid import EnergyGrid

MAXIMUM_POINTS = 4001
"""Points of a grid that is chosen here: operators on it, such as Kramers–Kronig, hold their square.
Who wants more says so with a step."""

MAXIMUM_POINTS_ASKED = 100_001
"""Points of a grid whose step is given."""

EVENNESS = 1e-3
"""Largest distance from the uniform grid, in steps, of energies that count as evenly spaced."""


@dataclass(frozen=True)
class Sampled:
    """Values on a uniform grid.

    Parameters
    ----------
    grid
        The grid.
    values
        Complex, (n,) or (n, 3, 3).
    note
        What was done to get there, or None if nothing was.
    """

    grid: EnergyGrid
    values: np.ndarray
    note: str | None


def sample(
    energies: np.ndarray,
    values: np.ndarray,
    where: str,
    *,
    rounding: float = 0.0,
    step: float | None = None,
) -> Sampled:
    """Return ``values`` on a uniform grid.

    Evenly spaced energies, to within the ``rounding`` of the file, are taken as the grid; values
    stay as they are. Others are interpolated linearly on a grid from the first to the last energy,
    whose step is the smallest distance of neighbouring energies, or larger where that would take
    more than 4,001 points. Negative energies are left out, since ε(−E) = ε(E)*.

    Parameters
    ----------
    energies
        (m,) in eV, increasing.
    values
        Complex, (m,) or (m, 3, 3).
    where
        Name of the file, for messages.
    rounding
        Largest error of ``energies`` in eV by the number of digits they were written with.
    step
        Step in eV of the grid to interpolate to; shortened until it divides the window.

    Raises
    ------
    SpectrumError
        If fewer than two energies are left, or ``step`` is not positive, wider than the window, or
        asks for more than 100,001 points.
    """
    notes = []
    negative = energies < 0.0
    if negative.any():
        energies, values = energies[~negative], values[~negative]
        notes.append(f"{int(negative.sum())} negative energies left out")
    if energies.size < 2:
        raise SpectrumError(
            f"{energies.size} energies make no spectrum", where=where, expected="two or more"
        )
    uniform = EnergyGrid(energies[0], energies[-1], energies.size)
    if step is None:
        if _even(energies, uniform, rounding):
            return Sampled(uniform, values, "; ".join(notes) or None)
        grid, reason = _default_grid(energies)
    else:
        grid, reason = _asked_grid(energies, step, where), "as asked"
    rows = values.reshape(energies.size, -1).T
    columns = [np.interp(grid.values, energies, row) for row in rows]
    notes.append(
        f"interpolated linearly from {energies.size} energies to {grid.num} evenly spaced ones, "
        f"step {grid.step:.4g} eV ({reason})"
    )
    sampled = np.stack(columns, axis=-1).reshape(grid.num, *values.shape[1:])
    return Sampled(grid, sampled, "; ".join(notes))


def _even(energies: np.ndarray, uniform: EnergyGrid, rounding: float) -> bool:
    # The ends are rounded too, and with them the grid: hence twice.
    allowed = max(2.0 * rounding, EVENNESS * uniform.step)
    # Rounding as large as the step itself would hide any unevenness.
    allowed = min(allowed, 0.25 * uniform.step)
    distance = np.abs(energies - uniform.values)
    return bool(distance.max() <= allowed * (1.0 + 1e-9))


def _default_grid(energies: np.ndarray) -> tuple[EnergyGrid, str]:
    width = float(energies[-1] - energies[0])
    finest = float(np.diff(energies).min())
    # Compared before it is rounded up: the quotient of nearly equal energies can be huge.
    if width / finest <= MAXIMUM_POINTS - 1:
        intervals = max(1, int(np.ceil(width / finest * (1.0 - 1e-9))))
        reason = "the finest in the file"
    else:
        intervals = MAXIMUM_POINTS - 1
        reason = f"the finest in the file is {finest:.3g} eV"
    return EnergyGrid(energies[0], energies[-1], intervals + 1), reason


def _asked_grid(energies: np.ndarray, step: float, where: str) -> EnergyGrid:
    width = float(energies[-1] - energies[0])
    smallest = width / (MAXIMUM_POINTS_ASKED - 1)
    if not smallest <= step <= width:
        raise SpectrumError(
            f"a step of {step:g} eV does not suit a spectrum of {width:g} eV",
            where=where,
            expected=f"a step from {smallest:.2g} to {width:.4g} eV",
        )
    intervals = int(np.ceil(width / step * (1.0 - 1e-9)))
    return EnergyGrid(energies[0], energies[-1], intervals + 1)
