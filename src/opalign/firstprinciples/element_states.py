"""Ground states of the elements: crystals and molecules at measured geometries.

Lattice constants are those of ASE's table of reference states, at low temperature where it matters,
and of the papers named below for what the table lacks. A molecule is one in a periodic box.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opalign.firstprinciples.engine import EngineFailure

if TYPE_CHECKING:
    from ase import Atoms

VACUUM = 3.5
"""Å around a molecule on all sides: copies 7 Å apart cost O₂ 0.2 meV per atom."""
BOND_LENGTHS = {"H": 0.7414, "N": 1.0977, "O": 1.2075, "F": 1.4119, "Cl": 1.9879}
"""Å, of molecules: K. P. Huber and G. Herzberg, Constants of Diatomic Molecules (1979)."""
SULPHUR_BOND, SULPHUR_ANGLE = 2.055, 108.2
"""Å and degrees of the ring S₈: S. J. Rettig and J. Trotter, Acta Cryst. C 43, 2260 (1987)."""
# fmt: off
TABULATED = (
    "Li", "Na", "K", "Rb", "Cs", "Be", "Mg", "Ca", "Sr", "Ba",
    "Sc", "Y", "Lu", "Ti", "Zr", "Hf", "V", "Nb", "Ta", "Mo", "W", "Re",
    "Fe", "Ru", "Os", "Co", "Rh", "Ir", "Ni", "Pd", "Pt", "Cu", "Ag", "Au", "Zn", "Cd",
    "Hg", "Al", "In", "Tl", "Si", "Ge", "Pb", "As", "Sb", "Bi",
)
# fmt: on
"""Elements whose crystal ASE's table of reference states has whole."""


@dataclass(frozen=True)
class _Crystal:
    """A crystal by space group, cell (a, b, c in Å; angles in degrees) and inequivalent sites."""

    description: str
    space_group: int
    cell: tuple[float, float, float, float, float, float]
    sites: tuple[tuple[float, float, float], ...]


_CRYSTALS = {
    "C": _Crystal(
        "graphite", 194, (2.461, 2.461, 6.708, 90, 90, 120), ((0, 0, 1 / 4), (1 / 3, 2 / 3, 1 / 4))
    ),
    # β, which is stable at room temperature, lies 0.04 eV higher at 0 K.
    "Sn": _Crystal("α, diamond", 227, (6.489, 6.489, 6.489, 90, 90, 90), ((0, 0, 0),)),
    # B. D. Sharma and J. Donohue, Z. Kristallogr. 117, 293 (1962).
    "Ga": _Crystal(
        "α, orthorhombic", 64, (4.5192, 7.6586, 4.5258, 90, 90, 90), ((0, 0.1539, 0.0810),)
    ),
    # P. Cherin and P. Unger, Inorg. Chem. 6, 1589 (1967), and Acta Cryst. 23, 670 (1967).
    "Se": _Crystal(
        "trigonal chains", 152, (4.3662, 4.3662, 4.9536, 90, 90, 120), ((0.2254, 0, 1 / 3),)
    ),
    "Te": _Crystal(
        "trigonal chains", 152, (4.4572, 4.4572, 5.9290, 90, 90, 120), ((0.2633, 0, 1 / 3),)
    ),
    "La": _Crystal(
        "double hcp", 194, (3.774, 3.774, 12.171, 90, 90, 120), ((0, 0, 0), (1 / 3, 2 / 3, 1 / 4))
    ),
    # At 77 K; its f electron bonds, and it carries no moment.
    "Ce": _Crystal("α, fcc", 225, (4.85, 4.85, 4.85, 90, 90, 90), ((0, 0, 0),)),
}

SUPPORTED = tuple(sorted({*BOND_LENGTHS, "S", "Cr", *TABULATED, *_CRYSTALS}))
"""Symbols of the elements whose ground state is known here."""


@dataclass(frozen=True, eq=False)
class ElementState:
    """An element as it is computed.

    Parameters
    ----------
    atoms
        Its cell, for ASE, with initial magnetic moments (μ_B) where it is magnetic.
    molecule
        Whether the cell is a box around a molecule.
    description
        What it is, for people.
    """

    atoms: Atoms
    molecule: bool
    description: str

    @property
    def magnetic(self) -> bool:
        """Whether it is computed spin-polarised."""
        return bool(self.atoms.get_initial_magnetic_moments().any())


def element_state(symbol: str) -> ElementState:
    """Return the ground state of an element.

    Raises
    ------
    EngineFailure
        ``"unsupported"``: its structure is not known here, or takes more than this (manganese,
        boron, phosphorus, the lanthanides with an open 4f shell).
    """
    from ase.build import bulk
    from ase.spacegroup import crystal

    if symbol in BOND_LENGTHS:
        return _diatomic(symbol)
    if symbol == "S":
        return ElementState(_boxed(_sulphur_ring()), True, "S₈ ring in a box")
    if symbol == "Cr":
        atoms = bulk("Cr", cubic=True)
        atoms.set_initial_magnetic_moments([1.0, -1.0])
        return ElementState(atoms, False, "bcc, antiferromagnetic")
    if symbol in TABULATED:
        from ase.data import atomic_numbers, reference_states

        atoms = bulk(symbol)
        lattice = (reference_states[atomic_numbers[symbol]] or {})["symmetry"]
        magnetic = ", ferromagnetic" if atoms.get_initial_magnetic_moments().any() else ""
        return ElementState(atoms, False, f"{lattice}{magnetic}")
    if symbol in _CRYSTALS:
        known = _CRYSTALS[symbol]
        atoms = crystal(
            [symbol] * len(known.sites),
            known.sites,
            spacegroup=known.space_group,
            cellpar=known.cell,
            primitive_cell=True,
        )
        return ElementState(atoms, False, known.description)
    raise EngineFailure(
        "unsupported",
        "no ground state of this element is known here",
        where=f"element {symbol}",
        cure="supply its energy, computed by the same method, in a file of references",
    )


def _diatomic(symbol: str) -> ElementState:
    from ase import Atoms

    atoms = Atoms([symbol] * 2, positions=[[0, 0, 0], [0, 0, BOND_LENGTHS[symbol]]])
    if symbol == "O":
        atoms.set_initial_magnetic_moments([1.0, 1.0])
    triplet = ", triplet" if symbol == "O" else ""
    return ElementState(_boxed(atoms), True, f"{symbol}₂ molecule in a box{triplet}")


def _sulphur_ring() -> Atoms:
    """Return the crown of eight: neighbours above and below a plane in turn, D4d."""
    from ase import Atoms

    radius = np.sqrt(2.0) * SULPHUR_BOND * np.sin(np.radians(SULPHUR_ANGLE) / 2.0)
    height = np.sqrt(SULPHUR_BOND**2 - (2.0 * radius * np.sin(np.pi / 8.0)) ** 2) / 2.0
    turn = np.arange(8) * np.pi / 4.0
    positions = np.stack(
        [radius * np.cos(turn), radius * np.sin(turn), height * (-1.0) ** np.arange(8)], 1
    )
    return Atoms("S8", positions=positions)


def _boxed(molecule: Atoms) -> Atoms:
    molecule.center(vacuum=VACUUM)
    molecule.pbc = True
    return molecule
