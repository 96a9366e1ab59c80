"""Weights of other packages: every tensor is used, dropped knowingly, or refused."""

import zipfile

import pytest
import torch
from safetensors.torch import save_file

from opalign.crystal.settings import GraphSettings
from opalign.errors import CheckpointError, ConfigurationError
from opalign.model import transfer as transfer_module
from opalign.model.checkpoint import build_model
from opalign.model.config import ModelConfig, OptimateConfig, PhysicalHeadConfig, VectorHeadConfig
from opalign.model.convert import (
    OptimateNames,
    load_alignn_weights,
    load_optimate_weights,
    read_alignn_config,
)
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

GRID = EnergyGrid(0.0, 10.0, 11)
SIZES = {
    "alignn_layers": 1,
    "gcn_layers": 1,
    "hidden_features": 4,
    "embedding_features": 3,
    "edge_input_features": 6,
    "triplet_input_features": 5,
    "atom_input_features": 92,
    "output_features": 11,
}


def alignn_content(name="alignn_atomwise_pure", **model):
    return {
        "atom_features": "cgcnn",
        "neighbor_strategy": "k-nearest",
        "max_neighbors": 12,
        "cutoff": 8.0,
        "model": {"name": name, **SIZES, **model},
    }


def alignn_state(norm="layer"):
    """A state dict in alignn's layout, written down from its published classes."""
    shapes = {"edge_embedding.0.centers": (6,), "angle_embedding.0.centers": (5,)}

    def linear(name, inputs, outputs):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def norm_of(name, size):
        parts = ["weight", "bias"] + (["running_mean", "running_var"] if norm == "batch" else [])
        shapes.update({f"{name}.{part}": (size,) for part in parts})

    def embedding(name, inputs, outputs):
        linear(f"{name}.layer.0", inputs, outputs)
        norm_of(f"{name}.layer.1", outputs)

    embedding("atom_embedding", 92, 4)
    for kind, size in (("edge", 6), ("angle", 5)):
        embedding(f"{kind}_embedding.1", size, 3)
        embedding(f"{kind}_embedding.2", 3, 4)
    for block in ("alignn_layers.0.node_update", "alignn_layers.0.edge_update", "gcn_layers.0"):
        for part in ("src_gate", "dst_gate", "edge_gate", "src_update", "dst_update"):
            linear(f"{block}.{part}", 4, 4)
        norm_of(f"{block}.bn_nodes", 4)
        norm_of(f"{block}.bn_edges", 4)
    linear("fc", 4, 11)
    state = {name: torch.rand(shape) for name, shape in shapes.items()}
    state["edge_embedding.0.centers"] = torch.linspace(0, 8, 6)
    state["angle_embedding.0.centers"] = torch.linspace(-1, 1, 5)
    if norm == "batch":
        for name in [name for name in state if name.endswith("running_mean")]:
            state[name.replace("running_mean", "num_batches_tracked")] = torch.tensor(3)
    return state


@pytest.fixture
def config():
    return read_alignn_config(alignn_content(), grid=GRID)


class TestAlignnConfig:
    def test_reads_what_training_wrote(self):
        config = read_alignn_config(
            alignn_content(),
            grid=GRID,
            target="log_absorption",
            levels=("pbesol",),
            broadening=Broadening("gaussian", 0.1),
        )
        assert config.encoder.norm == "layer"
        assert config.encoder.bond_basis_size == 6
        assert config.encoder.angle_basis_size == 5
        assert config.encoder.bond_basis_stop == 8.0
        assert config.head == VectorHeadConfig(target="log_absorption")
        assert config.graph == GraphSettings(kind="k_nearest", neighbors=12)
        assert config.levels == ("pbesol",)
        assert config.broadening == Broadening("gaussian", 0.1)

    def test_classic_class_has_batch_norm(self):
        assert read_alignn_config(alignn_content("alignn"), grid=GRID).encoder.norm == "batch"

    def test_radius_graph(self):
        content = alignn_content() | {"neighbor_strategy": "radius_graph"}
        graph = read_alignn_config(content, grid=GRID).graph
        assert graph == GraphSettings(kind="radius", cutoff=8.0)

    @pytest.mark.parametrize(
        ("content", "where"),
        [
            ({}, "the section 'model' is missing"),
            (alignn_content("ealignn_atomwise"), r"model\.name"),
            (alignn_content(link="log"), r"model\.link"),
            (alignn_content(classification=True), r"model\.classification"),
            (alignn_content(extra_features=6), r"model\.extra_features"),
            (alignn_content(use_cutoff_function=True), r"model\.use_cutoff_function"),
            (alignn_content(conv_type="t_alignn"), r"model\.conv_type"),
            (alignn_content(output_features=12), r"model\.output_features"),
            (alignn_content(atom_input_features=1), "atom_features"),
            (alignn_content() | {"atom_features": "basic"}, "atom_features"),
            (alignn_content() | {"neighbor_strategy": "pure_torch"}, "neighbor_strategy"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_refuses_what_is_not_there(self, content, where):
        with pytest.raises(ConfigurationError, match=where):
            read_alignn_config(content, grid=GRID)

    def test_missing_sizes_are_named(self):
        content = alignn_content()
        del content["model"]["hidden_features"]
        with pytest.raises(ConfigurationError, match=r"hidden_features"):
            read_alignn_config(content, grid=GRID)


class TestAlignnWeights:
    @pytest.mark.parametrize("norm", ["layer", "batch"])
    def test_all_tensors_arrive(self, norm):
        name = {"layer": "alignn_atomwise", "batch": "alignn"}[norm]
        config = read_alignn_config(alignn_content(name), grid=GRID)
        state = alignn_state(norm)
        converted = load_alignn_weights(state, config)
        arrived = sum(value.sum().item() for value in converted.model.state_dict().values())
        arrived += sum(state[name].sum().item() for name in converted.dropped)
        gamma = converted.model.encoder.bond_embedding[0].gamma.item()
        gamma += converted.model.encoder.angle_embedding[0].gamma.item()
        assert arrived - gamma == pytest.approx(sum(v.sum().item() for v in state.values()))
        assert not converted.model.training

    def test_gamma_is_derived_in_the_precision_the_centres_were_made_in(self, config):
        # 0.4 apart: the mean of single-precision differences is not the double 0.4.
        state = {k: v.double() for k, v in alignn_state().items()}
        single = torch.linspace(-1, 1, 6)[:5]
        state["angle_embedding.0.centers"] = single.double()
        gamma = load_alignn_weights(state, config).model.encoder.angle_embedding[0].gamma
        assert gamma.dtype == torch.float64
        assert gamma.item() == 1.0 / float((single[1:] - single[:-1]).numpy().mean())
        assert gamma.item() != 2.5
        state["angle_embedding.0.centers"] = torch.linspace(-1, 1, 6, dtype=torch.float64)[:5]
        gamma = load_alignn_weights(state, config).model.encoder.angle_embedding[0].gamma
        assert gamma.item() == pytest.approx(2.5, rel=1e-15)

    @pytest.mark.parametrize("wrap", ["model", "state_dict", "module."])
    def test_wrappings_come_off(self, config, wrap):
        state = alignn_state()
        if wrap == "module.":
            wrapped = {f"module.{name}": value for name, value in state.items()}
        else:
            wrapped = {wrap: state, "optimizer": {"lr": 0.1}, "epoch": 3}
        expected = load_alignn_weights(state, config).model.state_dict()
        found = load_alignn_weights(wrapped, config).model.state_dict()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=0)

    def test_other_heads_are_dropped_by_name(self, config):
        state = alignn_state() | {
            "_species_table": torch.zeros(120, 92),
            "fc_atomwise.weight": torch.zeros(1, 4),
            "fc_additional_output.bias": torch.zeros(1),
        }
        dropped = load_alignn_weights(state, config).dropped
        assert {"_species_table", "fc_atomwise.weight", "fc_additional_output.bias"} <= {*dropped}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda s: s.pop("gcn_layers.0.src_gate.weight"), "src_gate.weight is missing"),
            (lambda s: s.pop("gcn_layers.0.bn_edges.bias"), "bn_edges.bias is missing"),
            (lambda s: s.update(surprise=torch.zeros(1)), "1 tensors are unknown: surprise"),
            (lambda s: s.update({"fc.bias": torch.zeros(7)}), r"shape \(7,\)"),
            (lambda s: s["fc.bias"].fill_(float("nan")), "fc.bias holds numbers"),
            (lambda s: s.update({"fc.bias": torch.zeros(11).double()}), "float32, float64"),
            (lambda s: s.clear(), "not a mapping of names to tensors"),
            (lambda s: s.update(note="text"), "not a mapping of names to tensors"),
        ],
        ids=["missing", "missing-dropped", "unknown", "shape", "nan", "dtype", "empty", "text"],
    )
    def test_refuses(self, config, change, message):
        state = alignn_state()
        change(state)
        with pytest.raises(CheckpointError, match=message):
            load_alignn_weights(state, config)

    def test_refuses_the_other_norm(self, config):
        with pytest.raises(CheckpointError, match="tensors are unknown"):
            load_alignn_weights(alignn_state("batch"), config)

    def test_refuses_another_architecture(self):
        config = ModelConfig(encoder=OptimateConfig(), head=VectorHeadConfig(), grid=GRID)
        with pytest.raises(CheckpointError, match="not of an ALIGNN"):
            load_alignn_weights(alignn_state(), config)

    def test_refuses_a_head_without_weights_in_the_file(self, config):
        config = config.model_copy(update={"head": PhysicalHeadConfig()})
        with pytest.raises(CheckpointError, match="missing"):
            load_alignn_weights(alignn_state(), config)


class TestFiles:
    @pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
    def test_reads(self, tmp_path, config, suffix):
        state, path = alignn_state(), tmp_path / f"best_model{suffix}"
        save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
        found = load_alignn_weights(path, config).model.state_dict()
        expected = load_alignn_weights(state, config).model.state_dict()
        assert all(torch.equal(found[name], value) for name, value in expected.items())

    def test_no_file(self, tmp_path, config):
        with pytest.raises(CheckpointError, match="no such file"):
            load_alignn_weights(tmp_path / "nowhere.pt", config)

    def test_objects_are_not_unpickled(self, tmp_path, config):
        torch.save({"model": GRID}, tmp_path / "model.pt")
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_alignn_weights(tmp_path / "model.pt", config)

    @pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
    def test_damaged_file(self, tmp_path, config, suffix):
        path = tmp_path / f"model{suffix}"
        path.write_bytes(b"not weights at all")
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_alignn_weights(path, config)

    def test_something_else(self, tmp_path, config):
        torch.save(torch.zeros(3), tmp_path / "model.pt")
        with pytest.raises(CheckpointError, match="holds a Tensor"):
            load_alignn_weights(tmp_path / "model.pt", config)

    def test_too_large(self, tmp_path, config, monkeypatch):
        monkeypatch.setattr(transfer_module, "_LARGEST_FILE", 10_000)
        with (tmp_path / "sparse.pt").open("wb") as stream:
            stream.truncate(20_000)
        with pytest.raises(CheckpointError, match="20000 bytes"):
            load_alignn_weights(tmp_path / "sparse.pt", config)
        # Small on disk, large once unpacked.
        with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("model/data.pkl", b"\0" * 30_000)
        with pytest.raises(CheckpointError, match="30000 bytes"):
            load_alignn_weights(tmp_path / "bomb.pt", config)


class TestOptimate:
    @pytest.fixture
    def config(self):
        return ModelConfig(
            encoder=OptimateConfig(
                node_features=(5, 6), attention_features=(4, 3), attention_heads=2
            ),
            head=VectorHeadConfig(hidden_features=(8,), leaky_output=True),
            grid=GRID,
        )

    def state(self, config, names):
        """What a network of ours is called in the other layout."""
        ours = build_model(config).state_dict()
        pairs = [
            ("node_network.0", f"{names.node_network}.lins.0"),
            ("node_network.2", f"{names.node_network}.lins.10"),
            ("pooling.gate", names.gate),
        ]
        for layer in range(2):
            prefix = names.attention_prefix(layer)
            pairs += [
                (f"attention_layers.{layer}.source", f"{prefix}.lin_l"),
                (f"attention_layers.{layer}.target", f"{prefix}.lin_r"),
            ]
        pairs = [(f"encoder.{a}", b) for a, b in pairs]
        pairs += [("head.network.0", f"{names.output_network}.0")]
        pairs += [("head.network.2", f"{names.output_network}.1")]
        state = {f"{b}.{p}": ours[f"{a}.{p}"] for a, b in pairs for p in ("weight", "bias")}
        for layer in range(2):
            prefix, mine = names.attention_prefix(layer), f"encoder.attention_layers.{layer}"
            state[f"{prefix}.lin_edge.weight"] = ours[f"{mine}.edge.weight"]
            state[f"{prefix}.att"] = ours[f"{mine}.attention"].unsqueeze(0)
            state[f"{prefix}.bias"] = ours[f"{mine}.bias"]
        return ours, state

    @pytest.mark.parametrize(
        "names",
        [OptimateNames(), OptimateNames("mlp", ("first", "net.second"), "gate_nn", "readout")],
        ids=["default", "own"],
    )
    def test_names(self, config, names):
        ours, state = self.state(config, names)
        found = load_optimate_weights(state, config, names).model.state_dict()
        for name, value in ours.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=0, msg=name)

    def test_refuses(self, config):
        _, state = self.state(config, OptimateNames())
        with pytest.raises(CheckpointError, match="1 tensors are unknown: surprise"):
            load_optimate_weights(state | {"surprise": torch.zeros(1)}, config)
        deeper = state | {"gate.5.weight": torch.zeros(6, 6), "gate.5.bias": torch.zeros(6)}
        with pytest.raises(CheckpointError, match="2 linear layers under 'gate'"):
            load_optimate_weights(deeper, config)
        with pytest.raises(CheckpointError, match="0 linear layers under 'elsewhere'"):
            load_optimate_weights(state, config, OptimateNames(gate="elsewhere"))
        with pytest.raises(CheckpointError, match="attention has 1 names"):
            load_optimate_weights(state, config, OptimateNames(attention=("one",)))
        alignn = read_alignn_config(alignn_content(), grid=GRID)
        with pytest.raises(CheckpointError, match="not of an OPTIMATE"):
            load_optimate_weights(state, alignn)
