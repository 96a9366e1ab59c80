"""Checkpoints: what is written comes back, and nothing else is accepted."""

import hashlib
import json
import os
import shutil
import stat
import struct
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from opalign.crystal.graph import build_graph_from_arrays, collate
from opalign.errors import CheckpointError, StorageError
from opalign.model import checkpoint as checkpoint_module
from opalign.model import manifest as manifest_module
from opalign.model.checkpoint import build_model, load_checkpoint, save_checkpoint
from opalign.model.config import (
    AlignnConfig,
    ModelConfig,
    OptimateConfig,
    PhysicalHeadConfig,
    VectorHeadConfig,
)
from opalign.model.reference import Reference
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

GRID = EnergyGrid(0.0, 10.0, 21)
ENCODERS = {
    "alignn": AlignnConfig(
        alignn_layers=1, gcn_layers=1, hidden_features=8, embedding_features=8, norm="batch"
    ),
    "optimate": OptimateConfig(node_features=(6,), attention_features=(4,), attention_heads=2),
}
HEADS = {"vector": VectorHeadConfig(), "physical": PhysicalHeadConfig(hidden_features=(8,))}


def make_config(encoder="alignn", head="vector"):
    return ModelConfig(
        encoder=ENCODERS[encoder],
        head=HEADS[head],
        grid=GRID,
        levels=("ipa", "rpa"),
        broadening=Broadening("gaussian", 0.3),
    )


def make_batch(settings, dtype=torch.float32):
    """Rock salt MgO."""
    lattice = 2.1 * (np.ones((3, 3)) - np.eye(3))
    graph = build_graph_from_arrays(
        lattice, np.array([[0.0, 0.0, 0.0], [2.1, 2.1, 2.1]]), [12, 8], settings
    )
    return collate([graph], dtype)


def make_reference(size, count=3):
    features = np.arange(count * size, dtype=np.float32).reshape(count, size) / 7
    ids = tuple(f"mp-{number}" for number in range(count))
    return Reference(ids, ("MgO", "CaO", "Al2O3")[:count], features)


def write(folder, model=None, **changes):
    model = model or build_model(make_config())
    content = {
        "elements": [12, 8, 8],
        "metrics": {"similarity": 0.9, "onset": float("nan")},
        "splits": {"train": ["mp-0", "mp-1"], "validation": [], "test": ["mp-2"]},
        "card": "# Tiny\n\nε₂ of nothing in particular\n",
        "reference": make_reference(model.encoder.feature_size),
        "training": {"licence": "CC BY 4.0", "seed": np.int64(3), "rate": np.float32(0.5)},
    }
    return save_checkpoint(folder, model, **{**content, **changes})


def reseal(folder, change=lambda content: None):
    """Write the record of a tampered folder anew, so that only the tampering itself is wrong."""
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content.pop("checksum")
    for name in content["files"]:
        data = (folder / name).read_bytes()
        content["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    change(content)
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    content["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "tiny")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_round_trip(tmp_path, encoder, head, dtype):
    config = make_config(encoder, head)
    model = build_model(config, dtype)
    batch = make_batch(config.graph, dtype)
    # Running statistics of batch norm are part of what must come back.
    model.train()
    model(batch)
    assert write(tmp_path / "deep" / "tiny", model) == tmp_path / "deep" / "tiny"
    assert model.training

    checkpoint = load_checkpoint(tmp_path / "deep" / "tiny")

    assert not any(module.training for module in checkpoint.model.modules())
    assert checkpoint.config == config
    assert checkpoint.model.config == config
    assert checkpoint.dtype == dtype
    assert checkpoint.elements == (8, 12)
    assert checkpoint.metrics == {"similarity": 0.9, "onset": None}
    assert checkpoint.splits["test"] == ["mp-2"]
    assert checkpoint.training == {"licence": "CC BY 4.0", "seed": 3, "rate": 0.5}
    assert checkpoint.card.endswith("ε₂ of nothing in particular\n")
    reference = make_reference(model.encoder.feature_size)
    assert checkpoint.reference.ids == reference.ids
    assert checkpoint.reference.formulas == reference.formulas
    assert checkpoint.reference.features.dtype == np.float32
    np.testing.assert_array_equal(checkpoint.reference.features, reference.features)
    expected = model.eval()(batch)
    found = checkpoint.model(batch)
    for key, value in expected.items():
        if key != "layers":
            assert found[key].dtype == dtype
            torch.testing.assert_close(found[key], value, rtol=0, atol=0)


def test_fixed_tables_have_the_precision_of_the_model():
    config = make_config(head="physical")
    energies = build_model(config, torch.float64).head.energies
    np.testing.assert_array_equal(energies.numpy(), GRID.values)
    assert torch.get_default_dtype() == torch.float32


def test_loading_leaves_random_numbers_alone(folder):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    load_checkpoint(folder)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_identifier_is_that_of_network_and_weights(folder, tmp_path):
    model = load_checkpoint(folder).model
    identifier = load_checkpoint(folder).identifier
    assert len(identifier) == 12
    same = write(tmp_path / "same", model, card="other words", metrics={}, reference=None)
    assert load_checkpoint(same).identifier == identifier
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-3
    assert load_checkpoint(write(tmp_path / "other", model)).identifier != identifier


def test_reference_is_optional(tmp_path):
    folder = write(tmp_path / "tiny", reference=None)
    assert not (folder / "reference.parquet").exists()
    assert load_checkpoint(folder).reference is None


def test_empty_reference(tmp_path):
    model = build_model(make_config())
    empty = Reference((), (), np.zeros((0, model.encoder.feature_size), np.float32))
    checkpoint = load_checkpoint(write(tmp_path / "tiny", model, reference=empty))
    assert len(checkpoint.reference) == 0
    assert checkpoint.reference.features.shape == (0, 8)


def test_reads_without_the_training_code(folder):
    code = f"""
import sys
from opalign.model.checkpoint import load_checkpoint
load_checkpoint({str(folder)!r})
print(*sorted(m for m in sys.modules if m.split(".")[0] in {{"lightning", "pytorch_lightning"}}
    or m.startswith(("opalign.training", "opalign.dataset"))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_weights_may_be_read_by_whoever_may_read_the_rest(folder):
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert len(modes) == 1


class TestWriting:
    def test_refuses_what_stands_there(self, folder):
        with pytest.raises(CheckpointError, match="stands here already"):
            write(folder)

    def test_overwrites_when_asked_and_leaves_nothing_behind(self, folder):
        before = load_checkpoint(folder).identifier
        write(folder, overwrite=True, reference=None)
        assert load_checkpoint(folder).identifier != before
        assert not (folder / "reference.parquet").exists()
        assert [path.name for path in folder.parent.iterdir()] == ["tiny"]

    def test_overwrites_only_checkpoints(self, tmp_path):
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(CheckpointError, match="no checkpoint"):
            write(tmp_path, overwrite=True)
        assert (tmp_path / "thesis.tex").read_text() == "years of work"

    @pytest.mark.parametrize("step", ["save", "write_reference", "write_manifest"])
    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_crash_changes_nothing(self, tmp_path, monkeypatch, step, overwrite):
        if overwrite:
            before = load_checkpoint(write(tmp_path / "tiny")).identifier

        def crash(*arguments):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(checkpoint_module, step, crash)
        with pytest.raises(StorageError, match="No space left"):
            write(tmp_path / "tiny", overwrite=overwrite)
        assert [path.name for path in tmp_path.iterdir()] == (["tiny"] if overwrite else [])
        if overwrite:
            assert load_checkpoint(tmp_path / "tiny").identifier == before

    def test_a_disk_that_is_full_in_earnest(self, tmp_path):
        """A limit on the size of files stops the writing of weights as a full disk does."""
        resource = pytest.importorskip("resource", reason="limits are those of Unix")
        former = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, former[1]))
        try:
            with pytest.raises(StorageError, match="File too large"):
                write(tmp_path / "tiny")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, former)
        assert list(tmp_path.iterdir()) == []

    def test_a_failed_move_puts_the_old_one_back(self, folder, monkeypatch):
        before = load_checkpoint(folder).identifier
        replace = type(folder).replace

        def failing(self, target):
            if self.name.startswith(".") and not self.name.endswith("-previous"):
                raise OSError(5, "Input/output error")
            return replace(self, target)

        monkeypatch.setattr(type(folder), "replace", failing)
        with pytest.raises(StorageError):
            write(folder, overwrite=True)
        assert load_checkpoint(folder).identifier == before
        assert [path.name for path in folder.parent.iterdir()] == ["tiny"]

    def test_refuses_diverged_weights(self, tmp_path):
        model = build_model(make_config())
        with torch.no_grad():
            next(model.parameters()).view(-1)[0] = float("inf")
        with pytest.raises(CheckpointError, match=r"atom_embedding\.0\.weight.*not finite"):
            write(tmp_path / "tiny", model)
        assert list(tmp_path.iterdir()) == []

    def test_refuses_mixed_precision(self, tmp_path):
        model = build_model(make_config())
        model.head.double()
        with pytest.raises(CheckpointError, match="float32, float64"):
            write(tmp_path / "tiny", model)

    @pytest.mark.parametrize("elements", [[], [0], [8, 101]])
    def test_refuses_elements_that_cannot_be(self, tmp_path, elements):
        with pytest.raises(CheckpointError, match="training"):
            write(tmp_path / "tiny", elements=elements)

    def test_refuses_what_json_cannot_hold(self, tmp_path):
        with pytest.raises(CheckpointError, match="metrics: model: a Linear cannot"):
            write(tmp_path / "tiny", metrics={"model": torch.nn.Linear(1, 1)})

    @pytest.mark.parametrize(
        "reference",
        [
            Reference(("a",), ("MgO",), np.zeros((1, 7), np.float32)),
            Reference(("a",), ("MgO", "CaO"), np.zeros((1, 8), np.float32)),
            Reference(("a",), ("MgO",), np.full((1, 8), np.nan, np.float32)),
        ],
        ids=["size", "count", "finite"],
    )
    def test_refuses_a_reference_of_another_model(self, tmp_path, reference):
        with pytest.raises(CheckpointError):
            write(tmp_path / "tiny", reference=reference)


class TestReading:
    def test_no_folder(self, tmp_path):
        with pytest.raises(CheckpointError, match="no such folder"):
            load_checkpoint(tmp_path / "nowhere")
        (tmp_path / "file").touch()
        with pytest.raises(CheckpointError, match="this is a file"):
            load_checkpoint(tmp_path / "file")

    @pytest.mark.parametrize(
        "name",
        [
            "config.json",
            "model.safetensors",
            "metrics.json",
            "splits.json",
            "reference.parquet",
            "README.md",
        ],
    )
    def test_missing_file(self, folder, name):
        (folder / name).unlink()
        with pytest.raises(CheckpointError, match=rf"{name}: the file is missing"):
            load_checkpoint(folder)

    @pytest.mark.parametrize(
        "name", ["model.safetensors", "metrics.json", "splits.json", "reference.parquet"]
    )
    def test_one_changed_byte(self, folder, name):
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)
        with pytest.raises(CheckpointError, match=rf"{name}: the file has changed"):
            load_checkpoint(folder)

    def test_changed_configuration(self, folder):
        path = folder / "config.json"
        path.write_text(path.read_text().replace('"alignn_layers": 1', '"alignn_layers": 2'))
        with pytest.raises(CheckpointError, match=r"config\.json: the file has changed"):
            load_checkpoint(folder)

    def test_longer_file(self, folder):
        with (folder / "README.md").open("a") as stream:
            stream.write("x")
        with pytest.raises(CheckpointError, match="bytes and was written with"):
            load_checkpoint(folder)

    def test_newer_format(self, folder):
        reseal(folder, lambda content: content.update(format_version=99, opalign_version="7.0"))
        with pytest.raises(CheckpointError, match=r"format 99, written by Opalign 7\.0") as caught:
            load_checkpoint(folder)
        assert "newer version" in caught.value.cure

    @pytest.mark.parametrize("version", [0, -1, None, "1", True, 1.0])
    def test_no_format(self, folder, version):
        reseal(folder, lambda content: content.update(format_version=version))
        with pytest.raises(CheckpointError, match="format_version"):
            load_checkpoint(folder)

    def test_configuration_that_does_not_validate(self, folder):
        reseal(folder, lambda content: content["model"]["grid"].update(stop=-1.0))
        with pytest.raises(CheckpointError, match=r"does not validate: model\.grid\.stop"):
            load_checkpoint(folder)

    @pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, '"x"', "\x00"])
    def test_configuration_that_is_no_json_object(self, folder, text):
        (folder / "config.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"config\.json"):
            load_checkpoint(folder)

    @pytest.mark.parametrize("name", ["../secret", "config.json", "model.pkl"])
    def test_files_that_have_no_place(self, folder, name):
        (folder / name).touch()
        record = {"size": 0, "sha256": hashlib.sha256(b"").hexdigest()}
        reseal(folder, lambda content: content["files"].update({name: record}))
        with pytest.raises(CheckpointError, match="no place in a checkpoint"):
            load_checkpoint(folder)

    def test_record_without_weights(self, folder):
        reseal(folder, lambda content: content["files"].pop("model.safetensors"))
        with pytest.raises(CheckpointError, match="not among the files"):
            load_checkpoint(folder)

    @pytest.mark.parametrize("name", ["config.json", "model.safetensors", "metrics.json"])
    def test_absurd_sizes_are_refused_before_reading(self, folder, name):
        # A sparse file: a terabyte that nobody has.
        with (folder / name).open("r+b") as stream:
            stream.truncate(1 << 40)
        with pytest.raises(CheckpointError, match="bytes\n  expected: at most"):
            load_checkpoint(folder)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t: t.pop("head.network.0.bias"), "1 tensors are missing: head.network.0.bias"),
            (lambda t: t.update(extra=torch.zeros(1)), "1 tensors are unexpected: extra"),
            (lambda t: t.update({"head.network.0.bias": torch.zeros(3)}), "has shape \\(3,\\)"),
            (lambda t: t["head.network.0.bias"].fill_(float("nan")), "not finite"),
            (lambda t: t.update({k: v.double() for k, v in t.items()}), "recorded dtype"),
            (lambda t: t.update({k: v.half() for k, v in t.items()}), "the weights are float16"),
        ],
        ids=["missing", "unexpected", "shape", "finite", "dtype", "half"],
    )
    def test_weights_of_another_network(self, folder, change, message):
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")
        reseal(folder)
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(folder)

    def test_weights_that_are_no_safetensors(self, folder):
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
        reseal(folder)
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_checkpoint(folder)

    @pytest.mark.parametrize(
        "change",
        [
            {"hidden_features": 10**9},
            {"hidden_features": 60_000},
            {"bond_basis_size": 10**12},
            {"alignn_layers": 10**9},
            {"architecture": "optimate", "attention_features": [10**18]},
        ],
        ids=str,
    )
    def test_absurd_networks_are_refused_before_memory_is_given(self, folder, change):
        def absurd(content):
            encoder = content["model"]["encoder"]
            if "architecture" in change:
                encoder.clear()
            encoder.update(change)

        reseal(folder, absurd)
        with pytest.raises(CheckpointError):
            load_checkpoint(folder)

    def test_absurd_resolutions_are_refused(self, tmp_path):
        folder = write(tmp_path / "tiny", build_model(make_config(head="physical")))
        reseal(folder, lambda content: content["model"]["head"].update(basis_step=1e-300))
        with pytest.raises(CheckpointError):
            load_checkpoint(folder)

    def test_absurd_grids_are_refused(self, folder):
        reseal(folder, lambda content: content["model"]["grid"].update(num=10**9))
        with pytest.raises(CheckpointError, match="energy grid has 1000000000 points"):
            load_checkpoint(folder)


class TestReference:
    def rewrite(self, folder, table):
        pq.write_table(table, folder / "reference.parquet")
        reseal(folder)

    def table(self, **changes):
        columns = {
            "material_id": pa.array(["a", "b"]),
            "formula": pa.array(["MgO", "CaO"]),
            "features": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(16, np.float32)), 8),
        }
        return pa.table({**columns, **changes})

    def test_accepts_the_same_table_from_elsewhere(self, folder):
        self.rewrite(folder, self.table())
        assert load_checkpoint(folder).reference.features.shape == (2, 8)

    @pytest.mark.parametrize(
        "changes",
        [
            {"formula": pa.array([1, 2])},
            {"features": pa.array([[0.0] * 8] * 2)},
            {"features": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(14, "f4")), 7)},
            {"extra": pa.array([1, 2])},
        ],
        ids=["formula", "double", "size", "extra"],
    )
    def test_other_columns(self, folder, changes):
        self.rewrite(folder, self.table(**changes))
        with pytest.raises(CheckpointError, match="has the columns"):
            load_checkpoint(folder)

    def test_gaps(self, folder):
        self.rewrite(folder, self.table(material_id=pa.array(["a", None])))
        with pytest.raises(CheckpointError, match="gaps"):
            load_checkpoint(folder)

    def test_not_finite(self, folder):
        values = np.zeros(16, np.float32)
        values[9] = np.inf
        features = pa.FixedSizeListArray.from_arrays(pa.array(values), 8)
        self.rewrite(folder, self.table(features=features))
        with pytest.raises(CheckpointError, match="features of b are not finite"):
            load_checkpoint(folder)

    def test_no_parquet(self, folder):
        (folder / "reference.parquet").write_bytes(b"PAR1 no, not at all PAR1")
        reseal(folder)
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_checkpoint(folder)

    def test_more_than_any_training_set(self, folder, monkeypatch):
        monkeypatch.setattr("opalign.model.reference._MOST_VALUES", 10)
        with pytest.raises(CheckpointError, match="claims"):
            load_checkpoint(folder)


def test_copied_folder_reads_the_same(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert load_checkpoint(copy).identifier == load_checkpoint(folder).identifier
    assert manifest_module.read_manifest(copy) == manifest_module.read_manifest(folder)
