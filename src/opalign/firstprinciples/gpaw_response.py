"""ε of independent particles and in the random-phase approximation, as a tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from opalign.firstprinciples.gpaw_failures import failures_named
from opalign.firstprinciples.gpaw_settings import GpawSettings, Numerics
from opalign.firstprinciples.gpaw_structure import StandardCell
from opalign.firstprinciples.tensor import independent_directions
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import real_from_imaginary

FREQUENCIES = {"type": "nonlinear", "domega0": 0.03, "omega2": 12.0}
"""eV: a mesh of 0.03 that has doubled its steps at 12."""
LEVELS = ("ipa", "rpa")


def response(
    cell: StandardCell,
    settings: GpawSettings,
    numerics: Numerics,
    band_count: int,
    path: Path,
    log: Path,
) -> dict[str, np.ndarray]:
    """Return ε (n, 3, 3) complex at the levels ``ipa`` and ``rpa`` from the bands in ``path``.

    The response of the mesh is computed once; every direction costs no more than a matrix
    inversion a frequency, and symmetry says which are needed.

    Raises
    ------
    EngineFailure
        ``"out of memory"`` or ``"crashed"``.
    """
    directions = independent_directions(cell.cartesian_rotations)
    with failures_named("response"):
        from opalign.firstprinciples.gpaw_tetrahedra import dielectric_function

        function = dielectric_function(
            str(path),
            scheme=settings.scheme,
            ecut=numerics.response_cutoff,
            nbands=band_count,
            eta=settings.eta,
            intraband=False,
            txt=str(log),
            frequencies=dict(FREQUENCIES),
        )
        frequencies = function.get_frequencies()
        along: dict[str, list[np.ndarray]] = {level: [] for level in LEVELS}
        for vector in directions.vectors:
            found = function.get_dielectric_function(direction=vector, filename=None)
            for level, epsilon in zip(LEVELS, found, strict=True):
                along[level].append(_resampled(epsilon, frequencies, settings.grid))
    return {level: directions.tensor(np.array(rows)) for level, rows in along.items()}


def _resampled(epsilon: np.ndarray, frequencies: np.ndarray, grid: EnergyGrid) -> np.ndarray:
    real = np.interp(grid.values, frequencies, epsilon.real)
    return real + 1j * np.interp(grid.values, frequencies, epsilon.imag)


def physical(epsilon: np.ndarray, grid: EnergyGrid, direct_gap: float) -> np.ndarray:
    """Return ε (n, 3, 3) without what its numerics left below the direct gap, and with Im ε ≥ 0.

    Below the direct gap stands the tail of the Lorentzian η, and the interpolation between
    frequencies. What is taken from Im ε is taken from Re ε too, by Kramers–Kronig.
    """
    symmetric = 0.5 * (epsilon + epsilon.swapaxes(1, 2))
    values, vectors = np.linalg.eigh(symmetric.imag)
    kept = np.maximum(values, 0.0) * (grid.values >= direct_gap)[:, None]
    imaginary = (vectors * kept[:, None, :]) @ vectors.swapaxes(1, 2)
    removed = np.moveaxis(symmetric.imag - imaginary, 0, -1)
    real = symmetric.real - np.moveaxis(real_from_imaginary(removed, grid) - 1.0, -1, 0)
    clean: np.ndarray = real + 1j * imaginary
    return clean


def as_lists(epsilon: dict[str, np.ndarray]) -> dict[str, Any]:
    """Tensors as JSON, real and imaginary parts apart."""
    return {
        level: {"real": values.real.tolist(), "imaginary": values.imag.tolist()}
        for level, values in epsilon.items()
    }


def from_lists(content: dict[str, Any]) -> dict[str, np.ndarray]:
    """Tensors from what :func:`as_lists` made."""
    return {
        level: np.array(parts["real"]) + 1j * np.array(parts["imaginary"])
        for level, parts in content.items()
    }
