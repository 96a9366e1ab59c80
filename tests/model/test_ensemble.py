"""Ensembles: means that keep the laws of a dielectric function, in a folder that is not trusted."""

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from opalign.crystal.graph import build_graph_from_arrays, collate
from opalign.errors import CheckpointError
from opalign.model.checkpoint import build_model, copy_model, load_checkpoint, save_checkpoint
from opalign.model.config import AlignnConfig, ModelConfig, PhysicalHeadConfig, VectorHeadConfig
from opalign.model.ensemble import MEMBER, EnsembleModel, as_one, members_of
from opalign.model.reference import Reference
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import real_from_imaginary

GRID = EnergyGrid(0.0, 10.0, 41)
ENCODER = AlignnConfig(alignn_layers=1, gcn_layers=1, hidden_features=8, embedding_features=8)


def config(hidden=8, head=None):
    head = head or PhysicalHeadConfig(hidden_features=(hidden,))
    return ModelConfig(encoder=ENCODER, head=head, grid=GRID, levels=("ipa", "rpa"))


def network(seed, dtype=torch.float64, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_model(config(**changes), dtype).eval()


def crystals(dtype=torch.float64):
    """MgO, and the same stretched along one axis."""
    lattice = 2.1 * (np.ones((3, 3)) - np.eye(3))
    positions = np.array([[0.0, 0.0, 0.0], [2.1, 2.1, 2.1]])
    stretch = np.diag([1.0, 1.0, 1.2])
    settings = config().graph
    graphs = [
        build_graph_from_arrays(lattice @ m, positions @ m, [12, 8], settings)
        for m in (np.eye(3), stretch)
    ]
    return collate(graphs, dtype)


def run(model, **options):
    with torch.no_grad():
        return model(crystals(next(model.parameters()).dtype), **options)


def write(folder, model, **content):
    return save_checkpoint(
        folder,
        model,
        **{
            "elements": [8, 12],
            "metrics": {},
            "splits": {"train": ["a"], "validation": [], "test": []},
            "card": "# Several\n",
            "reference": Reference(("a",), ("MgO",), np.zeros((1, 8), np.float32)),
            **content,
        },
    )


def reseal(folder, **changes):
    """Write the record of a tampered folder anew, so that only the tampering itself is wrong."""
    path = folder / "config.json"
    content = json.loads(path.read_text()) | changes
    content.pop("checksum")
    for name in content["files"]:
        data = (folder / name).read_bytes()
        content["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    content["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path):
    model = EnsembleModel([network(seed, torch.float32) for seed in range(3)])
    return write(tmp_path / "three", model)


def test_an_ensemble_of_one_is_the_network():
    one = network(0)
    alone, together = run(one, per_site=True), run(EnsembleModel([one]), per_site=True)
    for name, value in alone.items():
        if name != "layers":
            torch.testing.assert_close(together[name], value, rtol=0, atol=0)
    assert list(together["layers"]) == list(alone["layers"])


def test_predictions_are_means_and_each_member_is_there():
    members = [network(seed) for seed in range(3)]
    outputs, found = [run(one) for one in members], run(EnsembleModel(members))
    for name in ("epsilon_imaginary", "epsilon_real", "band_gap"):
        each = torch.stack([output[name] for output in outputs], dim=1)
        torch.testing.assert_close(found[MEMBER + name], each)
        torch.testing.assert_close(found[name], each.mean(dim=1))
    assert found[MEMBER + "epsilon_imaginary"].shape == (2, 3, 2, GRID.num)
    assert (found["epsilon_imaginary"] != outputs[0]["epsilon_imaginary"]).any()


def test_laws_of_the_dielectric_function_survive_the_mean():
    members = [network(seed) for seed in range(4)]
    found = run(EnsembleModel(members), per_site=True)
    imaginary, real = found["epsilon_imaginary"], found["epsilon_real"]
    assert (imaginary >= 0.0).all()
    # ε₁ less the Kramers–Kronig transform of ε₂ is what lies above the window: an oscillator per
    # member, so the rest and its first differences grow with the energy.
    rest = real - real_from_imaginary(imaginary, GRID, beyond="cubic")
    assert (rest[..., 0] > 0.0).all()
    assert (torch.diff(rest, n=1) >= -1e-12).all()
    assert (torch.diff(rest, n=2) >= -1e-12).all()
    sites = found["site_epsilon_imaginary"]
    torch.testing.assert_close(sites.unflatten(0, (2, 2)).mean(dim=1), imaginary)


def test_features_are_those_of_the_first_member():
    members = [network(seed) for seed in range(2)]
    first, found = run(members[0]), run(EnsembleModel(members))
    torch.testing.assert_close(found["features"], first["features"], rtol=0, atol=0)
    for name, value in first["layers"].items():
        torch.testing.assert_close(found["layers"][name], value, rtol=0, atol=0)


def test_free_vectors_are_averaged_too():
    head = VectorHeadConfig(target="epsilon_imaginary")
    members = [network(seed, head=head) for seed in range(2)]
    found = run(EnsembleModel(members))
    expected = 0.5 * (run(members[0])["target"] + run(members[1])["target"])
    torch.testing.assert_close(found["target"], expected)


def test_networks_of_other_sizes_make_no_ensemble():
    with pytest.raises(CheckpointError, match="different configurations"):
        EnsembleModel([network(0), network(0, hidden=9)])
    with pytest.raises(CheckpointError, match="0 networks"):
        EnsembleModel([])


def test_one_network_stays_what_it_is():
    one, other = network(0), network(1)
    assert as_one([one]) is one
    assert members_of(one) == [one]
    assert members_of(as_one([one, other])) == [one, other]


def test_round_trip(folder):
    checkpoint = load_checkpoint(folder)
    assert checkpoint.members == 3
    assert checkpoint.calibration is None
    assert checkpoint.advice is None
    expected = run(EnsembleModel([network(seed, torch.float32) for seed in range(3)]))
    found = run(checkpoint.model)
    torch.testing.assert_close(found["epsilon_real"], expected["epsilon_real"], rtol=0, atol=0)
    content = json.loads((folder / "config.json").read_text())
    assert content["format_version"] == 2


def test_a_copy_in_double_precision_has_all_members(folder):
    checkpoint = load_checkpoint(folder)
    copy = copy_model(checkpoint.model, torch.float64)
    single, double = run(checkpoint.model), run(copy)
    assert double["epsilon_real"].dtype == torch.float64
    torch.testing.assert_close(
        double["member_band_gap"].float(), single["member_band_gap"], rtol=1e-4, atol=1e-5
    )


def test_a_single_network_is_written_as_before(tmp_path):
    content = json.loads((write(tmp_path / "one", network(0)) / "config.json").read_text())
    assert content["format_version"] == 1
    assert "members" not in content


def test_the_identifier_tells_ensembles_apart(folder, tmp_path):
    other = EnsembleModel([network(seed, torch.float32) for seed in (0, 1, 3)])
    again = load_checkpoint(write(tmp_path / "other", other)).identifier
    assert again != load_checkpoint(folder).identifier


@pytest.mark.parametrize("claimed", [1, 2, 4])
def test_more_or_fewer_networks_than_there_are(folder, claimed):
    reseal(folder, members=claimed)
    with pytest.raises(CheckpointError, match=r"tensors are (missing|unexpected)"):
        load_checkpoint(folder)


@pytest.mark.parametrize("claimed", [0, -1, 33, 10**9, "3", 2.5, True])
def test_numbers_of_members_that_cannot_be(folder, claimed):
    reseal(folder, members=claimed)
    with pytest.raises(CheckpointError, match=r"members: "):
        load_checkpoint(folder)


def test_an_ensemble_in_the_format_of_single_networks(folder):
    reseal(folder, format_version=1)
    with pytest.raises(CheckpointError, match="format 1 knows neither"):
        load_checkpoint(folder)


def test_a_member_with_numbers_that_are_not_finite(folder):
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in sorted(tensors) if name.startswith("members.2."))
    tensors[name].view(-1)[0] = float("nan")
    save_file(tensors, folder / "model.safetensors")
    reseal(folder)
    with pytest.raises(CheckpointError, match=r"members\.2\..* not finite"):
        load_checkpoint(folder)


def test_advice_travels_inside(tmp_path):
    advice = write(tmp_path / "similarity", network(5, torch.float32))
    (advice / "notes.txt").write_text("not part of the checkpoint")
    folder = write(tmp_path / "main", network(0, torch.float32), advice=advice)
    checkpoint = load_checkpoint(folder)
    assert checkpoint.advice == folder / "advice"
    assert load_checkpoint(checkpoint.advice).identifier == load_checkpoint(advice).identifier
    assert not (folder / "advice" / "notes.txt").exists()


def test_advice_that_is_broken_is_not_taken_along(tmp_path):
    advice = write(tmp_path / "similarity", network(5, torch.float32))
    (advice / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        write(tmp_path / "main", network(0, torch.float32), advice=advice)
    assert not (tmp_path / "main").exists()
