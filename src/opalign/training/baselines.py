"""What a network has to beat: mean spectrum, nearest composition, trees, the cheaper level.

The first three are mixtures of training spectra, a matrix of weights each, so that Im ε, Re ε and
the gap are mixed alike and stay consistent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from opalign.dataset.table import SpectraTable
from opalign.training.spectra import SpectraSet

TREES = 500

Array = NDArray[np.float64]


def composition_features(tables: Sequence[SpectraTable]) -> Array:
    """Element fractions and the volume per atom in Å³ of all rows, (rows, 119).

    Column Z − 1 is the fraction of the element of atomic number Z; the last is the volume.
    """
    rows = []
    for table in tables:
        for row in range(len(table)):
            lattice, numbers, _ = table.arrays(row)
            fractions = np.bincount(numbers - 1, minlength=118) / len(numbers)
            rows.append(np.append(fractions, abs(np.linalg.det(lattice)) / len(numbers)))
    return np.array(rows)


def mean_weights(training: Array, test: Array) -> Array:
    """Every training material alike: (test rows, training rows)."""
    return np.full((len(test), len(training)), 1.0 / len(training))


def nearest_weights(training: Array, test: Array) -> Array:
    """Take the material of the nearest element fractions, Euclidean; the first of equals."""
    difference = test[:, None, :-1] - training[None, :, :-1]
    nearest = (difference**2).sum(-1).argmin(axis=1)
    weights = np.zeros((len(test), len(training)))
    weights[np.arange(len(test)), nearest] = 1.0
    return weights


def tree_weights(
    training: Array, test: Array, spectra: Array, trees: int = TREES, seed: int = 0
) -> Array:
    """Extremely randomised trees on element fractions and volume, as weights of their leaves.

    Fitted to ``spectra`` (training rows, n). A tree predicts the mean of the training materials in
    the leaf that a material falls into, so that the forest's prediction is weights @ spectra
    exactly (Geurts, Ernst, Wehenkel, Mach. Learn. 63, 3 (2006); no bootstrap).
    """
    from sklearn.ensemble import ExtraTreesRegressor

    forest = ExtraTreesRegressor(trees, random_state=seed).fit(training, spectra)
    weights = np.zeros((len(test), len(training)))
    for of_training, of_test in zip(forest.apply(training).T, forest.apply(test).T, strict=True):
        together = of_test[:, None] == of_training[None, :]
        weights += together / together.sum(axis=1, keepdims=True)
    return weights / trees


def mixture(training: SpectraSet, weights: Array, test: SpectraSet) -> SpectraSet:
    """Mix training spectra with ``weights`` (test rows, training rows) for the test materials.

    A gap that is not known of a training material does not count.
    """
    known = ~np.isnan(training.band_gap)
    share = weights @ known
    gap = weights @ np.where(known, training.band_gap, 0.0)
    return replace(
        training,
        ids=test.ids,
        formulas=test.formulas,
        imaginary=weights @ training.imaginary,
        real=weights @ training.real,
        band_gap=np.where(share > 0.0, gap / np.where(share > 0.0, share, 1.0), np.nan),
    )


def baselines(
    training: SpectraSet,
    test: SpectraSet,
    training_features: Array,
    test_features: Array,
    trees: int = TREES,
) -> dict[str, SpectraSet]:
    """Predictions of the three baselines for the test materials, by name.

    ``test`` gives ids and formulas alone. Features: :func:`composition_features` of the rows.
    """
    return {
        "mean spectrum": mixture(training, mean_weights(training_features, test_features), test),
        "nearest composition": mixture(
            training, nearest_weights(training_features, test_features), test
        ),
        "randomised trees": mixture(
            training,
            tree_weights(training_features, test_features, training.imaginary, trees),
            test,
        ),
    }


def as_level(spectra: SpectraSet, level: str) -> SpectraSet:
    """Take spectra of one level for those of another, the baseline of the ladder of theory.

    Without the gap, which would be compared with itself.
    """
    return replace(spectra, level=level, band_gap=np.full(len(spectra), np.nan))
