"""What a dielectric function has to obey before it becomes a spectrum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from opalign.errors import SpectrumError
from opalign.spectrum.grid import EnergyGrid

TOLERANCE = 1e-6
"""Of negative Im ε and of asymmetry; relative to the largest |ε| where that exceeds 1."""


def checked_epsilon(epsilon: np.ndarray, grid: EnergyGrid, where: str) -> np.ndarray:
    """Return ``epsilon`` as a valid, read-only complex128 copy of shape (n,) or (n, 3, 3).

    Raises
    ------
    SpectrumError
        Naming ``where`` and the first energy at fault, if the shape does not fit ``grid``, a value
        is not finite, the tensor is not symmetric or absorption is negative at E > 0: ε₂ for an
        isotropic ε, the lowest eigenvalue of Im ε for a tensor.
    """
    epsilon = np.array(epsilon, dtype=complex)
    if epsilon.shape not in ((grid.num,), (grid.num, 3, 3)):
        raise SpectrumError(
            f"ε of shape {epsilon.shape} does not lie on the grid of {grid}",
            where=where,
            expected=f"({grid.num},) for an isotropic average or ({grid.num}, 3, 3) for a tensor",
        )
    energies = grid.values
    bad = ~np.isfinite(epsilon).reshape(grid.num, -1).all(axis=1)
    if bad.any():
        raise SpectrumError(
            f"ε is not a finite number at {energies[bad.argmax()]:g} eV",
            where=where,
            expected="finite real and imaginary parts at every energy",
        )
    tolerance = TOLERANCE * max(1.0, float(np.abs(epsilon).max()))
    if epsilon.ndim == 3:
        transposed = epsilon.swapaxes(1, 2)
        bad = (np.abs(epsilon - transposed) > tolerance).any(axis=(1, 2))
        if bad.any():
            raise SpectrumError(
                f"the dielectric tensor is not symmetric at {energies[bad.argmax()]:g} eV",
                where=where,
                expected="ε_ij = ε_ji, as without a magnetic field",
                cure="average the tensor with its transpose if the difference is noise",
            )
        epsilon = 0.5 * (epsilon + transposed)
        absorption = np.linalg.eigvalsh(epsilon.imag)[:, 0]
    else:
        absorption = epsilon.imag
    bad = (absorption < -tolerance) & (energies > 0.0)
    if bad.any():
        place = bad.argmax()
        raise SpectrumError(
            f"Im ε is negative, {absorption[place]:.3g}, at {energies[place]:g} eV",
            where=where,
            expected="Im ε ≥ 0 at positive energies: matter at rest absorbs light",
            cure="check the sign convention (ε₁ + iε₂), or set noise to zero first",
        )
    if epsilon.ndim == 1:
        epsilon.imag = np.maximum(epsilon.imag, 0.0)
    epsilon.flags.writeable = False
    return epsilon


def unit_vector(vector: Sequence[float]) -> np.ndarray:
    """Return the unit vector (3,) along a Cartesian ``vector``.

    Raises
    ------
    SpectrumError
        Unless it has three finite components that are not all zero.
    """
    direction = np.asarray(vector, dtype=float)
    length = np.linalg.norm(direction)
    if direction.shape != (3,) or not np.isfinite(length) or length == 0.0:
        raise SpectrumError(
            f"{vector} is not a direction", expected="three Cartesian components, not all zero"
        )
    return np.asarray(direction / length)
