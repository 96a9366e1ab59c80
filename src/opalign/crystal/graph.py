"""Crystal graphs and their batches: plain arrays in, plain tensors out.

A :class:`CrystalGraph` holds the bonds only. Angles follow from them and are many times as many, so
they are neither stored nor cached but written down for a whole batch at once by :func:`collate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opalign.crystal import keys
from opalign.crystal.checks import MINIMUM_DISTANCE, check_distances, check_lattice, check_positions
from opalign.crystal.compiled import loaded_kernels
from opalign.crystal.neighbors import k_nearest_neighbors, radius_neighbors
from opalign.crystal.settings import GraphSettings
from opalign.errors import ConfigurationError, StructureError

if TYPE_CHECKING:
    import torch
    from pymatgen.core.sites import Site
    from pymatgen.core.structure import Structure
    from torch import Tensor

    from opalign.crystal.quotient import Quotient

HEAVIEST_ELEMENT = 118


@dataclass(frozen=True, eq=False)
class CrystalGraph:
    """Atoms and bonds of one crystal; shapes and conventions as in :mod:`opalign.crystal.keys`."""

    atomic_numbers: NDArray[np.int64]
    """(N,)"""
    bond_index: NDArray[np.int64]
    """(2, E) source and target atoms, sorted by target."""
    bond_image: NDArray[np.int64]
    """(E, 3) lattice vectors."""
    bond_vector: NDArray[np.float64]
    """(E, 3) Å, source to target."""
    volume: float
    """Å³"""
    has_angles: bool
    """Whether a batch of this graph has angles."""

    @property
    def num_atoms(self) -> int:
        """Number of atoms N."""
        return len(self.atomic_numbers)

    @property
    def num_bonds(self) -> int:
        """Number of directed bonds E."""
        return self.bond_index.shape[1]

    @property
    def num_angles(self) -> int:
        """Number of angles, whether or not a batch will have them."""
        source, target = self.bond_index
        degree = np.bincount(target, minlength=self.num_atoms)
        return int(degree[source].sum())

    @cached_property
    def size(self) -> int:
        """Bonds and angles that a batch of this graph has: what its memory goes by."""
        return self.num_bonds + (self.num_angles if self.has_angles else 0)

    @property
    def bond_length(self) -> NDArray[np.float64]:
        """(E,) Å."""
        return np.sqrt(np.einsum("ij,ij->i", self.bond_vector, self.bond_vector))

    @cached_property
    def quotient(self) -> Quotient:
        """One atom, bond and angle of each class; found once and kept."""
        from opalign.crystal.quotient import find_quotient

        return find_quotient(self)

    @property
    def angle_index(self) -> NDArray[np.int64]:
        """(2, T) pairs of bonds a→b and b→c, sorted by the second."""
        return line_graph(self.bond_index, self.num_atoms)

    @property
    def angle_cosine(self) -> NDArray[np.float64]:
        """(T,) cosines of the angles a–b–c."""
        first, second = self.angle_index
        unit = self.bond_vector / self.bond_length[:, None]
        return np.clip(-np.einsum("ij,ij->i", unit[first], unit[second]), -1.0, 1.0)


def build_graph(structure: Structure, settings: GraphSettings) -> CrystalGraph:
    """Graph of a pymatgen structure, as :func:`opalign.crystal.read.read_structure` returns it.

    Raises
    ------
    StructureError
        If a site is not one chemical element, or the geometry cannot be a crystal's.
    """
    lattice, cartesian, atomic_numbers = structure_arrays(structure)
    return build_graph_from_arrays(lattice, cartesian, atomic_numbers, settings)


def build_graph_from_arrays(
    lattice: ArrayLike, cartesian: ArrayLike, atomic_numbers: ArrayLike, settings: GraphSettings
) -> CrystalGraph:
    """Graph of a crystal given as arrays.

    Parameters
    ----------
    lattice
        (3, 3) lattice vectors in rows, Å.
    cartesian
        (N, 3) positions, Å; need not be inside the cell.
    atomic_numbers
        (N,) integers 1 … 118.
    settings
        Which neighbours are bonded. With ``kind="radius"`` an atom may end up without bonds.

    Raises
    ------
    StructureError
        If the geometry cannot be a crystal's (see :mod:`opalign.crystal.checks`).
    """
    lattice = np.asarray(lattice, dtype=np.float64)
    cartesian = np.asarray(cartesian, dtype=np.float64)
    numbers = np.asarray(atomic_numbers, dtype=np.int64)
    check_positions(cartesian, numbers)
    volume = check_lattice(lattice, len(numbers))
    if numbers.min() < 1 or numbers.max() > HEAVIEST_ELEMENT:
        atom = int(np.argmax((numbers < 1) | (numbers > HEAVIEST_ELEMENT)))
        raise StructureError(
            f"atom {atom + 1} has atomic number {numbers[atom]}",
            expected=f"1 to {HEAVIEST_ELEMENT}",
        )
    if settings.kind == "k_nearest":
        bonds = k_nearest_neighbors(
            lattice, cartesian, settings.neighbors, settings.shell_tolerance
        )
    else:
        bonds = radius_neighbors(lattice, cartesian, settings.cutoff)
    graph = CrystalGraph(
        atomic_numbers=numbers,
        bond_index=np.stack((bonds.source, bonds.target)),
        bond_image=bonds.image,
        bond_vector=bonds.vector,
        volume=volume,
        has_angles=settings.angles,
    )
    squared = np.einsum("ij,ij->i", bonds.vector, bonds.vector)
    if squared.min(initial=np.inf) < MINIMUM_DISTANCE**2:
        check_distances(lattice, cartesian, numbers)
    return graph


def structure_arrays(
    structure: Structure,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Lattice (3, 3) and positions (N, 3) in Å and atomic numbers (N,) of a pymatgen structure.

    Raises StructureError for a site that is not exactly one element.
    """
    lattice = np.asarray(structure.lattice.matrix, dtype=np.float64)
    try:
        numbers = np.array([_atomic_number(site) for site in structure], dtype=np.int64)
    except (AttributeError, TypeError) as error:
        atom = next((i for i, site in enumerate(structure) if not site.is_ordered), 0)
        raise StructureError(
            f"atom {atom + 1} ({structure[atom].species_string}) is not one element",
            expected="one whole element on every site",
            cure="order the structure first, for example with pymatgen's OrderDisorderedStructure"
            "Transformation",
        ) from error
    cartesian = np.array([site.coords for site in structure], dtype=np.float64).reshape(-1, 3)
    return lattice, cartesian, numbers


def _atomic_number(site: Site) -> int:
    """Atomic number of a site; raises AttributeError if it is not one whole element."""
    species = site.species
    if len(species) == 1 and species.num_atoms == 1:
        # Twice as fast as asking the site.
        return int(next(iter(species)).Z)
    return int(site.specie.Z)


def line_graph(bond_index: NDArray[np.int64], num_atoms: int) -> NDArray[np.int64]:
    """(2, T) pairs of bonds (a→b, b→c), c = a included, sorted by the second, then the first.

    ``bond_index`` (2, E) must be sorted by target: the bonds into an atom are then one run, and the
    angles of a bond b→c are the run of b. The convention is that of ALIGNN (npj Comput. Mater. 7,
    185 (2021)) and of its line graph with backtracking.
    """
    source, target = bond_index
    degree = np.bincount(target, minlength=num_atoms)
    run = np.cumsum(degree) - degree
    counts = degree[source]
    total = int(counts.sum())
    pairs = np.empty((2, total), dtype=np.int64)
    pairs[1] = np.repeat(np.arange(len(source)), counts)
    # Position within the run of b: position in the whole list, less where the bond's block starts.
    pairs[0] = np.repeat(run[source] - (np.cumsum(counts) - counts), counts)
    pairs[0] += np.arange(total)
    return pairs


def collate(
    graphs: Sequence[CrystalGraph], dtype: torch.dtype | None = None, *, reduced: bool = False
) -> dict[str, Tensor]:
    """Batch graphs into one dictionary of plain tensors, keys as in :mod:`opalign.crystal.keys`.

    Parameters
    ----------
    graphs
        At least one; all with angles, or all without.
    dtype
        Of lengths, vectors, cosines and volumes; ``torch.float32`` by default. The geometry is
        double precision up to here.
    reduced
        One atom, bond and angle of each class, with their numbers: the same to a network, and
        several times less work (:mod:`opalign.crystal.quotient`).

    Raises
    ------
    ConfigurationError
        If there is no graph, or only some of them have angles.
    """
    import torch

    if not graphs:
        raise ConfigurationError("a batch needs at least one graph")
    if len({graph.has_angles for graph in graphs}) > 1:
        raise ConfigurationError(
            "graphs with and without angles cannot share a batch",
            cure="build all graphs with the same settings",
        )
    if reduced:
        from opalign.crystal.quotient import collate_quotients

        return collate_quotients([graph.quotient for graph in graphs], dtype)
    real = torch.float32 if dtype is None else dtype
    num_atoms = np.array([graph.num_atoms for graph in graphs], dtype=np.int64)
    num_bonds = np.array([graph.num_bonds for graph in graphs], dtype=np.int64)
    first_atom = np.cumsum(num_atoms) - num_atoms
    bond_index = np.concatenate([graph.bond_index for graph in graphs], axis=1)
    bond_index += np.repeat(first_atom, num_bonds)
    vector = np.concatenate([graph.bond_vector for graph in graphs])
    length = np.sqrt(np.einsum("ij,ij->i", vector, vector))
    batch = {
        keys.ATOMIC_NUMBERS: torch.from_numpy(
            np.concatenate([graph.atomic_numbers for graph in graphs])
        ),
        keys.BOND_INDEX: torch.from_numpy(bond_index),
        keys.BOND_VECTOR: torch.from_numpy(vector).to(real),
        keys.BOND_LENGTH: torch.from_numpy(length).to(real),
        keys.BOND_IMAGE: torch.from_numpy(np.concatenate([graph.bond_image for graph in graphs])),
        keys.NUM_ATOMS: torch.from_numpy(num_atoms),
        keys.NUM_BONDS: torch.from_numpy(num_bonds),
        keys.ATOM_STRUCTURE: torch.from_numpy(np.repeat(np.arange(len(graphs)), num_atoms)),
        keys.VOLUME: torch.tensor([graph.volume for graph in graphs], dtype=real),
    }
    if graphs[0].has_angles:
        unit = torch.from_numpy(vector / length[:, None]).to(real).T.contiguous()
        # Bonds of the batch are sorted by target as those of each graph are, so one call does all.
        angle_index, cosine = _angles(bond_index, unit, int(num_atoms.sum()))
        degree = np.bincount(bond_index[1], minlength=int(num_atoms.sum()))
        structure_of_bond = np.repeat(np.arange(len(graphs)), num_bonds)
        num_angles = np.bincount(
            structure_of_bond, weights=degree[bond_index[0]], minlength=len(graphs)
        )
        batch[keys.ANGLE_INDEX] = angle_index
        batch[keys.ANGLE_COSINE] = cosine
        batch[keys.NUM_ANGLES] = torch.from_numpy(num_angles.astype(np.int64))
    return batch


def _angles(bond_index: NDArray[np.int64], unit: Tensor, num_atoms: int) -> tuple[Tensor, Tensor]:
    """Pairs of bonds (2, T) and cosines (T,) from unit vectors (3, E), in their precision."""
    import torch

    kernels = loaded_kernels()
    if kernels is not None and unit.dtype in (torch.float32, torch.float64):
        pairs, cosines = kernels.angles(bond_index, unit.numpy(), num_atoms)
        return torch.from_numpy(pairs), torch.from_numpy(cosines)
    index = torch.from_numpy(line_graph(bond_index, num_atoms))
    # Component by component: gathers of numbers are several times faster than those of rows.
    cosine = torch.zeros(index.shape[1], dtype=unit.dtype)
    for component in unit:
        cosine -= component.index_select(0, index[0]) * component.index_select(0, index[1])
    return index, cosine.clamp(-1.0, 1.0)
