import itertools
import json
import os
import re
import signal
from pathlib import Path

import ase.io
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from ase.build import bulk
from pymatgen.io.ase import AseAtomsAdaptor
from typer.testing import CliRunner

from opalign.cli.main import app
from opalign.crystal.graph import build_graph, collate
from opalign.model.checkpoint import build_model, save_checkpoint
from opalign.model.config import AlignnConfig, ModelConfig, PhysicalHeadConfig
from opalign.model.reference import Reference
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

from ..forked import opalign

runner = CliRunner()
numbers = itertools.count()


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder of checkpoints with one model of random weights, ``tiny``."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoints")
    config = ModelConfig(
        encoder=AlignnConfig(
            alignn_layers=1, gcn_layers=1, hidden_features=8, embedding_features=8
        ),
        head=PhysicalHeadConfig(hidden_features=(8,)),
        grid=EnergyGrid(0.0, 10.0, 101),
        levels=("ipa", "rpa"),
        broadening=Broadening("gaussian", 0.1),
    )
    model = build_model(config).eval()
    known = [AseAtomsAdaptor.get_structure(bulk("MgO", "rocksalt", a)) for a in (4.2, 4.3)]
    with torch.no_grad():
        features = model(collate([build_graph(one, config.graph) for one in known]))["features"]
    save_checkpoint(
        folder / "tiny",
        model,
        elements=[8, 12],
        metrics={},
        splits={"train": ["mp-1", "mp-2"], "validation": [], "test": []},
        card="# Tiny\n",
        reference=Reference(("mp-1", "mp-2"), ("MgO", "MgO"), features.numpy()),
    )
    return folder


def crystal_table(path: Path, count: int) -> Path:
    rows = []
    for k in range(count):
        atoms = bulk(["MgO", "CaO", "MgS"][k % 3], "rocksalt", 4.3 + 0.3 * (k % 11) / 11)
        rows.append(
            {
                "material_id": f"m-{k}",
                "lattice": atoms.cell.array.ravel().tolist(),
                "species": atoms.get_chemical_symbols(),
                "frac_coords": atoms.get_scaled_positions().ravel().tolist(),
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture
def screen(models, monkeypatch):
    """Call `opalign screen` with the tiny model."""
    monkeypatch.setenv("OPALIGN_CHECKPOINTS", str(models))
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments, model="tiny"):
        options = ["--model", model] if model else []
        return runner.invoke(app, ["screen", *map(str, arguments), *options])

    return call


def rows_of(folder):
    return pd.read_parquet(folder / "parts").sort_values("row").reset_index(drop=True)


def test_from_a_table_to_the_best(screen, tmp_path):
    out = tmp_path / "out"
    done = screen(
        crystal_table(tmp_path / "in.parquet", 12), out, "--where", "static_dielectric > 1",
        "--exclude", "S", "--rank-by", "refractive_index_500nm", "--descending", "--top", "3",
        "-q", "onset_eV", "-q", "absorption_4.5eV_per_cm", "--diversity", "composition",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = rows_of(out)
    assert rows["status"].tolist() == ["ok", "ok", "filtered"] * 4
    assert {"onset_eV", "absorption_4.5eV_per_cm", "refractive_index_500nm"} <= set(rows.columns)
    best = pd.read_csv(out / "top.csv")
    assert best["refractive_index_500nm"][0] == pytest.approx(
        rows["refractive_index_500nm"].max(), rel=1e-5
    )
    assert "12 structures: 8 ok, 4 filtered, 0 failed" in done.output
    assert "4 × filtered: S excluded" in done.output
    assert "10⁶ would take" in done.output
    for name in ("parts/", "top.csv", "summary.json", "screen.yaml"):
        assert name in done.output
    assert "Next:" in done.output
    content = yaml.safe_load((out / "screen.yaml").read_text())
    assert content["where"] == "static_dielectric > 1"
    assert content["exclude"] == ["S"]


def test_structures_of_files_with_one_that_is_none(screen, tmp_path):
    folder = tmp_path / "crystals"
    folder.mkdir()
    ase.io.write(folder / "a.cif", bulk("MgO", "rocksalt", 4.2))
    ase.io.write(folder / "many.extxyz", [bulk("CaO", "rocksalt", 4.8)] * 2)
    (folder / "letter.cif").write_text("This is a letter and no crystal.\n")
    done = screen(folder, tmp_path / "out")
    assert done.exit_code == 0, done.output
    rows = rows_of(tmp_path / "out")
    assert rows["material_id"].tolist() == ["a", "letter", "many#1", "many#2"]
    assert rows["status"].tolist() == ["ok", "failed", "ok", "ok"]
    assert "1 × failed: no data block with atoms" in " ".join(done.output.split())


def test_the_configuration_that_was_written_does_the_same(screen, tmp_path):
    path = crystal_table(tmp_path / "in.parquet", 4)
    first = screen(path, tmp_path / "one", "--max-sites", "2", "--spectra")
    assert first.exit_code == 0, first.output
    again = screen(tmp_path / "two", "--config", tmp_path / "one" / "screen.yaml", model=None)
    assert again.exit_code == 0, again.output
    assert "rpa_im_mean" in rows_of(tmp_path / "one").columns
    columns = ["row", "material_id", "static_dielectric"]
    pd.testing.assert_frame_equal(
        rows_of(tmp_path / "one")[columns], rows_of(tmp_path / "two")[columns]
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--where", "onset_eV >"], "ends too early"),
        (["--where", "onset > 1"], "did you mean 'onset_eV'"),
        (["-q", "refractive_index_589"], "did you mean 'refractive_index_589nm'"),
        (["--elements", "Mg,Oo"], "'Oo' is no chemical element"),
        (["--exclude", "o"], "did you mean 'O'"),
        (["--min-sites", "5", "--max-sites", "2"], "max_sites lies below min_sites"),
        (["--diversity", "features"], "rank_by must say"),
        (["--set", "rows_per_par=3"], "did you mean 'rows_per_part'"),
        (["--set", "rows_per_part=300"], "multiple"),
        (["--rank-by", "expected_error"], "gives no uncertainty"),
        (["--level", "bse"], "does not predict level"),
        (["--require", "Mg", "--exclude", "Mg,O"], "required and excluded"),
    ],
)
def test_a_mistake_is_told_in_words(screen, tmp_path, options, words):
    done = screen(crystal_table(tmp_path / "in.parquet", 2), tmp_path / "out", *options)
    assert done.exit_code == 2
    assert words in " ".join(done.output.split())
    assert "Traceback" not in done.output
    assert not (tmp_path / "out").exists()


def test_inputs_that_are_none(screen, tmp_path):
    (tmp_path / "nonsense.parquet").write_bytes(os.urandom(5000))
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    for name, words in [
        ("absent.parquet", "cannot be opened"),
        ("nonsense.parquet", "cannot be read as Parquet"),
        ("other.parquet", "has no column lattice"),
    ]:
        done = screen(tmp_path / name, tmp_path / "out")
        assert done.exit_code == 2
        assert words in done.output
    assert screen().exit_code == 2


def test_help_is_in_plain_words():
    done = runner.invoke(app, ["screen", "--help"])
    assert done.exit_code == 0
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", done.output).split())
    assert "the same command goes on where it was" in text


def command(models, path, out, *options):
    return opalign(
        ["screen", path, out, "--model", "tiny", "--set", "rows_per_chunk=20",
         "--set", "rows_per_part=20", *options],
        out.with_name(f"output_{next(numbers)}"),
        environment={"OPALIGN_CHECKPOINTS": str(models)},
    )  # fmt: skip


def parts_there(out, number):
    return lambda: len(list(out.glob("parts/part-*"))) >= number


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", "2"])
def test_killed_and_resumed(models, tmp_path, processes):
    path, out = crystal_table(tmp_path / "in.parquet", 600), tmp_path / "out"
    process = command(models, path, out, "--processes", processes)
    process.wait_until(parts_there(out, 3))
    process.send(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = {one: one.stat().st_mtime_ns for one in out.glob("parts/part-*")}
    assert 3 <= len(kept) < 30
    assert not (out / "summary.json").exists()
    again = command(models, path, out, "--processes", processes)
    assert again.wait(300) == 0, again.stdout + again.stderr
    said = again.stdout + again.stderr
    assert f"{20 * len(kept)} of them had been finished by an earlier run" in said
    assert {one: one.stat().st_mtime_ns for one in kept} == kept
    rows = rows_of(out)
    assert rows["row"].tolist() == list(range(600))
    assert rows["material_id"].tolist() == [f"m-{k}" for k in range(600)]
    assert (rows["status"] == "ok").all()
    assert json.loads((out / "summary.json").read_text())["rows"] == 600


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(models, tmp_path):
    path, out = crystal_table(tmp_path / "in.parquet", 600), tmp_path / "out"
    process = command(models, path, out)
    process.wait_until(parts_there(out, 1))
    process.send(signal.SIGINT)
    assert process.wait(60) == 130
    assert "the same command goes on" in process.stdout + process.stderr
