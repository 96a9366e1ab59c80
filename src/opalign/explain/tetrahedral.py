"""Cations without d electrons in tetrahedra: the group of strong edges that the study found.

Vanadates (V⁵⁺), chromates (Cr⁶⁺) and their like absorb strongly right at a wide onset: the empty
d states of a tetrahedron make a narrow conduction-band edge that oxygen's p states are excited to
(arXiv:2510.17123). This looks for such cations by name, whatever groups a network made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from opalign.explain.chemistry.describe import state_name
from opalign.explain.enrichment import FEWEST_FORMULAS

if TYPE_CHECKING:
    import pandas as pd

    from opalign.explain.explanation import Explanation

#: Motif of matminer's fingerprint.
TETRAHEDRAL = "tetrahedral CN_4"
EDGE = "edge_integral_eV_per_cm"
ONSET = "onset_eV"
#: Cation → oxidation state without d electrons: the number of its column.
D0_STATES = {
    **dict.fromkeys(("Ti", "Zr", "Hf"), 4),
    **dict.fromkeys(("V", "Nb", "Ta"), 5),
    **dict.fromkeys(("Cr", "Mo", "W"), 6),
    **dict.fromkeys(("Mn", "Tc", "Re"), 7),
}


def tetrahedral_d0(explanation: Explanation) -> pd.DataFrame:
    """List the materials with a cation without d electrons in a tetrahedron.

    Returns
    -------
    pandas.DataFrame
        One row a material, indexed by ``material_id``: ``formula``, ``cations`` (such as ``V5+``;
        with a question mark where bond valences gave no state), ``group`` (from 0) and, where the
        spectra have them, ``onset_eV``, ``edge_integral_eV_per_cm`` and ``edge_rank`` (share of all
        materials whose edge is weaker).
    """
    import pandas as pd

    sites = explanation.chemistry.sites
    cations: dict[str, list[str]] = {}
    for material_id, element, state, motif in zip(
        sites["material_id"],
        sites["element"],
        sites["oxidation_state"],
        sites["motif"],
        strict=True,
    ):
        if motif != TETRAHEDRAL or element not in D0_STATES:
            continue
        known = state is not None and state == state
        if known and state != D0_STATES[element]:
            continue
        cations.setdefault(material_id, []).append(
            state_name(element, state) if known else f"{element}?"
        )
    place = {material_id: row for row, material_id in enumerate(explanation.ids)}
    numbers = explanation.target.numbers
    rows: list[dict[str, Any]] = []
    for material_id, names in cations.items():
        row = place[material_id]
        found: dict[str, Any] = {
            "material_id": material_id,
            "formula": explanation.formulas[row],
            "cations": tuple(sorted(set(names))),
            "group": int(explanation.groups.labels[row]),
        }
        for name in (ONSET, EDGE):
            if name in numbers:
                found[name] = float(numbers[name][row])
        if EDGE in numbers:
            edges = numbers[EDGE][np.isfinite(numbers[EDGE])]
            found["edge_rank"] = float((edges < numbers[EDGE][row]).mean())
        rows.append(found)
    columns = ["material_id", "formula", "cations", "group"]
    return pd.DataFrame(rows, columns=list(rows[0]) if rows else columns).set_index("material_id")


def tetrahedral_sentence(explanation: Explanation, found: pd.DataFrame) -> str:
    """Say whether a table has such materials, where they went, and how strong their edges are."""
    if found.empty:
        return (
            "The table has no cation without d electrons in a tetrahedron (V⁵⁺ as in vanadates, "
            "Cr⁶⁺ as in chromates, and their like), so that the study's group cannot be looked for."
        )
    groups = sorted({int(group) + 1 for group in found["group"] if group >= 0})
    where = f"group{'s' if len(groups) > 1 else ''} {', '.join(map(str, groups))}"
    text = (
        f"{len(found)} material{'s have' if len(found) > 1 else ' has'} a cation without d "
        f"electrons in a tetrahedron: {', '.join(found['formula'])}, in {where}."
    )
    if EDGE not in explanation.target.numbers:
        return text
    formulas = np.asarray(explanation.formulas)
    edges = explanation.target.numbers[EDGE]
    own = np.isin(np.asarray(explanation.ids), found.index) & np.isfinite(edges)
    inside, outside = (
        _by_formula(edges, formulas, own),
        _by_formula(edges, formulas, ~own & np.isfinite(edges)),
    )
    if not len(inside) or not len(outside):
        return text
    text += (
        f" Median edge integral {np.median(inside):.2g} eV/cm, elsewhere "
        f"{np.median(outside):.2g} eV/cm"
    )
    if min(len(inside), len(outside)) < FEWEST_FORMULAS:
        return f"{text}; too few formulas for a test."
    from scipy.stats import mannwhitneyu

    return f"{text} (p = {mannwhitneyu(inside, outside).pvalue:.2g}, this one test)."


def _by_formula(values: np.ndarray, formulas: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mean over the chosen materials of each formula."""
    names, group = np.unique(formulas[rows], return_inverse=True)
    return (
        np.asarray(np.bincount(group, values[rows]) / np.bincount(group))
        if len(names)
        else (np.empty(0))
    )
