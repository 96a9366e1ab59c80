"""The inner loop of an edge-gated convolution fused by torch's compiler, with a way back.

The plain operations are a dozen kernels, each of which moves arrays of edge features through
memory; compiled they are one or two. Where there is no compiler (triton for a GPU, C++ for a CPU)
or it fails, the plain operations do the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

Messages = Callable[..., tuple[Tensor, Tensor]]


def gated_messages(
    from_source: Tensor,
    from_target: Tensor,
    gated_edges: Tensor,
    index: Tensor,
    multiplicity: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Σσ and Σσ⊙value over the edges that end at a node, and the messages, in plain operations.

    Parameters
    ----------
    from_source
        (N, 2d) gate and value that a node sends.
    from_target
        (N, d) gate of the node that an edge ends at.
    gated_edges
        (E, d) edges after their linear layer.
    index
        (2, E) source and target.
    multiplicity
        (E,) how often an edge counts; None: once.

    Returns
    -------
    tuple
        Sums (N, 2d), in single precision at least: a sum of many terms in half precision would lose
        what the terms have; and messages (E, d).
    """
    sent = from_source.index_select(0, index[0])
    size = gated_edges.shape[1]
    gate, value = sent[:, :size], sent[:, size:]
    message = gated_edges + gate + from_target.index_select(0, index[1])
    gate = torch.sigmoid(message)
    if multiplicity is not None:
        gate = gate * multiplicity.unsqueeze(1)
    # One pass sums both.
    terms = torch.cat([gate, gate * value], dim=1)
    terms = terms.to(torch.promote_types(terms.dtype, torch.float32))
    sums = terms.new_zeros((len(from_target), 2 * size)).index_add_(0, index[1], terms)
    return sums, message


def gated_update(
    edges: Tensor, message: Tensor, scale: Tensor, shift: Tensor, epsilon: float
) -> Tensor:
    """Edges (E, d) + silu(layer norm(message)), of the dtype of the edges."""
    normed = nn.functional.layer_norm(message, (message.shape[1],), scale, shift, epsilon)
    return edges + nn.functional.silu(normed).to(edges.dtype)


@cache
def compiled_messages() -> Messages:
    """Return :func:`gated_messages` as torch compiles it at its first call.

    Numbers of atoms, bonds and angles change from batch to batch: one code serves all of them.
    """
    compiled: Messages = torch.compile(gated_messages, dynamic=True)
    return compiled


@cache
def compiled_update() -> Callable[..., Tensor]:
    """Return :func:`gated_update` as torch compiles it at its first call."""
    compiled: Callable[..., Tensor] = torch.compile(gated_update, dynamic=True)
    return compiled


def compiler_errors() -> tuple[type[Exception], ...]:
    """Errors by which torch says that it cannot compile, as opposed to those of the operations."""
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import InductorError

    return (TorchDynamoException, InductorError)
