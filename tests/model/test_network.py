"""Whole networks: symmetries of a crystal, laws of optics, behaviour in training."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from ase.data import atomic_numbers
from scipy.spatial.transform import Rotation

from opalign.crystal.graph import build_graph_from_arrays, collate
from opalign.crystal.settings import GraphSettings
from opalign.model.checkpoint import build_model
from opalign.model.config import (
    AlignnConfig,
    ModelConfig,
    OptimateConfig,
    PhysicalHeadConfig,
    VectorHeadConfig,
)
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import kramers_kronig_matrix

GRID = EnergyGrid(0.0, 20.0, 201)
ENCODERS = {
    "alignn": (
        AlignnConfig(alignn_layers=2, gcn_layers=2, hidden_features=16, embedding_features=16),
        GraphSettings(neighbors=8),
    ),
    "optimate": (
        OptimateConfig(
            node_features=(8, 8), attention_features=(8, 12), element_table="group_period"
        ),
        GraphSettings(kind="radius", cutoff=5.0, angles=False),
    ),
}
HEADS = {
    "vector": VectorHeadConfig(hidden_features=(16,)),
    "physical": PhysicalHeadConfig(hidden_features=(16,), dropout=0.2),
}
# Lattice (Å), fractional positions, atomic numbers: rock salt, rutile, quartz-like chain, none of
# them with the symmetry of another.
CRYSTALS = {
    "MgO": (2.1 * (np.ones((3, 3)) - np.eye(3)), [[0, 0, 0], [0.5, 0.5, 0.5]], [12, 8]),
    "TiO2": (
        np.diag([4.6, 4.6, 2.96]),
        [
            [0, 0, 0],
            [0.5, 0.5, 0.5],
            [0.305, 0.305, 0],
            [0.695, 0.695, 0],
            [0.195, 0.805, 0.5],
            [0.805, 0.195, 0.5],
        ],
        [22, 22, 8, 8, 8, 8],
    ),
    "skew": (
        np.array([[3.9, 0.0, 0.0], [1.1, 4.4, 0.0], [-0.7, 0.9, 5.2]]),
        [[0.03, 0.11, 0.2], [0.52, 0.47, 0.81], [0.21, 0.78, 0.44]],
        [20, 16, 34],
    ),
}


def crystal(name):
    lattice, fractional, numbers = CRYSTALS[name]
    lattice = np.array(lattice, dtype=float)
    return lattice, np.array(fractional, dtype=float) @ lattice, np.array(numbers)


def make_config(encoder, head="physical", **changes):
    network, graph = ENCODERS[encoder]
    return ModelConfig(
        encoder=network,
        head=HEADS[head],
        graph=graph,
        grid=GRID,
        levels=("ipa", "rpa"),
        broadening=Broadening("gaussian", 0.15),
        **changes,
    )


def make_model(encoder, head="physical", dtype=torch.float64):
    torch.manual_seed(5)
    model = build_model(make_config(encoder, head), dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            # Away from zero biases, and far enough for structures to differ.
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def predict(model, *crystals, **options):
    dtype = next(model.parameters()).dtype
    graphs = [build_graph_from_arrays(*each, model.config.graph) for each in crystals]
    with torch.no_grad():
        return model(collate(graphs, dtype), **options)


def rotated(lattice, positions, numbers):
    rotation = Rotation.from_euler("xyz", [0.3, 1.1, -2.0]).as_matrix()
    return lattice @ rotation.T, positions @ rotation.T, numbers


def mirrored(lattice, positions, numbers):
    return -lattice, -positions, numbers


def translated(lattice, positions, numbers):
    return lattice, positions + np.array([1.234, -0.77, 8.1]), numbers


def wrapped(lattice, positions, numbers):
    # Every atom into another cell.
    shifts = np.arange(3 * len(numbers)).reshape(-1, 3) % 5 - 2
    return lattice, positions + shifts @ lattice, numbers


def reordered(lattice, positions, numbers):
    order = np.random.default_rng(1).permutation(len(numbers))
    return lattice, positions[order], numbers[order]


def other_cell(lattice, positions, numbers):
    return np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]]) @ lattice, positions, numbers


def repeated(*times):
    def repeat(lattice, positions, numbers):
        shifts = np.stack(np.meshgrid(*map(np.arange, times), indexing="ij"), -1).reshape(-1, 3)
        moved = (positions[None] + (shifts @ lattice)[:, None]).reshape(-1, 3)
        return np.diag(times) @ lattice, moved, np.tile(numbers, len(shifts))

    return repeat


SYMMETRIES = {
    "rotation": rotated,
    "inversion": mirrored,
    "translation": translated,
    "wrapping": wrapped,
    "order": reordered,
    "cell": other_cell,
    "2x1x1": repeated(2, 1, 1),
    "2x2x2": repeated(2, 2, 2),
}
# Rounding through four layers and a softplus head; onsets sit between grid points, so that a shift
# of the gap by rounding moves whole values.
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}


def assert_same(found, expected, tolerance):
    for key, value in expected.items():
        if key == "layers":
            continue
        scale = value.abs().max().item()
        error = (found[key] - value).abs().max().item() / scale
        assert error < tolerance, f"{key}: {error:.1e}"


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("symmetry", SYMMETRIES)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_invariance(encoder, head, symmetry, dtype):
    model = make_model(encoder, head, dtype)
    for name in CRYSTALS:
        expected = predict(model, crystal(name))
        found = predict(model, SYMMETRIES[symmetry](*crystal(name)))
        assert_same(found, expected, TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_invariance_of_real_crystals(opalign_data, encoder, dtype):
    path = opalign_data / "gpaw_pbe" / "spectra.parquet"
    if not path.is_file():
        pytest.skip("OPALIGN_DATA holds no gpaw_pbe/spectra.parquet")
    model = make_model(encoder, "physical", dtype)
    columns = ["lattice", "species", "frac_coords"]
    rows = pq.read_table(path, columns=columns).to_pylist()[::7]
    for row in rows:
        lattice = np.reshape(row["lattice"], (3, 3))
        positions = np.reshape(row["frac_coords"], (-1, 3)) @ lattice
        real = (lattice, positions, np.array([atomic_numbers[s] for s in row["species"]]))
        expected = predict(model, real)
        for symmetry in ("rotation", "order", "2x1x1"):
            assert_same(predict(model, SYMMETRIES[symmetry](*real)), expected, TOLERANCES[dtype])


@pytest.mark.parametrize("encoder", ENCODERS)
def test_structures_differ(encoder):
    model = make_model(encoder)
    one, two = (predict(model, crystal(name))["epsilon_imaginary"] for name in ("MgO", "TiO2"))
    assert (one - two).abs().max() > 1e-3 * one.abs().max()
    lattice, positions, numbers = crystal("MgO")
    strained = predict(model, (1.02 * lattice, 1.02 * positions, numbers))["features"]
    still = predict(model, (lattice, positions, numbers))["features"]
    assert (strained - still).abs().max() > 1e-4 * still.abs().max()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_batch_is_its_structures(encoder, head):
    model = make_model(encoder, head)
    together = predict(model, *map(crystal, CRYSTALS))
    for row, name in enumerate(CRYSTALS):
        alone = predict(model, crystal(name))
        for key, value in alone.items():
            if key != "layers":
                torch.testing.assert_close(together[key][row], value[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_an_atom_without_bonds(encoder):
    config = make_config(encoder).model_copy(
        update={"graph": GraphSettings(kind="radius", cutoff=3.0, angles=encoder == "alignn")}
    )
    model = build_model(config).train()
    lonely = (10.0 * np.eye(3), np.zeros((1, 3)), np.array([8]))
    graphs = [build_graph_from_arrays(*each, config.graph) for each in (lonely, crystal("MgO"))]
    assert graphs[0].num_bonds == 0
    for batch in (graphs[:1], graphs):
        result = model(collate(batch), per_site=True)
        values = [value for key, value in result.items() if key != "layers"]
        assert all(torch.isfinite(value).all() for value in values)
        model.zero_grad()
        sum(value.sum() for value in values).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


class TestLayers:
    def test_names(self):
        assert make_model("alignn").layer_names == ("alignn_1", "alignn_2", "gcn_1", "gcn_2")
        assert make_model("optimate").layer_names == (
            "node_network",
            "attention_1",
            "attention_2",
        )

    @pytest.mark.parametrize("encoder", ENCODERS)
    def test_features_per_site(self, encoder):
        model = make_model(encoder)
        result = predict(model, *map(crystal, CRYSTALS))
        assert tuple(result["layers"]) == model.layer_names
        sizes = {"alignn": (16,) * 4, "optimate": (8, 32, 48)}[encoder]
        assert tuple(v.shape for v in result["layers"].values()) == tuple((11, s) for s in sizes)
        assert result["features"].shape == (3, model.encoder.feature_size)
        assert sizes[-1] == model.encoder.site_feature_size

    def test_alignn_pools_by_the_mean(self):
        result = predict(make_model("alignn"), crystal("TiO2"))
        torch.testing.assert_close(
            result["features"][0], result["layers"]["gcn_2"].mean(0), rtol=1e-12, atol=1e-12
        )

    @pytest.mark.parametrize(
        ("layers", "names"),
        [((0, 2), ("gcn_1", "gcn_2")), ((2, 0), ("alignn_1", "alignn_2")), ((1, 0), ("alignn_1",))],
        ids=str,
    )
    def test_depths_without_unused_weights(self, layers, names):
        alignn, gcn = layers
        network = ENCODERS["alignn"][0].model_copy(
            update={"alignn_layers": alignn, "gcn_layers": gcn}
        )
        model = build_model(make_config("alignn").model_copy(update={"encoder": network}))
        assert model.layer_names == names
        graphs = [build_graph_from_arrays(*crystal("skew"), model.config.graph)]
        result = model(collate(graphs))
        (result["epsilon_real"].sum() + result["band_gap"].sum()).backward()
        unused = [name for name, p in model.named_parameters() if p.grad is None]
        assert unused == []


class TestPhysics:
    @pytest.fixture(params=ENCODERS)
    def model(self, request):
        return make_model(request.param)

    def test_absorption_is_never_negative(self, model):
        for seed in range(5):
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for parameter in model.head.parameters():
                    noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                    parameter.copy_(2.0 * noise)
            imaginary = predict(model, *map(crystal, CRYSTALS))["epsilon_imaginary"]
            assert imaginary.min() >= -1e-12 * imaginary.max()

    def test_sites_add_up(self, model):
        result = predict(model, *map(crystal, CRYSTALS), per_site=True)
        sites = result["site_epsilon_imaginary"].split([2, 6, 3])
        mean = torch.stack([part.mean(0) for part in sites])
        torch.testing.assert_close(mean, result["epsilon_imaginary"], rtol=1e-12, atol=1e-12)
        assert "site_epsilon_imaginary" not in predict(model, crystal("MgO"))

    def test_equivalent_sites_are_equal(self, model):
        sites = predict(model, crystal("TiO2"), per_site=True)["site_epsilon_imaginary"]
        torch.testing.assert_close(sites[0], sites[1], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(sites[2], sites[5], rtol=1e-9, atol=1e-12)
        # Far above rounding: titanium is not oxygen.
        assert (sites[0] - sites[2]).abs().max() > 1e-6 * sites.abs().max()

    def test_real_part_is_the_transform_and_what_lies_above(self, model):
        result = predict(model, *map(crystal, CRYSTALS))
        matrix = torch.tensor(kramers_kronig_matrix(GRID))
        above = result["epsilon_real"] - 1.0 - result["epsilon_imaginary"] @ matrix.T
        assert result["epsilon_real"].shape == (3, 2, 201)
        # Absorption above the window: positive, rising towards it, and nearly flat far below.
        assert (above >= -1e-10).all()
        assert (above.diff(dim=-1) >= -1e-10).all()

    def test_gap_reaches_the_loss(self, model):
        graphs = [build_graph_from_arrays(*crystal("MgO"), model.config.graph)]
        result = model(collate(graphs, torch.float64))
        weights = torch.linspace(0, 1, GRID.num, dtype=torch.float64)
        (result["epsilon_imaginary"] * weights).sum().backward()
        gradients = [p.grad for n, p in model.head.named_parameters() if n.startswith("gap_")]
        assert gradients
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        assert any(gradient.abs().max() > 0 for gradient in gradients)

    def test_levels_are_in_order(self, model):
        result = predict(model, crystal("MgO"))
        assert result["epsilon_imaginary"].shape == (1, 2, GRID.num)
        one, two = result["epsilon_imaginary"][0]
        assert not torch.allclose(one, two)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_vector_head(encoder):
    result = predict(make_model(encoder, "vector"), *map(crystal, CRYSTALS))
    assert set(result) == {"features", "layers", "target"}
    assert result["target"].shape == (3, 2, GRID.num)


def test_a_linear_head_on_the_mean_is_a_mean_of_sites():
    config = make_config("alignn").model_copy(update={"head": VectorHeadConfig()})
    model = build_model(config, torch.float64).eval()
    result = predict(model, crystal("TiO2"))
    sites = model.head(result["layers"]["gcn_2"])["target"]
    torch.testing.assert_close(sites.mean(0), result["target"][0], rtol=1e-12, atol=1e-12)


class TestTraining:
    def test_seed_decides(self):
        states = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            states.append(build_model(make_config("alignn")).state_dict())
        assert all(torch.equal(states[0][name], value) for name, value in states[1].items())
        assert any(not torch.equal(states[0][name], value) for name, value in states[2].items())

    def test_steps_are_repeatable(self):
        def losses():
            torch.manual_seed(1)
            model = build_model(make_config("alignn"))
            optimiser = torch.optim.Adam(model.parameters(), 1e-2)
            batch = collate(
                [build_graph_from_arrays(*crystal(name), model.config.graph) for name in CRYSTALS]
            )
            values = []
            for _ in range(4):
                optimiser.zero_grad()
                loss = (model(batch)["epsilon_imaginary"] - 3.0).abs().mean()
                loss.backward()
                optimiser.step()
                values.append(loss.item())
            return values

        first = losses()
        assert first == losses()
        assert first[-1] < first[0]

    def test_dropout_rests_in_evaluation(self):
        model = make_model("alignn")
        graphs = [build_graph_from_arrays(*crystal("MgO"), model.config.graph)]
        batch = collate(graphs, torch.float64)
        again = [model(batch)["epsilon_imaginary"] for _ in range(2)]
        torch.testing.assert_close(*again, rtol=0, atol=0)
        model.train()
        again = [model(batch)["epsilon_imaginary"] for _ in range(2)]
        assert not torch.allclose(*again)

    def test_batch_norm_learns_in_training_only(self):
        network = ENCODERS["alignn"][0].model_copy(update={"norm": "batch"})
        model = build_model(make_config("alignn").model_copy(update={"encoder": network}))
        graphs = [build_graph_from_arrays(*crystal(n), model.config.graph) for n in CRYSTALS]
        batch = collate(graphs)
        buffers = {n: b.clone() for n, b in model.named_buffers() if "running" in n}
        model.eval()(batch)
        assert all(torch.equal(dict(model.named_buffers())[n], b) for n, b in buffers.items())
        model.train()(batch)
        assert all(not torch.equal(dict(model.named_buffers())[n], b) for n, b in buffers.items())

    def test_batch_norm_counts_every_bond(self):
        network = ENCODERS["alignn"][0].model_copy(update={"norm": "batch"})
        model = build_model(
            make_config("alignn").model_copy(update={"encoder": network}), torch.float64
        )
        graphs = [build_graph_from_arrays(*crystal("TiO2"), model.config.graph)]
        batch = collate(graphs, torch.float64)
        model.train()(batch)
        linear, norm, _ = model.encoder.bond_embedding[1].children()
        values = linear(model.encoder.bond_embedding[0](batch["bond_length"]))
        torch.testing.assert_close(norm.running_mean, 0.1 * values.mean(0), rtol=1e-9, atol=1e-12)
