"""Symmetry-reduced graphs: every kind of atom, bond and angle of a crystal once, with its number.

Many atoms, bonds and angles of a crystal are alike: symmetry maps them onto each other, and what
message passing computes on them is equal at every layer. So one of each kind will do, where sums
over neighbours count every kind as often as it occurs. The kinds are the classes of the coarsest
*equitable partition* that starts from elements, bond lengths and angles: all atoms of a class have
equally many bonds of each class, all bonds of a class equally many angles of each class. Colour
refinement (Weisfeiler and Leman 1968; Cardon and Crochemore, Theor. Comput. Sci. 19, 85 (1982))
finds it: a colour is replaced by itself and the multiset of its neighbours' colours until no class
splits any more. It needs no space group, and also sees what only the network cannot tell apart.

Networks of layers whose maps act row by row and whose sums run over neighbours give exactly the
same features, gradients included, on the quotient as on the whole graph, but for two things:

* lengths and cosines that differ by less than a tolerance count as equal, and take their mean. The
  tolerance is that of coordinates as they are published; deviations from a mean cancel in first
  order, so that spectra change by some 1e-9 of themselves, far less than single precision does;
* statistics over a batch (batch norm while training) and random numbers per atom (dropout) see
  every atom of the whole graph. Such a network trains on whole graphs.

Where nothing is alike, as in a randomly displaced crystal, every class has one member.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opalign.crystal import keys
from opalign.crystal.compiled import loaded_quotient_kernels
from opalign.crystal.refinement import Classes, find_classes

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from opalign.crystal.graph import CrystalGraph

#: Lengths (Å) and cosines closer than this, one after the other in their order, are one value.
#: Coordinates are published with six to eight digits, and relaxed to 1e-3 Å.
TOLERANCE = 1e-5
#: Below this the grid of the compiled loops would be finer than the rounding of what is on it.
FINEST = 1e-10


@dataclass(frozen=True, eq=False)
class Quotient:
    """One atom, bond and angle of each class; A, E and T are numbers of classes."""

    atomic_numbers: NDArray[np.int64]
    """(A,)"""
    atom_class: NDArray[np.int64]
    """(N,) class of every atom of the crystal, in the order of their first atoms."""
    atom_multiplicity: NDArray[np.int64]
    """(A,) atoms of a class; they sum to N."""
    bond_index: NDArray[np.int64]
    """(2, E) classes of atoms, sorted by target."""
    bond_length: NDArray[np.float64]
    """(E,) Å."""
    bond_multiplicity: NDArray[np.int64]
    """(E,) bonds of a class that end at *one* atom of the target's class."""
    angle_index: NDArray[np.int64]
    """(2, T) classes of bonds, sorted by target; empty without angles."""
    angle_cosine: NDArray[np.float64]
    """(T,)"""
    angle_multiplicity: NDArray[np.int64]
    """(T,) angles of a class that end at *one* bond of the target's class."""
    volume: float
    """Å³ of the crystal's cell."""
    has_angles: bool


def find_quotient(graph: CrystalGraph, tolerance: float = TOLERANCE) -> Quotient:
    """Classes of a crystal's atoms, bonds and angles, and one of each.

    Compiled loops find them once these are loaded (:mod:`opalign.crystal.compiled`), else array
    operations do: with the same classes, and means of merged values equal but for the last place.

    Parameters
    ----------
    graph
        Any.
    tolerance
        Of bond lengths in Å and of cosines.
    """
    arguments = (
        graph.atomic_numbers.astype(np.uint64),
        *graph.bond_index,
        # Its own: compiled code for arrays that may be written does not serve for others.
        np.array(graph.bond_vector),
        graph.has_angles,
        tolerance,
    )
    kernels = loaded_quotient_kernels() if tolerance >= FINEST else None
    plain, *parts = (False,) if kernels is None else kernels.find_classes(*arguments)
    found = Classes(*parts) if plain else find_classes(*arguments)
    return Quotient(
        atomic_numbers=graph.atomic_numbers[found.one_atom],
        atom_class=found.atom_class,
        atom_multiplicity=found.atom_multiplicity,
        bond_index=found.bond_index,
        bond_length=found.bond_length,
        bond_multiplicity=found.bond_multiplicity,
        angle_index=found.angle_index,
        angle_cosine=found.angle_cosine,
        angle_multiplicity=found.angle_multiplicity,
        volume=graph.volume,
        has_angles=graph.has_angles,
    )


def collate_quotients(
    quotients: Sequence[Quotient], dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """Batch quotients as :func:`opalign.crystal.graph.collate` batches graphs.

    Keys are those of :mod:`opalign.crystal.keys`, with the multiplicities and ``atom_class``;
    vectors and images, which are not the same for a class, are left out. ``num_atoms`` counts the
    atoms of the crystals, ``num_bonds`` and ``num_angles`` the rows of the batch.

    At least one quotient; all with angles, or all without.
    """
    import torch

    real = torch.float32 if dtype is None else dtype
    classes = np.array([len(q.atomic_numbers) for q in quotients])
    bonds = np.array([len(q.bond_length) for q in quotients])
    atoms = np.array([len(q.atom_class) for q in quotients])
    angles = np.array([len(q.angle_cosine) for q in quotients])

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(quotient, name) for quotient in quotients], axis=-1)

    def counted_on(name: str, step: NDArray[np.int64], sizes: NDArray[np.int64]) -> Tensor:
        """One array of indices of all quotients, which count on from one to the next."""
        indices = joined(name)
        indices += np.repeat(np.cumsum(step) - step, sizes)
        return torch.from_numpy(indices)

    def in_real(name: str) -> Tensor:
        return torch.from_numpy(joined(name)).to(real)

    batch = {
        keys.ATOMIC_NUMBERS: torch.from_numpy(joined("atomic_numbers")),
        keys.ATOM_CLASS: counted_on("atom_class", classes, atoms),
        keys.ATOM_MULTIPLICITY: in_real("atom_multiplicity"),
        keys.ATOM_STRUCTURE: torch.from_numpy(np.repeat(np.arange(len(quotients)), classes)),
        keys.BOND_INDEX: counted_on("bond_index", classes, bonds),
        keys.BOND_LENGTH: in_real("bond_length"),
        keys.BOND_MULTIPLICITY: in_real("bond_multiplicity"),
        keys.NUM_ATOMS: torch.from_numpy(atoms),
        keys.NUM_BONDS: torch.from_numpy(bonds),
        keys.VOLUME: torch.tensor([quotient.volume for quotient in quotients], dtype=real),
    }
    if quotients[0].has_angles:
        batch[keys.ANGLE_INDEX] = counted_on("angle_index", bonds, angles)
        batch[keys.ANGLE_COSINE] = in_real("angle_cosine")
        batch[keys.ANGLE_MULTIPLICITY] = in_real("angle_multiplicity")
        batch[keys.NUM_ANGLES] = torch.from_numpy(angles)
    return batch
