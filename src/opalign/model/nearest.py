"""The training materials nearest to a structure, as the model sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opalign.errors import CheckpointError

FEW = 2000
"""Training materials up to which all distances are taken."""
BLOCK = 1 << 22
"""Numbers of a block of differences."""


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
        self._search = _new_search(self.features) if len(self.ids) else None
        self._spacings = self._nearest_other()
        self._quantiles: dict[float, float] = {}

    @property
    def typical_distance(self) -> float:
        """Median distance of a training material from the nearest other; NaN without any."""
        return float(np.median(self._spacings)) if self._spacings.size else float("nan")

    def spacing_quantile(self, share: float) -> float:
        """Distance below which this share of the training materials have their nearest other."""
        if share not in self._quantiles:
            found = np.quantile(self._spacings, share) if self._spacings.size else np.nan
            self._quantiles[share] = float(found)
        return self._quantiles[share]

    def query(self, features: ArrayLike, count: int = 3) -> list[tuple[Neighbor, ...]]:
        """For every row of ``features`` (B, D) the ``count`` nearest materials, nearest first.

        Equally near ones come in the order of the training set.
        """
        rows = np.atleast_2d(np.asarray(features, dtype=np.float64))
        if self._search is None:
            return [() for _ in rows]
        distances, indices = self._search(rows, min(count, len(self.ids)))
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
        if self._search is None:
            return np.full(len(rows), np.nan)
        distances, _ = self._search(rows, 1)
        return distances[:, 0] / self.typical_distance

    def _nearest_other(self) -> NDArray[np.float64]:
        """Distances from each material to the nearest one with other features, (≤ M,)."""
        if self._search is None:
            return np.empty(0)
        distinct = np.unique(self.features, axis=0)
        if len(distinct) < 2:
            return np.empty(0)
        distances, _ = _new_search(distinct)(distinct, 2)
        return distances[:, 1]


Search = Callable[[NDArray[np.float64], int], tuple[NDArray[np.float64], NDArray[np.int64]]]
"""Rows (B, D) and a number k → distances and places (B, k), nearest first."""


def _new_search(points: NDArray[np.float64]) -> Search:
    """Search among ``points`` (M, D): a tree, or for few of them all distances.

    SciPy takes half a second to import, more than a prediction.
    """
    if len(points) <= FEW:
        return partial(_among_few, points)
    from scipy.spatial import KDTree

    tree = KDTree(points)

    def search(
        rows: NDArray[np.float64], count: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        distances, places = tree.query(rows, k=np.arange(1, count + 1))
        return np.asarray(distances), np.asarray(places)

    return search


def _among_few(
    points: NDArray[np.float64], rows: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    distances = np.empty((len(rows), count))
    places = np.empty((len(rows), count), dtype=np.int64)
    step = max(1, BLOCK // max(points.size, 1))
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        # Differences, not squares of norms: equal features must be at a distance of zero.
        apart = np.sqrt(((rows[part, None] - points) ** 2).sum(-1))
        order = np.argsort(apart, axis=1, kind="stable")[:, :count]
        places[part], distances[part] = order, np.take_along_axis(apart, order, axis=1)
    return distances, places
