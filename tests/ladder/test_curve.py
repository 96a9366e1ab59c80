"""The curve from tables to table and figure."""

import pandas as pd
import pytest

from opalign.ladder.curve import curve
from opalign.ladder.scores import AS_IT_IS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("curve") / "climb"


def test_curve(small, data, folder, silent):
    found = curve(small(steps=6), folder, processes=1, console=silent)
    assert all(path.is_file() for path in found.files)
    assert {path.name for path in found.files} == {
        "curve.md", "curve.csv", "curve_per_material.csv", "curve_budget.csv", "curve.png",
    }  # fmt: skip
    summary = pd.read_csv(folder / "curve.csv")
    # Four strategies at two sizes and the baseline, at two broadenings.
    assert len(summary) == 2 * (4 * 2 + 1)
    narrow = summary[summary["broadening"] == "Gaussian σ = 0.1 eV"]
    for share, count in ((0.5, None), (1.0, 5)):
        part = narrow[narrow["subset"] == f"size-{share:g}"]
        assert len(set(part["costly_labels"])) == 1, "strategies saw different numbers of labels"
        if count:
            assert part["costly_labels"].iloc[0] == count
    # Every material once, by every strategy, size and broadening.
    rows = found.per_material
    for _, group in rows.groupby(["strategy", "subset", "seed", "broadening"]):
        assert sorted(group["material_id"]) == sorted(data.ids)
    budget = pd.read_csv(folder / "curve_budget.csv")
    assert set(budget["steps"]) == {6}
    assert set(budget.loc[budget["strategy"] == "direct", "tuning_steps"]) == {12}
    text = (folder / "curve.md").read_text(encoding="utf-8")
    assert "Every strategy takes 6 steps" in text
    assert AS_IT_IS in text


def test_the_baseline_is_the_cheap_level(small, data, folder, silent):
    """Taken from the tables again, by hand."""
    frame = pd.read_csv(folder / "curve_per_material.csv")
    frame = frame[(frame["strategy"] == AS_IT_IS) & (frame["broadening"].str.contains("0.1"))]
    x, y = data.reference("ipa").imaginary, data.reference("rpa").imaginary
    weights = data.grid.weights
    expected = 1 - (abs(x - y) * weights).sum(1) / (y * weights).sum(1)
    assert frame["similarity"].to_numpy() == pytest.approx(expected, abs=1e-9)
