"""How familiar a material is to a model, in numbers that an error estimate is made from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opalign.model.nearest import NearestMaterials

Array = NDArray[np.float64]

#: What the expected error is estimated from, each growing with it. Logarithms, because errors and
#: distances spread over decades; the small numbers added keep a zero finite.
INGREDIENTS = (
    "log relative spread",
    "log gap spread",
    "log feature distance",
    "composition distance",
    "element rarity",
)

_LEAST_SPREAD = 1e-4
_LEAST_GAP_SPREAD = 1e-2  # eV
_LEAST_DISTANCE = 1e-2


class Familiarity:
    """Compares materials with those that a model was trained on.

    Parameters
    ----------
    materials
        The training materials, with reduced formulas.
    """

    def __init__(self, materials: NearestMaterials) -> None:
        from pymatgen.core.composition import Composition

        self.materials = materials
        self._compositions = np.array(
            [_fractions(Composition(formula).get_el_amt_dict()) for formula in materials.formulas]
        ).reshape(len(materials.formulas), _ELEMENTS)
        # Polymorphs tell nothing more of an element.
        distinct = np.unique(self._compositions, axis=0)
        self._formulas_with = (distinct > 0.0).sum(axis=0)

    def feature_distances(self, features: ArrayLike) -> Array:
        """Distance to the nearest training material, 1 being typical among themselves; (B,)."""
        nearest = self.materials.query(features, 1)
        found = [one[0].relative_distance if one else np.nan for one in nearest]
        return np.nan_to_num(np.array(found), nan=1.0)

    def composition_distances(self, atomic_numbers: Sequence[ArrayLike]) -> Array:
        """Least ½ Σ |difference of the element fractions| to a training material, 0 to 1; (B,)."""
        if not len(self._compositions):
            return np.ones(len(atomic_numbers))
        rows = np.array([_of_atoms(numbers) for numbers in atomic_numbers])
        difference = np.abs(rows[:, None] - self._compositions[None])
        return np.asarray(0.5 * difference.sum(axis=-1).min(axis=1))

    def rarities(self, atomic_numbers: Sequence[ArrayLike]) -> Array:
        """−ln(1 + number of training formulas with it) of each material's rarest element; (B,)."""
        counts = self._formulas_with
        rows = [_of_atoms(numbers) > 0.0 for numbers in atomic_numbers]
        return np.array([-np.log1p(counts[row].min()) for row in rows])


def ingredients(
    familiarity: Familiarity,
    features: ArrayLike,
    atomic_numbers: Sequence[ArrayLike],
    imaginary: ArrayLike,
    gaps: ArrayLike,
) -> Array:
    """Return :data:`INGREDIENTS` of B materials at one level of theory, (B, 5).

    Parameters
    ----------
    features
        (B, D) pooled, of the first member.
    atomic_numbers
        Of the atoms of each material.
    imaginary
        (B, K, n) Im ε of each of K members.
    gaps
        (B, K) eV.
    """
    each = np.asarray(imaginary, dtype=np.float64)
    mean = each.mean(axis=1, keepdims=True)
    area = np.abs(mean).sum(axis=(1, 2))
    spread = np.abs(each - mean).mean(axis=1).sum(axis=-1) / np.where(area > 0.0, area, 1.0)
    return np.stack(
        [
            np.log(_LEAST_SPREAD + spread),
            np.log(_LEAST_GAP_SPREAD + np.std(np.asarray(gaps, dtype=np.float64), axis=1)),
            np.log(_LEAST_DISTANCE + familiarity.feature_distances(features)),
            familiarity.composition_distances(atomic_numbers),
            familiarity.rarities(atomic_numbers),
        ],
        axis=1,
    )


_ELEMENTS = 118


def _of_atoms(atomic_numbers: ArrayLike) -> Array:
    """Element fractions of atoms, (118,)."""
    numbers = np.asarray(atomic_numbers, dtype=np.int64)
    return np.bincount(numbers - 1, minlength=_ELEMENTS)[:_ELEMENTS] / len(numbers)


def _fractions(amounts: dict[str, float]) -> Array:
    from pymatgen.core.periodic_table import Element

    found = np.zeros(_ELEMENTS)
    for symbol, amount in amounts.items():
        found[Element(symbol).Z - 1] += amount
    return found / found.sum()
