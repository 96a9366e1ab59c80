"""How alike two spectra are: similarity coefficient, mean absolute and mean squared error.

All three integrate over the last axis by the trapezoidal rule, take NumPy arrays or torch tensors
of shape (..., n) that broadcast against each other, return shape (...), and are differentiable in
torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from opalign.spectrum.arrays import integrate, is_tensor, namespace, require_grid_length
from opalign.spectrum.grid import EnergyGrid


def similarity_coefficient(x: Any, reference: Any, grid: EnergyGrid) -> Any:
    """SC = 1 − ∫|X − Y| dE / ∫|Y| dE with the ``reference`` Y in the denominator.

    1 for equal spectra, 0 for x = 0, without lower bound. NaN where the reference is zero
    everywhere, since nothing can then be said. Not symmetric: SC(x, y) ≠ SC(y, x).
    Source: M. Grunert et al., Phys. Rev. Mater. 8, L122201 (2024).

    Raises
    ------
    SpectrumError
        If a last axis does not fit the grid.
    """
    distance = integrate(abs(_difference(x, reference, grid)), grid)
    norm = integrate(abs(_array(reference)), grid)
    numerics = namespace(distance, norm)
    # Dividing by one in place of zero keeps the gradient of the other rows free of NaN.
    known = norm > 0.0
    ratio = distance / numerics.where(known, norm, numerics.ones_like(norm))
    return _scalar(numerics.where(known, 1.0 - ratio, numerics.full_like(ratio, float("nan"))))


def mean_absolute_error(x: Any, reference: Any, grid: EnergyGrid) -> Any:
    """∫|X − Y| dE / E_max, in the unit of the spectra; E_max is the end of the grid."""
    return _scalar(integrate(abs(_difference(x, reference, grid)), grid) / grid.stop)


def mean_squared_error(x: Any, reference: Any, grid: EnergyGrid) -> Any:
    """∫|X − Y|² dE / E_max, in the squared unit of the spectra; E_max is the end of the grid."""
    return _scalar(integrate(abs(_difference(x, reference, grid)) ** 2, grid) / grid.stop)


def _difference(x: Any, reference: Any, grid: EnergyGrid) -> Any:
    require_grid_length(x, grid, "spectra")
    require_grid_length(reference, grid, "reference spectra")
    return _array(x) - _array(reference)


def _array(values: Any) -> Any:
    return values if is_tensor(values) else np.asarray(values)


def _scalar(values: Any) -> Any:
    """Return a Python float for a single NumPy spectrum; everything else as it is."""
    return float(values) if not is_tensor(values) and np.ndim(values) == 0 else values
