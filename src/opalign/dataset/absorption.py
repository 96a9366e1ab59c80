"""ε from log₁₀ α alone, for tables that hold nothing else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import index_from_extinction
from opalign.spectrum.units import HBAR_C


def epsilon_from_log_absorption(
    log_absorption: NDArray[np.float64], grid: EnergyGrid, floor: float | None = None
) -> NDArray[np.complex128]:
    """ε (..., n) with this log₁₀(α / cm⁻¹) (..., n): k = αħc/(2E), n from k by Kramers–Kronig.

    Where α stands at ``floor`` it is only known not to be above it, and is taken as zero. Above the
    grid k is continued from its last value as E⁻³, the decay above all transitions: were it zero
    there, n would fall towards −∞ at the end of the grid. What the grid, the floor and the
    broadening have cost can still leave n below zero in places; it is zero there, so that Im ε ≥ 0
    and α is what the table holds.
    """
    alpha = 10.0**log_absorption
    if floor is not None:
        alpha = np.where(log_absorption <= floor, 0.0, alpha)
    energies = np.where(grid.values > 0.0, grid.values, np.inf)
    extinction = alpha * HBAR_C / (2.0 * energies)
    index = index_from_extinction(extinction, grid) + extinction[..., -1:] * _tail(grid)
    epsilon: NDArray[np.complex128] = (np.maximum(index, 0.0) + 1j * extinction) ** 2
    return epsilon


def _tail(grid: EnergyGrid) -> NDArray[np.float64]:
    """Δn (n,) of k(E′) = (E₀/E′)³ for E′ > E₀.

    (2/π) ∫ E′k/(E′² − E²) dE′ = (2/π) (artanh(x)/x − 1)/x² with x = E/E₀. E₀ lies half a step above
    the grid, since Kramers–Kronig lets the last value fall to zero within one step.
    """
    x = grid.values / (grid.stop + grid.step / 2)
    # Where x² is lost in rounding, the series 1/3 + x²/5 + … takes over.
    small = x < 1e-3
    safe = np.where(small, 0.5, x)
    ratio = np.where(small, 1 / 3 + x**2 / 5, (np.arctanh(safe) / safe - 1.0) / safe**2)
    tail: NDArray[np.float64] = 2.0 / np.pi * ratio
    return tail
