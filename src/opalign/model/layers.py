"""Building blocks of graph networks on plain tensors.

Sums over neighbours run along sorted indices (bonds sorted by target, angles by target bond), so
that memory is read in order; nothing here loops over atoms.
"""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor, nn

from opalign.model.fused import (
    compiled_messages,
    compiled_update,
    compiler_errors,
    gated_messages,
)
from opalign.model.gated import GatedInputs, gated_sum

Normalization = Literal["layer", "batch", "none"]


def segment_sum(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Sum rows of ``values`` (M, …) that share an ``index`` (M,) into ``size`` rows."""
    result = values.new_zeros((size, *values.shape[1:]))
    return result.index_add_(0, index, values)


def segment_mean(values: Tensor, index: Tensor, counts: Tensor) -> Tensor:
    """Mean over segments: ``values`` (M, …), ``index`` (M,), ``counts`` (S,) rows per segment."""
    total = segment_sum(values, index, counts.shape[0])
    shape = (-1, *([1] * (values.dim() - 1)))
    return total / counts.to(values.dtype).view(shape)


def segment_softmax(
    logits: Tensor, index: Tensor, size: int, multiplicity: Tensor | None = None
) -> Tensor:
    """Softmax over the rows (M, …) of each segment, computed stably (maximum subtracted).

    With ``multiplicity`` (M,) a row stands for so many, and gets the weight of all of them.
    """
    with torch.no_grad():
        peak = logits.new_full((size, *logits.shape[1:]), -torch.inf)
        expanded = index.view(-1, *([1] * (logits.dim() - 1))).expand_as(logits)
        peak = peak.scatter_reduce_(0, expanded, logits, reduce="amax", include_self=True)
    exponential = (logits - peak.index_select(0, index)).exp()
    if multiplicity is not None:
        exponential = exponential * multiplicity.view(-1, *([1] * (logits.dim() - 1)))
    total = segment_sum(exponential, index, size)
    return exponential / total.index_select(0, index)


def normalization(kind: Normalization, features: int) -> nn.Module:
    """Layer norm, batch norm, or nothing, over the last axis of (M, features)."""
    if kind == "layer":
        return nn.LayerNorm(features)
    if kind == "batch":
        return nn.BatchNorm1d(features)
    return nn.Identity()


class GaussianBasis(nn.Module):
    """Expand a scalar (M,) in Gaussians exp(−γ(x − c)²) on a uniform grid of centres, (M, bins).

    Centres and γ are buffers: they travel with the weights, so that published weights are
    evaluated with exactly the basis they were trained on. γ = 1/spacing is the reference ALIGNN's
    choice; γ = 1/(2 spacing²), the customary Gaussian smearing, is OPTIMATE's.
    """

    def __init__(self, start: float, stop: float, bins: int, gamma: float | None = None) -> None:
        super().__init__()
        # On the CPU, as a network may be built on the meta device to learn its shapes.
        centers = torch.linspace(start, stop, bins, device="cpu")
        if gamma is None:
            gamma = 1.0 / float((centers[1:] - centers[:-1]).mean())
        self.centers: Tensor
        self.gamma: Tensor
        self.register_buffer("centers", centers)
        self.register_buffer("gamma", torch.tensor(gamma, dtype=torch.get_default_dtype()))

    def forward(self, values: Tensor) -> Tensor:
        """Expand ``values`` (M,) to (M, bins)."""
        distance = values.unsqueeze(-1) - self.centers
        return distance.square().mul_(-self.gamma).exp_()


class NormalizedLinear(nn.Sequential):
    """Linear → norm → SiLU, the embedding block of ALIGNN."""

    def __init__(self, inputs: int, outputs: int, norm: Normalization) -> None:
        super().__init__(nn.Linear(inputs, outputs), normalization(norm, outputs), nn.SiLU())


class EdgeGatedConvolution(nn.Module):
    """Edge-gated graph convolution (Bresson and Laurent; ALIGNN, npj Comput. Mater. 7, 185).

    With nodes x, edges y from source s to target d::

        m  = W_s x_s + W_d x_d + W_e y
        σ  = sigmoid(m)
        x′ = x + silu(norm(W_u x + Σσ⊙(W_v x_s) / (Σσ + 1e-6)))
        y′ = y + silu(norm(m))

    The four products with x are one matrix product. With ``update_edges=False`` y′ is neither
    computed nor parametrised, for a last layer whose edges nobody reads.
    """

    def __init__(self, features: int, norm: Normalization, *, update_edges: bool = True) -> None:
        super().__init__()
        self.features = features
        self.update_edges = update_edges
        #: Whether torch compiles the inner loop; for networks on a GPU. Off again where it cannot.
        self.fused = False
        #: Rows in the order source gate, source value, target gate, target update.
        self.node_projection = nn.Linear(features, 4 * features)
        self.edge_gate = nn.Linear(features, features)
        self.node_norm = normalization(norm, features)
        self.edge_norm = normalization(norm, features) if update_edges else None

    def forward(
        self,
        nodes: Tensor,
        edges: Tensor,
        index: Tensor,
        multiplicity: Tensor | None = None,
        *,
        overwrite: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Update ``nodes`` (N, d) and ``edges`` (E, d); ``index`` (2, E) is sorted by target.

        With ``multiplicity`` (E,) an edge counts so many times in the sums at its target.
        ``overwrite`` allows the memory of ``edges`` to be used for the result where no gradient
        is wanted, for a caller who has no further use for them.
        """
        size = self.features
        projected = self.node_projection(nodes)
        parts = projected.split((2 * size, size, size), dim=1)
        own = parts[2]
        plain_cpu = edges.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        if plain_cpu and not self.fused:
            sums, edges = self._blockwise(parts[0], parts[1], edges, index, multiplicity, overwrite)
        else:
            sums, edges = self._at_once(parts[0], parts[1], edges, index, multiplicity)
        gathered = sums[:, size:] / (sums[:, :size] + 1e-6)
        nodes = nodes + nn.functional.silu(self.node_norm(own + gathered))
        return nodes, edges

    def _at_once(
        self,
        from_source: Tensor,
        from_target: Tensor,
        edges: Tensor,
        index: Tensor,
        multiplicity: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Σσ and Σσ⊙v, (N, 2d), and the updated edges (E, d)."""
        arguments = (from_source, from_target, self.edge_gate(edges), index, multiplicity)
        if self.fused:
            try:
                sums, message = compiled_messages()(*arguments)
                norm = self.edge_norm
                if not isinstance(norm, nn.LayerNorm):
                    return sums, self._updated(edges, message)
                return sums, compiled_update()(edges, message, norm.weight, norm.bias, norm.eps)
            except compiler_errors() as error:
                self.fused = False
                reason = str(error).strip().splitlines()[0][:200]
                warnings.warn(f"not compiled, plain operations serve: {reason}", stacklevel=2)
        sums, message = gated_messages(*arguments)
        return sums, self._updated(edges, message)

    def _blockwise(
        self,
        from_source: Tensor,
        from_target: Tensor,
        edges: Tensor,
        index: Tensor,
        multiplicity: Tensor | None,
        overwrite: bool,
    ) -> tuple[Tensor, Tensor]:
        """Do as :meth:`_at_once`, some twice as fast on a CPU."""
        norm, linear = self.edge_norm, self.edge_gate
        if isinstance(norm, nn.LayerNorm):
            inputs = GatedInputs(
                from_source, from_target, edges, linear.weight, linear.bias, norm.weight, norm.bias
            )
            return gated_sum(inputs, index, norm.eps, multiplicity, overwrite=overwrite)
        inputs = GatedInputs(
            from_source, from_target, edges, linear.weight, linear.bias, None, None
        )
        sums, message = gated_sum(inputs, index, 0.0, multiplicity)
        return sums, self._updated(edges, message)

    def _updated(self, edges: Tensor, message: Tensor) -> Tensor:
        if self.edge_norm is None:
            return edges
        return edges + nn.functional.silu(self.edge_norm(message))


class GraphAttention(nn.Module):
    """GATv2 attention (Brody, Alon, Yahav, ICLR 2022) with edge features, heads concatenated.

    For every head: score = aᵀ leaky_relu(W_l x_s + W_r x_d + W_e y), weights = softmax over the
    bonds that end at d, x′_d = Σ weight · W_l x_s + b. No self loops: an atom without bonds yields
    b.
    """

    def __init__(
        self, inputs: int, outputs: int, heads: int, edge_features: int, negative_slope: float = 0.2
    ) -> None:
        super().__init__()
        self.outputs, self.heads, self.negative_slope = outputs, heads, negative_slope
        width = outputs * heads
        self.source = nn.Linear(inputs, width)
        self.target = nn.Linear(inputs, width)
        self.edge = nn.Linear(edge_features, width, bias=False)
        self.attention = nn.Parameter(torch.empty(heads, outputs))
        self.bias = nn.Parameter(torch.zeros(width))
        for weight in (self.source.weight, self.target.weight, self.edge.weight, self.attention):
            nn.init.xavier_uniform_(weight)
        nn.init.zeros_(self.source.bias)
        nn.init.zeros_(self.target.bias)

    def forward(
        self, nodes: Tensor, edges: Tensor, index: Tensor, multiplicity: Tensor | None = None
    ) -> Tensor:
        """Map ``nodes`` (N, inputs), ``edges`` (E, edge_features) to (N, heads · outputs).

        With ``multiplicity`` (E,) an edge counts so many times at its target.
        """
        shape = (-1, self.heads, self.outputs)
        from_source = self.source(nodes).index_select(0, index[0])
        at_target = self.target(nodes).index_select(0, index[1])
        mixed = nn.functional.leaky_relu(
            from_source + at_target + self.edge(edges), self.negative_slope
        )
        score = (mixed.view(shape) * self.attention).sum(-1)
        weight = segment_softmax(score, index[1], nodes.shape[0], multiplicity)
        message = from_source.view(shape) * weight.unsqueeze(-1)
        return segment_sum(message.flatten(1), index[1], nodes.shape[0]) + self.bias
