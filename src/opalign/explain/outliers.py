"""Materials with large errors, or far from all others, and what the data say about why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opalign.explain.groups import Matrix

if TYPE_CHECKING:
    import pandas as pd

#: A property that this many other formulas or fewer share is rare.
RARE = 2
#: Share of the materials that are looked at from either end.
TAIL = 0.1


def nearest_distances(matrix: Matrix, formulas: Sequence[str]) -> NDArray[np.float64]:
    """Distance (M,) of each material's features to the nearest of another formula."""
    from scipy.spatial import KDTree

    names = np.asarray(formulas)
    tree = KDTree(matrix)
    found = np.full(len(matrix), np.inf)
    pending = np.arange(len(matrix))
    count = 2
    while len(pending):
        count = min(count, len(matrix))
        distances, rows = tree.query(matrix[pending], k=count)
        other = names[rows] != names[pending][:, None]
        has = other.any(axis=1)
        first = np.argmax(other, axis=1)
        found[pending[has]] = distances[has, first[has]]
        if count == len(matrix):
            break
        pending = pending[~has]
        count *= 2
    return found


def outliers(
    matrix: Matrix,
    materials: pd.DataFrame,
    errors: NDArray[np.float64] | None = None,
    *,
    tail: float = TAIL,
) -> pd.DataFrame:
    """List materials that are far from all others or predicted badly, with reasons.

    Parameters
    ----------
    matrix
        (M, D) features.
    materials
        Their chemistry, from :func:`opalign.explain.chemistry.describe.describe_materials`.
    errors
        (M,) of the prediction, larger is worse, such as 1 − SC; NaN where there is none.
    tail
        Share of the materials that counts as far, or as bad.

    Returns
    -------
    pandas.DataFrame
        The worst first, indexed by material id: ``formula``, ``distance`` (relative to the median),
        ``far``, ``error``, ``bad``, ``reasons`` (tuple of sentences; empty where the data give
        none).
    """
    import pandas as pd

    distances = nearest_distances(matrix, list(materials["formula"]))
    finite = distances[np.isfinite(distances)]
    typical = float(np.median(finite)) if len(finite) else 1.0
    relative = distances / typical if typical > 0.0 else distances
    # Strictly above: of equal values none stands out.
    far = distances > np.quantile(distances, 1.0 - tail, method="lower")
    bad = np.zeros(len(materials), dtype=bool)
    if errors is None:
        errors = np.full(len(materials), np.nan)
    if np.isfinite(errors).any():
        bad = errors > np.nanquantile(errors, 1.0 - tail, method="lower")
    reasons = rarity(materials)
    rows = [
        {
            "material_id": material_id,
            "formula": materials["formula"].iloc[row],
            "distance": float(relative[row]),
            "far": bool(far[row]),
            "error": float(errors[row]),
            "bad": bool(bad[row]),
            "reasons": reasons[material_id],
        }
        for row, material_id in enumerate(materials.index)
        if far[row] or bad[row]
    ]
    frame = pd.DataFrame(
        rows, columns=["material_id", "formula", "distance", "far", "error", "bad", "reasons"]
    ).set_index("material_id")
    return frame.sort_values(["error", "distance"], ascending=False, na_position="last")


def rarity(materials: pd.DataFrame) -> Mapping[str, tuple[str, ...]]:
    """Say of each material which of its elements, states, coordinations and types are rare."""
    formulas = list(materials["formula"])
    found: dict[str, list[str]] = {str(material_id): [] for material_id in materials.index}
    for column, what in (
        ("elements", "{} occurs in {}"),
        ("cation_states", "{} occurs in {}"),
        ("motifs", "{} coordination occurs in {}"),
        ("coordination", "{}-coordinate cations occur in {}"),
        ("prototype", "the structure type {} occurs in {}"),
    ):
        cells = [
            () if cell is None else cell if isinstance(cell, tuple) else (cell,)
            for cell in materials[column]
        ]
        owners: dict[object, set[str]] = {}
        for cell, formula in zip(cells, formulas, strict=True):
            for value in cell:
                owners.setdefault(value, set()).add(formula)
        for material_id, cell, formula in zip(found, cells, formulas, strict=True):
            for value in cell:
                others = len(owners[value] - {formula})
                if others <= RARE:
                    number = {0: "no other formula", 1: "one other formula"}.get(
                        others, f"{others} other formulas"
                    )
                    found[material_id].append(what.format(value, number))
    return {name: tuple(reasons) for name, reasons in found.items()}
