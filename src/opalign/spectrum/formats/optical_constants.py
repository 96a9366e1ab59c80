"""From curves of n and k, over energies or wavelengths, to ε."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from opalign.errors import SpectrumError
from opalign.spectrum.units import HC

FORMULA_POINTS = 1001
"""Energies at which a formula is evaluated, unless a step in eV is asked for."""


@dataclass(frozen=True)
class Curve:
    """One optical constant over photon energy.

    Parameters
    ----------
    lowest, highest
        Window in eV.
    energies
        (m,) of a table, increasing; None for a formula.
    evaluate
        Values (j,) at energies (j,) within the window.
    rounding
        Largest error of ``energies`` in eV by their digits.
    """

    lowest: float
    highest: float
    energies: np.ndarray | None
    evaluate: Callable[[np.ndarray], np.ndarray]
    rounding: float = 0.0


def curve_of_table(energies: np.ndarray, values: np.ndarray, rounding: float = 0.0) -> Curve:
    """Return the curve that joins the points of a table, (m,) each, by straight lines."""

    def evaluate(at: np.ndarray) -> np.ndarray:
        return np.interp(at, energies, values)

    return Curve(float(energies[0]), float(energies[-1]), energies, evaluate, rounding)


def curve_of_formula(
    shortest: float, longest: float, index: Callable[[np.ndarray], np.ndarray]
) -> Curve:
    """Return the curve of n(λ), given by ``index`` for wavelengths in µm in a range of µm."""

    def evaluate(at: np.ndarray) -> np.ndarray:
        return index(HC / at / 1000.0)

    return Curve(HC / longest / 1000.0, HC / shortest / 1000.0, None, evaluate)


def energies_of_wavelengths(wavelength: np.ndarray, nanometres: float) -> np.ndarray:
    """Return photon energies in eV of ``wavelength`` in units of ``nanometres``."""
    return HC / (wavelength * nanometres)


def epsilon_of_constants(
    index: Curve, extinction: Curve | None, where: str, step: float | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return energies (m,) in eV, ε = (n + ik)² (m,), and the rounding of the energies.

    The energies are those of the tables, within the window that both curves have; between formulas
    1,001 evenly spaced ones, or those that ``step`` asks for. Without ``extinction``, k is zero.

    Raises
    ------
    SpectrumError
        If the curves have no window in common, or n or k is negative.
    """
    curves = [index] if extinction is None else [index, extinction]
    lowest = max(curve.lowest for curve in curves)
    highest = min(curve.highest for curve in curves)
    if not lowest < highest:
        raise SpectrumError(
            "n and k are given for different energies",
            where=where,
            expected="a window that both have in common",
        )
    tables = [curve.energies for curve in curves if curve.energies is not None]
    if tables:
        energies = np.unique(np.concatenate([*tables, [lowest, highest]]))
        energies = energies[(energies >= lowest) & (energies <= highest)]
    else:
        points = FORMULA_POINTS
        if step is not None and step > (highest - lowest) / 100_000:
            points = max(2, int(np.ceil((highest - lowest) / step * (1.0 - 1e-9))) + 1)
        energies = np.linspace(lowest, highest, points)
    n = index.evaluate(energies)
    k = np.zeros_like(n) if extinction is None else extinction.evaluate(energies)
    for name, values in (("n", n), ("k", k)):
        bad = ~(values >= 0.0)
        if bad.any():
            place = bad.argmax()
            raise SpectrumError(
                f"{name} is negative, {values[place]:.3g}, at {energies[place]:.4g} eV",
                where=where,
                expected="n ≥ 0 and k ≥ 0: matter at rest absorbs light",
            )
    return energies, (n + 1j * k) ** 2, max(curve.rounding for curve in curves)
