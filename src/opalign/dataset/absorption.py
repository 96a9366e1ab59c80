"""ε from log₁₀ α alone, for tables that hold nothing else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opalign.spectrum.absorption import epsilon_from_absorption
from opalign.spectrum.grid import EnergyGrid


def epsilon_from_log_absorption(
    log_absorption: NDArray[np.float64], grid: EnergyGrid, floor: float | None = None
) -> NDArray[np.complex128]:
    """ε (..., n) with this log₁₀(α / cm⁻¹) (..., n), by Kramers–Kronig.

    Where α stands at ``floor`` it is only known not to be above it, and is taken as zero.
    """
    alpha = 10.0**log_absorption
    if floor is not None:
        alpha = np.where(log_absorption <= floor, 0.0, alpha)
    return epsilon_from_absorption(alpha, grid)
