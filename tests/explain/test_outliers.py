"""Outliers: who is far, who is badly predicted, and what is rare about them."""

import numpy as np
import pandas as pd
import pytest

from opalign.explain.outliers import nearest_distances, outliers, rarity


def materials(number=20):
    frame = pd.DataFrame(
        {
            "material_id": [f"m{row}" for row in range(number)],
            "formula": [f"F{row}" for row in range(number)],
            "elements": [("Mg", "O")] * number,
            "cation_states": [("Mg2+",)] * number,
            "motifs": [("octahedral CN_6",)] * number,
            "coordination": [(6,)] * number,
            "prototype": ["AB 225 4-4"] * number,
        }
    ).set_index("material_id")
    frame.at["m3", "elements"] = ("O", "V")
    frame.at["m3", "cation_states"] = None
    frame.at["m4", "coordination"] = (4,)
    frame.at["m5", "coordination"] = (4,)
    return frame


def test_distances_are_to_another_formula():
    matrix = np.array([[0.0], [0.1], [3.0], [7.0]])
    found = nearest_distances(matrix, ["A", "A", "B", "C"])
    np.testing.assert_allclose(found, [3.0, 2.9, 2.9, 4.0])
    copies = nearest_distances(np.zeros((40, 2)), ["A"] * 39 + ["B"])
    assert (copies == 0.0).all()
    assert np.isinf(nearest_distances(np.zeros((3, 1)), ["A"] * 3)).all()


def test_the_far_and_the_bad_are_listed_with_reasons():
    matrix = np.random.default_rng(0).normal(size=(20, 3))
    matrix[3] += 50.0
    errors = np.full(20, 0.1)
    errors[4] = 0.9
    errors[7] = np.nan
    found = outliers(matrix, materials(), errors)
    assert found.loc["m3", "far"]
    assert not found.loc["m3", "bad"]
    assert found.loc["m3", "distance"] > 10
    assert "V occurs in no other formula" in found.loc["m3", "reasons"]
    assert found.loc["m4", "bad"]
    assert found.loc["m4", "reasons"] == ("4-coordinate cations occur in one other formula",)
    assert found.index[0] == "m4"
    assert "m7" not in found.index or found.loc["m7", "far"]


def test_without_errors_only_distance_counts():
    matrix = np.random.default_rng(0).normal(size=(20, 3))
    found = outliers(matrix, materials())
    assert len(found) == 2
    assert not found["bad"].any()


def test_a_common_material_has_no_excuse():
    assert rarity(materials())["m0"] == ()


@pytest.mark.parametrize("others", [0, 1, 2, 3])
def test_rarity_counts_other_formulas(others):
    frame = materials()
    for row in range(others + 1):
        frame.at[f"m{10 + row}", "motifs"] = ("linear CN_2",)
    reasons = rarity(frame)["m10"]
    assert bool(reasons) == (others <= 2)
