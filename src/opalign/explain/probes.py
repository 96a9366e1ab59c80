"""Linear probes: what can be read off a layer's features of a site by a linear model.

A probe is trained on the sites of some formulas and tested on those of others (G. Alain, Y. Bengio,
arXiv:1610.01644). What a probe finds may be mere knowledge of the element, which the network is
given: the control is the same probe on the element alone, one-hot. A property is *learned* by a
layer if its probe beats the control's on the same folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from opalign.errors import ConfigurationError, DatasetError
from opalign.explain.groups import Matrix

Kind = Literal["class", "number"]

#: Sites a class needs to be asked for; rarer ones are left out.
FEWEST_OF_A_CLASS = 8
#: Strengths of the ridge penalty that cross-validation inside the training sites chooses among.
PENALTIES = tuple(10.0 ** np.arange(-3, 5))


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found."""

    score: float
    """Balanced accuracy for classes, coefficient of determination for numbers, out of fold."""
    control: float
    """The same score of the element alone."""
    gain: float
    """score − control."""
    error: float
    """Standard error of the gain, by bootstrap over formulas."""
    chance: float
    """Score that needs no features: one over the number of classes, or zero."""
    sites: int
    """Sites that were predicted."""
    formulas: int
    """Formulas that they belong to."""


def probe(
    features: Matrix,
    target: Sequence[object],
    atomic_numbers: NDArray[np.int64],
    formulas: Sequence[str],
    kind: Kind,
    *,
    folds: int = 5,
    draws: int = 200,
    seed: int = 0,
) -> ProbeResult:
    """Read a property of sites off their features, out of fold by formula.

    Parameters
    ----------
    features
        (S, D) of one layer.
    target
        (S,) property of each site: anything printable for ``"class"``, floats for ``"number"``;
        None or NaN where it is not known.
    atomic_numbers, formulas
        (S,) element of each site, and formula of its material.
    folds
        Parts into which the formulas are divided.
    draws
        Bootstrap samples of formulas behind the standard error.

    Raises
    ------
    DatasetError
        If fewer than two classes, equal numbers, or fewer formulas than folds are left.
    """
    if kind not in ("class", "number"):
        raise ConfigurationError(f"a probe of kind {kind!r}", expected="class or number")
    used = _known(target, kind)
    formula = np.asarray(formulas)[used]
    names, group = np.unique(formula, return_inverse=True)
    if len(names) < folds:
        raise DatasetError(
            f"the property is known in {len(names)} formulas only",
            expected=f"at least {folds}, to test a probe on formulas it has not seen",
        )
    if kind == "class":
        _, truth = np.unique([str(target[row]) for row in used], return_inverse=True)
    else:
        truth = np.array([float(target[row]) for row in used])  # type: ignore[arg-type]
    if np.ptp(truth) == 0:
        raise DatasetError(
            "the property is the same everywhere", expected="something to tell apart"
        )
    fold = np.random.default_rng(seed).permutation(np.arange(len(names)) % folds)[group]
    elements = np.asarray(atomic_numbers)[used]
    one_hot = (elements[:, None] == np.unique(elements)).astype(float)
    found = _out_of_fold(np.asarray(features)[used], truth, fold, kind)
    plain = _out_of_fold(one_hot, truth, fold, kind)
    score, control = _score(truth, found, kind), _score(truth, plain, kind)
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(group == number) for number in range(len(names))]
    gains = []
    for _ in range(draws):
        rows = np.concatenate([members[n] for n in generator.integers(len(names), size=len(names))])
        if np.ptp(truth[rows]) > 0:
            gains.append(
                _score(truth[rows], found[rows], kind) - _score(truth[rows], plain[rows], kind)
            )
    chance = 1.0 / (int(truth.max()) + 1) if kind == "class" else 0.0
    error = float(np.std(gains, ddof=1)) if len(gains) > 1 else float("nan")
    return ProbeResult(score, control, score - control, error, chance, len(used), len(names))


def _known(target: Sequence[object], kind: Kind) -> NDArray[np.int64]:
    """Rows whose property is known and, for classes, frequent enough."""
    known = [
        row
        for row, value in enumerate(target)
        if value is not None and not (isinstance(value, float) and np.isnan(value))
    ]
    if kind == "class":
        names, counts = np.unique([str(target[row]) for row in known], return_counts=True)
        frequent = set(names[counts >= FEWEST_OF_A_CLASS])
        known = [row for row in known if str(target[row]) in frequent]
    return np.array(known, dtype=np.int64)


def _out_of_fold(
    features: Matrix, truth: NDArray, fold: NDArray[np.int64], kind: Kind
) -> NDArray[np.float64]:
    """Predict the sites of each fold by a linear model of the others."""
    from sklearn.linear_model import RidgeClassifierCV, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = np.full(len(truth), np.nan)
    for number in np.unique(fold):
        test = fold == number
        if np.ptp(truth[~test]) == 0:
            found[test] = truth[~test][0]
            continue
        model = (
            RidgeClassifierCV(PENALTIES, class_weight="balanced")
            if kind == "class"
            else RidgeCV(PENALTIES)
        )
        pipeline = make_pipeline(StandardScaler(), model).fit(features[~test], truth[~test])
        # What was never seen in training is no reason to go beyond what was: one site far off
        # would otherwise decide the score.
        lowest, highest = truth[~test].min(), truth[~test].max()
        found[test] = np.clip(pipeline.predict(features[test]), lowest, highest)
    return found


def _score(truth: NDArray, found: NDArray[np.float64], kind: Kind) -> float:
    if kind == "number":
        from sklearn.metrics import r2_score

        return float(r2_score(truth, found))
    return float(np.mean([(found[truth == name] == name).mean() for name in np.unique(truth)]))
