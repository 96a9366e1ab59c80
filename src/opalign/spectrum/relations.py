"""Optical constants from the dielectric function, at normal incidence in isotropic matter.

All functions work on NumPy arrays and torch tensors of any shape, element by element, and are
differentiable in torch.
Source: e.g. M. Fox, Optical Properties of Solids, 2nd ed. (2010), chapter 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from opalign.spectrum.arrays import constant_like, is_tensor, namespace, require_grid_length
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.units import HBAR_C


def refractive_index(epsilon_real: Any, epsilon_imaginary: Any) -> tuple[Any, Any]:
    """Return n and k with n + ik = √(ε₁ + iε₂), for ε₂ ≥ 0 the branch with k ≥ 0 and n ≥ 0.

    The larger of the two is computed first and the smaller from ε₂ = 2nk, so that k keeps its
    digits where ε₂ ≪ ε₁ and absorption sets in.
    """
    numerics = namespace(epsilon_real, epsilon_imaginary)
    modulus = numerics.hypot(epsilon_real, epsilon_imaginary)
    larger = numerics.sqrt(0.5 * (modulus + abs(epsilon_real)))
    smaller = 0.5 * epsilon_imaginary / numerics.where(larger > 0.0, larger, 1.0)
    dielectric = epsilon_real >= 0.0
    return (
        numerics.where(dielectric, larger, smaller),
        numerics.where(dielectric, smaller, larger),
    )


def absorption_coefficient(extinction: Any, grid: EnergyGrid) -> Any:
    """Return α = 2Ek/(ħc) in cm⁻¹ from k (..., n) on ``grid``."""
    require_grid_length(extinction, grid, "values of k")
    if is_tensor(extinction):
        return extinction * constant_like(extinction, _absorption_factor, grid)
    return extinction * _absorption_factor(grid)


def _absorption_factor(grid: EnergyGrid) -> np.ndarray:
    return np.asarray(2.0 * grid.values / HBAR_C)


def reflectivity(index: Any, extinction: Any) -> Any:
    """Return R = ((n − 1)² + k²) / ((n + 1)² + k²), the reflected share of the intensity."""
    return ((index - 1.0) ** 2 + extinction**2) / ((index + 1.0) ** 2 + extinction**2)


def loss_function(epsilon_real: Any, epsilon_imaginary: Any) -> Any:
    """Return Im(−1/ε) = ε₂/(ε₁² + ε₂²); not a number where ε = 0."""
    return epsilon_imaginary / (epsilon_real**2 + epsilon_imaginary**2)
