"""What a composition says by itself: statistics of the elements' properties over the sites.

Trees and kernels on such numbers predict gaps of a few dozen materials as well as a graph network
does, and local fields better; here a network may look at them beside what it makes of the bonds.
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
_IONIC_RADIUS = "ionic_radius"
#: Atomic numbers of alkali metals, alkaline earths, transition metals, chalcogens, and oxygen.
_FAMILIES = (
    (3, 11, 19, 37, 55, 87),
    (4, 12, 20, 38, 56, 88),
    (*range(21, 31), *range(39, 49), 57, *range(72, 81), 89),
    (8, 16, 34, 52, 84),
    (8,),
)


@lru_cache
def element_properties() -> np.ndarray:
    """Properties by atomic number, (101, 8), each with mean 0 and deviation 1 from H to Bi.

    An orbital that an element lacks lies at 0 eV, the vacuum; anything else unknown is the median.
    Orbitals deeper than 20 eV are core and count as lying there.
    """
    raw, columns = _raw_properties()
    chosen = [number for number, name in enumerate(columns) if name != _IONIC_RADIUS]
    values = raw[:, chosen]
    orbital = np.array([columns[number].startswith("outer_") for number in chosen])
    common = slice(1, _LAST_COMMON + 1)
    filled = np.where(orbital, 0.0, np.nanmedian(values[common], axis=0))
    values = np.where(np.isnan(values), filled, values)
    values[:, orbital] = np.maximum(values[:, orbital], _DEEPEST_ORBITAL)
    return _standardised(values)


@lru_cache
def ion_properties() -> np.ndarray:
    """Properties that decide how unevenly a crystal is polarised, by atomic number, (101, 7).

    Electronegativity and ionic radius, with mean 0 and deviation 1 from H to Bi, and whether an
    element is an alkali metal, an alkaline earth, a transition metal, a chalcogen, oxygen: 1 or 0.
    """
    raw, columns = _raw_properties()
    values = raw[:, [columns.index("electronegativity"), columns.index(_IONIC_RADIUS)]]
    median = np.nanmedian(values[1 : _LAST_COMMON + 1], axis=0)
    values = _standardised(np.where(np.isnan(values), median, values))
    kinds = np.zeros((len(values), len(_FAMILIES)))
    for number, family in enumerate(_FAMILIES):
        kinds[list(family), number] = 1.0
    values = np.concatenate([values, kinds], axis=1)
    values.flags.writeable = False
    return values


def ionic_volumes() -> np.ndarray:
    """Volume of the sphere of the ionic radius by atomic number, (101,), Å³."""
    raw, columns = _raw_properties()
    radius = raw[:, columns.index(_IONIC_RADIUS)]
    radius = np.where(np.isnan(radius), np.nanmedian(radius[1 : _LAST_COMMON + 1]), radius)
    radius[0] = 0.0
    return np.asarray(4.0 / 3.0 * np.pi * radius**3)


def _standardised(values: np.ndarray) -> np.ndarray:
    common = values[1 : _LAST_COMMON + 1]
    values = (values - common.mean(axis=0)) / common.std(axis=0)
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
        numbers = batch[keys.ATOMIC_NUMBERS]
        statistics = _statistics(self.properties.index_select(0, numbers), batch)
        volume = _volume_per_atom(batch).to(statistics.dtype)
        valence = site_mean(self.valence.index_select(0, numbers), batch)
        plasma = _PLASMA_ENERGY * (valence / volume).sqrt()
        # About 20 Å³ an atom and 15 eV, give or take a third.
        further = torch.stack([(volume / 20.0).log() * 3.0, (plasma - 15.0) / 5.0], dim=1)
        return torch.cat([statistics, further], dim=1)


class IonDescriptors(nn.Module):
    """The same of :func:`ion_properties`, with density and the share of space that ions fill.

    Local fields are strong where polarisable and hardly polarisable ions alternate and leave room.
    """

    def __init__(self) -> None:
        super().__init__()
        real = torch.get_default_dtype()
        self.properties: Tensor
        self.volumes: Tensor
        self.register_buffer(
            "properties", torch.tensor(ion_properties(), dtype=real), persistent=False
        )
        self.register_buffer("volumes", torch.tensor(ionic_volumes(), dtype=real), persistent=False)
        self.size = _STATISTICS * self.properties.shape[1] + 2

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Describe the structures of a batch: (B, size), numbers of order one."""
        numbers = batch[keys.ATOMIC_NUMBERS]
        statistics = _statistics(self.properties.index_select(0, numbers), batch)
        volume = _volume_per_atom(batch).to(statistics.dtype)
        filled = site_mean(self.volumes.index_select(0, numbers), batch) / volume
        further = torch.stack([(volume / 20.0).log() * 3.0, (filled - 0.4) * 5.0], dim=1)
        return torch.cat([statistics, further], dim=1)


def _statistics(values: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Mean, least, most and deviation (B, 4 p) over the sites of values (N, p)."""
    structure = batch[keys.ATOM_STRUCTURE]
    mean = site_mean(values, batch)
    spread = site_mean((values - mean.index_select(0, structure)) ** 2, batch)
    index = structure.unsqueeze(1).expand_as(values)
    empty = torch.zeros_like(mean)
    least = empty.scatter_reduce(0, index, values, "amin", include_self=False)
    most = empty.scatter_reduce(0, index, values, "amax", include_self=False)
    return torch.cat([mean, least, most, spread.clamp(min=0.0).sqrt()], dim=1)


def _volume_per_atom(batch: dict[str, Tensor]) -> Tensor:
    return batch[keys.VOLUME] / batch[keys.NUM_ATOMS].to(batch[keys.VOLUME].dtype)
