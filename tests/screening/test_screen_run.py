import dataclasses
import errno
import json
import os
import random

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from opalign.errors import ConfigurationError, DatasetError, StorageError
from opalign.prediction.report import summary_row
from opalign.screening import ScreenConfig, run, screen
from opalign.screening.results import METADATA_KEY, part_path, read_record

SMALL = {"rows_per_chunk": 4, "rows_per_part": 8, "precision": "double"}


@pytest.fixture
def configured(tiny_model):
    def make(path, **settings):
        return ScreenConfig(input=path, model=str(tiny_model), **{**SMALL, **settings})

    return make


def rows_of(folder):
    paths = sorted((folder / "parts").glob("part-*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def mixed(crystal_rows, garbage_rows):
    """Sound rows and garbage, and which is which."""
    rows = [(row, None) for row in crystal_rows] + list(garbage_rows)
    random.Random(3).shuffle(rows)
    return rows


def test_numbers_are_those_of_predict(
    configured, write_rows, crystal_rows, many_crystals, tiny_predictor, tmp_path
):
    report = screen(configured(write_rows(crystal_rows), spectra=True), tmp_path / "out")
    assert report.tally.counts == {"ok": 24, "filtered": 0, "failed": 0}
    predictions = tiny_predictor.predict(many_crystals)
    for row, prediction in zip(rows_of(tmp_path / "out"), predictions, strict=True):
        expected = summary_row(prediction)
        for name in set(expected) & set(row) - {"formula", "id"}:
            if expected[name] is None:
                assert row[name] is None
            else:
                # Nine decimals of ε are kept; an onset divides by a slope.
                assert row[name] == pytest.approx(expected[name], rel=1e-6, abs=1e-8), name
        assert row["formula"] == prediction.formula
        assert row["num_sites"] == len(prediction.structure)
        spectrum = prediction.spectrum
        assert spectrum.level == "rpa"
        # Spectra are kept in single precision.
        np.testing.assert_allclose(row["rpa_re_mean"], spectrum.epsilon_real, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(
            row["rpa_im_mean"], spectrum.epsilon_imaginary, rtol=1e-6, atol=1e-6
        )
        unseen = [e for e in prediction.structure.composition if e.Z not in {8, 12, 16, 20}]
        assert row["unseen_elements"] == len(unseen)


def test_one_row_out_for_each_row_in(configured, write_rows, crystal_rows, garbage_rows, tmp_path):
    rows = mixed(crystal_rows, garbage_rows)
    ids = [f"id-{k % 9}" if k % 5 else None for k in range(len(rows))]
    path = write_rows([row for row, _ in rows], ids=ids)
    report = screen(configured(path), tmp_path / "out")
    found = rows_of(tmp_path / "out")
    assert [row["row"] for row in found] == list(range(len(rows)))
    assert len({row["material_id"] for row in found}) == len(rows)
    for row, (given, reason) in zip(found, rows, strict=True):
        assert row["status"] == ("ok" if reason is None else "failed")
        assert (row["reason"] is None) == (reason is None)
        if reason is not None:
            assert reason in row["reason"]
            assert row["static_dielectric"] is None
        else:
            assert row["static_dielectric"] > 1.0
            assert row["num_sites"] == len(given["species"])
    assert report.tally.counts == {"ok": 24, "filtered": 0, "failed": len(garbage_rows)}
    assert report.repeated_ids == sum(1 for row in found if "@" in row["material_id"]) > 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["rows"] == len(rows)
    assert sum(summary["reasons"].values()) == len(garbage_rows)


def test_neither_order_nor_company_changes_a_row(
    configured, write_rows, crystal_rows, garbage_rows, tmp_path
):
    rows = mixed(crystal_rows, garbage_rows)
    rows = [{**row, "material_id": f"m-{k}"} for k, (row, _) in enumerate(rows)]
    screen(configured(write_rows(rows)), tmp_path / "one")
    order = random.Random(4).sample(range(len(rows)), len(rows))
    shuffled = write_rows([rows[k] for k in order], "shuffled.parquet")
    screen(configured(shuffled, rows_per_chunk=8), tmp_path / "two")
    first = {row.pop("material_id"): row for row in rows_of(tmp_path / "one")}
    for place, row in enumerate(rows_of(tmp_path / "two")):
        expected = first.pop(row.pop("material_id"))
        assert row.pop("row") == place
        for name, value in row.items():
            if isinstance(value, float):
                # Of ε nine decimals are kept, so that batches do not show.
                assert value == pytest.approx(expected[name], rel=1e-6, abs=1e-8), name
            else:
                assert value == expected[name]
    assert first == {}


def test_filters_keep_the_row_and_say_why(configured, write_rows, crystal_rows, tmp_path):
    path = write_rows(crystal_rows)
    screen(configured(path), tmp_path / "all")
    everything = rows_of(tmp_path / "all")
    median = float(np.median([row["static_dielectric"] for row in everything]))
    condition = f"static_dielectric < {median} and relative_distance >= 0"
    config = configured(path, where=condition, exclude=("Sr",), max_sites=4, require=("O",))
    screen(config, tmp_path / "some")
    for row, known, given in zip(rows_of(tmp_path / "some"), everything, crystal_rows, strict=True):
        if len(given["species"]) > 4:
            assert row["reason"] == "6 sites, more than 4"
        elif "Sr" in given["species"]:
            assert row["reason"] == "Sr excluded"
        elif "O" not in given["species"]:
            assert row["reason"] == "without O"
        else:
            passes = known["static_dielectric"] < median
            assert row["status"] == ("ok" if passes else "filtered")
            # What the network was asked is kept all the same.
            assert row["static_dielectric"] == pytest.approx(known["static_dielectric"], abs=1e-8)
            continue
        assert row["status"] == "filtered"
        assert row["static_dielectric"] is None


def test_allowed_elements(configured, write_rows, crystal_rows, tmp_path):
    config = configured(write_rows(crystal_rows), elements=("Mg", "Ca", "O", "S"), min_sites=3)
    screen(config, tmp_path / "out")
    for row, given in zip(rows_of(tmp_path / "out"), crystal_rows, strict=True):
        expected = set(given["species"]) <= {"Mg", "Ca", "O", "S"} and len(given["species"]) > 2
        assert row["status"] == ("ok" if expected else "filtered")


def test_the_best_are_listed(configured, write_rows, crystal_rows, tmp_path):
    config = configured(
        write_rows(crystal_rows), rank_by="refractive_index_400nm", top=5, descending=True
    )
    report = screen(config, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    rows.sort(key=lambda row: -row["refractive_index_400nm"])
    listed = pd.read_csv(tmp_path / "out" / "top.csv")
    assert listed["material_id"].tolist() == [row["material_id"] for row in rows[:5]]
    assert len(report.top) == 5


def test_a_dataset_that_pandas_reads(configured, write_rows, crystal_rows, tmp_path):
    screen(configured(write_rows(crystal_rows), quantities=("absorption_2.5eV_per_cm",)),
           tmp_path / "out")  # fmt: skip
    frame = pd.read_parquet(tmp_path / "out" / "parts")
    assert len(frame) == 24
    assert (frame["absorption_2.5eV_per_cm"] >= 0.0).all()
    metadata = json.loads(
        pq.read_schema(part_path(tmp_path / "out", 0)).metadata[METADATA_KEY].decode()
    )
    assert metadata["columns"]["absorption_2.5eV_per_cm"]["unit"] == "cm^-1"
    assert metadata["about"]["level"] == "rpa"


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def stopped_after(chunks):
    """Progress that ends the run after so many chunks."""
    seen = []

    def notify(tally):
        seen.append(tally.done)
        if len(seen) == chunks:
            raise Killed

    return notify


def test_a_run_that_was_stopped_goes_on(configured, write_rows, crystal_rows, tmp_path):
    config = configured(write_rows(crystal_rows[:21]), rank_by="static_dielectric", top=3)
    out = tmp_path / "out"
    with pytest.raises(Killed):
        screen(config, out, on_progress=stopped_after(3))
    assert [path.name for path in (out / "parts").iterdir()] == ["part-000000.parquet"]
    before = part_path(out, 0).stat()
    report = screen(config, out)
    assert report.tally.resumed == 8
    assert part_path(out, 0).stat().st_mtime_ns == before.st_mtime_ns
    whole = tmp_path / "whole"
    screen(config, whole)
    assert rows_of(out) == rows_of(whole)
    assert (out / "top.csv").read_text() == (whole / "top.csv").read_text()
    # Once more: nothing is left to do.
    assert screen(config, out).tally.rate is None
    assert rows_of(out) == rows_of(whole)


def test_ids_are_the_same_after_a_stop(configured, write_rows, crystal_rows, tmp_path):
    path = write_rows(crystal_rows, ids=["same"] * len(crystal_rows))
    out = tmp_path / "out"
    with pytest.raises(Killed):
        screen(configured(path), out, on_progress=stopped_after(4))
    screen(configured(path), out)
    expected = ["same", *(f"same@{row}" for row in range(1, len(crystal_rows)))]
    assert [row["material_id"] for row in rows_of(out)] == expected


@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_a_damaged_part_is_made_anew(configured, write_rows, crystal_rows, tmp_path, damage):
    config = configured(write_rows(crystal_rows))
    out = tmp_path / "out"
    screen(config, out)
    expected = rows_of(out)
    path = part_path(out, 1)
    content = path.read_bytes()
    if damage == "other":
        # Sound, but of another configuration.
        screen(configured(config.input, level="ipa"), tmp_path / "ipa")
        content = part_path(tmp_path / "ipa", 1).read_bytes()
    path.write_bytes({"cut": content[:-20], "empty": b"", "other": content}[damage])
    assert screen(config, out).tally.resumed == 16
    assert rows_of(out) == expected
    assert read_record(path).rows == 8


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"where": "static_dielectric > 2"}, "where: was None"),
        ({"level": "ipa"}, "level: was None, is 'ipa'"),
        ({"quantities": ("onset_eV",)}, "quantities"),
        ({"rows_per_part": 16}, "rows_per_part: was 8, is 16"),
        ({"rank_by": "onset_eV"}, "rank_by"),
    ],
)
def test_another_configuration_is_refused(
    configured, write_rows, crystal_rows, tmp_path, change, named
):
    path = write_rows(crystal_rows[:3])
    screen(configured(path), tmp_path / "out")
    before = rows_of(tmp_path / "out")
    with pytest.raises(ConfigurationError, match="another configuration") as caught:
        screen(configured(path, **change), tmp_path / "out")
    assert named in caught.value.problem
    assert rows_of(tmp_path / "out") == before


def test_a_finished_screening_can_be_ranked_anew(configured, write_rows, crystal_rows, tmp_path):
    path = write_rows(crystal_rows)
    out = tmp_path / "out"
    screen(configured(path, rank_by="static_dielectric", top=3), out)
    first = pd.read_csv(out / "top.csv")
    screen(configured(path, rank_by="static_dielectric", top=24, descending=True), out)
    again = pd.read_csv(out / "top.csv")
    assert again["material_id"].tolist()[::-1][:3] == first["material_id"].tolist()


def test_a_changed_input_is_refused(configured, write_rows, crystal_rows, tmp_path):
    path = write_rows(crystal_rows[:9])
    screen(configured(path), tmp_path / "out")
    os.utime(path, (1, 1))
    moved = path.rename(path.with_name("moved.parquet"))
    assert screen(configured(moved), tmp_path / "out").tally.resumed == 9
    write_rows(crystal_rows[:10])
    with pytest.raises(ConfigurationError, match="input is not the one") as caught:
        screen(configured(path), tmp_path / "out")
    assert "bytes" in caught.value.problem


def test_another_model_is_refused(configured, write_rows, crystal_rows, tmp_path, monkeypatch):
    path = write_rows(crystal_rows[:3])
    screen(configured(path), tmp_path / "out")
    load = run.load_predictor

    def other(*arguments):
        predictor = load(*arguments)
        predictor.checkpoint = dataclasses.replace(predictor.checkpoint, identifier="other")
        return predictor

    monkeypatch.setattr(run, "load_predictor", other)
    with pytest.raises(ConfigurationError, match="model is not the one"):
        screen(configured(path), tmp_path / "out")


def test_a_full_disk_stops_the_run_and_keeps_its_parts(
    configured, write_rows, crystal_rows, tmp_path, monkeypatch
):
    config = configured(write_rows(crystal_rows))
    out = tmp_path / "out"
    write = pq.write_table

    def full(table, where, **options):
        if table.column("row")[0].as_py() >= 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(table, where, **options)

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        screen(config, out)
    assert "part-000001" in caught.value.where
    assert [path.name for path in (out / "parts").iterdir()] == ["part-000000.parquet"]
    monkeypatch.undo()
    assert screen(config, out).tally.resumed == 8


def test_an_input_that_breaks_off_keeps_what_was_finished(
    configured, write_rows, crystal_rows, tmp_path
):
    path = write_rows(crystal_rows * 400)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = b"\xff" * 2000
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"input\.parquet"):
        screen(configured(path, max_sites=1), tmp_path / "out")


def test_two_commands_in_one_folder(configured, write_rows, crystal_rows, tmp_path):
    config = configured(write_rows(crystal_rows[:3]))

    def again(_):
        with pytest.raises(ConfigurationError, match="another command"):
            screen(config, tmp_path / "out")

    screen(config, tmp_path / "out", on_progress=again)


def test_results_within_the_input(configured, write_rows, crystal_rows, tmp_path):
    path = write_rows(crystal_rows[:3])
    with pytest.raises(ConfigurationError, match="within the folder"):
        screen(configured(path.parent), path.parent / "out")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"level": "bse"}, "does not predict level"),
        ({"where": "onset > 1"}, "no quantity 'onset'"),
        ({"rank_by": "expected_error"}, "no uncertainty"),
        ({"quantities": ("refractive_index_10nm",)}, "outside"),
    ],
)
def test_what_the_model_cannot_do_is_told_before_anything_is_written(
    configured, write_rows, crystal_rows, tmp_path, settings, problem
):
    with pytest.raises(ConfigurationError, match=problem):
        screen(configured(write_rows(crystal_rows[:3]), **settings), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_empty_table(configured, write_rows, tmp_path):
    report = screen(configured(write_rows([]), rank_by="onset_eV"), tmp_path / "out")
    assert (report.tally.done, report.parts) == (0, 0)
