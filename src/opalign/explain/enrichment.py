"""What sets a group apart, with effect sizes and p-values that are corrected for their number.

A network's features follow from elements and bond lengths, so that groups differ in those by
construction: such rows are *descriptive*. So are spectra, for groups made by a network that was
trained on them; they are tested with the groups of networks that have not seen them. What remains
is tested, and only what passes Benjamini–Hochberg's correction over all tests of all groups (Y.
Benjamini, Y. Hochberg, J. R. Stat. Soc. B 57, 289, 1995) is called significant.

One formula is one observation: polymorphs share most of their chemistry, and counting each would
find significance in copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from opalign.errors import DatasetError
from opalign.explain.groups import Labels

if TYPE_CHECKING:
    import pandas as pd

Basis = Literal["tested", "given to the network", "trained on these spectra"]

#: Observations on either side below which there is nothing to test.
FEWEST_FORMULAS = 3
#: Significance level of the corrected p-values.
LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class Property:
    """Something that each of M materials has, has not, or has in some amount."""

    name: str
    """``"tetrahedral CN_4"``, ``"V5+"``, ``"onset_eV"``."""
    family: str
    """What it belongs to: ``"coordination motif"``, ``"oxidation state"``, ``"spectrum"``, …"""
    values: NDArray[np.float64]
    """(M,) 0 or 1 for a categorical property, a number otherwise; NaN where it is not known."""
    categorical: bool
    given: bool = False
    """Whether the network is given it, or its like."""
    spectral: bool = False
    """Whether it comes from the spectra that the network was trained on."""


def enrichments(
    labels: Labels,
    formulas: Sequence[str],
    properties: Sequence[Property],
    *,
    unseen_labels: Labels | None = None,
    level: float = LEVEL,
) -> pd.DataFrame:
    """Compare each group with all other materials in each property.

    Categorical properties by Fisher's exact test, numbers by Mann and Whitney's, both two-sided.

    Parameters
    ----------
    labels
        (M,) groups; −1 is in none, and left out.
    formulas
        (M,); one formula counts once, in the group of most of its materials, with the mean of its
        values there (a categorical property counts as present from one half on).
    unseen_labels
        (M,) groups by networks that have not seen the spectra, for properties that are spectral.
        Without them those are descriptive.

    Returns
    -------
    pandas.DataFrame
        One row per group and property: ``group``, ``property``, ``family``, ``kind``, ``inside``
        and ``outside`` (share or median), ``formulas_inside``, ``formulas_outside``,
        ``count_inside``, ``count_outside`` (of a categorical one), ``effect``, ``effect_name``
        (``log2 odds ratio``, with one half added to each count; ``rank-biserial correlation``, from
        −1 to 1), ``p_value``, ``q_value`` (NaN where not tested), ``significant``, ``basis``.
    """
    import pandas as pd
    from scipy.stats import false_discovery_control

    if unseen_labels is not None and len(unseen_labels) != len(labels):
        raise DatasetError(
            f"{len(unseen_labels)} groups out of fold of {len(labels)} materials",
            expected="one each",
        )
    rows: list[dict[str, Any]] = []
    by_formula = _Formulas(formulas)
    own_groups = by_formula.groups(labels)
    unseen_groups = None if unseen_labels is None else by_formula.groups(unseen_labels)
    number = int(labels.max()) + 1
    for item in properties:
        values = by_formula.values(item)
        basis: Basis = "tested"
        groups = own_groups
        if item.given:
            basis = "given to the network"
        elif item.spectral and unseen_groups is None:
            basis = "trained on these spectra"
        elif item.spectral and unseen_groups is not None:
            groups = unseen_groups
        for group in range(number):
            row = _compare(item, values, groups, group)
            if row is not None:
                rows.append({"group": group, **row, "basis": basis})
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    tested = (frame["basis"] == "tested").to_numpy()
    frame.loc[~tested, "p_value"] = np.nan
    if tested.any():
        frame.loc[tested, "q_value"] = false_discovery_control(
            frame.loc[tested, "p_value"].to_numpy(dtype=float), method="bh"
        )
    frame["significant"] = (frame["q_value"].astype(float) <= level).to_numpy()
    order = frame.assign(
        _q=frame["q_value"].astype(float).fillna(2.0), _effect=-frame["effect"].abs()
    )
    order = order.sort_values(["group", "_q", "_effect"], kind="stable")
    return frame.loc[order.index].reset_index(drop=True)


_COLUMNS = (
    "group",
    "property",
    "family",
    "kind",
    "inside",
    "outside",
    "formulas_inside",
    "formulas_outside",
    "count_inside",
    "count_outside",
    "effect",
    "effect_name",
    "p_value",
    "q_value",
    "significant",
    "basis",
)


class _Formulas:
    """From materials to formulas."""

    def __init__(self, formulas: Sequence[str]) -> None:
        names, self._formula = np.unique(np.asarray(formulas), return_inverse=True)
        self._number = len(names)

    def groups(self, labels: Labels) -> Labels:
        """Group of each formula: that of most of its materials, the first of equals; −1 if none."""
        counts = np.zeros((self._number, int(labels.max()) + 1))
        inside = labels >= 0
        np.add.at(counts, (self._formula[inside], labels[inside]), 1.0)
        found = np.argmax(counts, axis=1).astype(np.int64)
        found[counts.sum(axis=1) == 0.0] = -1
        return found

    def values(self, item: Property) -> NDArray[np.float64]:
        """Mean over the materials of each formula, NaN where none is known."""
        known = np.isfinite(item.values)
        sums = np.bincount(self._formula[known], item.values[known], minlength=self._number)
        counts = np.bincount(self._formula[known], minlength=self._number)
        with np.errstate(invalid="ignore"):
            means = np.where(counts > 0, sums / counts, np.nan)
        return np.where(np.isnan(means), np.nan, means >= 0.5) if item.categorical else means


def _compare(
    item: Property, values: NDArray[np.float64], groups: Labels, group: int
) -> dict[str, Any] | None:
    """Compare one group with the rest; None where there is too little to compare."""
    known = np.isfinite(values) & (groups >= 0)
    inside, outside = values[known & (groups == group)], values[known & (groups != group)]
    if min(len(inside), len(outside)) < FEWEST_FORMULAS:
        return None
    row: dict[str, Any] = {
        "property": item.name,
        "family": item.family,
        "kind": "categorical" if item.categorical else "number",
        "formulas_inside": len(inside),
        "formulas_outside": len(outside),
        "q_value": np.nan,
        "significant": False,
    }
    if item.categorical:
        return row | _fisher(inside, outside) if _told_apart(inside, outside) else None
    return row | _mann_whitney(inside, outside) if np.ptp(values[known]) > 0.0 else None


def _told_apart(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> bool:
    """Whether a property is neither too rare nor too common for any group to stand out."""
    total, everything = inside.sum() + outside.sum(), len(inside) + len(outside)
    return bool(FEWEST_FORMULAS <= total <= everything - FEWEST_FORMULAS)


@lru_cache(maxsize=100_000)
def _fisher_p(a: int, b: int, c: int, d: int) -> float:
    """Return the p-value of Fisher's exact test; many rare properties share their counts."""
    from scipy.stats import fisher_exact

    return float(fisher_exact([[a, b], [c, d]]).pvalue)


def _fisher(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> dict[str, Any]:
    a, c = int(inside.sum()), int(outside.sum())
    b, d = len(inside) - a, len(outside) - c
    odds = ((a + 0.5) * (d + 0.5)) / ((b + 0.5) * (c + 0.5))
    return {
        "inside": a / len(inside),
        "outside": c / len(outside),
        "count_inside": a,
        "count_outside": c,
        "effect": float(np.log2(odds)),
        "effect_name": "log2 odds ratio",
        "p_value": _fisher_p(a, b, c, d),
    }


def _mann_whitney(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> dict[str, Any]:
    from scipy.stats import mannwhitneyu

    found = mannwhitneyu(inside, outside, alternative="two-sided")
    return {
        "inside": float(np.median(inside)),
        "outside": float(np.median(outside)),
        "count_inside": np.nan,
        "count_outside": np.nan,
        "effect": float(2.0 * found.statistic / (len(inside) * len(outside)) - 1.0),
        "effect_name": "rank-biserial correlation",
        "p_value": float(found.pvalue),
    }
