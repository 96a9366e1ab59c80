"""The blockwise inner loop against the plain operations, and its gradient against differences."""

import pytest
import torch
from torch import nn

from opalign.model import gated as gated_module
from opalign.model.gated import GatedInputs, gated_sum

NODES, EDGES, SIZE = 5, 17, 3


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    # Blocks of four edges, the last one short.
    monkeypatch.setattr(gated_module, "BLOCK", 4 * SIZE)


def make(norm, count=EDGES):
    shapes = [(NODES, 2 * SIZE), (NODES, SIZE), (count, SIZE), (SIZE, SIZE), (SIZE,)]
    tensors = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    if norm:
        tensors += [torch.randn(SIZE, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    index = torch.stack(
        [torch.randint(0, NODES, (count,)), torch.randint(0, NODES - 1, (count,)).sort()[0]]
    )
    return GatedInputs(*tensors, *([] if norm else [None, None])), index


def plain(inputs, index):
    """As the equations are written, edge by edge."""
    sums = [torch.zeros(2 * SIZE, dtype=torch.float64) for _ in range(NODES)]
    messages = []
    for edge, (source, target) in zip(inputs.edges, index.t().tolist(), strict=True):
        gate, value = inputs.from_source[source].split(SIZE)
        message = inputs.weight @ edge + inputs.bias + gate + inputs.from_target[target]
        sigma = torch.sigmoid(message)
        sums[target] = sums[target] + torch.cat([sigma, sigma * value])
        messages.append(message)
    result = torch.stack(messages)
    if inputs.scale is not None:
        normed = nn.functional.layer_norm(result, (SIZE,), inputs.scale, inputs.shift, 1e-5)
        result = inputs.edges + nn.functional.silu(normed)
    return torch.stack(sums), result


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("gradient", [True, False])
def test_is_what_the_equations_say(norm, gradient):
    inputs, index = make(norm)
    expected = plain(inputs, index)
    with torch.set_grad_enabled(gradient):
        found = gated_sum(inputs, index, 1e-5)
    for a, b in zip(found, expected, strict=True):
        assert a.requires_grad is gradient
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("used", [(True, True), (True, False), (False, True)])
def test_gradient(norm, used):
    inputs, index = make(norm)
    given = [part for part in inputs if part is not None]

    def function(*parts):
        parts = (*parts, *([None] * (len(inputs) - len(parts))))
        results = gated_sum(GatedInputs(*parts), index, 1e-5)
        return tuple(result for result, wanted in zip(results, used, strict=True) if wanted)

    assert torch.autograd.gradcheck(function, given)


def test_inputs_are_left_alone():
    inputs, index = make(True)
    before = [part.detach().clone() for part in inputs]
    with torch.no_grad():
        gated_sum(inputs, index, 1e-5)
    sum(part.sum() for part in gated_sum(inputs, index, 1e-5)).backward()
    for part, was in zip(inputs, before, strict=True):
        torch.testing.assert_close(part.detach(), was, rtol=0, atol=0)


@pytest.mark.parametrize("norm", [True, False])
def test_without_edges(norm):
    inputs, index = make(norm, count=0)
    sums, edges = gated_sum(inputs, index, 1e-5)
    assert edges.shape == (0, SIZE)
    torch.testing.assert_close(sums, torch.zeros_like(sums))
    (sums.sum() + edges.sum()).backward()
    assert all(part.grad is None or not part.grad.any() for part in inputs if part is not None)


def test_the_gradient_is_of_first_order_only():
    inputs, index = make(True)
    sums, _ = gated_sum(inputs, index, 1e-5)
    (gradient,) = torch.autograd.grad((sums**2).sum(), inputs.edges, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
