"""Whether groups are of a kind: in their spectra, and in their chemistry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opalign.errors import DatasetError
from opalign.explain.groups import Labels, Matrix

#: Pairs are counted among at most this many materials, drawn at random: 3000 make 4.5 million.
MOST_COMPARED = 3_000


@dataclass(frozen=True)
class PairDistances:
    """Mean distances between spectra of materials of different formula."""

    within: float
    """Between materials of one group."""
    between: float
    """Between materials of different groups."""

    @property
    def ratio(self) -> float:
        """Within over between: 1 for groups that say nothing about the spectra, small is good."""
        return self.within / self.between if self.between > 0.0 else float("nan")


class SpectralDistances:
    """L1 distances between the spectra of M materials, computed once for many partitions.

    Parameters
    ----------
    spectra
        (M, n) on a uniform grid; the distance is the mean absolute difference.
    formulas
        (M,); pairs of one formula are left out, since polymorphs are alike by any measure.
    seed
        Of the draw, where there are more than :data:`MOST_COMPARED` materials.
    """

    def __init__(self, spectra: Matrix, formulas: Sequence[str], *, seed: int = 0) -> None:
        from scipy.spatial.distance import pdist

        spectra = np.asarray(spectra, dtype=np.float64)
        if len(spectra) != len(formulas):
            raise DatasetError(
                f"{len(spectra)} spectra and {len(formulas)} formulas", expected="one each"
            )
        rows = np.arange(len(spectra))
        if len(rows) > MOST_COMPARED:
            rows = np.sort(np.random.default_rng(seed).permutation(rows)[:MOST_COMPARED])
        self._rows = rows
        self._first, self._second = np.triu_indices(len(rows), 1)
        _, formula = np.unique(np.asarray(formulas)[rows], return_inverse=True)
        differ = formula[self._first] != formula[self._second]
        self._first, self._second = self._first[differ], self._second[differ]
        self._distances = pdist(spectra[rows], "cityblock")[differ] / spectra.shape[1]

    def compare(self, labels: Labels) -> PairDistances:
        """Return the mean distances within and between groups; label −1 is in no group."""
        own = labels[self._rows]
        first, second = own[self._first], own[self._second]
        grouped = (first >= 0) & (second >= 0)
        same = grouped & (first == second)
        other = grouped & (first != second)
        return PairDistances(
            float(self._distances[same].mean()) if same.any() else float("nan"),
            float(self._distances[other].mean()) if other.any() else float("nan"),
        )


def spread_within(values: NDArray[np.float64], labels: Labels) -> float:
    """Return the standard deviation within groups relative to that of all materials.

    Square root of the pooled variance around the groups' means (with the degrees of freedom that
    the means take away) over the variance around the mean of all: about 1 for groups that say
    nothing of the value, 0 for groups that fix it.

    Parameters
    ----------
    values
        (M,), such as onsets; NaN where there is none, and left out.
    labels
        (M,); −1 is in no group, and left out.
    """
    used = np.isfinite(values) & (labels >= 0)
    values, labels = values[used], labels[used]
    names, group = np.unique(labels, return_inverse=True)
    freedom = len(values) - len(names)
    if freedom < 1 or len(values) < 2 or np.ptp(values) == 0.0:
        return float("nan")
    sums = np.bincount(group, values)
    squares = float((values**2).sum() - (sums**2 / np.bincount(group)).sum())
    return float(np.sqrt(max(squares, 0.0) / freedom / values.var(ddof=1)))


@dataclass(frozen=True)
class ClassAgreement:
    """How far groups follow a classification that was made without them."""

    mutual_information: float
    """Normalised by the mean of the two entropies: 1 where each fixes the other. It grows with the
    number of groups, so compare equal numbers only."""
    adjusted_mutual_information: float
    """Zero on average for unrelated partitions, whatever the number of groups."""
    purity: float
    """Share of materials that are of their group's most frequent class."""
    chance_purity: float
    """Share of the most frequent class of all: the purity of a single group."""


def class_agreement(labels: Labels, classes: Sequence[object]) -> ClassAgreement:
    """Compare groups (M,) with classes (M,); None and label −1 are left out."""
    from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

    used = [row for row, name in enumerate(classes) if name is not None and labels[row] >= 0]
    if len(used) < 2:
        return ClassAgreement(float("nan"), float("nan"), float("nan"), float("nan"))
    _, group = np.unique(labels[used], return_inverse=True)
    _, kind = np.unique([str(classes[row]) for row in used], return_inverse=True)
    counts = np.zeros((group.max() + 1, kind.max() + 1))
    np.add.at(counts, (group, kind), 1.0)
    return ClassAgreement(
        float(normalized_mutual_info_score(kind, group)),
        float(adjusted_mutual_info_score(kind, group)),
        float(counts.max(axis=1).sum() / counts.sum()),
        float(counts.sum(axis=0).max() / counts.sum()),
    )
