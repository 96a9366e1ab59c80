import warnings

import pytest
import torch
from torch._inductor.exc import InductorError

from opalign.model import layers
from opalign.model.fused import gated_messages
from opalign.model.layers import EdgeGatedConvolution

NODES, EDGES, FEATURES = 7, 40, 16


def inputs(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    nodes = torch.randn(NODES, FEATURES, generator=generator, dtype=dtype)
    edges = torch.randn(EDGES, FEATURES, generator=generator, dtype=dtype)
    source = torch.randint(NODES, (EDGES,), generator=generator)
    target = torch.randint(NODES, (EDGES,), generator=generator).sort().values
    return nodes.requires_grad_(), edges.requires_grad_(), torch.stack([source, target])


def convolution(dtype=torch.float64):
    torch.manual_seed(1)
    return EdgeGatedConvolution(FEATURES, "layer").to(dtype)


def run(module, multiplicity):
    nodes, edges, index = inputs()
    out = module(nodes, edges, index, multiplicity)
    (out[0].square().sum() + out[1].sin().sum()).backward()
    gradients = [parameter.grad for parameter in module.parameters()]
    return [*out, nodes.grad, edges.grad, *gradients]


def test_sums_are_those_of_a_loop_over_edges():
    from_source = torch.randn(NODES, 2 * FEATURES, dtype=torch.float64)
    from_target, gated = torch.randn(NODES, FEATURES), torch.randn(EDGES, FEATURES)
    _, _, index = inputs()
    times = torch.arange(1.0, EDGES + 1.0)
    sums, message = gated_messages(from_source, from_target, gated, index, times)
    expected = torch.zeros(NODES, 2 * FEATURES, dtype=torch.float64)
    for edge, (source, target) in enumerate(index.T.tolist()):
        one = gated[edge] + from_source[source, :FEATURES] + from_target[target]
        assert torch.allclose(message[edge], one)
        gate = times[edge] * torch.sigmoid(one)
        expected[target] += torch.cat([gate, gate * from_source[source, FEATURES:]])
    assert torch.allclose(sums, expected)


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_compiled_and_plain_agree_with_their_gradients(weighted):
    multiplicity = torch.arange(1.0, EDGES + 1.0, dtype=torch.float64) if weighted else None
    plain, fused = convolution(), convolution()
    fused.fused = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = run(fused, multiplicity)
    if not fused.fused:
        pytest.skip("torch finds no compiler here")
    for one, other in zip(compiled, run(plain, multiplicity), strict=True):
        # Double precision; sums in another order.
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-11)


def test_without_a_compiler_the_plain_operations_serve(monkeypatch):
    def broken():
        def fail(*arguments):
            raise InductorError(RuntimeError("no compiler to be found"), None)

        return fail

    monkeypatch.setattr(layers, "compiled_messages", broken)
    module = convolution()
    module.fused = True
    with pytest.warns(UserWarning, match="not compiled.*no compiler to be found"):
        got = run(module, None)
    assert not module.fused, "it is not tried again"
    for one, other in zip(got, run(convolution(), None), strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-11)


def test_a_mistake_in_the_data_is_no_failure_of_the_compiler(monkeypatch):
    monkeypatch.setattr(layers, "compiled_messages", lambda: gated_messages)
    module = convolution()
    module.fused = True
    nodes, edges, index = inputs()
    with pytest.raises(IndexError):
        module(nodes, edges, index + NODES)
    assert module.fused


def test_sums_are_no_coarser_than_single_precision_in_half_precision():
    many = 4096
    from_source = torch.zeros(1, 2, dtype=torch.bfloat16)
    from_source[0, 1] = 1.0
    gated, target = torch.zeros(many, 1, dtype=torch.bfloat16), torch.zeros(1, 1).bfloat16()
    index = torch.zeros(2, many, dtype=torch.long)
    sums, _ = gated_messages(from_source, target, gated, index, None)
    # Every gate is one half; bf16 would stop counting at 128.
    assert sums.tolist() == [[many / 2, many / 2]]
    assert sums.dtype == torch.float32
