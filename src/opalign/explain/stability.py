"""Whether groups come back: with other materials, other seeds, other architectures.

The measure is the adjusted Rand index (L. Hubert, P. Arabie, J. Classif. 2, 193, 1985): 1 for equal
partitions, 0 on average for unrelated ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from opalign.explain.groups import Labels, Matrix, cut, ward_linkage

#: Materials whose distances are kept as a matrix, of 200 MB.
MOST_DISTANCES = 5_000


def agreement(first: Labels, second: Labels) -> float:
    """Return the adjusted Rand index of two partitions (M,) of the same materials."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(first, second))


def draw_formulas(
    formulas: Sequence[str], share: float, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Rows of all materials of a random share of the formulas, sorted."""
    names, group = np.unique(np.asarray(formulas), return_inverse=True)
    kept = generator.permutation(len(names))[: max(2, round(share * len(names)))]
    return np.flatnonzero(np.isin(group, kept))


def bootstrap_stability(
    labels: Mapping[int, Labels],
    matrix: Matrix,
    formulas: Sequence[str],
    *,
    draws: int = 20,
    share: float = 0.8,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Group part of the materials anew, many times, and compare with the groups of all.

    Parameters
    ----------
    labels
        Number of groups → (M,) groups of all materials.
    matrix, formulas
        (M, D) features and (M,) formulas; whole formulas are drawn, without replacement.

    Returns
    -------
    means, errors
        (len(labels),) mean adjusted Rand index over the draws and its standard error.
    """
    from scipy.cluster.hierarchy import linkage as scipy_linkage
    from scipy.spatial.distance import pdist, squareform

    generator = np.random.default_rng(seed)
    found = np.empty((draws, len(labels)))
    # Distances of all serve every draw, as long as they fit into memory.
    distances = squareform(pdist(matrix)) if len(matrix) <= MOST_DISTANCES else None
    for draw in range(draws):
        rows = draw_formulas(formulas, share, generator)
        if distances is None:
            linkage = ward_linkage(matrix[rows])
        else:
            own_distances = squareform(distances[np.ix_(rows, rows)], checks=False)
            linkage = np.asarray(scipy_linkage(own_distances, "ward"))
        for place, (number, own) in enumerate(labels.items()):
            again = cut(linkage, number=min(number, len(rows)))
            found[draw, place] = agreement(own[rows], again)
    return found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(draws)
