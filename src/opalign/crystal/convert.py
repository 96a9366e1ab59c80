"""Objects of pymatgen, ASE and JARVIS → one plain, checked pymatgen Structure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from opalign.crystal.checks import check_distances, check_lattice, check_positions
from opalign.errors import StructureError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core.structure import Structure

# Occupancies are written with few digits.
WHOLE = 1e-3
NO_LATTICE = "has no lattice: it is a molecule, not a crystal"
GIVE_LATTICE = 'give the lattice vectors (in extended XYZ: Lattice="…" on the comment line)'


def to_structure(source: Any, where: str | None = None) -> Structure:
    """Convert and check a pymatgen Structure, ASE Atoms, or a dict of pymatgen or JARVIS.

    ``where`` (a file, say) goes into the messages. What the result holds is described in
    :func:`opalign.crystal.read.read_structure`. Raises StructureError.
    """
    from pymatgen.core.structure import IMolecule, IStructure

    if isinstance(source, IStructure):
        return _from_pymatgen(source, where)
    if isinstance(source, IMolecule):
        raise StructureError(NO_LATTICE, where=where, cure=GIVE_LATTICE)
    if isinstance(source, Mapping):
        return _from_dict(source, where)
    from ase import Atoms

    if isinstance(source, Atoms):
        return _from_ase(source, where)
    raise StructureError(
        f"{type(source).__name__} is not a structure",
        where=where,
        expected="a path, a pymatgen Structure, ASE Atoms, or a dict of pymatgen or JARVIS",
    )


def _from_pymatgen(source: Any, where: str | None) -> Structure:
    symbols = []
    for atom, site in enumerate(source, start=1):
        if not site.is_ordered:
            raise StructureError(
                f"atom {atom} ({site.species_string}) is partially occupied",
                where=where,
                expected="one whole element on every site",
                cure="choose an ordered structure, for example with pymatgen's "
                "OrderDisorderedStructureTransformation",
            )
        # A species with an oxidation state or a spin knows the element that it is of.
        symbols.append(getattr(site.specie, "symbol", str(site.specie)))
    return _assemble(source.lattice.matrix, source.frac_coords, symbols, where, cartesian=False)


def _from_ase(source: Atoms, where: str | None) -> Structure:
    if not source.cell.array.any() or not source.pbc.any():
        raise StructureError(
            NO_LATTICE,
            where=where,
            expected="a cell, and pbc = True",
            cure=GIVE_LATTICE + ", or set atoms.pbc = True",
        )
    occupancies = source.info.get("occupancy") or {}
    for kind, occupancy in occupancies.items():
        if len(occupancy) != 1 or any(abs(share - 1.0) > WHOLE for share in occupancy.values()):
            mixture = " ".join(f"{symbol}{share:g}" for symbol, share in occupancy.items())
            raise StructureError(
                f"the sites of kind {kind} ({mixture}) are partially occupied",
                where=where,
                expected="one whole element on every site",
                cure="choose an ordered structure",
            )
    return _assemble(
        source.cell.array, source.positions, source.get_chemical_symbols(), where, cartesian=True
    )


def _from_dict(source: Mapping[str, Any], where: str | None) -> Structure:
    if {"lattice_mat", "coords", "elements"} <= source.keys():
        return _assemble(
            source["lattice_mat"],
            source["coords"],
            list(source["elements"]),
            where,
            cartesian=bool(source.get("cartesian", False)),
        )
    if {"lattice", "sites"} <= source.keys():
        return _from_pymatgen_dict(source, where)
    if "sites" in source or "molecule" in source:
        raise StructureError(NO_LATTICE, where=where, cure=GIVE_LATTICE)
    found = ", ".join(sorted(map(str, source))[:8]) or "none"
    raise StructureError(
        f"this dict is not a structure (its keys: {found})",
        where=where,
        expected="keys lattice and sites (pymatgen), or lattice_mat, coords, elements (JARVIS)",
    )


def _from_pymatgen_dict(source: Mapping[str, Any], where: str | None) -> Structure:
    """Read ``Structure.as_dict()`` without its properties.

    Those may name classes to be imported, which a file from elsewhere has no business doing.
    """
    from pymatgen.core.structure import Structure

    try:
        plain = {
            "lattice": {"matrix": source["lattice"]["matrix"]},
            "sites": [{"species": site["species"], "abc": site["abc"]} for site in source["sites"]],
        }
        structure = Structure.from_dict(plain)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise StructureError(
            f"this dict is not a whole pymatgen structure ({type(error).__name__}: {error})",
            where=where,
            expected="what Structure.as_dict() writes",
        ) from error
    return _from_pymatgen(structure, where)


def _assemble(
    lattice: Any, coordinates: Any, symbols: list[str], where: str | None, *, cartesian: bool
) -> Structure:
    from pymatgen.core.lattice import Lattice
    from pymatgen.core.periodic_table import Element
    from pymatgen.core.structure import Structure

    try:
        matrix = np.array(lattice, dtype=np.float64)
        given = np.array(coordinates, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise StructureError(
            "lattice or coordinates are not arrays of numbers",
            where=where,
            expected="a lattice of 3 × 3 and coordinates of N × 3 numbers",
        ) from error
    for atom, symbol in enumerate(symbols, start=1):
        if not Element.is_valid_symbol(symbol):
            raise StructureError(
                f"atom {atom} ({symbol}) is not a chemical element",
                where=where,
                expected="symbols of elements",
                cure="replace dummy atoms and vacancies, or remove them",
            )
    # Isotopes of hydrogen, the only ones with symbols of their own, have its electronic structure.
    symbols = ["H" if symbol in {"D", "T"} else symbol for symbol in symbols]
    check_positions(given, symbols, where)
    check_lattice(matrix, len(symbols), where)
    positions = given if cartesian else given @ matrix
    check_positions(positions, symbols, where)
    check_distances(matrix, positions, symbols, where)
    return Structure(Lattice(matrix), symbols, given, coords_are_cartesian=cartesian)
