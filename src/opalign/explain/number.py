"""How many groups: criteria that a reader can follow, each with what it found for every number.

``silhouette``
    Mean over materials of (b − a)/max(a, b), with a the mean distance to the own group and b to the
    nearest other one; the number with the largest (P. J. Rousseeuw, J. Comput. Appl. Math. 20, 53,
    1987). It asks for groups that are tight and apart.
``gap``
    The smallest number whose gap statistic is within one standard error of the next one's (R.
    Tibshirani, G. Walther, T. Hastie, J. R. Stat. Soc. B 63, 411, 2001): how much tighter the
    groups are than those of points spread evenly over the box of principal components.
``stability``
    The largest number that comes back as well as any when parts of the materials are grouped anew:
    mean adjusted Rand index within a standard error of the best. Formulas are drawn, not materials,
    since polymorphs are near copies.
``study``
    96 groups for every 2,681 materials, as in the study that grouped so many oxides and
    chalcogenides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from opalign.errors import ConfigurationError
from opalign.explain.groups import Groups, Labels, Matrix, cut, ward_linkage

Criterion = Literal["silhouette", "gap", "stability", "study"]

#: Groups per material of the study.
STUDY_SHARE = 96 / 2681
#: Share of the formulas in each draw.
DRAWN = 0.8
#: Silhouettes of more materials than this are those of a sample of this many.
MOST_SILHOUETTES = 5_000


def group_materials(
    ids: Sequence[str],
    formulas: Sequence[str],
    matrix: Matrix,
    *,
    number: int | None = None,
    distance: float | None = None,
    criterion: Criterion = "silhouette",
    seed: int = 0,
) -> Groups:
    """Group materials by Ward's linkage of their features.

    Parameters
    ----------
    ids, formulas
        (M,) of the materials.
    matrix
        (M, D) features.
    number, distance
        Where to cut; without either, ``criterion`` chooses the number.
    seed
        Of the criterion's draws.

    Raises
    ------
    DatasetError, ConfigurationError
        As :func:`~opalign.explain.groups.ward_linkage` and :func:`~opalign.explain.groups.cut` say.
    """
    linkage = ward_linkage(matrix, ordered=True)
    if number is not None or distance is not None:
        labels = cut(linkage, number=number, distance=distance)
        return Groups(tuple(ids), labels, "ward", linkage, "number" if number else "distance")
    number, found = choose_number(linkage, matrix, formulas, criterion, seed=seed)
    labels = cut(linkage, number=number)
    return Groups(tuple(ids), labels, "ward", linkage, criterion, found)


def choose_number(
    linkage: Matrix,
    matrix: Matrix,
    formulas: Sequence[str],
    criterion: Criterion = "silhouette",
    *,
    seed: int = 0,
) -> tuple[int, dict[str, Any]]:
    """Return the number of groups by a criterion of this module, and what it found.

    The second is plain data: ``numbers`` that were tried, ``values`` of the criterion, for ``gap``
    and ``stability`` also ``errors`` (standard), and the rule in words.
    """
    if criterion not in get_args(Criterion):
        raise ConfigurationError(
            f"there is no criterion {criterion!r}", expected=", ".join(get_args(Criterion))
        )
    if criterion == "study":
        number = min(max(2, round(len(matrix) * STUDY_SHARE)), len(matrix))
        return number, {"rule": "96 groups for every 2,681 materials"}
    numbers = numbers_to_try(len(matrix))
    labels = {number: cut(linkage, number=number) for number in numbers}
    if criterion == "silhouette":
        return _by_silhouette(labels, matrix, seed)
    if criterion == "gap":
        return _by_gap(labels, matrix, seed)
    return _by_stability(labels, matrix, formulas, seed)


def numbers_to_try(materials: int) -> list[int]:
    """Numbers of groups from 2 to a fifth of the materials, ever farther apart, at most some 25.

    Beyond that, groups of one or two materials make any criterion look good.
    """
    largest = max(2, materials // 5)
    spread = np.unique(np.geomspace(2, largest, 24).round().astype(int))
    return [int(number) for number in spread if number < materials] or [materials]


def _by_silhouette(
    labels: dict[int, Labels], matrix: Matrix, seed: int
) -> tuple[int, dict[str, Any]]:
    from scipy.spatial.distance import pdist, squareform
    from sklearn.metrics import silhouette_score

    rows = np.arange(len(matrix))
    if len(rows) > MOST_SILHOUETTES:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:MOST_SILHOUETTES])
    distances = squareform(pdist(matrix[rows]))
    values = [
        float(silhouette_score(distances, own[rows], metric="precomputed"))
        if 2 <= len(np.unique(own[rows])) < len(rows)
        else float("nan")
        for own in labels.values()
    ]
    numbers = list(labels)
    best = numbers[int(np.nanargmax(values))] if not np.all(np.isnan(values)) else numbers[0]
    return best, {
        "numbers": numbers,
        "values": values,
        "rule": "the number with the largest mean silhouette",
    }


def _by_gap(
    labels: dict[int, Labels], matrix: Matrix, seed: int, draws: int = 10
) -> tuple[int, dict[str, Any]]:
    centred = matrix - matrix.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    rotated = centred @ axes.T
    low, high = rotated.min(axis=0), rotated.max(axis=0)
    generator = np.random.default_rng(seed)
    numbers = list(labels)
    expected = np.empty((draws, len(numbers)))
    for draw in range(draws):
        even = generator.uniform(low, high, size=rotated.shape)
        linkage = ward_linkage(even)
        expected[draw] = [_log_spread(even, cut(linkage, number=number)) for number in numbers]
    found = np.array([_log_spread(matrix, own) for own in labels.values()])
    gaps = expected.mean(axis=0) - found
    errors = expected.std(axis=0) * np.sqrt(1.0 + 1.0 / draws)
    enough = np.flatnonzero(gaps[:-1] >= gaps[1:] - errors[1:])
    best = numbers[int(enough[0])] if len(enough) else numbers[-1]
    return best, {
        "numbers": numbers,
        "values": gaps.tolist(),
        "errors": errors.tolist(),
        "rule": "the smallest number whose gap is within a standard error of the next one's",
    }


def _log_spread(matrix: Matrix, labels: Labels) -> float:
    """Logarithm of the sum of squared distances from the groups' means."""
    from opalign.explain.groups import centroids

    squares = float(((matrix - centroids(matrix, labels)[labels]) ** 2).sum())
    return float(np.log(max(squares, np.finfo(float).tiny)))


def _by_stability(
    labels: dict[int, Labels], matrix: Matrix, formulas: Sequence[str], seed: int
) -> tuple[int, dict[str, Any]]:
    from opalign.explain.stability import bootstrap_stability

    values, errors = bootstrap_stability(labels, matrix, formulas, seed=seed, share=DRAWN)
    numbers = list(labels)
    top = int(np.argmax(values))
    best = numbers[int(np.flatnonzero(values >= values[top] - errors[top])[-1])]
    return best, {
        "numbers": numbers,
        "values": values.tolist(),
        "errors": errors.tolist(),
        "rule": "the largest number whose mean adjusted Rand index is within a standard error of "
        "the best",
    }
