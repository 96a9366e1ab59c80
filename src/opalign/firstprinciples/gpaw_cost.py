"""What a material will cost, before anything of it is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opalign.firstprinciples.gpaw_settings import GpawSettings

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure


def expected_seconds(structure: Structure, settings: GpawSettings) -> float:
    """Estimate the seconds of one core from volume, electrons, mesh and symmetry.

    Bands cost points × bands × plane waves × (bands + a constant), as iterative diagonalisation
    does; factors were fitted to measured times. Good to a factor of three: enough to order a queue.
    """
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    analyzer = SpacegroupAnalyzer(structure, symprec=0.01)
    primitive = analyzer.find_primitive() or structure
    operations = max(len(np.unique(analyzer.get_symmetry_dataset().rotations, axis=0)), 1)
    volume = primitive.volume
    electrons = sum(min(site.specie.Z, 18) for site in primitive) / 2.0
    bands = electrons + settings.band_density * volume + 4.0
    # Plane waves in the sphere of the cutoff: k³/6π² states per volume, k² = 2mE/ħ².
    waves = volume * (0.2625 * settings.cutoff) ** 1.5 / (6.0 * np.pi**2)
    mesh = (2.0 * np.pi * settings.optics_density) ** 3 / volume
    points = mesh / operations + mesh ** (1.0 / 3.0)
    work = points * bands * waves * (bands + 100.0)
    optics = 5.0 + 4e-8 * work
    return float(optics * (4.0 if settings.relax else 1.0) * (2.0 if settings.converge else 1.0))
