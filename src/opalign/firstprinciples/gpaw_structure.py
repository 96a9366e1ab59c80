"""The cell that is computed: standardised, primitive, its symmetry exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opalign.firstprinciples.engine import EngineFailure

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core.structure import Structure

SYMMETRY_PRECISION = 0.01
"""Å; what deviates less is noise of a table or of a relaxation."""


@dataclass(frozen=True)
class StandardCell:
    """A primitive cell with its point group.

    ``rotations`` (n, 3, 3) integers act on fractional coordinates, ``cartesian_rotations`` on
    vectors.
    """

    structure: Structure
    space_group: int
    rotations: np.ndarray

    @property
    def cartesian_rotations(self) -> np.ndarray:
        """The point group as orthogonal matrices (n, 3, 3)."""
        lattice = self.structure.lattice.matrix.T
        return lattice @ self.rotations @ np.linalg.inv(lattice)

    def atoms(self) -> Atoms:
        """Return the cell for ASE, without constraints."""
        from ase import Atoms

        return Atoms(
            [site.specie.symbol for site in self.structure],
            cell=self.structure.lattice.matrix,
            scaled_positions=self.structure.frac_coords,
            pbc=True,
        )


def standard_cell(structure: Structure) -> StandardCell:
    """Return the standardised primitive cell of a structure.

    Conventions of W. Setyawan and S. Curtarolo, Comput. Mater. Sci. 49, 299 (2010); rhombohedral
    cells have their threefold axis along z.
    """
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    try:
        analyzer = SpacegroupAnalyzer(structure, symprec=SYMMETRY_PRECISION)
        if analyzer.get_lattice_type() == "rhombohedral":
            cell = analyzer.find_primitive()
        else:
            cell = analyzer.get_primitive_standard_structure()
        cell = cell.copy(site_properties={})
        group = SpacegroupAnalyzer(cell, symprec=SYMMETRY_PRECISION)
        rotations = np.unique(group.get_symmetry_dataset().rotations, axis=0)
    except Exception as error:
        # Searches for symmetry give up in many ways, all of which mean the same.
        raise EngineFailure("unsupported", f"no symmetry could be found: {error}") from error
    return StandardCell(cell, group.get_space_group_number(), rotations)


def check_electrons(structure: Structure) -> None:
    """Raise EngineFailure for an odd number of electrons: without spin that is no insulator.

    Atomic numbers decide, since cores are closed shells.
    """
    electrons = sum(site.specie.Z for site in structure)
    if electrons % 2:
        raise EngineFailure(
            "odd electron count",
            f"{structure.composition.reduced_formula} has {electrons} electrons in the cell",
        )
