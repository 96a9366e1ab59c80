"""Small cells, similarity of levels, predictability: from tables to tables, figures, checkpoint."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch

from opalign.crystal.graph import build_graph, collate
from opalign.dataset.table import SpectraTable
from opalign.ladder.cells import cells
from opalign.ladder.climb import open_climb
from opalign.ladder.predictability import predictability
from opalign.ladder.scores import bootstrap
from opalign.ladder.similarity import similarity
from opalign.model.checkpoint import load_checkpoint

TWO = {
    "direct": {"kind": "direct", "tuning": None},
    "transfer": {"kind": "transfer"},
}


def first_two(features):
    return features[:, :2], "first two features"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("answers") / "climb"


def test_cells(small, folder, silent):
    found = cells(small(strategies=TWO, steps=8), folder, processes=1, console=silent)
    assert all(path.is_file() for path in found.files)
    labels = found.summary.groupby("subset")["costly_labels"].agg(["min", "max"])
    # The only cell of four atoms is in the training part of one fold of the two.
    assert labels.loc["cells-2"].tolist() == [4.5, 4.5]
    assert labels.loc["cells-4"].tolist() == [5.0, 5.0]
    text = (folder / "cells.md").read_text(encoding="utf-8")
    assert "2 atoms (9) | 4 atoms (1)" in text


def test_similarity_and_its_checkpoint(small, folder, silent, levels_path):
    config = small(strategies=TWO, steps=8, seeds=[0, 1])

    def describe(table):
        kinds = ["double" if "double" in m else "single" for m in table.ids]
        return pd.DataFrame({"kind": kinds}, index=table.ids)

    found = similarity(
        config, folder, mapping=first_two, describe=describe, processes=1, console=silent
    )
    assert all(path.is_file() for path in found.files)
    data = open_climb(config, folder)
    frame = found.per_material
    assert frame["material_id"].tolist() == data.ids
    # The reference below: by hand.
    x, y = data.reference("ipa").imaginary, data.reference("rpa").imaginary
    expected = 1 - (abs(x - y) * data.grid.weights).sum(1) / (y * data.grid.weights).sum(1)
    assert frame["similarity"].to_numpy() == pytest.approx(expected, abs=1e-9)
    assert found.metrics["mae"] == pytest.approx(abs(frame["predicted"] - expected).mean())
    for number, split in enumerate(data.splits, 1):
        mean = np.mean([expected[data.ids.index(m)] for m in split.train])
        part = frame[frame["fold"] == number]
        assert part["training_mean"].to_numpy() == pytest.approx(mean)
    oxides = found.groups.set_index(["property", "group"]).loc[("anion", "O")]
    assert oxides["formulas"] == 5

    checkpoint = load_checkpoint(found.checkpoint)
    assert checkpoint.members == 2
    assert (checkpoint.config.head.cheap, checkpoint.config.head.costly) == ("ipa", "rpa")
    assert checkpoint.metrics["cross_validation"]["mae"] == pytest.approx(found.metrics["mae"])
    structure = SpectraTable.open(levels_path).structure(0)
    batch = collate([build_graph(structure, checkpoint.config.graph)])
    with torch.no_grad():
        assert checkpoint.model(batch)["similarity"].shape == (1,)


def test_predictability_uses_what_is_there(small, folder, silent, monkeypatch):
    # Twenty intervals, twice over: how many replicates they take is no matter of what is asked.
    few = functools.partial(bootstrap, replicates=40)
    monkeypatch.setattr("opalign.ladder.predictability.bootstrap", few)
    found = predictability(
        small(strategies=TWO, steps=8, seeds=[0, 1]), folder, processes=1, console=silent
    )
    assert all(path.is_file() for path in found.files)
    frame = found.per_material
    narrow = frame[frame["broadening"].str.contains("0.1")]
    row = found.summary[
        (found.summary["broadening"] == narrow["broadening"].iloc[0])
        & (found.summary["first"] == "direct")
        & (found.summary["second"] == "transfer")
    ].iloc[0]
    expected = narrow["direct"].rank().corr(narrow["transfer"].rank())
    assert row["spearman_value"] == pytest.approx(expected)
    assert row["spearman_low"] <= expected <= row["spearman_high"]

    import opalign.ladder.workers as workers

    monkeypatch.setattr(workers, "run_job", lambda *a: pytest.fail("trained again"))
    predictability(
        small(strategies=TWO, steps=8, seeds=[0, 1]), folder, processes=1, console=silent
    )
