"""The training materials nearest to a structure, as the model sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opalign.errors import CheckpointError


@dataclass(frozen=True)
class Neighbor:
    """A training material and how far it is in the space of the model's pooled features."""

    id: str
    formula: str
    distance: float
    """Euclidean."""
    relative_distance: float
    """In units of the median distance of a training material from the one nearest to it."""


class NearestMaterials:
    """Nearest neighbours among training materials in the space of pooled features, Euclidean.

    Distances are also given relative to the typical one: the median, over the training materials,
    of the distance to the nearest *other* one. Materials with equal features (a polymorph that the
    network cannot tell apart, a duplicate) do not make that zero: such pairs are left out of it.

    Parameters
    ----------
    ids, formulas
        (M,) of the training materials.
    features
        (M, D) their pooled features.

    Raises
    ------
    CheckpointError
        If the lengths disagree or features are not finite.
    """

    def __init__(self, ids: Sequence[str], formulas: Sequence[str], features: ArrayLike) -> None:
        from scipy.spatial import KDTree

        self.ids, self.formulas = list(ids), list(formulas)
        self.features = np.asarray(features, dtype=np.float64)
        shape = self.features.shape
        if len(shape) != 2 or not len(self.ids) == len(self.formulas) == shape[0]:
            raise CheckpointError(
                f"{len(self.ids)} ids, {len(self.formulas)} formulas and features of shape {shape} "
                "of training materials do not fit together",
                cure="save the checkpoint anew",
            )
        if not np.isfinite(self.features).all():
            raise CheckpointError("features of training materials are not finite numbers")
        self._tree = KDTree(self.features) if len(self.ids) else None
        self._spacings = self._nearest_other()

    @property
    def typical_distance(self) -> float:
        """Median distance of a training material from the nearest other; NaN without any."""
        return float(np.median(self._spacings)) if self._spacings.size else float("nan")

    def spacing_quantile(self, share: float) -> float:
        """Distance below which this share of the training materials have their nearest other."""
        return float(np.quantile(self._spacings, share)) if self._spacings.size else float("nan")

    def query(self, features: ArrayLike, count: int = 3) -> list[tuple[Neighbor, ...]]:
        """For every row of ``features`` (B, D) the ``count`` nearest materials, nearest first.

        Equally near ones come in the order of the training set.
        """
        rows = np.atleast_2d(np.asarray(features, dtype=np.float64))
        if self._tree is None:
            return [() for _ in rows]
        count = min(count, len(self.ids))
        distances, indices = self._tree.query(rows, k=np.arange(1, count + 1))
        typical = self.typical_distance
        return [
            tuple(
                Neighbor(self.ids[i], self.formulas[i], float(d), float(d) / typical)
                for d, i in sorted(zip(distance, index, strict=True))
            )
            for distance, index in zip(distances, indices, strict=True)
        ]

    def relative_distances(self, features: ArrayLike) -> NDArray[np.float64]:
        """Distance of every row of ``features`` (B, D) from the material nearest to it, (B,).

        In units of :attr:`typical_distance`; NaN without any training material.
        """
        rows = np.atleast_2d(np.asarray(features, dtype=np.float64))
        if self._tree is None:
            return np.full(len(rows), np.nan)
        distances, _ = self._tree.query(rows, k=1)
        return np.asarray(distances, dtype=np.float64) / self.typical_distance

    def _nearest_other(self) -> NDArray[np.float64]:
        """Distances from each material to the nearest one with other features, (≤ M,)."""
        if self._tree is None:
            return np.empty(0)
        from scipy.spatial import KDTree

        distinct = np.unique(self.features, axis=0)
        if len(distinct) < 2:
            return np.empty(0)
        distances, _ = KDTree(distinct).query(distinct, k=[2])
        return np.asarray(distances[:, 0], dtype=np.float64)
