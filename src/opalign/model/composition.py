"""What a composition says by itself: statistics of the elements' properties over the sites.

Trees and kernels on such numbers predict gaps of a few dozen materials as well as a graph network
does; here a network may look at them beside what it makes of the bonds.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources

import numpy as np
import torch
from ase.data import atomic_numbers
from torch import Tensor, nn

from opalign.crystal import keys
from opalign.model.elements import MAX_ATOMIC_NUMBER
from opalign.model.pooling import site_mean

#: Standardised over hydrogen to bismuth, beyond which there are few optical crystals.
_LAST_COMMON = 83
#: ħω_p = 37.13 eV · √(electrons per Å³), from ω_p² = ne²/(ε₀m).
_PLASMA_ENERGY = 37.13
_DEEPEST_ORBITAL = -20.0
_STATISTICS = 4


@lru_cache
def element_properties() -> np.ndarray:
    """Properties by atomic number, (101, 8), each with mean 0 and deviation 1 from H to Bi.

    An orbital that an element lacks lies at 0 eV, the vacuum; anything else unknown is the median.
    Orbitals deeper than 20 eV are core and count as lying there.
    """
    values = _raw_properties()[0].copy()
    orbital = np.array([name.startswith("outer_") for name in _raw_properties()[1]])
    common = slice(1, _LAST_COMMON + 1)
    filled = np.where(orbital, 0.0, np.nanmedian(values[common], axis=0))
    values = np.where(np.isnan(values), filled, values)
    values[:, orbital] = np.maximum(values[:, orbital], _DEEPEST_ORBITAL)
    values = (values - values[common].mean(axis=0)) / values[common].std(axis=0)
    values[0] = 0.0
    values.flags.writeable = False
    return values


@lru_cache
def _raw_properties() -> tuple[np.ndarray, tuple[str, ...]]:
    text = resources.files("opalign.model").joinpath("element_properties.json").read_text()
    content = json.loads(text)
    values = np.full((MAX_ATOMIC_NUMBER + 1, len(content["columns"])), np.nan)
    for symbol, row in content["values"].items():
        values[atomic_numbers[symbol]] = [np.nan if value is None else value for value in row]
    return values, tuple(content["columns"])


class CompositionDescriptors(nn.Module):
    """Mean, least, most and deviation over the sites of eight properties, density, plasma energy.

    All of them are the same for a supercell, and they follow from atomic numbers and volume alone.
    """

    def __init__(self) -> None:
        super().__init__()
        raw, columns = _raw_properties()
        real = torch.get_default_dtype()
        self.properties: Tensor
        self.valence: Tensor
        self.register_buffer(
            "properties", torch.tensor(element_properties(), dtype=real), persistent=False
        )
        valence = np.nan_to_num(raw[:, columns.index("valence_electrons")])
        self.register_buffer("valence", torch.tensor(valence, dtype=real), persistent=False)
        self.size = _STATISTICS * self.properties.shape[1] + 2

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Describe the structures of a batch: (B, size), numbers of order one."""
        structure, counts = batch[keys.ATOM_STRUCTURE], batch[keys.NUM_ATOMS]
        numbers = batch[keys.ATOMIC_NUMBERS]
        values = self.properties.index_select(0, numbers)
        mean = site_mean(values, batch)
        spread = site_mean((values - mean.index_select(0, structure)) ** 2, batch)
        index = structure.unsqueeze(1).expand_as(values)
        empty = torch.zeros_like(mean)
        least = empty.scatter_reduce(0, index, values, "amin", include_self=False)
        most = empty.scatter_reduce(0, index, values, "amax", include_self=False)
        volume = batch[keys.VOLUME].to(values.dtype) / counts.to(values.dtype)
        valence = site_mean(self.valence.index_select(0, numbers), batch)
        plasma = _PLASMA_ENERGY * (valence / volume).sqrt()
        # About 20 Å³ an atom and 15 eV, give or take a third.
        further = torch.stack([(volume / 20.0).log() * 3.0, (plasma - 15.0) / 5.0], dim=1)
        return torch.cat([mean, least, most, spread.clamp(min=0.0).sqrt(), further], dim=1)
