"""Groups of materials that a network sees alike: Ward linkage, or density where that is wanted.

Ward's linkage joins, at every step, the two groups whose union adds least to the sum of squared
Euclidean distances from the groups' means (J. H. Ward, J. Am. Stat. Assoc. 58, 236, 1963). How many
groups to cut it into is the business of :mod:`opalign.explain.number`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opalign.errors import ConfigurationError, DatasetError, MissingExtraError

#: Beyond this, linkage works on the vectors themselves: a matrix of distances would take 0.4 GiB
#: here and grow with the square.
MOST_PAIRWISE = 10_000
#: Up to this many materials, leaves of a dendrogram that is shown are ordered so that neighbours
#: are alike; 2,700 materials would take minutes for it, and a fraction of a second for the linkage.
MOST_ORDERED = 500

Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Groups:
    """A partition of M materials."""

    ids: tuple[str, ...]
    labels: Labels
    """(M,) group of each material, from 0 in the order of the dendrogram's leaves; −1: in none."""
    method: str
    """``"ward"`` or ``"hdbscan"``."""
    linkage: Matrix | None = None
    """(M − 1, 4) as SciPy has it."""
    chosen_by: str = "number"
    """How the number of groups came about."""
    criterion: dict[str, Any] = field(default_factory=dict)
    """What the criterion found for each number it tried."""

    @property
    def number(self) -> int:
        """Number of groups."""
        return int(self.labels.max()) + 1

    def __len__(self) -> int:
        return len(self.ids)

    def members(self, group: int) -> Labels:
        """Rows of the materials in a group."""
        return np.flatnonzero(self.labels == group)

    @property
    def sizes(self) -> Labels:
        """(number,) materials in each group."""
        return np.bincount(self.labels[self.labels >= 0], minlength=self.number)


def ward_linkage(matrix: Matrix, where: str = "features", *, ordered: bool = False) -> Matrix:
    """Return the linkage (M − 1, 4) of M materials with features (M, D), as SciPy has it.

    SciPy's up to :data:`MOST_PAIRWISE` materials; beyond, fastcluster's on the vectors, in memory
    that grows with M alone. Both are the same linkage, but for ties.

    Parameters
    ----------
    ordered
        Order the leaves so that neighbours are alike, up to :data:`MOST_ORDERED` materials.

    Raises
    ------
    DatasetError
        If there are fewer than two materials, all features are equal, or some are not finite.
    MissingExtraError
        If fastcluster is needed and not installed.
    """
    matrix = checked_matrix(matrix, where)
    if len(matrix) > MOST_PAIRWISE:
        try:
            import fastcluster
        except ImportError as error:
            raise MissingExtraError(
                f"groups of more than {MOST_PAIRWISE} materials need fastcluster",
                cure="pip install 'opalign[explain]'",
            ) from error
        return np.asarray(fastcluster.linkage_vector(matrix, method="ward"))
    from scipy.cluster.hierarchy import linkage

    ordered = ordered and len(matrix) <= MOST_ORDERED
    return np.asarray(linkage(matrix, method="ward", optimal_ordering=ordered))


def cut(linkage: Matrix, *, number: int | None = None, distance: float | None = None) -> Labels:
    """Cut a linkage into a ``number`` of groups, or where it joins above a ``distance``.

    Returns
    -------
    ndarray
        (M,) labels from 0, in the order of the dendrogram's leaves: groups next to each other are
        those that are joined early.

    Raises
    ------
    ConfigurationError
        If not exactly one of the two is given, or there are more groups than materials.
    """
    from scipy.cluster.hierarchy import fcluster

    materials = len(linkage) + 1
    if (number is None) == (distance is None):
        raise ConfigurationError(
            "a cut takes either a number of groups or a distance",
            expected="one of number and distance",
        )
    if distance is not None:
        if not distance >= 0.0:
            raise ConfigurationError(f"a cut at distance {distance}", expected="zero or more")
        return in_leaf_order(fcluster(linkage, distance, criterion="distance"), linkage)
    if not 1 <= number <= materials:  # type: ignore[operator]
        raise ConfigurationError(
            f"{number} groups of {materials} materials",
            expected=f"between 1 and {materials} groups",
            cure="ask for fewer groups, or let a criterion choose",
        )
    return in_leaf_order(_first_joins(linkage, materials - number), linkage)  # type: ignore[operator]


def _first_joins(linkage: Matrix, joins: int) -> Labels:
    """Return the groups after the first ``joins``, also where several are equally high.

    SciPy's ``fcluster`` gives fewer groups than asked for there, and ``cut_tree`` takes time with
    the square of the number of materials.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    materials = len(linkage) + 1
    nodes = materials + joins
    parents = np.repeat(np.arange(materials, nodes), 2)
    children = linkage[:joins, :2].astype(np.int64).reshape(-1)
    graph = coo_array((np.ones(2 * joins), (parents, children)), shape=(nodes, nodes))
    _, labels = connected_components(graph, directed=False)
    return labels[:materials].astype(np.int64)


def in_leaf_order(labels: NDArray[np.integer], linkage: Matrix) -> Labels:
    """Return labels from 0 in the order in which the dendrogram's leaves show the groups."""
    from scipy.cluster.hierarchy import leaves_list

    _, first = np.unique(labels[leaves_list(linkage)], return_index=True)
    old, inverse = np.unique(labels, return_inverse=True)
    rank = np.empty(len(old), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(old))
    return rank[inverse]


def density_groups(ids: tuple[str, ...], matrix: Matrix, *, smallest: int = 5) -> Groups:
    """Group by density (HDBSCAN), which leaves materials unlike all others in no group.

    R. J. G. B. Campello, D. Moulavi, J. Sander, PAKDD 2013; scikit-learn's implementation.

    Parameters
    ----------
    smallest
        Materials that make a group.
    """
    from sklearn.cluster import HDBSCAN

    matrix = checked_matrix(matrix, "features")
    if not 2 <= smallest <= len(matrix):
        raise ConfigurationError(
            f"groups of at least {smallest} of {len(matrix)} materials",
            expected=f"a smallest group of 2 to {len(matrix)}",
        )
    labels = HDBSCAN(min_cluster_size=smallest, copy=True).fit_predict(matrix).astype(np.int64)
    return Groups(ids, labels, "hdbscan", chosen_by=f"density, at least {smallest} materials")


def centroids(matrix: Matrix, labels: Labels) -> Matrix:
    """Mean features (number, D) of each group."""
    number = int(labels.max()) + 1
    sums = np.zeros((number, matrix.shape[1]))
    inside = labels >= 0
    np.add.at(sums, labels[inside], matrix[inside])
    return sums / np.bincount(labels[inside], minlength=number)[:, None]


def assign(matrix: Matrix, labels: Labels, new: Matrix) -> tuple[Labels, Matrix]:
    """Put materials into the groups of others, by the nearest centroid.

    Parameters
    ----------
    matrix, labels
        (M, D) features and (M,) groups of the materials that are grouped.
    new
        (K, D) features of those to be put into them.

    Returns
    -------
    labels, distances
        (K,) nearest group and (K, number) Euclidean distances to all centroids.
    """
    from scipy.spatial.distance import cdist

    distances = cdist(new, centroids(matrix, labels))
    return np.argmin(distances, axis=1).astype(np.int64), distances


def checked_matrix(matrix: Matrix, where: str) -> Matrix:
    """Return features (M, D) that can be grouped; DatasetError says why they can't."""
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.ndim != 2 or len(matrix) < 2:
        raise DatasetError(
            f"{len(matrix)} material cannot be grouped",
            where=where,
            expected="at least two materials",
            cure="explain a table of more materials",
        )
    if not np.isfinite(matrix).all():
        row = int(np.argmax(~np.isfinite(matrix).all(axis=1)))
        raise DatasetError(
            f"the features of material {row} are not finite",
            where=where,
            cure="leave this material out",
        )
    if np.ptp(matrix, axis=0).max() == 0.0:
        raise DatasetError(
            f"all {len(matrix)} materials have the same features, so there is nothing to group",
            where=where,
            cure="choose another layer, or a model that has been trained",
        )
    return matrix
