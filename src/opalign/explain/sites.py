"""Which atoms absorb: a spectrum as the sum of what its sites contribute.

* With the physical head, Im ε is the mean over the sites of spectra that are theirs alone: exact.
* With a free vector after a mean over the sites and one linear layer, so is the vector, but for the
  layer's constant: exact.
* For any other head, integrated gradients (M. Sundararajan, A. Taly, Q. Yan, ICML 2017) from sites
  without features to the sites as they are. They add up to the difference between the two spectra,
  but for the error of the integration, which is measured.

What belongs to no site, such as the constant, is kept apart as the ``rest``, so that the sum of all
is the prediction in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opalign.crystal.graph import build_graph
from opalign.errors import ConfigurationError, StructureError
from opalign.model.config import PhysicalHeadConfig, VectorHeadConfig
from opalign.model.ensemble import EnsembleModel
from opalign.model.heads import VectorHead
from opalign.model.pooling import MeanPooling
from opalign.prediction.applicability import require_describable
from opalign.prediction.predictor import Predictor

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure
    from torch import Tensor

Array = NDArray[np.float64]

#: Points of the Gauss–Legendre rule along the path of integrated gradients.
QUADRATURE_POINTS = 256

EXACT = "exact: the prediction is a mean over sites"
INTEGRATED_GRADIENTS = "integrated gradients from sites without features"


@dataclass(frozen=True, eq=False)
class SiteSpectra:
    """Contributions of N sites to one predicted spectrum."""

    structure: Structure
    level: str
    quantity: str
    """``"epsilon_imaginary"`` or ``"log_absorption"``: what the contributions add up to."""
    energies: Array
    """(n,) eV"""
    contributions: Array
    """(N, n)"""
    rest: Array
    """(n,) what belongs to no site."""
    method: str
    error: float
    """Largest error of the sum before it went into the rest, relative to the largest value."""

    @property
    def total(self) -> Array:
        """The prediction (n,): the sum over the sites, and the rest."""
        return np.asarray(self.contributions.sum(axis=0) + self.rest)

    def by_label(self, labels: Sequence[str]) -> dict[str, Array]:
        """Sum contributions over sites of equal label; ``labels`` has one for every site."""
        if len(labels) != len(self.contributions):
            raise ConfigurationError(
                f"{len(labels)} labels of {len(self.contributions)} sites", expected="one each"
            )
        names = list(dict.fromkeys(labels))
        chosen = np.array([names.index(label) for label in labels])
        return {
            name: self.contributions[chosen == place].sum(axis=0)
            for place, name in enumerate(names)
        }

    def by_element(self) -> dict[str, Array]:
        """Sum contributions over the sites of each element, in the order of the structure."""
        return self.by_label([specie.symbol for specie in self.structure.species])

    def shares(self, energy: float) -> Array:
        """Share of each site (N,) in the spectrum at an ``energy`` in eV; NaN where that is zero.

        Raises
        ------
        ConfigurationError
            If the energy lies outside the spectrum.
        """
        if not self.energies[0] <= energy <= self.energies[-1]:
            raise ConfigurationError(
                f"{energy:g} eV lies outside the spectrum",
                expected=f"{self.energies[0]:g} to {self.energies[-1]:g} eV",
            )
        values = np.array([np.interp(energy, self.energies, row) for row in self.contributions])
        total = float(values.sum())
        return values / total if total != 0.0 else np.full(len(values), np.nan)


def site_spectra(
    predictor: Predictor, structure: Structure, level: str | None = None
) -> SiteSpectra:
    """Divide a predicted spectrum among the sites of a structure.

    Parameters
    ----------
    level
        One of the predictor's; by default its first.

    Raises
    ------
    ConfigurationError
        If the model does not predict the level.
    StructureError
        If it cannot describe the structure.
    """
    levels = predictor.levels
    level = levels[0] if level is None else level
    if level not in levels:
        raise ConfigurationError(
            f"the model does not predict level {level!r}", expected=", ".join(levels)
        )
    place = levels.index(level)
    config = predictor.config
    require_describable(structure.atomic_numbers, config.encoder.element_table, "structure")
    graph = build_graph(structure, config.graph)
    energies = np.asarray(config.grid.values, dtype=float)
    if isinstance(config.head, PhysicalHeadConfig):
        output = predictor.run([graph], per_site=True)
        parts = output["site_epsilon_imaginary"][:, place].cpu().numpy() / graph.num_atoms
        total = output["epsilon_imaginary"][0, place].cpu().numpy()
        quantity, method = "epsilon_imaginary", EXACT
        rest = np.zeros_like(total)
    elif not isinstance(config.head, VectorHeadConfig):
        raise ConfigurationError(
            f"the {config.head.kind} head predicts no spectrum from sites alone",
            expected="a model with a physical or a vector head",
        )
    else:
        output = predictor.run([graph])
        total = output["target"][0, place].cpu().numpy()
        sites = output["layers"][predictor.layer_names[-1]]
        quantity = config.head.target
        parts, rest, method = _vector_parts(predictor, sites, place)
    parts, total = np.asarray(parts, dtype=float), np.asarray(total, dtype=float)
    if not np.isfinite(parts).all():
        raise StructureError("the network gave no valid spectrum: its numbers are not finite")
    missing = total - parts.sum(axis=0) - rest
    scale = float(np.abs(total).max()) or 1.0
    return SiteSpectra(
        structure,
        level,
        quantity,
        energies,
        parts,
        rest + missing,
        method,
        float(np.abs(missing).max()) / scale,
    )


def _vector_parts(predictor: Predictor, sites: Tensor, place: int) -> tuple[NDArray, NDArray, str]:
    """Return contributions (N, n), what belongs to no site (n,), and how they were found."""
    import torch
    from torch import nn

    network = predictor.network
    if isinstance(network, EnsembleModel):
        raise ConfigurationError(
            "the free vectors of an ensemble have no contributions of sites",
            expected="one network, or an ensemble with the physical head",
        )
    head, pooling = network.head, network.encoder.pooling
    if not isinstance(head, VectorHead):
        raise ConfigurationError("this head gives no free vector", expected="a vector head")
    layers = [layer for layer in head.network.modules() if isinstance(layer, nn.Linear)]
    linear = len(layers) == 1 and isinstance(head.output, nn.Identity)
    with torch.inference_mode():
        constant = head.network(torch.zeros_like(sites[:1]))
        constant = head.output(constant).unflatten(1, head.shape)[0, place]
        if linear and isinstance(pooling, MeanPooling):
            parts = (sites @ layers[0].weight.T).unflatten(1, head.shape)[:, place] / len(sites)
            return parts.cpu().numpy(), constant.cpu().numpy(), EXACT
    structure = torch.zeros(len(sites), dtype=torch.long, device=sites.device)
    counts = torch.tensor([len(sites)], device=sites.device)
    # What was computed for inference alone has no derivatives.
    sites = sites.clone()

    def spectrum(features: Tensor) -> Tensor:
        return head(pooling(features, structure, counts))["target"][0, place]

    # Forward derivatives need no record of the network's weights.
    with torch.no_grad():
        parts = _integrated_gradients(spectrum, sites)
        constant = spectrum(torch.zeros_like(sites))
    return parts.cpu().numpy(), constant.cpu().numpy(), INTEGRATED_GRADIENTS


def _integrated_gradients(spectrum: Callable[[Tensor], Tensor], sites: Tensor) -> Tensor:
    """Integrate the derivative along each site's own features from none to all: (N, n)."""
    import torch

    points, weights = np.polynomial.legendre.leggauss(QUADRATURE_POINTS)
    directions = torch.eye(len(sites), dtype=sites.dtype, device=sites.device)
    total = torch.zeros((), dtype=sites.dtype, device=sites.device)
    for point, weight in zip(0.5 * (points + 1.0), 0.5 * weights, strict=True):
        at = float(point) * sites

        def derivative(own: Tensor, at: Tensor = at) -> Tensor:
            change: Tensor = torch.func.jvp(spectrum, (at,), (own.unsqueeze(1) * sites,))[1]
            return change

        total = total + float(weight) * torch.func.vmap(derivative)(directions)
    return total
