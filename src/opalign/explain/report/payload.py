"""What the page of a report knows: plain data, compact enough to open at once."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opalign.explain.explanation import Explanation
from opalign.explain.properties import MOTIF_PREFIX
from opalign.explain.report.html import viewer_structure

if TYPE_CHECKING:
    from opalign.dataset.table import SpectraTable

#: Points of a curve on the page; the tables beside it have all of them.
MOST_POINTS = 320
#: Atoms of a structure that the viewer draws.
MOST_ATOMS = 300


def page_payload(explanation: Explanation, table: SpectraTable) -> dict[str, Any]:
    """Return what the page shows, as JSON has it.

    Parameters
    ----------
    table
        The table that was explained, for the structures.
    """
    materials = explanation.chemistry.materials
    return {
        "title": f"{explanation.model}, layer {explanation.features.layer}",
        "ids": list(explanation.ids),
        "formulas": list(explanation.formulas),
        "groups": explanation.groups.labels.tolist(),
        "unseen": None if explanation.unseen_labels is None else explanation.unseen_labels.tolist(),
        "groupCount": explanation.groups.number,
        "maps": {name: _rounded(points.T) for name, points in explanation.maps.items()},
        "shares": _rounded(explanation.variance_shares),
        "similarity": _rounded(explanation.similarity),
        "similarityOf": explanation.similarity_of,
        "numbers": {
            name: _significant(values) for name, values in explanation.target.numbers.items()
        },
        "curves": {
            name: _packed(curve.values, curve.x, curve.label, curve.x_label)
            for name, curve in explanation.target.curves.items()
        },
        "facts": [
            {
                "anion": row["anion"],
                "elements": list(row["elements"]),
                "spaceGroup": row["space_group"],
                "prototype": row["prototype"],
                "states": None if row["cation_states"] is None else list(row["cation_states"]),
                "motifs": list(row["motifs"]),
                "coordination": list(row["coordination"]),
                "bond": _plain(row["mean_bond"]),
                "volume": _plain(row["volume_per_atom"]),
            }
            for _, row in materials.iterrows()
        ],
        "motifs": _motifs(explanation),
        "structures": [_structure(table, index) for index in range(len(table))],
        "sentences": [
            [
                {"text": s.text, "evidence": list(s.evidence), "tested": s.tested}
                for s in explanation.sentences.get(group, [])
            ]
            for group in range(explanation.groups.number)
        ],
        "bandEdges": _band_edges(explanation),
        "enrichments": _records(explanation.enrichments, shown_rows(explanation)),
        "outliers": [
            {"id": material_id, **{k: _plain(v) for k, v in row.items()}}
            for material_id, row in explanation.outliers.to_dict("index").items()
        ],
    }


def shown_rows(explanation: Explanation) -> list[int]:
    """Rows of the enrichments that the page lists: significant, or evidence of a sentence."""
    cited = {row for own in explanation.sentences.values() for s in own for row in s.evidence}
    significant = explanation.enrichments.index[explanation.enrichments["significant"]]
    return sorted(cited | {int(row) for row in significant})


def _records(frame: Any, rows: list[int]) -> dict[str, dict[str, Any]]:
    chosen = frame.loc[rows].to_dict("index")
    return {
        str(row): {name: _plain(value) for name, value in record.items()}
        for row, record in chosen.items()
    }


def _band_edges(explanation: Explanation) -> list[dict[str, list[float]]]:
    """Median share of each kind of state at the band edges, in each group and elsewhere."""
    frame = explanation.enrichments
    edges = frame[frame["family"] == "band edge"]
    found: list[dict[str, list[float]]] = [{} for _ in range(explanation.groups.number)]
    for group, name, inside, outside in zip(
        edges["group"], edges["property"], edges["inside"], edges["outside"], strict=True
    ):
        found[int(group)][str(name)] = _rounded([inside, outside])
    return found


def _motifs(explanation: Explanation) -> dict[str, list[float | None]]:
    """Order parameters of the motifs that at least one material has."""
    materials = explanation.chemistry.materials
    found = {}
    for name in materials.columns:
        if name.startswith(MOTIF_PREFIX):
            values = materials[name].to_numpy(dtype=float)
            if np.nanmax(values, initial=0.0) > 0.5:
                found[name.removeprefix(MOTIF_PREFIX)] = _rounded(values, 3)
    return found


def _structure(table: SpectraTable, index: int) -> dict[str, Any] | None:
    lattice, numbers, positions = table.arrays(index)
    if len(numbers) > MOST_ATOMS:
        return None
    return viewer_structure(lattice, numbers, positions)


def _packed(
    values: NDArray[np.float64], x: NDArray[np.float64], label: str, x_label: str
) -> dict[str, Any]:
    """Pack curves as 16-bit integers between their least and largest value."""
    step = max(1, math.ceil(len(x) / MOST_POINTS))
    shown = values[:, ::step]
    low, high = float(shown.min()), float(shown.max())
    scale = (high - low) / 65535.0 or 1.0
    integers = np.round((shown - low) / scale).astype("<u2")
    return {
        "x": _rounded(x[::step]),
        "label": label,
        "xLabel": x_label,
        "low": low,
        "scale": scale,
        "data": base64.b64encode(integers.tobytes()).decode("ascii"),
    }


def _rounded(values: Any, digits: int = 4) -> Any:
    """Nested lists, rounded; null for what is not finite."""
    array = np.asarray(values, dtype=float)
    if array.ndim > 1:
        return [_rounded(row, digits) for row in array]
    return [round(float(v), digits) if math.isfinite(v) else None for v in array]


def _significant(values: Any) -> list[float | None]:
    return [float(f"{v:.5g}") if math.isfinite(v) else None for v in np.asarray(values, float)]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value
