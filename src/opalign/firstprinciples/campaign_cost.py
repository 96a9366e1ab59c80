"""What a campaign costs: time per material by cell size, and what larger campaigns would take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from opalign.errors import ConfigurationError

LEAST_SPAN = 2.0
"""Ratio of the largest to the smallest cell below which an exponent would be guesswork."""


@dataclass(frozen=True)
class CostFit:
    """Core seconds of a material by its atoms: ``prefactor · atoms ** exponent``.

    A straight line through logarithms, so it follows the typical material; ``mean_ratio``, the mean
    of measured over fitted (N. Duan, J. Am. Stat. Assoc. 78, 605 (1983)), makes of it what
    materials cost on average, on which sums depend.

    Parameters
    ----------
    prefactor
        Seconds of the typical material of one atom.
    exponent
        Power of the number of atoms.
    mean_ratio
        Mean of measured over fitted.
    scatter
        Factor within which two thirds of the materials lie.
    determination
        R² of the logarithms.
    materials, smallest, largest
        How many were measured, and the range of their atoms.
    """

    prefactor: float
    exponent: float
    mean_ratio: float
    scatter: float
    determination: float
    materials: int
    smallest: int
    largest: int

    def typical_seconds(self, atoms: float) -> float:
        """Core seconds of the typical material of this size."""
        return float(self.prefactor * atoms**self.exponent)

    def mean_seconds(self, atoms: float) -> float:
        """Core seconds of the average material of this size."""
        return self.mean_ratio * self.typical_seconds(atoms)


def fit_cost(atoms: Sequence[float], seconds: Sequence[float]) -> CostFit:
    """Fit the core seconds of materials to the number of their atoms.

    Raises
    ------
    ConfigurationError
        Fewer than three materials with a cost, or sizes too close for a power law.
    """
    size, cost = np.asarray(atoms, dtype=float), np.asarray(seconds, dtype=float)
    known = np.isfinite(cost) & (cost > 0.0) & (size > 0.0)
    size, cost = size[known], cost[known]
    if len(size) < 3 or size.max() < LEAST_SPAN * size.min():
        raise ConfigurationError(
            "the cost cannot be fitted",
            expected="three materials of known cost, the largest cell at least "
            f"{LEAST_SPAN:g} times the smallest",
        )
    x, y = np.log(size), np.log(cost)
    exponent, intercept = (float(value) for value in np.polyfit(x, y, 1))
    residuals = y - (intercept + exponent * x)
    spread = float(((y - y.mean()) ** 2).sum())
    return CostFit(
        prefactor=float(np.exp(intercept)),
        exponent=exponent,
        mean_ratio=float(np.exp(residuals).mean()),
        scatter=float(np.exp(residuals.std())),
        determination=1.0 - float((residuals**2).sum()) / spread if spread > 0.0 else 1.0,
        materials=len(size),
        smallest=int(size.min()),
        largest=int(size.max()),
    )
