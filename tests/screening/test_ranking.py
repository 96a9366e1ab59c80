import csv

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opalign.errors import DatasetError
from opalign.screening.config import ScreenConfig
from opalign.screening.ranking import BestRows, diverse, rank, write_top

FORMULAS = ["MgO", "CaO", "MgS", "TiO2"]


def part(rows, first):
    """Rows of (value, status), numbered from ``first``."""
    return pa.table(
        {
            "row": pa.array(range(first, first + len(rows)), pa.int64()),
            "material_id": pa.array([f"m-{first + k}" for k in range(len(rows))], pa.string()),
            "formula": pa.array([FORMULAS[(first + k) % 4] for k in range(len(rows))], pa.string()),
            "num_sites": pa.array([2] * len(rows), pa.int32()),
            "status": pa.array([status for _, status in rows], pa.string()),
            "x_2.5eV": pa.array([value for value, _ in rows], pa.float64()),
            "features": pa.array(
                [[float(value or 0), float(first + k)] for k, (value, _) in enumerate(rows)],
                pa.list_(pa.float32()),
            ),
        }
    )


ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(-3, 3).map(float)),
        st.sampled_from(["ok", "ok", "filtered", "failed"]),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(st.lists(ROWS, max_size=5), st.integers(1, 8), st.booleans(), st.randoms())
def test_the_best_are_those_of_one_sorted_list(parts, size, descending, random):
    tables, everything = [], []
    for rows in parts:
        tables.append(part(rows, len(everything)))
        everything += rows
    fine = [(v, k) for k, (v, status) in enumerate(everything) if status == "ok" and v is not None]
    expected = sorted(fine, key=lambda one: (-one[0] if descending else one[0], one[1]))[:size]
    random.shuffle(tables)
    best = BestRows("x_2.5eV", size, descending)
    for table in tables:
        best.add(table)
        assert len(best.table) <= size
    found = [] if best.table is None else best.table.column("row").to_pylist()
    assert found == [row for _, row in expected]


def line(points):
    places = np.asarray(points, dtype=float)
    return lambda k: np.abs(places - places[k])


def test_difference_alone_is_farthest_point_traversal():
    # From 0: the farthest is 10, then 5 in the middle, then 2 or 8 (the earlier).
    assert diverse(line([0, 1, 2, 5, 8, 10]), 4, 1.0) == [0, 5, 3, 2]


def test_rank_alone_is_the_ranking():
    assert diverse(line([0, 1, 2, 5, 8, 10]), 4, 0.0) == [0, 1, 2, 3]


def test_both_pass_over_the_twin_of_a_chosen_one():
    assert diverse(line([0, 0, 0, 7, 10, 10]), 3, 0.5)[:2] == [0, 4]
    # All alike: nothing but the rank is left.
    assert diverse(line([3, 3, 3, 3]), 3, 0.5) == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 3, 9])
def test_no_more_than_there_are_and_none_twice(count):
    chosen = diverse(line([4, 2, 9]), count, 0.7)
    assert len(set(chosen)) == len(chosen) == min(count, 3)


@pytest.fixture
def parts(tmp_path):
    paths = []
    for number in range(3):
        rows = [(float((7 * (5 * number + k)) % 15), "ok") for k in range(5)]
        paths.append(tmp_path / f"part-{number}.parquet")
        pq.write_table(part(rows, 5 * number), paths[-1])
    return paths


def configured(**settings):
    return ScreenConfig(input="x", rank_by="x_2.5eV", **settings)


def test_ranking_of_parts(parts, tmp_path):
    top = rank(parts, configured(top=3, descending=True), ["x_2.5eV"])
    assert top.column("x_2.5eV").to_pylist() == [14.0, 13.0, 12.0]
    write_top(tmp_path / "top.csv", top)
    lines = list(csv.DictReader((tmp_path / "top.csv").open(encoding="utf-8")))
    assert [one["place"] for one in lines] == ["1", "2", "3"]
    assert lines[0]["x_2.5eV"] == "14"
    assert "status" not in lines[0]


def test_the_best_of_differing_compositions(parts):
    settings = {"top": 4, "diversity": "composition", "candidates": 15, "diversity_weight": 0.9}
    top = rank(parts, configured(**settings), ["x_2.5eV"])
    assert top.column("x_2.5eV")[0].as_py() == 0.0
    assert set(top.column("formula").to_pylist()) == set(FORMULAS)
    alike = rank(parts, configured(top=4), ["x_2.5eV"])
    assert set(alike.column("formula").to_pylist()) != set(FORMULAS)


def test_the_best_of_differing_features(parts):
    settings = {"top": 2, "diversity": "features", "candidates": 15, "diversity_weight": 1.0}
    top = rank(parts, configured(**settings), ["x_2.5eV"])
    features = np.array(top.column("features").to_pylist())
    everything = [pq.read_table(path).column("features").to_pylist() for path in parts]
    distances = np.linalg.norm(np.concatenate(everything) - features[0], axis=1)
    assert np.linalg.norm(features[1] - features[0]) == pytest.approx(distances.max())


def test_a_part_that_cannot_be_read_is_named(parts):
    parts[1].write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="part-1"):
        rank(parts, configured(), ["x_2.5eV"])


def test_nothing_to_rank():
    assert len(rank([], configured(), ["x_2.5eV"])) == 0
