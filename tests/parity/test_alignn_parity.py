"""The networks of the ``alignn`` package, with its own weights, against ours."""

import numpy as np
import pytest
import torch
from ase.data import chemical_symbols
from torch import nn

from opalign.crystal import keys
from opalign.crystal.graph import collate
from opalign.crystal.settings import GraphSettings
from opalign.model.convert import load_alignn_weights, read_alignn_config
from opalign.model.elements import element_table
from opalign.model.layers import EdgeGatedConvolution
from opalign.spectrum.grid import EnergyGrid

pytest.importorskip("alignn")
from alignn.models import alignn as classic
from alignn.models.alignn_atomwise_pure import (
    ALIGNNAtomWisePure,
    ALIGNNAtomWisePureConfig,
    EdgeGatedGraphConvPure,
)

GRID = EnergyGrid(0.0, 20.0, 801)
# Both sum some hundred terms per atom in different orders, through eight layers.
TOLERANCE = 1e-10


def relative_error(found, expected):
    """Largest deviation over the largest magnitude: single outputs may be near zero."""
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


def shake(module, seed=1):
    """Move norms, biases and running statistics away from where they start."""
    generator = torch.Generator().manual_seed(seed)

    def noise(tensor):
        return torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)

    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.LayerNorm | nn.BatchNorm1d):
                part.weight.copy_(1.0 + 0.3 * noise(part.weight))
                part.bias.copy_(0.3 * noise(part.bias))
            if isinstance(part, nn.BatchNorm1d):
                part.running_mean.copy_(0.3 * noise(part.running_mean))
                part.running_var.copy_((0.5 * noise(part.running_var)).exp())
                part.num_batches_tracked.fill_(7)
    return module


def pure_model(**sizes):
    return ALIGNNAtomWisePure(
        ALIGNNAtomWisePureConfig(
            name="alignn_atomwise_pure",
            calculate_gradient=False,
            use_penalty=False,
            use_zbl=False,
            energy_mult_natoms=False,
            atom_input_features=92,
            output_features=GRID.num,
            **{"alignn_layers": 4, "gcn_layers": 4, **sizes},
        )
    )


def settings_of(model, **training):
    """Content of the config.json that alignn would write beside the weights."""
    return {"neighbor_strategy": "k-nearest", **training, "model": model.config.model_dump()}


@pytest.fixture(scope="module")
def batch(graphs_of):
    return collate(graphs_of(GraphSettings(neighbors=8)), torch.float64)


def test_element_table_is_theirs():
    get_node_attributes = pytest.importorskip("jarvis.core.specie").get_node_attributes
    table = element_table("cgcnn")
    for number in range(1, 101):
        theirs = get_node_attributes(chemical_symbols[number], atom_features="cgcnn")
        np.testing.assert_array_equal(table[number], theirs, err_msg=chemical_symbols[number])


@pytest.mark.parametrize("made_in", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "sizes",
    [
        {"hidden_features": 64},
        {"hidden_features": 32, "alignn_layers": 2, "gcn_layers": 1},
        {"hidden_features": 32, "alignn_layers": 2, "gcn_layers": 0, "embedding_features": 16},
        {"hidden_features": 32, "alignn_layers": 0, "gcn_layers": 2},
        {"hidden_features": 48, "edge_input_features": 41, "triplet_input_features": 23},
    ],
    ids=["published", "shallow", "no-gcn", "no-alignn", "bases"],
)
def test_layer_norm_model(batch, alignn_graphs, sizes, made_in):
    torch.set_default_dtype(made_in)
    try:
        theirs = shake(pure_model(**sizes)).double().eval()
    finally:
        torch.set_default_dtype(torch.float32)
    config = read_alignn_config(settings_of(theirs, max_neighbors=8), grid=GRID)
    assert config.graph == GraphSettings(neighbors=8)
    converted = load_alignn_weights(theirs.state_dict(), config)

    graph, line_graph = alignn_graphs(batch)
    expected = theirs((graph, line_graph, None))["out"]
    found = converted.model(batch)["target"][:, 0]

    assert len(expected) >= 20
    assert found.dtype == torch.float64
    for row, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert relative_error(a, b) <= TOLERANCE, f"structure {row}"


def test_single_precision_model(batch, alignn_graphs):
    theirs = shake(pure_model(hidden_features=64)).eval()
    converted = load_alignn_weights(
        theirs.state_dict(), read_alignn_config(settings_of(theirs), grid=GRID)
    )
    single = {k: v.float() if v.is_floating_point() else v for k, v in batch.items()}
    graph, line_graph = alignn_graphs(single)
    found = converted.model(single)["target"][:, 0]
    assert found.dtype == torch.float32
    # Rounding alone: about 1e-7 per operation, through eight layers with norms.
    assert relative_error(found, theirs((graph, line_graph, None))["out"]) < 2e-5


def test_mode_does_not_matter_without_running_statistics(batch):
    theirs = shake(pure_model(hidden_features=32)).double()
    model = load_alignn_weights(
        theirs.state_dict(), read_alignn_config(settings_of(theirs), grid=GRID)
    ).model
    evaluated = model.eval()(batch)["target"]
    torch.testing.assert_close(model.train()(batch)["target"], evaluated, rtol=0, atol=0)


def test_gradients_of_all_weights(batch, alignn_graphs):
    theirs = shake(pure_model(hidden_features=32, alignn_layers=2, gcn_layers=2)).double().train()
    converted = load_alignn_weights(
        theirs.state_dict(), read_alignn_config(settings_of(theirs), grid=GRID)
    )
    weights = torch.linspace(-1.0, 1.0, GRID.num, dtype=torch.float64)
    graph, line_graph = alignn_graphs(batch)
    (theirs((graph, line_graph, None))["out"] * weights).sum().backward()
    model = converted.model.train()
    (model(batch)["target"][:, 0] * weights).sum().backward()
    # A state dict of gradients goes through the same conversion as one of weights.
    gradients = {
        name: torch.zeros_like(value)
        if (parameter := theirs.get_parameter(name)).grad is None
        else parameter.grad
        for name, value in theirs.named_parameters()
    }
    gradients |= {name: value for name, value in theirs.named_buffers()}
    expected = load_alignn_weights(gradients, model.config).model
    for (name, found), wanted in zip(model.named_parameters(), expected.parameters(), strict=True):
        assert relative_error(found.grad, wanted) <= 1e-9, name


def test_what_is_dropped_is_what_nobody_reads(batch, alignn_graphs):
    theirs = shake(pure_model(hidden_features=32)).double().eval()
    converted = load_alignn_weights(
        theirs.state_dict(), read_alignn_config(settings_of(theirs), grid=GRID)
    )
    assert sorted(converted.dropped) == [
        "_species_table",
        "alignn_layers.3.edge_update.bn_edges.bias",
        "alignn_layers.3.edge_update.bn_edges.weight",
        "gcn_layers.3.bn_edges.bias",
        "gcn_layers.3.bn_edges.weight",
    ]
    graph, line_graph = alignn_graphs(batch)
    before = theirs((graph, line_graph, None))["out"]
    with torch.no_grad():
        for name in converted.dropped:
            theirs.state_dict()[name].fill_(3.0)
    torch.testing.assert_close(theirs((graph, line_graph, None))["out"], before, rtol=0, atol=0)


class TestBatchNorm:
    """The original class needs DGL, which is stood in for by the few calls it makes."""

    class Functions:
        """Message functions, as DGL's ``dgl.function`` describes them."""

        u_add_v = staticmethod(lambda u, v, out: lambda g: {out: g.u(u) + g.v(v)})
        u_mul_e = staticmethod(lambda u, e, out: lambda g: {out: g.u(u) * g.edata[e]})
        copy_e = staticmethod(lambda e, out: lambda g: {out: g.edata[e]})
        sum = staticmethod(lambda message, out: (message, out))

    class Graph:
        def __init__(self, graph):
            self.graph = graph
            self.ndata, self.edata = dict(graph.ndata), dict(graph.edata)

        def local_var(self):
            copy = type(self)(self.graph)
            copy.ndata, copy.edata = dict(self.ndata), dict(self.edata)
            return copy

        def u(self, name):
            return self.ndata[name][self.graph.src]

        def v(self, name):
            return self.ndata[name][self.graph.dst]

        def apply_edges(self, function):
            self.edata.update(function(self))

        def update_all(self, function, reduce):
            message, out = reduce
            values = function(self)[message]
            zeros = values.new_zeros(self.graph.num_nodes, values.shape[1])
            self.ndata[out] = zeros.index_add(0, self.graph.dst, values)

    class Mean(nn.Module):
        def forward(self, graph, features):
            parts = features.split(graph.graph.batch_num_nodes.tolist())
            return torch.stack([part.mean(dim=0) for part in parts])

    @pytest.fixture
    def dgl_stand_in(self, monkeypatch):
        monkeypatch.setattr(classic, "fn", self.Functions)
        monkeypatch.setattr(classic, "AvgPooling", self.Mean)
        return self.Graph

    @pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
    def test_model(self, batch, alignn_graphs, dgl_stand_in, training):
        configuration = classic.ALIGNNConfig(
            name="alignn", hidden_features=32, output_features=GRID.num
        )
        theirs = shake(classic.ALIGNN(configuration)).double().train(training)
        config = read_alignn_config(settings_of(theirs), grid=GRID)
        assert config.encoder.norm == "batch"
        converted = load_alignn_weights(theirs.state_dict(), config)
        # In training mode, both norm by the batch's own statistics and update the running ones.
        model = converted.model.train(training)
        graphs = [dgl_stand_in(graph) for graph in alignn_graphs(batch)]

        expected = theirs((*graphs, None))
        found = model(batch)["target"][:, 0]

        for a, b in zip(found, expected, strict=True):
            assert relative_error(a, b) <= TOLERANCE
        again = load_alignn_weights(theirs.state_dict(), config).model.state_dict()
        for name, value in model.state_dict().items():
            if "running" in name or "tracked" in name:
                torch.testing.assert_close(value, again[name], rtol=1e-10, atol=1e-12)
        assert all("bn_edges" in name for name in converted.dropped)
        assert len(converted.dropped) == 10

    def test_convolution(self, batch, alignn_graphs, dgl_stand_in):
        theirs = shake(classic.EdgeGatedGraphConv(24, 24)).double().eval()
        ours = EdgeGatedConvolution(24, "batch").double().eval()
        compare_convolutions(theirs, ours, batch, dgl_stand_in(alignn_graphs(batch)[0]))


def test_layer_norm_convolution(batch, alignn_graphs):
    theirs = shake(EdgeGatedGraphConvPure(24, 24)).double()
    ours = EdgeGatedConvolution(24, "layer").double()
    compare_convolutions(theirs, ours, batch, alignn_graphs(batch)[0])


def compare_convolutions(theirs, ours, batch, graph):
    with torch.no_grad():
        parts = (theirs.src_gate, theirs.dst_update, theirs.dst_gate, theirs.src_update)
        ours.node_projection.weight.copy_(torch.cat([part.weight for part in parts]))
        ours.node_projection.bias.copy_(torch.cat([part.bias for part in parts]))
    ours.edge_gate.load_state_dict(theirs.edge_gate.state_dict())
    ours.node_norm.load_state_dict(theirs.bn_nodes.state_dict())
    ours.edge_norm.load_state_dict(theirs.bn_edges.state_dict())
    atoms = torch.randn(len(batch[keys.ATOMIC_NUMBERS]), 24, dtype=torch.float64)
    bonds = torch.randn(len(batch[keys.BOND_LENGTH]), 24, dtype=torch.float64)
    expected = theirs(graph, atoms, bonds)
    found = ours(atoms, bonds, batch[keys.BOND_INDEX])
    for a, b in zip(found, expected, strict=True):
        assert relative_error(a, b) <= 1e-13
