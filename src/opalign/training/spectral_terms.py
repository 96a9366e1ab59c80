"""Distances of spectra beyond the difference energy by energy, each relative to the reference.

A peak that is predicted 0.3 eV beside its place counts twice in 1 − SC, once where it is and once
where it should be, however near it is. Distances of cumulative spectra and of blurred spectra know
that nearly right is better than far off; the slope and the logarithm look at what areas hide.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from opalign.spectrum.arrays import constant_like, integrate, trapezoidal_weights
from opalign.spectrum.broadening import Broadening, broaden
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.units import HBAR_C, LOG_ABSORPTION_FLOOR

LEAST_AREA = 1e-3
"""eV: a reference with a smaller integral counts as if it had this one."""


def relative_distance(predicted: Tensor, reference: Tensor, grid: EnergyGrid) -> Tensor:
    """1 − SC = ∫|Δ| dE / ∫|reference| dE of spectra (..., n): (...)."""
    return integrate((predicted - reference).abs(), grid) / _area(reference, grid)


def blurred_distance(
    predicted: Tensor, reference: Tensor, grid: EnergyGrid, width: float
) -> Tensor:
    """Take 1 − SC after a further Gaussian of σ = ``width`` eV on both sides."""
    broadening = Broadening("gaussian", width)
    difference = broaden(predicted - reference, grid, broadening, "odd")
    return integrate(difference.abs(), grid) / _area(reference, grid)


def cumulative_distance(predicted: Tensor, reference: Tensor, grid: EnergyGrid) -> Tensor:
    """Compare integrals up to every energy: ∫|∫₀^E Δ dE′| dE / (∫|reference| dE · 1 eV).

    For two spectra of equal area this is the Wasserstein distance, the mean energy in eV by which
    weight has to be moved (Vallender, Theory Probab. Appl. 18, 784 (1974)).
    """
    weights = constant_like(predicted, trapezoidal_weights, grid)
    moved = ((predicted - reference) * weights).cumsum(-1)
    return integrate(moved.abs(), grid) / _area(reference, grid)


def slope_distance(predicted: Tensor, reference: Tensor) -> Tensor:
    """∫|dΔ/dE| dE / ∫|d reference/dE| dE; the step of the grid cancels."""
    change = (predicted - reference).diff(dim=-1).abs().sum(-1)
    return change / reference.diff(dim=-1).abs().sum(-1).clamp(min=LEAST_AREA)


def logarithmic_distance(predicted: Tensor, reference: Tensor, grid: EnergyGrid) -> Tensor:
    """Mean difference of log₁₀(nα/cm⁻¹), floored as log₁₀ α is.

    nα = E ε₂/(ħc) exactly, so that ε₂ suffices: the refractive index that α has beside it is one
    that both sides nearly share, and edges differ by orders of magnitude.
    """
    per_centimetre = constant_like(predicted, _per_centimetre, grid)
    floor = 10.0**LOG_ABSORPTION_FLOOR
    ours, theirs = (
        torch.log10((spectrum * per_centimetre).clamp(min=floor))
        for spectrum in (predicted, reference)
    )
    return integrate((ours - theirs).abs(), grid) / (grid.stop - grid.start)


def _area(reference: Tensor, grid: EnergyGrid) -> Tensor:
    """Integrate |reference| over the energies: (...), at least :data:`LEAST_AREA`."""
    area: Tensor = integrate(reference.abs(), grid)
    return area.clamp(min=LEAST_AREA)


def _per_centimetre(grid: EnergyGrid) -> np.ndarray:
    return np.asarray(grid.values / HBAR_C)
