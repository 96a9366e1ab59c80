"""A Gaussian process that was fitted elsewhere, as a module whose weights are saved like others."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class KernelRegression(nn.Module):
    """Mean of a Gaussian process with the Matérn kernel of ν = 3/2.

    With points x_i, weights w_i, a scale s per input, a length l and the mean m::

        y(x) = m + Σ_i w_i (1 + d_i) exp(−d_i),   d_i = √3 ‖(x − x_i) / s‖ / l

    (C. E. Rasmussen and C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press 2006,
    eqs. 2.25 and 4.17). Far from all points it returns to the mean.
    All numbers are buffers, zero until :meth:`set_to` or a checkpoint fills them.
    """

    def __init__(self, points: int, inputs: int) -> None:
        super().__init__()
        real = torch.get_default_dtype()
        self.points: Tensor
        self.weights: Tensor
        self.scale: Tensor
        self.length: Tensor
        self.mean: Tensor
        self.register_buffer("points", torch.zeros(points, inputs, dtype=real))
        self.register_buffer("weights", torch.zeros(points, dtype=real))
        self.register_buffer("scale", torch.ones(inputs, dtype=real))
        self.register_buffer("length", torch.ones((), dtype=real))
        self.register_buffer("mean", torch.zeros((), dtype=real))

    def set_to(
        self, points: Tensor, weights: Tensor, scale: Tensor, length: float, mean: float
    ) -> None:
        """Take over a fit: points (S, d), weights (S,), scale (d,) in the units of the inputs."""
        for own, value in (
            (self.points, points),
            (self.weights, weights),
            (self.scale, scale),
            (self.length, torch.tensor(length, dtype=torch.float64)),
            (self.mean, torch.tensor(mean, dtype=torch.float64)),
        ):
            if own.shape != value.shape:
                raise ValueError(f"shape {tuple(value.shape)}, not {tuple(own.shape)}")
            own.copy_(value)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs (B, d) to values (B,)."""
        # Differences, not the product form of cdist, whose rounding would show at the points.
        apart = (inputs.unsqueeze(1) - self.points) / self.scale
        distance = math.sqrt(3.0) * apart.norm(dim=-1) / self.length
        return self.mean + ((1.0 + distance) * torch.exp(-distance)) @ self.weights
