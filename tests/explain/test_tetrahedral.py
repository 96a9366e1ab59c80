"""Tetrahedra without d electrons are found by name, and their absence is told."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from opalign.explain.tetrahedral import TETRAHEDRAL, tetrahedral_d0, tetrahedral_sentence

SITES = [
    ("vanadate", "V", 5.0, TETRAHEDRAL),
    ("octahedral", "V", 5.0, "octahedral CN_6"),
    ("reduced", "V", 4.0, TETRAHEDRAL),
    ("zinc", "Zn", 2.0, TETRAHEDRAL),
    ("unknown", "Cr", None, TETRAHEDRAL),
]


def explanation(sites=SITES, numbers=True):
    ids = tuple(row[0] for row in SITES)
    frame = pd.DataFrame(sites, columns=["material_id", "element", "oxidation_state", "motif"])
    edges = np.array([5e5, 1e5, 2e5, 3e4, np.nan])
    known = {"edge_integral_eV_per_cm": edges, "onset_eV": np.arange(5.0)}
    return SimpleNamespace(
        ids=ids,
        formulas=tuple(f"F{name}" for name in ids),
        groups=SimpleNamespace(labels=np.array([1, 0, 0, 0, 1])),
        chemistry=SimpleNamespace(sites=frame),
        target=SimpleNamespace(numbers=known if numbers else {}),
    )


def test_only_empty_shells_in_tetrahedra_are_listed():
    found = tetrahedral_d0(explanation())
    assert list(found.index) == ["vanadate", "unknown"]
    assert list(found["cations"]) == [("V5+",), ("Cr?",)]
    # Weaker than the vanadate's are three of the four edges that are known.
    assert found.loc["vanadate", "edge_rank"] == 0.75


def test_the_sentence_names_them_or_says_that_there_are_none():
    one = explanation()
    text = tetrahedral_sentence(one, tetrahedral_d0(one))
    assert "Fvanadate, Funknown, in group 2" in text
    assert "5e+05 eV/cm" in text
    assert "too few formulas" in text
    none = explanation(SITES[1:4])
    assert "has no cation without d electrons" in tetrahedral_sentence(none, tetrahedral_d0(none))


def test_a_table_without_edges_is_listed_without_them():
    one = explanation(numbers=False)
    assert "edge_rank" not in tetrahedral_d0(one)
    assert "edge integral" not in tetrahedral_sentence(one, tetrahedral_d0(one))
