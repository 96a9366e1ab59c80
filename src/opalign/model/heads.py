"""From features to spectra: the studies' free vector, and a head with the physics built in."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from opalign.crystal import keys
from opalign.model.composition import CompositionDescriptors
from opalign.model.config import PhysicalHeadConfig, VectorHeadConfig
from opalign.model.layers import segment_softmax, segment_sum
from opalign.model.pooling import site_mean, weighted_mean
from opalign.spectrum.broadening import Broadening, broaden
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import real_from_imaginary

#: Å³ per atom, a typical oxide: only sets the scale of the network's raw output.
REFERENCE_VOLUME = 12.0


def multilayer_perceptron(
    inputs: int, hidden: tuple[int, ...], outputs: int, activation: type[nn.Module], dropout: float
) -> nn.Sequential:
    """Linear layers with an activation (and dropout) after each but the last."""
    modules: list[nn.Module] = []
    for width in hidden:
        modules += [nn.Linear(inputs, width), activation()]
        if dropout:
            modules.append(nn.Dropout(dropout))
        inputs = width
    return nn.Sequential(*modules, nn.Linear(inputs, outputs))


def linear_weights(fraction: Tensor) -> tuple[int, tuple[Tensor, ...]]:
    """Weights of the nodes at either end, at a ``fraction`` of the way between them.

    Returned with the place of the first of them relative to the lower node.
    """
    return 0, (1.0 - fraction, fraction)


def cubic_weights(fraction: Tensor) -> tuple[int, tuple[Tensor, ...]]:
    """Uniform cubic B-spline on the four nodes around (de Boor 1978): positive, of sum one."""
    x = fraction
    return -1, (
        (1.0 - x) ** 3 / 6.0,
        (3.0 * x**3 - 6.0 * x**2 + 4.0) / 6.0,
        (-3.0 * x**3 + 3.0 * x**2 + 3.0 * x + 1.0) / 6.0,
        x**3 / 6.0,
    )


class VectorHead(nn.Module):
    """Pooled features (B, D) to one free number per level and energy, ``target`` (B, L, n)."""

    def __init__(
        self, features: int, config: VectorHeadConfig, levels: int, grid: EnergyGrid
    ) -> None:
        super().__init__()
        self.shape = (levels, grid.num)
        self.network = multilayer_perceptron(
            features, config.hidden_features, levels * grid.num, nn.LeakyReLU, 0.0
        )
        self.output = nn.LeakyReLU() if config.leaky_output else nn.Identity()

    def forward(self, pooled: Tensor) -> dict[str, Tensor]:
        """Map pooled features (B, d) to ``target`` (B, L, n)."""
        return {"target": self.output(self.network(pooled)).unflatten(1, self.shape)}


class PhysicalHead(nn.Module):
    """Per-site features to one dielectric function that obeys its laws by construction.

    * Every site i contributes a spectrum s_i(x) ≥ 0 of the energy x above the gap: softplus
      coefficients on nodes ``basis_step`` apart, linear in between, per unit of atomic volume
      (Im ε is a polarisability per volume). Im ε(E) = mean_i s_i(E − E_gap), zero below the gap,
      then broadened: non-negative, an exact mean over sites, and with an onset that is predicted.
    * The gap is a softplus of the mean over sites of a scalar per site.
    * ε₁ = 1 + Kramers–Kronig of Im ε, which goes on above the window as E⁻³, plus one oscillator
      for what else lies there.

    Broadening and Kramers–Kronig are linear, so they act on per-site spectra just as well.

    Options: all networks may see the crystal beside the site (mean features, composition); the gap
    may be a mean with softmax weights over the sites; spectra may be cubic B-splines on the nodes
    (non-negative, as their coefficients are), or softplus of an offset and some principal
    components of training spectra, which :mod:`opalign.training.components` sets.

    With a level embedding all levels share the networks of spectrum and tail, which then see a
    learned vector per level beside the site's features; without, each level has outputs of its own.
    """

    def __init__(
        self,
        features: int,
        config: PhysicalHeadConfig,
        levels: int,
        grid: EnergyGrid,
        broadening: Broadening,
    ) -> None:
        super().__init__()
        self.grid, self.broadening, self.levels = grid, broadening, levels
        self.nodes = round(grid.stop / config.basis_step) + 2
        self.basis_step = config.basis_step
        width, dropout = config.hidden_features, config.dropout
        self.level_vectors = None
        self.context = config.context
        described = config.composition != "none"
        self.composition = CompositionDescriptors() if described else None
        self.gap_alone = config.composition == "gap"
        seen = features * (2 if config.context else 1)
        seen_by_gap = seen + (0 if self.composition is None else self.composition.size)
        seen = seen if self.gap_alone else seen_by_gap
        inputs, outputs = seen, levels
        if config.level_embedding:
            self.level_vectors = nn.Parameter(_normal(levels, config.level_embedding))
            inputs, outputs = seen + config.level_embedding, 1
        self.spectrum_network = multilayer_perceptron(
            inputs, width, outputs * (config.components or self.nodes), nn.SiLU, dropout
        )
        self.components: Tensor | None
        self.offset: Tensor
        if config.components:
            self.register_buffer("components", _normal(config.components, self.nodes))
            self.register_buffer("offset", torch.zeros(self.nodes))
        else:
            self.components = None
        self.weights_of_node = cubic_weights if config.basis == "spline" else linear_weights
        self.gap_network = multilayer_perceptron(seen_by_gap, width[:1], 1, nn.SiLU, dropout)
        self.gap_gate = nn.Linear(seen_by_gap, 1) if config.gap_pooling == "attention" else None
        self.tail_network = multilayer_perceptron(inputs, width[:1], outputs, nn.SiLU, dropout)
        self.tail_energy = nn.Parameter(torch.tensor(5.0))
        self.energies: Tensor
        self.register_buffer(
            "energies",
            torch.tensor(grid.values, dtype=torch.get_default_dtype()),
            persistent=False,
        )

    def forward(
        self, sites: Tensor, batch: dict[str, Tensor], *, per_site: bool = False
    ) -> dict[str, Tensor]:
        """Map per-site features (N, d) to a dielectric function per level.

        ``epsilon_imaginary``, ``epsilon_real`` (B, L, n); ``band_gap`` (B,) in eV. With
        ``per_site`` also ``site_epsilon_imaginary`` (N, L, n), whose mean over the sites of a
        structure is ``epsilon_imaginary``.
        """
        structure, counts = batch[keys.ATOM_STRUCTURE], batch[keys.NUM_ATOMS]
        softplus = nn.functional.softplus
        density = REFERENCE_VOLUME * counts.to(sites.dtype) / batch[keys.VOLUME]
        sites, of_gap = self._with_crystal(sites, batch)
        gap = softplus(
            self._pooled_gap(of_gap, structure, counts, batch.get(keys.ATOM_MULTIPLICITY))
        )
        raw = self._per_level(self.spectrum_network, sites)
        if self.components is not None:
            raw = self.offset + raw @ self.components
        coefficients = softplus(raw)
        coefficients = coefficients * density.index_select(0, structure).view(-1, 1, 1)
        mean = site_mean(coefficients, batch)
        imaginary = self._spectrum(mean, gap)
        tail = softplus(self._per_level(self.tail_network, sites)).squeeze(-1)
        tail = site_mean(tail, batch)
        tail_energy = self.grid.stop + 1.0 + softplus(self.tail_energy)
        tail = (tail * density.unsqueeze(-1)).unsqueeze(-1)
        tail = tail * tail_energy**2 / (tail_energy**2 - self.energies**2)
        result = {
            "epsilon_imaginary": imaginary,
            "epsilon_real": real_from_imaginary(imaginary, self.grid, beyond="cubic") + tail,
            "band_gap": gap,
        }
        if per_site:
            result["site_epsilon_imaginary"] = self._spectrum(
                coefficients, gap.index_select(0, structure)
            )
        return result

    def _with_crystal(self, sites: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """``sites`` (N, d) with what spectrum and gap may see of their crystal beside it."""
        structure = batch[keys.ATOM_STRUCTURE]
        if self.context:
            mean = site_mean(sites, batch).index_select(0, structure)
            sites = torch.cat([sites, mean], 1)
        if self.composition is None:
            return sites, sites
        described = self.composition(batch).to(sites.dtype).index_select(0, structure)
        together = torch.cat([sites, described], 1)
        return (sites if self.gap_alone else together), together

    def _pooled_gap(
        self,
        sites: Tensor,
        structure: Tensor,
        counts: Tensor,
        multiplicity: Tensor | None = None,
    ) -> Tensor:
        """Pool the gap's scalar per site before the softplus: (B,)."""
        values = self.gap_network(sites)
        if self.gap_gate is None:
            return weighted_mean(values, structure, counts, multiplicity).squeeze(-1)
        weights = segment_softmax(self.gap_gate(sites), structure, len(counts), multiplicity)
        return segment_sum(weights * values, structure, len(counts)).squeeze(-1)

    def _per_level(self, network: nn.Module, sites: Tensor) -> Tensor:
        """Apply a network of the levels to ``sites`` (N, d): (N, L, outputs)."""
        if self.level_vectors is None:
            return network(sites).unflatten(1, (self.levels, -1))
        vectors = self.level_vectors.expand(len(sites), -1, -1)
        return network(torch.cat([sites.unsqueeze(1).expand(-1, self.levels, -1), vectors], -1))

    def _spectrum(self, coefficients: Tensor, gap: Tensor) -> Tensor:
        """Evaluate node values (M, L, nodes), shifted by ``gap`` (M,), on the grid: (M, L, n)."""
        # A structure whose gap overflowed gets NaN below, not an index out of range that would
        # end the whole batch: the caller reports and skips it.
        position = (
            self.energies - gap.nan_to_num(nan=self.grid.stop).unsqueeze(-1)
        ) / self.basis_step
        inside = (position >= 0.0).to(position.dtype)
        position = position.clamp(0.0, self.nodes - 1.001)
        lower = position.detach().floor()
        first, weights = self.weights_of_node((position - lower) * inside)
        values = torch.zeros_like(coefficients[..., :1])
        for number, weight in enumerate(weights):
            index = (lower.long() + first + number).clamp(0, self.nodes - 1)
            node = coefficients.gather(2, index.unsqueeze(1).expand(-1, self.levels, -1))
            values = values + node * (weight * inside).unsqueeze(1)
        values = values + 0.0 * gap.view(-1, 1, 1)
        return broaden(values, self.grid, self.broadening, "odd")


def _normal(*shape: int) -> Tensor:
    """Draw standard normal numbers; none on the meta device, where that would import SymPy."""
    values = torch.empty(shape)
    return values if values.is_meta else values.normal_()
