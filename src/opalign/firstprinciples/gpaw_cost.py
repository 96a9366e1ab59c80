"""What a material will cost, before anything of it is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opalign.firstprinciples.gpaw_bands import number_of_bands
from opalign.firstprinciples.gpaw_mesh import symmetric_mesh
from opalign.firstprinciples.gpaw_settings import GpawSettings
from opalign.firstprinciples.gpaw_structure import StandardCell, standard_cell

if TYPE_CHECKING:
    from pymatgen.core.periodic_table import Element
    from pymatgen.core.structure import Structure

NOBLE_GASES = (0, 2, 10, 18, 36, 54, 86)
START_SECONDS = 5.0
PER_WORK = 1.1e-5
"""Seconds per irreducible point · bands² · Å³ at a cutoff of 400 eV, on one core of 2020 or so.

Fitted to some fifty materials of two to four atoms, which it meets within a factor of two.
"""
RELAXATION = 1.5
"""Cost of a relaxation in units of that of the spectrum."""
CONVERGENCE = 2.0
"""Cost of the tests of convergence, the spectrum included, in the same units."""


def expected_seconds(structure: Structure, settings: GpawSettings) -> float:
    """Estimate the seconds of one core: enough to order a queue by.

    Plane waves are in proportion to volume · cutoff^1.5; iterative diagonalisation costs points ×
    bands² × plane waves, and the response about as much in proportion.
    """
    from pymatgen.core.periodic_table import Element

    cell = standard_cell(structure)
    electrons = sum(valence_electrons(Element(site.specie.symbol)) for site in cell.structure)
    bands = number_of_bands(electrons, cell.structure.volume, settings.band_density)
    waves = cell.structure.volume * (settings.cutoff / 400.0) ** 1.5
    spectrum = START_SECONDS + PER_WORK * irreducible_points(cell, settings) * bands**2 * waves
    relaxation = RELAXATION * spectrum if settings.relax else 0.0
    return relaxation + spectrum * (CONVERGENCE if settings.converge else 1.0)


def irreducible_points(cell: StandardCell, settings: GpawSettings) -> int:
    """Count the points of the mesh that symmetry and time reversal leave."""
    size = settings.optics_mesh or symmetric_mesh(
        cell.structure.lattice.matrix, cell.rotations, settings.optics_density
    )
    mesh = np.array(size)
    points = np.indices(size).reshape(3, -1).T / mesh
    lowest = np.full(len(points), len(points))
    for rotation in cell.rotations:
        for sign in (1, -1):
            images = np.round(sign * (points @ rotation) * mesh).astype(int) % mesh
            lowest = np.minimum(lowest, np.ravel_multi_index(tuple(images.T), size))
    return len(np.unique(lowest))


def valence_electrons(element: Element) -> int:
    """Return about as many electrons as PAW setups treat.

    Those beyond the noble gas before, without a full f shell, and with the s and p shells below
    where the outer ones are few.
    """
    core = max(electrons for electrons in NOBLE_GASES if electrons < element.Z)
    outer = element.Z - core
    if element.Z >= 71:
        outer -= 14
    return outer + 8 if element.group <= 6 and core > 2 else outer
