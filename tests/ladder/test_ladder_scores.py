import numpy as np
import pandas as pd
import pytest

from opalign.ladder.groups import group_table
from opalign.ladder.scores import bootstrap, gain, onset_r2, over_seeds


def test_the_interval_of_a_mean_is_that_of_theory():
    """Of n independent normal numbers: mean ± 1.96 σ/√n."""
    values = np.random.default_rng(1).normal(2.0, 1.0, 400)
    low, high = bootstrap(np.arange(400), lambda rows: float(values[rows].mean()))
    error = 1.96 * values.std() / 20
    # 1000 replicates know a quantile to some per cent of the width.
    assert low == pytest.approx(values.mean() - error, abs=0.12 * error)
    assert high == pytest.approx(values.mean() + error, abs=0.12 * error)


def test_polymorphs_are_drawn_together():
    """Two formulas of many materials are two observations, not many."""
    values = np.repeat([0.0, 1.0], 200)
    formulas = np.repeat(["MgO", "CaO"], 200)
    low, high = bootstrap(formulas, lambda rows: float(values[rows].mean()))
    assert (low, high) == (0.0, 1.0)


def frame(similarity, seeds=2, formulas=6):
    rows = [
        {
            "formula": f"F{n}",
            "material_id": f"m{n}",
            "seed": seed,
            "similarity": similarity(n, seed),
            "onset_eV_reference": float(n),
            "onset_eV_predicted": float(n) + 0.1 * seed,
        }
        for seed in range(seeds)
        for n in range(formulas)
    ]
    return pd.DataFrame(rows)


def test_bands_are_over_seeds():
    found = over_seeds(frame(lambda n, seed: 0.5 + 0.1 * seed), "similarity")
    assert found == pytest.approx({"mean": 0.55, "low": 0.5, "high": 0.6})


def test_a_constant_gain_has_no_width():
    found = gain(frame(lambda n, s: 0.1 * n + 0.2), frame(lambda n, s: 0.1 * n))
    assert found == pytest.approx({"value": 0.2, "low": 0.2, "high": 0.2})


def test_onset_r2_is_that_of_the_seeds():
    found = onset_r2(frame(lambda n, s: 0.0))
    # Seed 0 is exact; seed 1 is off by 0.1 eV everywhere, of a variance of 35/12.
    assert found["value"] == pytest.approx((1.0 + 1.0 - 0.01 / (35 / 12)) / 2)
    assert found["low"] <= found["value"] <= found["high"] <= 1.0
    blurred = frame(lambda n, s: 0.0).drop(columns=["onset_eV_reference", "onset_eV_predicted"])
    assert np.isnan(onset_r2(blurred)["value"])


def test_groups_count_formulas_and_differ_from_the_rest():
    rows = [
        {"material_id": f"{f}{k}", "formula": f, "anion": a, "elements": e, "similarity": v}
        for f, a, e, v in (
            ("A", "O", ("Mg", "O"), 0.5),
            ("B", "O", ("Ca", "O"), 0.6),
            ("C", "O", ("Ti", "O"), 0.7),
            ("D", "S", ("Mg", "S"), 0.9),
            ("E", "S", ("Ca", "S"), 0.9),
            ("F", "S", ("Ti", "S"), 0.9),
        )
        for k in range(3 if f == "A" else 1)
    ]
    found = group_table(pd.DataFrame(rows), ["anion", "elements"])
    oxide = found.set_index(["property", "group"]).loc[("anion", "O")]
    # Three polymorphs of A are one formula.
    assert oxide["formulas"] == 3
    assert oxide["mean"] == pytest.approx(0.6)
    assert oxide["difference"] == pytest.approx(-0.3)
    assert oxide["low"] < -0.3 < oxide["high"] < 0.0
    assert ("elements", "Mg") not in found.set_index(["property", "group"]).index, "two formulas"
    assert found["difference"].is_monotonic_increasing
