"""All materials where the network trains, and batches that are put together there.

Nothing but the numbers of its rows crosses over for a step, and nothing waits for the host: a
batch is gathered by the device from arrays of the whole set. Its shapes follow from a
:class:`Capacity` and not from the rows, so that one recorded sequence of operations
(:mod:`opalign.training.recorded`) serves all batches. What is left of a capacity is filled with
atoms, bonds and angles of one more structure, of which nothing is known and so nothing is learned;
they are connected to nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opalign.crystal import keys
from opalign.training.batches import work_of
from opalign.training.data import Batch, Materials, batch_of

_ATOMS, _BONDS, _ANGLES = "atoms", "bonds", "angles"
_FILLING_VOLUME = 12.0
"""Å³ of the structure that fills a batch up; any that gives finite numbers."""
_INDEX_BYTES = 8


@dataclass(frozen=True)
class Capacity:
    """Rows of a batch: structures without the one that fills it up, and atoms, bonds, angles.

    Atoms, bonds and angles are of all structures together, the one that fills up included: it has
    one of each at least. Of symmetry-reduced materials they are classes.
    """

    structures: int
    atoms: int
    bonds: int
    angles: int

    def holds(self, other: Capacity) -> bool:
        """Whether a batch of the size ``other`` fits."""
        return (
            self.structures == other.structures
            and self.atoms >= other.atoms
            and self.bonds >= other.bonds
            and self.angles >= other.angles
        )

    def united(self, other: Capacity) -> Capacity:
        """Room for either of two batches of as many structures."""
        sizes = (self.atoms, self.bonds, self.angles), (other.atoms, other.bonds, other.angles)
        return Capacity(self.structures, *map(max, *sizes))

    def enlarged(self, factor: float) -> Capacity:
        """Room for ``factor`` times as many atoms, bonds and angles."""
        sizes = (round(factor * size) for size in (self.atoms, self.bonds, self.angles))
        return Capacity(self.structures, *sizes)


class ResidentMaterials:
    """Materials on a device, in one array a quantity.

    Parameters
    ----------
    materials
        At least one; vectors and images of bonds are left behind, so that their geometry cannot be
        changed from step to step.
    device
        Where they go.
    """

    def __init__(self, materials: Materials, device: torch.device | str) -> None:
        self.size = len(materials)
        self.device = torch.device(device)
        whole = batch_of(materials, range(self.size))
        graph: dict[str, Tensor] = whole["graph"]
        self.has_angles = keys.ANGLE_INDEX in graph
        structure = graph[keys.ATOM_STRUCTURE]
        counts = {_ATOMS: torch.bincount(structure, minlength=self.size)}
        counts[_BONDS] = graph[keys.NUM_BONDS]
        counts[_ANGLES] = graph.get(keys.NUM_ANGLES, torch.zeros_like(counts[_BONDS]))
        #: Rows of each material, known to the host.
        self._counts: dict[str, NDArray[np.int64]] = {k: v.numpy() for k, v in counts.items()}
        nothing = torch.zeros(1, dtype=torch.int64)
        self._number = {k: torch.cat([v, nothing]).to(device) for k, v in counts.items()}
        self._first = {
            k: torch.cat([v.cumsum(0) - v, nothing]).to(device) for k, v in counts.items()
        }
        kept = (
            keys.ATOMIC_NUMBERS,
            keys.ATOM_MULTIPLICITY,
            keys.BOND_INDEX,
            keys.BOND_LENGTH,
            keys.BOND_MULTIPLICITY,
            keys.ANGLE_INDEX,
            keys.ANGLE_COSINE,
            keys.ANGLE_MULTIPLICITY,
        )
        self._graph = {name: graph[name].to(device) for name in kept if name in graph}
        self._sites = _with_last(graph[keys.NUM_ATOMS], 1).to(device)
        self._volume = _with_last(graph[keys.VOLUME], _FILLING_VOLUME).to(device)
        self._inputs = {n: torch.cat([v, v[:1]]).to(device) for n, v in materials.inputs.items()}
        self._targets = {
            name: _with_last(values, torch.nan).to(device)
            for name, values in whole["targets"].items()
        }

    def __len__(self) -> int:
        return self.size

    def needed(self, rows: Sequence[int], structures: int | None = None) -> Capacity:
        """Return the least capacity for a batch of these rows, told without asking the device."""
        chosen = np.asarray(rows, dtype=np.int64)
        sizes = (int(self._counts[kind][chosen].sum()) + 1 for kind in (_ATOMS, _BONDS, _ANGLES))
        return Capacity(len(rows) if structures is None else structures, *sizes)

    def row_numbers(self, rows: Sequence[int], capacity: Capacity) -> Tensor:
        """Return the input of :meth:`batch` for these rows, on the host: (structures,) int64."""
        numbers = torch.full((capacity.structures,), self.size)
        numbers[: len(rows)] = torch.as_tensor(rows)
        return numbers

    def batch(self, rows: Tensor, capacity: Capacity) -> Batch:
        """Put a batch together, in operations of shapes that follow from the capacity.

        Parameters
        ----------
        rows
            (capacity.structures,) int64 on the device; ``len(self)`` stands for no material.

        Returns
        -------
        dict
            As :func:`opalign.training.data.batch_of`, of ``capacity.structures`` + 1 structures,
            without what only serves other ends: images, vectors, ``atom_class`` and counts of bonds
            and angles. Targets of structures that are no material are NaN.
        """
        rows = torch.cat([rows, rows.new_full((1,), self.size)])
        atom, structure, atom_shift = self._chosen(rows, _ATOMS, capacity.atoms)
        bond, bond_structure, bond_shift = self._chosen(rows, _BONDS, capacity.bonds)
        graph = {
            keys.ATOMIC_NUMBERS: self._taken(keys.ATOMIC_NUMBERS, atom, 1),
            keys.ATOM_STRUCTURE: structure,
            keys.NUM_ATOMS: self._sites.index_select(0, rows),
            keys.VOLUME: self._volume.index_select(0, rows),
            keys.BOND_INDEX: self._indices(
                keys.BOND_INDEX, bond, atom_shift.index_select(0, bond_structure), capacity.atoms
            ),
            keys.BOND_LENGTH: self._taken(keys.BOND_LENGTH, bond, 1.0),
        }
        if keys.ATOM_MULTIPLICITY in self._graph:
            for name, places in ((keys.ATOM_MULTIPLICITY, atom), (keys.BOND_MULTIPLICITY, bond)):
                graph[name] = self._taken(name, places, 1.0)
        if self.has_angles:
            angle, angle_structure, _ = self._chosen(rows, _ANGLES, capacity.angles)
            shift = bond_shift.index_select(0, angle_structure)
            graph[keys.ANGLE_INDEX] = self._indices(keys.ANGLE_INDEX, angle, shift, capacity.bonds)
            graph[keys.ANGLE_COSINE] = self._taken(keys.ANGLE_COSINE, angle, 0.0)
            if keys.ANGLE_MULTIPLICITY in self._graph:
                graph[keys.ANGLE_MULTIPLICITY] = self._taken(keys.ANGLE_MULTIPLICITY, angle, 1.0)
        inputs = {name: values.index_select(0, rows) for name, values in self._inputs.items()}
        targets = {name: values.index_select(0, rows) for name, values in self._targets.items()}
        return {"graph": {**graph, **inputs}, "targets": targets}

    def _chosen(self, rows: Tensor, kind: str, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Find what is gathered from the arrays of all.

        Returns places (size,), −1 where they are filled up; for each its structure in the batch;
        and for each structure (B,) by how much its places move.
        """
        number = self._number[kind].index_select(0, rows)
        ends = number.cumsum(0)
        shift = ends - number - self._first[kind].index_select(0, rows)
        place = torch.arange(size, device=rows.device)
        structure = torch.searchsorted(ends, place, right=True)
        filling = len(rows) - 1
        inside = structure < filling
        structure = structure.clamp(max=filling)
        place = place - shift.index_select(0, structure)
        return torch.where(inside, place, -1), structure, shift

    def _taken(self, name: str, places: Tensor, filling: float) -> Tensor:
        values = self._graph[name].index_select(0, places.clamp(min=0))
        return torch.where(places >= 0, values, filling)

    def _indices(self, name: str, places: Tensor, shift: Tensor, size: int) -> Tensor:
        """Pairs (2, M) of the batch; what fills up leads from the last row to the last."""
        pairs = self._graph[name].index_select(1, places.clamp(min=0)) + shift
        return torch.where(places >= 0, pairs, size - 1)


def estimated_bytes(materials: Materials) -> int:
    """Bytes that :class:`ResidentMaterials` takes, about; angles are most of it."""
    angles = int(work_of(materials.graphs, reduced=materials.reduced).sum())
    values = sum(t.numel() * t.element_size() for t in materials.targets.values())
    values += sum(t.numel() * t.element_size() for t in materials.inputs.values())
    # Two indices, a cosine and a multiplicity, and about as much again for all the rest.
    return 2 * angles * 3 * _INDEX_BYTES + values


def _with_last(values: Tensor, last: float) -> Tensor:
    """``values`` (M, …) and a row of ``last``."""
    return torch.cat([values, torch.full_like(values[:1], last)])
