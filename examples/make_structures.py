"""Write the example structures, from prototypes and textbook lattice parameters.

Every structure is built here from its space group, its measured lattice parameters at room
temperature and its free coordinates, and written in one of the formats that Opalign reads::

    python examples/make_structures.py examples/structures

Lattice parameters (Å) and coordinates (fractions) are the values at room temperature that textbooks
and handbooks tabulate, for instance R. W. G. Wyckoff, *Crystal Structures*, 2nd ed. (Interscience,
1963-1964), rounded: good enough for examples, no reference for the parameters themselves.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ase.io
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer


def rock_salt(cation: str, anion: str, a: float) -> Structure:
    """Primitive cell of the rock-salt structure (B1)."""
    return primitive("Fm-3m", Lattice.cubic(a), {cation: (0, 0, 0), anion: (1 / 2, 1 / 2, 1 / 2)})


def zinc_blende(cation: str, anion: str, a: float) -> Structure:
    """Primitive cell of the zinc-blende structure (B3)."""
    return primitive("F-43m", Lattice.cubic(a), {cation: (0, 0, 0), anion: (1 / 4, 1 / 4, 1 / 4)})


def antifluorite(cation: str, anion: str, a: float) -> Structure:
    """Primitive cell of the antifluorite structure: fluorite (C1) with the ions exchanged."""
    return primitive("Fm-3m", Lattice.cubic(a), {cation: (1 / 4, 1 / 4, 1 / 4), anion: (0, 0, 0)})


def wurtzite(cation: str, anion: str, a: float, c: float, u: float) -> Structure:
    """Cell of the wurtzite structure (B4); ``u`` is the bond along c over c."""
    sites = {cation: (1 / 3, 2 / 3, 0), anion: (1 / 3, 2 / 3, u)}
    return primitive("P6_3mc", Lattice.hexagonal(a, c), sites)


def rutile(cation: str, anion: str, a: float, c: float, u: float) -> Structure:
    """Cell of the rutile structure (C4); the anions lie at ±(u, u, 0)."""
    sites = {cation: (0, 0, 0), anion: (u, u, 0)}
    return primitive("P4_2/mnm", Lattice.tetragonal(a, c), sites)


def perovskite(large: str, small: str, anion: str, a: float) -> Structure:
    """Cell of the cubic perovskite structure (E2₁)."""
    sites = {large: (0, 0, 0), small: (1 / 2, 1 / 2, 1 / 2), anion: (1 / 2, 1 / 2, 0)}
    return primitive("Pm-3m", Lattice.cubic(a), sites)


def cadmium_iodide(cation: str, anion: str, a: float, c: float, z: float) -> Structure:
    """Cell of the layered CdI₂ structure (C6); ``z`` is the height of the anions over c."""
    sites = {cation: (0, 0, 0), anion: (1 / 3, 2 / 3, z)}
    return primitive("P-3m1", Lattice.hexagonal(a, c), sites)


def cuprite(cation: str, anion: str, a: float) -> Structure:
    """Cell of the cuprite structure (C3)."""
    sites = {cation: (1 / 4, 1 / 4, 1 / 4), anion: (0, 0, 0)}
    return primitive("Pn-3m", Lattice.cubic(a), sites)


def delafossite(
    linear: str, octahedral: str, anion: str, a: float, c: float, u: float
) -> Structure:
    """Primitive cell of the delafossite structure (3R); the anions lie at ±(0, 0, u)."""
    sites = {linear: (0, 0, 0), octahedral: (0, 0, 1 / 2), anion: (0, 0, u)}
    return primitive("R-3m", Lattice.hexagonal(a, c), sites)


def primitive(
    space_group: str, lattice: Lattice, sites: dict[str, tuple[float, float, float]]
) -> Structure:
    """Build the standard primitive cell of a crystal given by one site of each species."""
    positions = list(sites.values())
    crystal = Structure.from_spacegroup(space_group, lattice, list(sites), positions)
    return SpacegroupAnalyzer(crystal).get_primitive_standard_structure()


EXAMPLES = {
    "MgO.cif": rock_salt("Mg", "O", a=4.211),
    "CaS.cif": rock_salt("Ca", "S", a=5.695),
    "TiO2_rutile.cif": rutile("Ti", "O", a=4.594, c=2.959, u=0.305),
    "ZnO_wurtzite.vasp": wurtzite("Zn", "O", a=3.250, c=5.207, u=0.382),
    "SnS2.vasp": cadmium_iodide("Sn", "S", a=3.639, c=5.868, z=0.25),
    "HfS2.vasp": cadmium_iodide("Hf", "S", a=3.635, c=5.837, z=0.25),
    "CdSe_zinc_blende.extxyz": zinc_blende("Cd", "Se", a=6.05),
    "Na2O.extxyz": antifluorite("Na", "O", a=5.55),
    "BaZrO3.json": perovskite("Ba", "Zr", "O", a=4.193),
    "SrTiO3.json": perovskite("Sr", "Ti", "O", a=3.905),
    "Cu2O.json": cuprite("Cu", "O", a=4.270),
    "CuAlO2.json": delafossite("Cu", "Al", "O", a=2.858, c=16.958, u=0.110),
}


def write_examples(folder: Path) -> list[Path]:
    """Write every example into ``folder`` and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, structure in EXAMPLES.items():
        path = folder / name
        if path.suffix == ".extxyz":
            ase.io.write(path, AseAtomsAdaptor.get_atoms(structure, msonable=False))
        elif path.suffix == ".cif":
            structure.to(str(path), symprec=1e-3)
        elif path.suffix == ".vasp":
            structure.to(str(path), fmt="poscar")
        else:
            structure.to(str(path))
    return [folder / name for name in EXAMPLES]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("examples/structures"))
    for written in write_examples(parser.parse_args().folder):
        print(written)
