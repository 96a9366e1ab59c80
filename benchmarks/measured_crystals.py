"""Cells with measured lattice constants of crystals whose n and k were measured.

    python benchmarks/measured_crystals.py cells

writes one CIF file a crystal, to be computed without relaxation at the settings of the GPAW
campaign (PBE, 400 eV, 4.5 k points per Å⁻¹, response cutoff 40 eV).
``benchmarks/data/measured_crystals.parquet`` holds the spectra of those that have been computed so
far; see docs/experiment.md, also for why zinc blende deserves 9 k points per Å⁻¹.

Lattice constants at room temperature. Zinc blende, wurtzite: O. Madelung, Semiconductors: Data
Handbook (3rd ed., Springer 2004). ZrO₂: the cubic cell without yttria, extrapolated. MoS₂:
B. Schönfeld, J. J. Huang and S. C. Moss, Acta Cryst. B 39, 404 (1983). MoSe₂: P. B. James and
M. T. Lavik, Acta Cryst. 16, 1183 (1963). WS₂: W. J. Schutte, J. L. de Boer and F. Jellinek,
J. Solid State Chem. 70, 207 (1987). TiO₂: J. K. Burdett et al., J. Am. Chem. Soc. 109, 3639 (1987).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pymatgen.core import Composition, Lattice, Structure

from opalign.files import write_text

ZINC_BLENDE = {
    "CdSe": 6.0520,
    "ZnS": 5.4093,
    "ZnSe": 5.6676,
    "ZnTe": 6.1026,
    "CdTe": 6.4820,
}
"""a in Å."""
WURTZITE = {"CdS": (4.1367, 6.7161, 0.377), "CdSe": (4.2999, 7.0109, 0.376)}
"""a and c in Å, and the fractional height of the anion."""
LAYERED = {
    "MoS2": (3.1604, 12.295, 0.6214),
    "MoSe2": (3.288, 12.900, 0.621),
    "WS2": (3.1532, 12.323, 0.6225),
}
"""The same; 2H."""


def cells() -> dict[str, Structure]:
    """Return formula and space group → conventional cell."""
    found = {
        f"{formula}-216": _made(216, Lattice.cubic(a), formula, [0, 0, 0], [0.25] * 3)
        for formula, a in ZINC_BLENDE.items()
    }
    third = [1 / 3, 2 / 3]
    for formula, (a, c, z) in WURTZITE.items():
        lattice = Lattice.hexagonal(a, c)
        found[f"{formula}-186"] = _made(186, lattice, formula, [*third, 0.0], [*third, z])
    for formula, (a, c, z) in LAYERED.items():
        lattice = Lattice.hexagonal(a, c)
        found[f"{formula}-194"] = _made(194, lattice, formula, [*third, 0.25], [*third, z])
    found["ZrO2-225"] = _made(225, Lattice.cubic(5.09), "ZrO2", [0, 0, 0], [0.25] * 3)
    anatase = Lattice.tetragonal(3.7845, 9.5143)
    found["TiO2-141"] = _made(141, anatase, "TiO2", [0, 0, 0], [0, 0, 0.2081])
    return found


def _made(
    group: int, lattice: Lattice, formula: str, cation: list[float], anion: list[float]
) -> Structure:
    elements = [element.symbol for element in Composition(formula)]
    return Structure.from_spacegroup(group, lattice, elements, [cation, anion])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for the CIF files")
    arguments = parser.parse_args()
    for name, structure in cells().items():
        print(write_text(arguments.out / f"{name}.cif", structure.to(fmt="cif")))


if __name__ == "__main__":
    main()
