"""One table that scores every layer of every network, and the controls, as a basis for groups.

All representations are cut into the same number of groups, because most measures depend on it. For
each row: are the groups coherent in their spectra, are they coherent in their chemistry, and do
they come back?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from opalign.errors import DatasetError
from opalign.explain.coherence import SpectralDistances, class_agreement, spread_within
from opalign.explain.features import LayerFeatures
from opalign.explain.groups import Groups, Labels, Matrix, cut, ward_linkage
from opalign.explain.out_of_fold import out_of_fold_groups
from opalign.explain.stability import agreement, bootstrap_stability

if TYPE_CHECKING:
    import pandas as pd

RepresentationKind = Literal["layer", "control"]


@dataclass(frozen=True, eq=False)
class Representation:
    """Something that M materials can be grouped by."""

    name: str
    features: LayerFeatures
    kind: RepresentationKind = "layer"
    unseen: LayerFeatures | None = None
    """The same out of fold, for what was trained on the spectra."""
    compared: Mapping[str, LayerFeatures] = field(default_factory=dict)
    """What its groups are compared with: ``"seed"``, ``"architecture"`` → features."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of the M materials without any network."""

    ids: tuple[str, ...]
    formulas: tuple[str, ...]
    spectra: Mapping[str, Matrix]
    """Name of a quantity, such as ``"log_absorption"`` → (M, n)."""
    numbers: Mapping[str, NDArray[np.float64]]
    """Name, such as ``"onset_eV"`` → (M,), NaN where there is none."""
    classes: Mapping[str, Sequence[object]]
    """Name, such as ``"anion"`` → (M,), None where it is not known."""


def validity_table(
    representations: Sequence[Representation],
    truth: Truth,
    number: int,
    *,
    draws: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Score representations as a basis for ``number`` groups of materials.

    Returns
    -------
    pandas.DataFrame
        One row per representation, and a last one for random groups of the sizes that the first
        representation gave (the mean of ``draws``). Columns, all NaN where they do not apply:

        ``representation``, ``kind``, ``groups``
        ``distance_ratio_<spectrum>``
            Mean distance between spectra within groups over that between groups: small is coherent.
        ``distance_ratio_<spectrum>_unseen``
            The same for groups assigned by networks that have not seen the spectra.
        ``spread_<number>``, ``spread_<number>_unseen``
            Standard deviation within groups over that of all.
        ``nmi_<class>``, ``ami_<class>``, ``purity_<class>``, ``chance_purity_<class>``
            Agreement with a classification: large is coherent.
        ``ari_bootstrap``, ``ari_bootstrap_error``, ``ari_unseen``, ``ari_<compared>``
            Adjusted Rand index with groups of part of the materials, out of fold, of another seed,
            of another architecture.

    Raises
    ------
    DatasetError
        If a representation is of other materials than the truth.
    """
    import pandas as pd

    measures = _Measures(truth, seed)
    rows = []
    random_sizes: Labels | None = None
    for representation in representations:
        if representation.features.ids != truth.ids:
            raise DatasetError(
                f"{representation.name} is of other materials than the table",
                cure="extract the features of this table",
            )
        matrix = representation.features.matrix
        labels = cut(ward_linkage(matrix, representation.name), number=number)
        random_sizes = labels if random_sizes is None else random_sizes
        row: dict[str, Any] = {
            "representation": representation.name,
            "kind": representation.kind,
            "groups": number,
            **measures.spectral(labels),
            **measures.chemical(labels),
        }
        means, errors = bootstrap_stability(
            {number: labels}, matrix, truth.formulas, draws=draws, seed=seed
        )
        row["ari_bootstrap"], row["ari_bootstrap_error"] = float(means[0]), float(errors[0])
        if representation.unseen is not None:
            groups = Groups(truth.ids, labels, "ward")
            unseen = out_of_fold_groups(groups, representation.features, representation.unseen)
            seen = unseen >= 0
            row["ari_unseen"] = agreement(labels[seen], unseen[seen])
            row |= {f"{name}_unseen": value for name, value in measures.spectral(unseen).items()}
        for what, other in representation.compared.items():
            again = cut(ward_linkage(other.select(truth.ids).matrix), number=number)
            row[f"ari_{what}"] = agreement(labels, again)
        rows.append(row)
    if random_sizes is not None:
        rows.append(_random_row(measures, random_sizes, number, draws, seed))
    return pd.DataFrame(rows)


class _Measures:
    """Measures of a partition that need no network; distances between spectra are kept."""

    def __init__(self, truth: Truth, seed: int) -> None:
        self._truth = truth
        self._distances = {
            name: SpectralDistances(values, truth.formulas, seed=seed)
            for name, values in truth.spectra.items()
        }

    def spectral(self, labels: Labels) -> dict[str, float]:
        ratios = {
            f"distance_ratio_{name}": distances.compare(labels).ratio
            for name, distances in self._distances.items()
        }
        spreads = {
            f"spread_{name}": spread_within(values, labels)
            for name, values in self._truth.numbers.items()
        }
        return ratios | spreads

    def chemical(self, labels: Labels) -> dict[str, float]:
        row = {}
        for name, classes in self._truth.classes.items():
            found = class_agreement(labels, classes)
            row[f"nmi_{name}"] = found.mutual_information
            row[f"ami_{name}"] = found.adjusted_mutual_information
            row[f"purity_{name}"] = found.purity
            row[f"chance_purity_{name}"] = found.chance_purity
        return row


def _random_row(
    measures: _Measures, labels: Labels, number: int, draws: int, seed: int
) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        shuffled = generator.permutation(labels)
        found.append({**measures.spectral(shuffled), **measures.chemical(shuffled)})
    means = {name: float(np.nanmean([row[name] for row in found])) for name in found[0]}
    return {"representation": "random groups", "kind": "control", "groups": number, **means}


def composition_features(
    ids: Sequence[str], formulas: Sequence[str], compositions: Sequence[Mapping[str, float]]
) -> LayerFeatures:
    """Return the fraction of each element as features: the control that knows no structure.

    Parameters
    ----------
    compositions
        (M,) element symbol → amount.
    """
    elements = sorted({symbol for composition in compositions for symbol in composition})
    matrix = np.array(
        [[composition.get(symbol, 0.0) for symbol in elements] for composition in compositions]
    )
    matrix /= matrix.sum(axis=1, keepdims=True)
    return LayerFeatures(tuple(ids), tuple(formulas), "composition", "none", matrix)


def spectra_features(
    ids: Sequence[str], formulas: Sequence[str], spectra: Matrix, name: str
) -> LayerFeatures:
    """Return spectra (M, n) as features: the control that knows no chemistry."""
    return LayerFeatures(
        tuple(ids), tuple(formulas), name, "none", np.asarray(spectra, dtype=np.float64)
    )
