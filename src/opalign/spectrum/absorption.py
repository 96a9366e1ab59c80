"""ε from the absorption coefficient alone."""

from __future__ import annotations

import numpy as np

from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import Oscillator, index_from_extinction
from opalign.spectrum.units import HBAR_C


def epsilon_from_absorption(
    alpha_per_cm: np.ndarray, grid: EnergyGrid, oscillator: Oscillator | None = None
) -> np.ndarray:
    """Return ε (..., n) with this absorption coefficient (..., n) in cm⁻¹.

    k = αħc/(2E), zero at E = 0, and n by Kramers–Kronig of k. Above the grid k goes on from its
    last value as E⁻³, the decay above all transitions: were it zero there, n would fall towards −∞
    at the end of the grid. ``oscillator`` stands for what else lies there; its strength adds to the
    static n. What grid, floor and broadening have cost can still leave n below zero in places; it
    is zero there, so that Im ε ≥ 0 and α is what was given.
    """
    energies = np.where(grid.values > 0.0, grid.values, np.inf)
    extinction = np.asarray(alpha_per_cm, dtype=float) * HBAR_C / (2.0 * energies)
    index = index_from_extinction(extinction, grid, oscillator, beyond="cubic")
    epsilon: np.ndarray = (np.maximum(index, 0.0) + 1j * extinction) ** 2
    return epsilon
