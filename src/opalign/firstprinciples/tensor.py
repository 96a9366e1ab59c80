"""Which directions of light determine a dielectric tensor, and the tensor from what they gave.

ε along a unit vector d is the quadratic form dᵀ ε d. A symmetric tensor has six numbers, of which
the point group leaves one (cubic), two (uniaxial), three (orthorhombic), four (monoclinic) or six
(triclinic) free: as many directions are enough.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

_HALF = np.sqrt(0.5)
CANDIDATES = np.array(
    [
        (1.0, 0.0, 0.0),
        (0.0, 1.0, 0.0),
        (0.0, 0.0, 1.0),
        (_HALF, _HALF, 0.0),
        (0.0, _HALF, _HALF),
        (_HALF, 0.0, _HALF),
    ]
)
"""Axes, and the diagonals that give the off-diagonal elements: ε_xy = ε(d) − (ε_xx + ε_yy)/2."""


@dataclass(frozen=True)
class Directions:
    """Directions (m, 3), unit vectors, and the map from ε along them to the tensor (3, 3, m)."""

    vectors: np.ndarray
    assembly: np.ndarray

    def tensor(self, along: np.ndarray) -> np.ndarray:
        """Return the tensor (n, 3, 3) from ε along every direction (m, n)."""
        return np.einsum("ijm,mn->nij", self.assembly, along)


def independent_directions(rotations: np.ndarray) -> Directions:
    """Return the fewest directions that determine a tensor with this symmetry.

    ``rotations`` (n, 3, 3) are the orthogonal matrices of the point group in Cartesian axes.
    """
    # Symmetric tensors that the group leaves as they are: images of a basis, averaged over it.
    basis = []
    for i, j in itertools.combinations_with_replacement(range(3), 2):
        tensor = np.zeros((3, 3))
        tensor[i, j] = tensor[j, i] = 1.0
        basis.append((rotations @ tensor @ rotations.swapaxes(1, 2)).mean(axis=0))
    _, sizes, invariant = np.linalg.svd(np.reshape(basis, (6, 9)))
    invariant = invariant[: np.count_nonzero(sizes > 1e-6)].reshape(-1, 3, 3)
    forms = np.einsum("di,fij,dj->df", CANDIDATES, invariant, CANDIDATES)
    # The first of the best conditioned choices: axes before diagonals where both will do.
    choices = itertools.combinations(range(len(CANDIDATES)), len(invariant))
    best = min(choices, key=lambda choice: round(np.linalg.cond(forms[list(choice)]), 6))
    inverse = np.linalg.inv(forms[list(best)])
    return Directions(CANDIDATES[list(best)], np.einsum("fij,fm->ijm", invariant, inverse))
