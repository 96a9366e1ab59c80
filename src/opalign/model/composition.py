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
_COMMON = slice(1, 84)
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
    values[:, orbital] = np.nan_to_num(values[:, orbital])
    values = _filled(values)
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
    values = _standardised(_filled(values))
    kinds = np.zeros((len(values), len(_FAMILIES)))
    for number, family in enumerate(_FAMILIES):
        kinds[list(family), number] = 1.0
    values = np.concatenate([values, kinds], axis=1)
    values.flags.writeable = False
    return values


def ionic_volumes() -> np.ndarray:
    """Volume of the sphere of the ionic radius by atomic number, (101,), Å³."""
    raw, columns = _raw_properties()
    radius = _filled(raw[:, columns.index(_IONIC_RADIUS)])
    radius[0] = 0.0
    return np.asarray(4.0 / 3.0 * np.pi * radius**3)


def _filled(values: np.ndarray) -> np.ndarray:
    """Put the median of the common elements where nothing is known."""
    return np.where(np.isnan(values), np.nanmedian(values[_COMMON], axis=0), values)


def _standardised(values: np.ndarray) -> np.ndarray:
    common = values[_COMMON]
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


class _Descriptors(nn.Module):
    """Mean, least, most and deviation over the sites of properties, density, and one number more.

    All of them are the same for a supercell, and they follow from atomic numbers and volume alone.

    Parameters
    ----------
    properties
        Of each element, (101, p).
    averaged
        One more of each element, (101,), whose mean over the sites :meth:`_in_volume` makes the
        last number of.
    """

    def __init__(self, properties: np.ndarray, averaged: np.ndarray) -> None:
        super().__init__()
        real = torch.get_default_dtype()
        self.properties: Tensor
        self.averaged: Tensor
        self.register_buffer("properties", torch.tensor(properties, dtype=real), persistent=False)
        self.register_buffer("averaged", torch.tensor(averaged, dtype=real), persistent=False)
        self.size = _STATISTICS * properties.shape[1] + 2

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Describe the structures of a batch: (B, size), numbers of order one."""
        numbers = batch[keys.ATOMIC_NUMBERS]
        statistics = _statistics(self.properties.index_select(0, numbers), batch)
        volume = batch[keys.VOLUME].to(statistics.dtype)
        volume = volume / batch[keys.NUM_ATOMS].to(statistics.dtype)
        mean = site_mean(self.averaged.index_select(0, numbers), batch)
        # About 20 Å³ an atom, give or take a third.
        further = [(volume / 20.0).log() * 3.0, self._in_volume(mean, volume)]
        return torch.cat([statistics, torch.stack(further, dim=1)], dim=1)

    def _in_volume(self, mean: Tensor, volume: Tensor) -> Tensor:
        raise NotImplementedError


class CompositionDescriptors(_Descriptors):
    """Statistics of :func:`element_properties`, density, and the plasma energy."""

    def __init__(self) -> None:
        raw, columns = _raw_properties()
        super().__init__(
            element_properties(), np.nan_to_num(raw[:, columns.index("valence_electrons")])
        )

    def _in_volume(self, mean: Tensor, volume: Tensor) -> Tensor:
        # About 15 eV, give or take a third.
        return (_PLASMA_ENERGY * (mean / volume).sqrt() - 15.0) / 5.0


class IonDescriptors(_Descriptors):
    """Statistics of :func:`ion_properties`, density, and the share of space that ions fill.

    Local fields are strong where polarisable and hardly polarisable ions alternate and leave room.
    """

    def __init__(self) -> None:
        super().__init__(ion_properties(), ionic_volumes())

    def _in_volume(self, mean: Tensor, volume: Tensor) -> Tensor:
        return (mean / volume - 0.4) * 5.0


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
