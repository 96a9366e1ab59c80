"""Heads that speak of two levels of theory: from one to the other, and how far they lie apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from opalign.crystal import keys
from opalign.errors import ConfigurationError
from opalign.model.composition import IonDescriptors
from opalign.model.config import DeltaHeadConfig, ScalarHeadConfig
from opalign.model.heads import REFERENCE_VOLUME, multilayer_perceptron
from opalign.model.kernel import KernelRegression
from opalign.model.pooling import site_mean
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import real_from_imaginary

BASE_IMAGINARY = "base_imaginary"
"""Key of a batch for the delta head: Im ε̄ of the cheap level, (B, n), on the model's grid and with
its broadening."""


class DeltaHead(nn.Module):
    """A costly level as the cheap spectrum of the same material, moved and reshaped.

    With the cheap Im ε̄ = b(E), a shift s and nodes a of a function of the energy, linear in
    between::

        Im ε(E) = b(E − s) · exp(a(E)),   |s| ≤ largest_shift,   |a| ≤ ln largest_factor

    Both are means over the sites of what a network says of each site's features and the cheap
    spectrum, put through tanh. Im ε is therefore non-negative and begins where the cheap spectrum,
    moved by s, begins; ε₁ follows by Kramers–Kronig, as in the physical head. At the start of
    training a = s = 0: the network begins with the cheap level taken as it is.
    """

    def __init__(self, features: int, config: DeltaHeadConfig, grid: EnergyGrid) -> None:
        super().__init__()
        self.grid, self.base_level = grid, config.base_level
        self.nodes = max(2, round((grid.stop - grid.start) / config.basis_step) + 1)
        self.largest_shift = config.largest_shift
        self.largest_logarithm = math.log(config.largest_factor)
        inputs, width = features + self.nodes, config.hidden_features
        self.network = multilayer_perceptron(inputs, width, self.nodes + 1, nn.SiLU, 0.0)
        nn.init.zeros_(self.network[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.network[-1].bias)  # type: ignore[arg-type]
        self.tail_network = multilayer_perceptron(features, width[:1], 1, nn.SiLU, 0.0)
        self.tail_energy = nn.Parameter(torch.tensor(5.0))
        self.energies: Tensor
        values = torch.tensor(grid.values, dtype=torch.get_default_dtype())
        self.register_buffer("energies", values, persistent=False)

    def forward(self, sites: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Map per-site features (N, d) and the cheap spectrum to ``epsilon_*`` (B, 1, n).

        Raises
        ------
        ConfigurationError
            The batch has no cheap spectrum.
        """
        if BASE_IMAGINARY not in batch:
            raise ConfigurationError(
                f"this network needs the {self.base_level} spectrum of every material",
                expected=f"{BASE_IMAGINARY} among the inputs",
                cure="predict with a model that starts from the structure alone",
            )
        base = batch[BASE_IMAGINARY].to(sites.dtype)
        structure, counts = batch[keys.ATOM_STRUCTURE], batch[keys.NUM_ATOMS]
        span = torch.linspace(0.0, self.grid.num - 1.0, self.nodes, device=base.device)
        known = base.index_select(1, span.round().long()).clamp(min=0.0).log1p()
        joined = torch.cat([sites, known.index_select(0, structure)], dim=1)
        change = torch.tanh(site_mean(self.network(joined), batch))
        shift = self.largest_shift * change[:, -1:]
        place = span / (self.grid.num - 1.0) * (self.grid.stop - self.grid.start)
        logarithm = self.largest_logarithm * _interpolate(
            change[:, :-1],
            (self.energies - self.grid.start).expand_as(base),
            float(place[1]),
        )
        moved = _interpolate(
            base, self.energies - self.grid.start - shift, self.grid.step, zero_below=True
        )
        imaginary = (moved.clamp(min=0.0) * logarithm.exp()).unsqueeze(1)
        density = REFERENCE_VOLUME * counts.to(sites.dtype) / batch[keys.VOLUME]
        tail = nn.functional.softplus(self.tail_network(sites))
        tail = (site_mean(tail, batch) * density.unsqueeze(-1)).unsqueeze(-1)
        energy = self.grid.stop + 1.0 + nn.functional.softplus(self.tail_energy)
        tail = tail * energy**2 / (energy**2 - self.energies**2)
        return {
            "epsilon_imaginary": imaginary,
            "epsilon_real": real_from_imaginary(imaginary, self.grid, beyond="cubic") + tail,
        }


class SimilarityHead(nn.Module):
    """Pooled features to SC[cheap; costly] = 1 − softplus(x), below 1.

    With ``kernel_points`` it is the weighted mean of that and of what a Gaussian process says of
    the ions (:class:`~opalign.model.kernel.KernelRegression`), which few materials suffice for.
    """

    def __init__(self, features: int, config: ScalarHeadConfig) -> None:
        super().__init__()
        self.name = config.name
        self.network = multilayer_perceptron(features, config.hidden_features, 1, nn.SiLU, 0.0)
        self.share = config.kernel_share
        self.ions = IonDescriptors() if config.kernel_points else None
        self.kernel = (
            None if self.ions is None else KernelRegression(config.kernel_points, self.ions.size)
        )

    def forward(self, pooled: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Map pooled features (B, d) to ``similarity`` (B,) in (−∞, 1)."""
        similarity = 1.0 - nn.functional.softplus(self.network(pooled).squeeze(-1))
        if self.ions is not None and self.kernel is not None:
            told = self.kernel(self.ions(batch).to(pooled.dtype)).clamp(max=1.0)
            similarity = torch.lerp(similarity, told, self.share)
        return {self.name: similarity}


def _interpolate(
    values: Tensor, position: Tensor, step: float, *, zero_below: bool = False
) -> Tensor:
    """Linear interpolation of ``values`` (B, m), ``step`` apart from 0, at ``position`` (B, n).

    Beyond its ends the function keeps its last value; below its first it is zero if asked for.
    """
    scaled = position / step
    inside = (scaled >= 0.0).to(scaled.dtype) if zero_below else torch.ones_like(scaled)
    scaled = scaled.clamp(0.0, values.shape[1] - 1.0)
    lower = scaled.detach().floor().clamp(max=values.shape[1] - 2.0)
    start = values.gather(1, lower.long())
    slope = values.gather(1, lower.long() + 1) - start
    return inside * (start + slope * (scaled - lower))
