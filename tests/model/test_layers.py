"""Building blocks against their equations, written out atom by atom."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from opalign.model.layers import (
    EdgeGatedConvolution,
    GaussianBasis,
    GraphAttention,
    normalization,
    segment_mean,
    segment_softmax,
    segment_sum,
)
from opalign.model.pooling import MeanPooling, VectorAttentionPooling

segments = st.lists(st.integers(0, 4), min_size=0, max_size=20).map(sorted)


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def graph(nodes, edges):
    source = torch.randint(0, nodes, (edges,))
    # The last node has no edge that ends at it.
    target = torch.randint(0, nodes - 1, (edges,)).sort().values
    return torch.stack([source, target])


@given(segments)
@settings(deadline=None, max_examples=30)
def test_segment_sum(index):
    index = torch.tensor(index, dtype=torch.long)
    values = double(len(index), 3)
    expected = [values[index == number].sum(0) for number in range(5)]
    torch.testing.assert_close(segment_sum(values, index, 5), torch.stack(expected))


def test_segment_mean():
    values, index = double(6, 2, 3), torch.tensor([0, 0, 0, 1, 2, 2])
    found = segment_mean(values, index, torch.tensor([3, 1, 2]))
    expected = [values[index == number].mean(0) for number in range(3)]
    torch.testing.assert_close(found, torch.stack(expected))


class TestSegmentSoftmax:
    @given(segments.filter(len))
    @settings(deadline=None, max_examples=30)
    def test_is_the_softmax_of_every_segment(self, index):
        index = torch.tensor(index)
        logits = double(len(index), 2)
        found = segment_softmax(logits, index, 5)
        for number in index.unique():
            rows = index == number
            torch.testing.assert_close(found[rows], logits[rows].softmax(0))

    def test_large_logits_neither_overflow_nor_vanish(self):
        index = torch.tensor([0, 0, 1, 1])
        logits = torch.tensor([[1e4], [1e4], [-1e4], [-1e4 + 1]], requires_grad=True)
        weights = segment_softmax(logits, index, 2)
        expected = torch.tensor([[0.5], [0.5], [1 / (1 + np.e)], [np.e / (1 + np.e)]])
        torch.testing.assert_close(weights, expected.float())
        weights.square().sum().backward()
        assert torch.isfinite(logits.grad).all()

    def test_gradient(self):
        index = torch.tensor([0, 0, 2, 2, 2])
        logits = double(5, 2).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: segment_softmax(x, index, 3), logits)


class TestGaussianBasis:
    def test_values(self):
        basis = GaussianBasis(0.0, 8.0, 80)
        spacing = 8.0 / 79
        found = basis(torch.tensor([0.0, spacing, 2.5]))
        assert found.shape == (3, 80)
        assert found[0, 0] == 1.0
        # One spacing away: exp(−spacing²/spacing).
        assert found[1, 0].item() == pytest.approx(np.exp(-spacing), rel=1e-5)
        centers = np.linspace(0, 8, 80)
        np.testing.assert_allclose(
            found[2].numpy(), np.exp(-((2.5 - centers) ** 2) / spacing), rtol=1e-4, atol=1e-7
        )

    def test_own_gamma(self):
        basis = GaussianBasis(0.0, 5.0, 51, gamma=50.0)
        assert basis(torch.tensor([0.1]))[0, 0].item() == pytest.approx(np.exp(-0.5), rel=1e-5)

    def test_travels_with_the_weights(self):
        assert set(GaussianBasis(0.0, 8.0, 5).state_dict()) == {"centers", "gamma"}

    def test_gradient(self):
        basis = GaussianBasis(0.0, 8.0, 5).double()
        assert torch.autograd.gradcheck(basis, double(4).requires_grad_())


class TestEdgeGatedConvolution:
    @pytest.mark.parametrize("norm", ["layer", "batch", "none"])
    @pytest.mark.parametrize("update_edges", [True, False])
    @pytest.mark.parametrize("at_once", [True, False])
    def test_is_what_the_equations_say(self, norm, update_edges, at_once, monkeypatch):
        size, index = 3, graph(5, 14)
        layer = EdgeGatedConvolution(size, norm, update_edges=update_edges).double().eval()
        for part in layer.modules():
            if isinstance(part, nn.BatchNorm1d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2.0)
            if isinstance(part, nn.LayerNorm | nn.BatchNorm1d):
                nn.init.normal_(part.weight)
                nn.init.normal_(part.bias)
        if at_once:
            # As on another device than a CPU.
            monkeypatch.setattr(layer, "_blockwise", lambda *given: layer._at_once(*given[:-1]))
        nodes, edges = double(5, size), double(14, size)
        new_nodes, new_edges = layer(nodes, edges, index)

        names = ("source_gate", "source_value", "target_gate", "target_update")
        weight = dict(zip(names, layer.node_projection.weight.split(size), strict=True))
        bias = dict(zip(names, layer.node_projection.bias.split(size), strict=True))

        def project(name, node):
            return weight[name] @ nodes[node] + bias[name]

        messages = torch.stack(
            [
                project("source_gate", s) + project("target_gate", t) + layer.edge_gate(edges[e])
                for e, (s, t) in enumerate(index.t().tolist())
            ]
        )
        for node in range(5):
            above, below = torch.zeros(size).double(), torch.full((size,), 1e-6).double()
            for edge, (source, target) in enumerate(index.t().tolist()):
                if target == node:
                    gate = torch.sigmoid(messages[edge])
                    above = above + gate * project("source_value", source)
                    below = below + gate
            update = layer.node_norm((project("target_update", node) + above / below)[None])[0]
            expected = nodes[node] + update * torch.sigmoid(update)
            torch.testing.assert_close(new_nodes[node], expected, rtol=1e-12, atol=1e-12)
        if update_edges:
            normed = layer.edge_norm(messages)
            messages = edges + normed * torch.sigmoid(normed)
            torch.testing.assert_close(new_edges, messages, rtol=1e-12, atol=1e-12)
        else:
            assert new_edges is edges
            assert layer.edge_norm is None

    def test_both_ways_give_the_same_gradient(self, monkeypatch):
        index, nodes, edges = graph(5, 14), double(5, 3), double(14, 3)
        layer = EdgeGatedConvolution(3, "layer").double()

        def gradients():
            layer.zero_grad()
            sum((part**2).sum() for part in layer(nodes, edges, index)).backward()
            return [parameter.grad.clone() for parameter in layer.parameters()]

        found = gradients()
        monkeypatch.setattr(layer, "_blockwise", lambda *given: layer._at_once(*given[:-1]))
        torch.testing.assert_close(found, gradients(), rtol=1e-10, atol=1e-12)

    def test_mixed_precision(self):
        index, nodes, edges = graph(5, 14), torch.randn(5, 8), torch.randn(14, 8)
        layer = EdgeGatedConvolution(8, "layer")
        expected = layer(nodes, edges, index)
        with torch.autocast("cpu", torch.bfloat16):
            found = layer(nodes, edges, index)
        for a, b in zip(found, expected, strict=True):
            # bfloat16 has eight bits.
            torch.testing.assert_close(a.float(), b, rtol=0.05, atol=0.05)


class TestGraphAttention:
    def test_is_what_the_equations_say(self):
        heads, size, index = 2, 3, graph(5, 14)
        layer = GraphAttention(4, size, heads, edge_features=6).double()
        nn.init.normal_(layer.bias)
        nodes, edges = double(5, 4), double(14, 6)
        found = layer(nodes, edges, index)
        assert found.shape == (5, heads * size)
        for node in range(5):
            ending = [e for e in range(14) if index[1, e] == node]
            for head in range(heads):
                part = slice(head * size, (head + 1) * size)
                expected = layer.bias[part].clone()
                scores = []
                for e in ending:
                    mixed = (
                        layer.source(nodes[index[0, e]])
                        + layer.target(nodes[node])
                        + layer.edge(edges[e])
                    )[part]
                    mixed = torch.where(mixed > 0, mixed, 0.2 * mixed)
                    scores.append(layer.attention[head] @ mixed)
                if ending:
                    weights = torch.stack(scores).softmax(0)
                    values = torch.stack([layer.source(nodes[index[0, e]])[part] for e in ending])
                    expected = expected + weights @ values
                torch.testing.assert_close(found[node, part], expected, rtol=1e-12, atol=1e-12)

    def test_without_bonds(self):
        layer = GraphAttention(4, 3, 2, edge_features=6)
        nn.init.normal_(layer.bias)
        found = layer(torch.randn(3, 4), torch.zeros(0, 6), torch.zeros(2, 0, dtype=torch.long))
        torch.testing.assert_close(found, layer.bias.expand(3, -1))


class TestPooling:
    structure, counts = torch.tensor([0, 0, 0, 1, 2, 2]), torch.tensor([3, 1, 2])

    def test_mean(self):
        features = double(6, 4)
        found = MeanPooling()(features, self.structure, self.counts)
        expected = [part.mean(0) for part in features.split([3, 1, 2])]
        torch.testing.assert_close(found, torch.stack(expected))

    def test_attention_has_a_weight_for_every_channel(self):
        features = double(6, 4)
        pooling = VectorAttentionPooling(4).double()
        found = pooling(features, self.structure, self.counts)
        expected = [
            (pooling.gate(part).softmax(0) * part).sum(0) for part in features.split([3, 1, 2])
        ]
        torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("layer", nn.LayerNorm), ("batch", nn.BatchNorm1d), ("none", nn.Identity)],
)
def test_normalization(kind, expected):
    assert isinstance(normalization(kind, 4), expected)


def test_edges_are_overwritten_only_where_allowed_and_without_gradient():
    torch.manual_seed(3)
    convolution = EdgeGatedConvolution(8, "layer")
    nodes, edges = torch.randn(5, 8), torch.randn(12, 8)
    index = torch.stack([torch.randint(0, 5, (12,)), torch.randint(0, 5, (12,)).sort().values])
    before = edges.clone()
    with torch.no_grad():
        expected = convolution(nodes, edges, index)
        assert torch.equal(edges, before), "the caller's edges are left alone"
        scratch = edges.clone()
        found = convolution(nodes, scratch, index, overwrite=True)
    assert found[1].data_ptr() == scratch.data_ptr()
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.0)
    trained = convolution(nodes, edges, index, overwrite=True)
    assert torch.equal(edges, before), "a gradient still needs them"
    torch.testing.assert_close(trained, expected)
