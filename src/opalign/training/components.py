"""Principal components of training spectra, as the basis of the physical head's spectra.

A few dozen spectra lie near a space of few dimensions once each begins at its own gap and is taken
per unit of density. Components of what stands *before* the softplus keep Im ε positive whatever
the network makes of them.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from opalign.errors import ConfigurationError
from opalign.model.heads import REFERENCE_VOLUME, PhysicalHead
from opalign.model.network import SpectrumModel
from opalign.training.data import BAND_GAP, Materials

LEAST_VALUE = 1e-3
"""Im ε per unit of density below which a spectrum counts as this: softplus never reaches zero."""


def fit_components(network: SpectrumModel, materials: Materials) -> None:
    """Set offset and components of the network's head from these materials, and no others.

    Every row of every level is one observation. Components come scaled by the deviation along
    them, so that outputs of order one are what the network needs.

    Raises
    ------
    ConfigurationError
        Fewer spectra with known gaps than components.
    """
    head = network.head
    if not isinstance(head, PhysicalHead) or head.components is None:
        return
    observed = _raw_spectra(head, materials)
    count = len(head.components)
    if len(observed) <= count:
        raise ConfigurationError(
            f"{count} components of {len(observed)} spectra with known gaps",
            expected="fewer components than spectra, and a column of gaps (loss.band_gap_weight)",
            cure="lower model.head.components",
        )
    offset = observed.mean(axis=0)
    _, deviation, directions = np.linalg.svd(observed - offset, full_matrices=False)
    scale = deviation[:count, None] / np.sqrt(len(observed))
    with torch.no_grad():
        head.offset.copy_(torch.tensor(offset))
        head.components.copy_(torch.tensor(scale * directions[:count]))


def _raw_spectra(head: PhysicalHead, materials: Materials) -> NDArray[np.float64]:
    """Node values before the softplus of all spectra that are known, (observations, nodes)."""
    spectra = materials.targets["epsilon_imaginary"].double().numpy()
    unknown = np.full(len(materials), np.nan)
    gaps = materials.targets.get(BAND_GAP, torch.tensor(unknown)).double().numpy()
    above_gap = np.arange(head.nodes) * head.basis_step
    found = []
    for graph, gap, levels in zip(materials.graphs, gaps, spectra, strict=True):
        density = REFERENCE_VOLUME * len(graph.atomic_numbers) / graph.volume
        for spectrum in levels:
            if np.isnan(gap) or np.isnan(spectrum).any():
                continue
            energies = gap + above_gap
            values = np.interp(energies, head.grid.values, spectrum)
            # Beyond the window as everywhere here: the decay of a distant oscillator.
            values *= np.minimum(1.0, head.grid.stop / np.maximum(energies, 1e-9)) ** 3
            values = np.maximum(values / density, LEAST_VALUE)
            found.append(values + np.log(-np.expm1(-values)))  # inverse of softplus
    return np.array(found).reshape(-1, head.nodes)
