import csv
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from typer.testing import CliRunner

from opalign.cli.main import app
from opalign.crystal.graph import build_graph, collate
from opalign.dataset.table import SpectraTable
from opalign.model.checkpoint import build_model, save_checkpoint
from opalign.model.config import AlignnConfig, ModelConfig, PhysicalHeadConfig
from opalign.model.reference import Reference
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

from ..forked import opalign

runner = CliRunner()
MGO = bulk("MgO", "rocksalt", 4.21)
CAO = bulk("CaO", "rocksalt", 4.81)
MGS = bulk("MgS", "rocksalt", 5.20)


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
    known = [AseAtomsAdaptor.get_structure(one) for one in (MGO, CAO, MGS)]
    with torch.no_grad():
        features = model(collate([build_graph(one, config.graph) for one in known]))["features"]
    save_checkpoint(
        folder / "tiny",
        model,
        elements=[8, 12, 16, 20],
        metrics={},
        splits={"train": ["mp-1", "mp-2", "mp-3"], "validation": [], "test": []},
        card="# Tiny\n",
        reference=Reference(("mp-1", "mp-2", "mp-3"), ("MgO", "CaO", "MgS"), features.numpy()),
    )
    return folder


@pytest.fixture
def predict(models, monkeypatch):
    """Call `opalign predict` with the tiny model."""
    monkeypatch.setenv("OPALIGN_CHECKPOINTS", str(models))

    def call(*arguments, model="tiny", plots=False):
        options = ["--model", str(model)] + ([] if plots else ["--no-plots"])
        return runner.invoke(app, ["predict", *map(str, arguments), *options])

    return call


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_formats(folder):
    """One good file of every format."""
    structure = AseAtomsAdaptor.get_structure(MGO)
    structure.to(filename=folder / "a.cif")
    structure.to(filename=folder / "POSCAR", fmt="poscar")
    structure.to(filename=folder / "b.vasp", fmt="poscar")
    structure.to(filename=folder / "c.json")
    ase.io.write(folder / "d.extxyz", [MGO, CAO, MGS])
    return ["a", "POSCAR", "b", "c", "d#1", "d#2", "d#3"]


def write_bad_files(folder):
    """Files that cannot be used, by what the reason must speak of."""
    half = {"Mg": 0.5, "Ca": 0.5}
    cubic = Lattice.cubic(4.0)
    Structure(cubic, [half, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]).to(filename=folder / "half.cif")
    Structure(cubic, ["Mg", "O"], [[0, 0, 0], [0.01, 0, 0]]).to(
        filename=folder / "touching.vasp", fmt="poscar"
    )
    Structure(Lattice.cubic(5000.0), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]).to(
        filename=folder / "huge.vasp", fmt="poscar"
    )
    Structure(cubic, ["Lr", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]).to(filename=folder / "heavy.cif")
    ase.io.write(folder / "water.extxyz", molecule("H2O"))
    (folder / "empty.cif").touch()
    (folder / "text.cif").write_text("This is a letter and no crystal.\n")
    poscar = (folder / "touching.vasp").read_text()
    (folder / "nan.vasp").write_text(poscar.replace("0.01", "nan"))
    return {
        "half.cif": "partially occupied",
        "touching.vasp": "Å apart",
        "huge.vasp": "Å long",
        "heavy.cif": "cannot describe Lr",
        "water.extxyz": "",
        "empty.cif": "is empty",
        "text.cif": "",
        "nan.vasp": "",
    }


def test_as_a_user_types_it(models, tmp_path):
    write_formats(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", "from opalign.cli.main import main; main()", "predict", ".",
         "--out", "out", "--model", "tiny"],
        cwd=tmp_path, env={**os.environ, "OPALIGN_CHECKPOINTS": str(models)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    for name in ("spectra.parquet", "summary.csv", "csv/", "plots/"):
        assert name in done.stdout
    assert "Next: look at out/plots/" in done.stdout
    assert len(list((tmp_path / "out" / "plots").iterdir())) == 7


def test_every_format(predict, tmp_path):
    ids = write_formats(tmp_path)
    result = predict(tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    rows = read_rows(tmp_path / "out" / "summary.csv")
    assert sorted(row["id"] for row in rows) == sorted(ids)
    assert {row["formula"] for row in rows} == {"MgO", "CaO", "MgS"}
    assert not (tmp_path / "out" / "failures.csv").exists()
    # One crystal in four formats has one spectrum; files keep some eight digits of the positions.
    onsets = {row["id"]: float(row["onset_eV"]) for row in rows}
    for name in ("POSCAR", "b", "c", "d#1"):
        assert onsets[name] == pytest.approx(onsets["a"], abs=1e-4)


def test_files_and_folders_in_any_mix(predict, tmp_path):
    (tmp_path / "folder").mkdir()
    write_formats(tmp_path)
    write_formats(tmp_path / "folder")
    sources = [tmp_path / "a.cif", tmp_path / "folder", tmp_path / "d.extxyz", tmp_path / "a.cif"]
    result = predict(*sources, "--out", tmp_path / "out")
    assert result.exit_code == 0
    ids = [row["id"] for row in read_rows(tmp_path / "out" / "summary.csv")]
    assert len(ids) == len(set(ids)) == 1 + 7 + 3 + 1
    assert SpectraTable.open(tmp_path / "out" / "spectra.parquet").ids == ids


def test_bad_files_among_good_ones(predict, tmp_path):
    good, bad = write_formats(tmp_path), write_bad_files(tmp_path)
    result = predict(tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert len(read_rows(tmp_path / "out" / "summary.csv")) == len(good)
    failures = {
        Path(row["file"]).name: row["reason"]
        for row in read_rows(tmp_path / "out" / "failures.csv")
    }
    assert set(failures) == set(bad)
    for name, part in bad.items():
        assert part in failures[name], name
        assert failures[name] in result.stderr
    assert "failures.csv" in result.stdout


def test_all_bad(predict, tmp_path):
    write_bad_files(tmp_path)
    result = predict(tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "no structure gave a spectrum" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["failures.csv"]


def test_level(predict, tmp_path):
    ase.io.write(tmp_path / "a.extxyz", MGO)
    result = predict(tmp_path / "a.extxyz", "--out", tmp_path / "out", "--level", "ipa")
    assert result.exit_code == 0
    assert list(SpectraTable.open(tmp_path / "out" / "spectra.parquet").levels) == ["ipa"]
    result = predict(tmp_path / "a.extxyz", "--out", tmp_path / "no", "--level", "bse")
    assert result.exit_code == 2
    assert "does not predict level 'bse'" in result.stderr
    assert "expected: ipa, rpa" in result.stderr
    assert not (tmp_path / "no").exists()


def test_precision(predict, tmp_path):
    ase.io.write(tmp_path / "a.extxyz", MGO)
    for precision in ("double", "single"):
        result = predict(
            tmp_path / "a.extxyz", "--out", tmp_path / precision, "--precision", precision
        )
        assert result.exit_code == 0, result.output
    one, other = (
        SpectraTable.open(tmp_path / name / "spectra.parquet").isotropic_imaginary("rpa")
        for name in ("double", "single")
    )
    assert 0.0 < np.abs(one - other).max() < 1e-4 * one.max()
    result = predict(tmp_path / "a.extxyz", "--out", tmp_path / "no", "--precision", "quarter")
    assert result.exit_code == 2
    assert "no precision 'quarter'" in result.stderr


def test_a_model_that_is_not_there(predict, tmp_path):
    result = predict(tmp_path, "--out", tmp_path / "out", model="tinny")
    assert result.exit_code == 2
    assert "there is no model 'tinny'" in result.stderr
    assert "did you mean 'tiny'?" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_changed_checkpoint(predict, models, tmp_path):
    import shutil

    folder = shutil.copytree(models / "tiny", tmp_path / "changed")
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-5] ^= 16
    (folder / "model.safetensors").write_bytes(content)
    result = predict(tmp_path, "--out", tmp_path / "out", model=folder)
    assert result.exit_code == 2
    assert "model.safetensors" in result.stderr


def test_a_full_disk(predict, tmp_path, monkeypatch):
    write_formats(tmp_path)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    result = predict(tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_advice_in_words_and_no_bands_said_once(predict, tmp_path):
    ase.io.write(tmp_path / "d.extxyz", [MGO, CAO])
    result = predict(tmp_path, "--out", tmp_path / "out")
    assert result.stdout.count("gives no bands") == 1
    assert result.stdout.count("differ by") == 2
    for row in read_rows(tmp_path / "out" / "summary.csv"):
        assert row["expected_similarity"] == ""
        assert row["needed_level"] in ("ipa", "rpa")
        assert f"{row['id']}: {row['advice']} (SC " in result.stdout


def test_a_folder_of_two_hundred(predict, tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "many").mkdir()
    for number in range(200):
        crystal = (MGO, CAO, MGS)[number % 3].copy()
        crystal.set_cell(crystal.cell * random.uniform(0.97, 1.03), scale_atoms=True)
        ase.io.write(tmp_path / "many" / f"{number:03d}.vasp", crystal, format="vasp")
    for batch_size in (16, 7):
        result = predict(
            tmp_path / "many", "--out", tmp_path / str(batch_size), "--level", "rpa",
            "--batch-size", batch_size,
        )  # fmt: skip
        assert result.exit_code == 0
        assert "200 predicted" in result.stdout
        assert "and 170 more" in result.stdout
    one, other = (SpectraTable.open(tmp_path / size / "spectra.parquet") for size in ("16", "7"))
    assert one.ids == other.ids == [f"{number:03d}" for number in range(200)]
    np.testing.assert_allclose(
        one.isotropic_imaginary("rpa"), other.isotropic_imaginary("rpa"), atol=1e-6, rtol=0
    )


def test_an_element_the_model_never_saw(predict, tmp_path):
    ase.io.write(tmp_path / "BaO.extxyz", bulk("BaO", "rocksalt", 5.5))
    result = predict(tmp_path / "BaO.extxyz", "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "! BaO: not among the training materials' elements: Ba" in result.stdout
    (row,) = read_rows(tmp_path / "out" / "summary.csv")
    assert "Ba" in row["warnings"]


def test_a_training_material_is_named(predict, tmp_path):
    ase.io.write(tmp_path / "x.extxyz", CAO)
    predict(tmp_path / "x.extxyz", "--out", tmp_path / "out")
    (row,) = read_rows(tmp_path / "out" / "summary.csv")
    assert row["nearest_training_materials"].startswith("mp-2 (CaO); ")
    assert float(row["relative_distance"]) < 1e-3


def test_the_table_on_the_terminal_fits_eighty_columns(predict, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ase.io.write(tmp_path / "a_rather_long_name_of_a_file.extxyz", MGO)
    result = predict(tmp_path, "--out", tmp_path / "out")
    table = result.stdout.partition("distance to the nearest")[0].splitlines()
    (row,) = (line for line in table if line.strip().startswith("a_rather_long"))
    assert "mp-1 (MgO)" in row
    assert max(map(len, table)) <= 80


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_interruption_keeps_what_is_done(models, tmp_path, tmp_path_factory):
    output = tmp_path_factory.mktemp("output")
    # More than are predicted while three figures are drawn: few figures may wait.
    for number in range(150):
        ase.io.write(tmp_path / f"{number:03d}.vasp", MGO * (2, 2, 2), format="vasp")
    process = opalign(
        ["predict", tmp_path, "--out", tmp_path / "out", "--model", models / "tiny",
         "--batch-size", "2"],
        output,
    )  # fmt: skip
    plots = tmp_path / "out" / "plots"
    process.wait_until(lambda: plots.is_dir() and len(list(plots.iterdir())) > 2)
    process.send(signal.SIGINT)
    assert process.wait(60) == 130, process.stderr
    assert "Traceback" not in process.stderr
    assert "Interrupted after" in process.stderr
    assert "summary.csv" in process.stdout
    table = SpectraTable.open(tmp_path / "out" / "spectra.parquet")
    assert 2 <= len(table) < 150
    assert [row["id"] for row in read_rows(tmp_path / "out" / "summary.csv")] == table.ids
    assert not [path for path in (tmp_path / "out").rglob(".*")]


def test_one_prediction_imports_nothing_that_takes_long_and_is_not_needed(models, tmp_path):
    slow = {"pandas", "sympy", "scipy.cluster", "matplotlib", "sklearn", "numba", "lightning"}
    write_cif(tmp_path / "MgO.cif")
    code = (
        f"import sys; from opalign.cli.main import main; sys.argv = {['opalign', 'predict']!r} + "
        f"[{str(tmp_path / 'MgO.cif')!r}, '--out', {str(tmp_path / 'out')!r}, '--no-plots', "
        f"'--model', {str(models / 'tiny')!r}]"
        f"\ntry:\n    main()\nfinally:\n    print(*({slow!r} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""
    assert (tmp_path / "out" / "spectra.parquet").is_file()


def write_cif(path: Path) -> None:
    AseAtomsAdaptor.get_structure(MGO).to(filename=str(path))
