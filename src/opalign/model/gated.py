"""The inner loop of an edge-gated convolution on the CPU, in blocks that stay in the cache.

A crystal has some hundred times as many angles as atoms, so a convolution on the line graph spends
its time moving arrays of angle features through memory, once for every operation on them. Here all
operations are done on one block of edges after the other, and only the messages are kept for the
gradient; gates and norms are computed again. The numbers are those of the plain operations, but
for the order of sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

#: Numbers in a block of one array: the handful of such arrays fit into the caches of a core.
BLOCK = 1 << 17
_aten = torch.ops.aten


class GatedInputs(NamedTuple):
    """What messages are made of, for N nodes, E edges and d features."""

    from_source: Tensor
    """(N, 2d) gate and value that a node sends along the edges that leave it."""
    from_target: Tensor
    """(N, d) gate of the node that an edge ends at."""
    edges: Tensor
    """(E, d)"""
    weight: Tensor
    """(d, d) of the linear layer on the edges."""
    bias: Tensor
    """(d,)"""
    scale: Tensor | None
    """(d,) of the layer norm of the edge update; None: no update."""
    shift: Tensor | None
    """(d,)"""


def gated_sum(
    inputs: GatedInputs,
    index: Tensor,
    epsilon: float,
    multiplicity: Tensor | None = None,
    *,
    overwrite: bool = False,
) -> tuple[Tensor, Tensor]:
    """Sum gates and gated values over the edges that end at a node, and update the edges.

    With m = from_source's gate + from_target + linear(edges), σ = sigmoid(m)

    Parameters
    ----------
    inputs
        On the CPU, all of one dtype.
    index
        (2, E) source and target of each edge.
    epsilon
        Of the layer norm.
    multiplicity
        (E,) times that an edge counts in the sums; by default once.
    overwrite
        Without gradients and with a norm, write the updated edges over the old ones: fresh memory
        of that size costs more than the addition.

    Returns
    -------
    tuple
        Σσ and Σσ⊙value, (N, 2d), and edges + silu(layer norm(m)), or m if there is no norm, (E, d).
    """
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs):
        return _GatedSum.apply(*inputs, index, epsilon, multiplicity)
    return _forward(inputs, index, epsilon, multiplicity, None, overwrite)


def _forward(
    inputs: GatedInputs,
    index: Tensor,
    epsilon: float,
    multiplicity: Tensor | None,
    messages: Tensor | None,
    overwrite: bool = False,
) -> tuple[Tensor, Tensor]:
    """Results of :func:`gated_sum`; the messages are written to ``messages`` (E, d) if given."""
    from_source, from_target, edges, weight, bias, scale, shift = inputs
    size = edges.shape[1]
    sums = torch.zeros_like(from_source)
    result = edges if overwrite and scale is not None else torch.empty_like(edges)
    if scale is None:
        messages = result
    at_target = from_target + bias
    transposed = weight.t()
    step = _rows(edges)
    blocks = _blocks(step, edges, *index, _column(multiplicity))
    for first, (edge, source, target, times) in enumerate(blocks):
        rows = slice(first * step, (first + 1) * step)
        sent = from_source.index_select(0, source)
        gate, value = sent[:, :size], sent[:, size:]
        message = torch.index_select(
            at_target, 0, target, out=None if messages is None else messages[rows]
        )
        message += gate
        message.addmm_(edge, transposed)
        # What was sent has served: σ takes the place of the gate, σ⊙value that of the value.
        torch.sigmoid(message, out=gate)
        value *= gate
        if times is not None:
            sent *= times
        sums.index_add_(0, target, sent)
        if scale is not None:
            normed = torch.layer_norm(message, (size,), scale, shift, epsilon)
            torch.add(edge, nn.functional.silu(normed, inplace=True), out=result[rows])
    return sums, result


class _GatedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        inputs = GatedInputs(*arguments[:7])
        index, epsilon, multiplicity = arguments[7:]
        messages = torch.empty_like(inputs.edges)
        sums, result = _forward(inputs, index, epsilon, multiplicity, messages)
        if inputs.scale is None:
            messages = result
        ctx.save_for_backward(*inputs, index, multiplicity, messages)
        ctx.epsilon = epsilon
        ctx.set_materialize_grads(False)
        return sums, result

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_sums: Tensor | None, d_result: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        *parts, index, multiplicity, messages = ctx.saved_tensors
        inputs = GatedInputs(*parts)
        from_source, edges, weight, scale = (
            inputs.from_source,
            inputs.edges,
            inputs.weight,
            inputs.scale,
        )
        size = edges.shape[1]
        if d_sums is None:
            d_sums = torch.zeros_like(from_source)
        values = from_source[:, size:]
        d_norm = inputs.bias.new_zeros(2, size)
        grads = GatedInputs(
            torch.zeros_like(from_source),
            torch.zeros_like(inputs.from_target),
            torch.empty_like(edges),
            torch.zeros_like(weight),
            torch.empty_like(inputs.bias),
            *((None, None) if scale is None else d_norm),
        )
        step = _rows(edges)
        blocks = _blocks(
            step, edges, messages, *index, _column(multiplicity), grads.edges, d_result
        )
        for edge, message, source, target, times, d_edge, d_out in blocks:
            gate = torch.sigmoid(message)
            d_sent = d_sums.index_select(0, target)
            if times is not None:
                d_sent *= times
            d_gate, d_value = d_sent[:, :size], d_sent[:, size:]
            d_gate.addcmul_(d_value, values.index_select(0, source))
            d_value *= gate
            d_message = _aten.sigmoid_backward(d_gate, gate)
            if d_out is not None and scale is None:
                d_message += d_out
            elif d_out is not None:
                d_normed, d_scale, d_shift = _norm_backward(d_out, message, inputs, ctx.epsilon)
                d_message += d_normed
                d_norm[0] += d_scale
                d_norm[1] += d_shift
            torch.mm(d_message, weight, out=d_edge)
            if d_out is not None and scale is not None:
                d_edge += d_out  # of the edge itself, beside its update
            grads.weight.addmm_(d_message.t(), edge)
            grads.from_target.index_add_(0, target, d_message)
            d_gate.copy_(d_message)
            grads.from_source.index_add_(0, source, d_sent)
        torch.sum(grads.from_target, 0, out=grads.bias)
        return (*grads, None, None, None)


def _norm_backward(
    d_result: Tensor, message: Tensor, inputs: GatedInputs, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of silu(layer norm(message)) in the message, the scale and the shift."""
    shape, scale, shift = (message.shape[1],), inputs.scale, inputs.shift
    normed, mean, deviation = torch.native_layer_norm(message, shape, scale, shift, epsilon)
    return _aten.native_layer_norm_backward(
        _aten.silu_backward(d_result, normed),
        message,
        shape,
        mean,
        deviation,
        scale,
        shift,
        [True, True, True],
    )


def _column(multiplicity: Tensor | None) -> Tensor | None:
    return None if multiplicity is None else multiplicity.unsqueeze(1)


def _rows(edges: Tensor) -> int:
    return max(BLOCK // edges.shape[1], 1)


def _blocks(rows: int, *arrays: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """Blocks of so many rows of all arrays at once; what is None stays None."""
    parts = (repeat(None) if array is None else array.split(rows) for array in arrays)
    return zip(*parts, strict=False)
