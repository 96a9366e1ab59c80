"""Lattice and free coordinates of a compound from its ionic radii, by distance least squares.

Method: Meier and Villiger, Z. Kristallogr. 129, 411 (1969): parameters that symmetry leaves free
are chosen so that distances come close to prescribed ones. Here the prescribed bonds are sums of
ionic radii, with the pattern of shorter and longer bonds of the type's representative; the edges of
the coordination polyhedra and the axial ratios follow the representative with smaller weight, and
so decide only what bonds leave open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opalign.errors import StructureError
from opalign.firstprinciples.ions import Ion, bond_length
from opalign.firstprinciples.structure_types import StructureType, structure_type

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

EDGE_WEIGHT = 0.15
SHAPE_WEIGHT = 0.03
# Å; at this distance an atom is itself.
SAME_ATOM = 0.05
SYMMETRY_PRECISION = 1e-3


@dataclass(frozen=True)
class Geometry:
    """What distance least squares gave for a compound."""

    structure: Structure
    """Standardised primitive cell."""
    misfit: float
    """Root mean square of the relative deviation of bonds from the sums of radii."""
    clash: float
    """Smallest distance of two like-charged ions, relative to the same in the representative, each
    measured in units of the compound's mean bond."""


@dataclass(frozen=True)
class _Pairs:
    """Distances: atom ``first`` to atom ``second`` in the cell ``image``; each array (P, …)."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    image: NDArray[np.int64]
    reference: NDArray[np.float64]
    """(P,) Å, in the representative compound."""

    def distances(
        self, matrix: NDArray[np.float64], fractional: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        vectors = fractional[self.second] + self.image - fractional[self.first]
        return np.asarray(np.linalg.norm(vectors @ matrix, axis=1))


@dataclass(frozen=True)
class _Topology:
    bonds: _Pairs
    group: NDArray[np.int64]
    """(P,) which centre and kind of bond a bond belongs to."""
    edges: _Pairs
    edge_bonds: NDArray[np.int64]
    """(Q, 2) the two bonds that an edge of a polyhedron spans."""


def estimate_geometry(kind: StructureType, ions: Mapping[str, Ion]) -> Geometry:
    """Estimate the structure of a compound of a structure type.

    Parameters
    ----------
    ions
        Role → ion, for every role of the type.

    Raises
    ------
    StructureError
        The estimate has not the symmetry of its type.
    ConfigurationError
        A radius is not known.
    """
    from scipy.optimize import least_squares

    topology = _topology(kind.name)
    positions = kind.positions
    bonds, edges = topology.bonds, topology.edges
    target = _target_lengths(kind, ions, topology)
    ratio = target / bonds.reference
    edge_target = edges.reference * ratio[topology.edge_bonds].mean(axis=1)
    start = np.array(kind.lattice)
    scale = float(np.mean(ratio))
    angle = len(kind.lattice_names) == 4
    free = np.array(list(kind.free.values()), dtype=np.float64)
    logarithms = np.log(start[:3] * scale)
    first = np.concatenate([logarithms, start[3:] if angle else [], free])
    lengths = len(logarithms)

    def unpack(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        cell = np.concatenate([np.exp(values[:lengths]), values[lengths : len(start)]])
        return kind.lattice_matrix(cell), positions.at(values[len(start) :])

    def residuals(values: NDArray[np.float64]) -> NDArray[np.float64]:
        matrix, fractional = unpack(values)
        bond = bonds.distances(matrix, fractional) / target - 1
        edge = edges.distances(matrix, fractional) / edge_target - 1
        shape = values - first
        shape[:lengths] -= shape[:lengths].mean()
        shape[lengths : len(start)] /= 50.0  # degrees
        return np.concatenate(
            [
                bond / np.sqrt(len(bond)),
                EDGE_WEIGHT * edge / np.sqrt(max(len(edge), 1)),
                SHAPE_WEIGHT * shape / np.sqrt(len(shape)),
            ]
        )

    solution = least_squares(residuals, first, x_scale=0.05)
    matrix, fractional = unpack(solution.x)
    misfit = bonds.distances(matrix, fractional) / target - 1
    structure = _primitive(kind, ions, matrix, fractional)
    reference = kind.lattice_matrix(start), positions.at(free)
    clash = _closest_alike(kind, ions, matrix, fractional) / float(np.mean(target))
    clash /= _closest_alike(kind, ions, *reference) / float(np.mean(bonds.reference))
    return Geometry(structure, float(np.sqrt(np.mean(misfit**2))), clash)


def _target_lengths(
    kind: StructureType, ions: Mapping[str, Ion], topology: _Topology
) -> NDArray[np.float64]:
    """(P,) sums of radii, Å, spread over the bonds of one centre as in the representative."""
    roles, bonds = kind.positions.roles, topology.bonds
    target = np.empty(len(bonds.first))
    for group in np.unique(topology.group):
        members = topology.group == group
        centre, ligand = roles[bonds.first[members][0]], roles[bonds.second[members][0]]
        if ions[centre].charge < ions[ligand].charge:
            centre, ligand = ligand, centre
        length = bond_length(
            ions[centre], kind.coordination[centre], ions[ligand], kind.coordination[ligand]
        )
        target[members] = length * bonds.reference[members] / bonds.reference[members].mean()
    return target


@lru_cache(maxsize=128)
def _topology(name: str) -> _Topology:
    """Bonds and polyhedron edges of the inequivalent sites, found in the representative."""
    kind = structure_type(name)
    positions = kind.positions
    matrix = kind.lattice_matrix(np.array(kind.lattice))
    fractional = positions.at(np.array(list(kind.free.values()), dtype=np.float64))
    roles = np.array(positions.roles)
    bonds: list[tuple[int, int, NDArray[np.int64], float]] = []
    groups: list[int] = []
    edges: list[tuple[int, int, NDArray[np.int64], float]] = []
    spans: list[tuple[int, int]] = []
    for centre, ligand, number in kind.bonds:
        for atom in positions.representative[roles[positions.representative] == centre]:
            first = len(bonds)
            group = len(set(groups))
            near = _nearest(matrix, fractional, int(atom), np.flatnonzero(roles == ligand), number)
            bonds += near
            groups += [group] * len(near)
            for i in range(len(near)):
                for j in range(i):
                    (_, one, one_image, _), (_, two, two_image, _) = near[i], near[j]
                    image = two_image - one_image
                    distance = float(
                        np.linalg.norm((fractional[two] + image - fractional[one]) @ matrix)
                    )
                    edges.append((one, two, image, distance))
                    spans.append((first + i, first + j))
    return _Topology(
        _pairs(bonds), np.array(groups), _pairs(edges), np.array(spans, int).reshape(-1, 2)
    )


def _nearest(
    matrix: NDArray[np.float64],
    fractional: NDArray[np.float64],
    atom: int,
    candidates: NDArray[np.int64],
    number: int,
) -> list[tuple[int, int, NDArray[np.int64], float]]:
    """Return the ``number`` nearest of the candidates, images counted, the atom itself left out."""
    steps = np.arange(-2, 3)
    images = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    shifts = np.floor(fractional[atom]).astype(int) - np.floor(fractional[candidates]).astype(int)
    cells = images[None] + shifts[:, None]
    vectors = (fractional[candidates][:, None] + cells - fractional[atom]) @ matrix
    distances = np.linalg.norm(vectors, axis=-1)
    distances[distances < SAME_ATOM] = np.inf
    order = np.argsort(distances, axis=None, kind="stable")[:number]
    rows, columns = np.unravel_index(order, distances.shape)
    return [
        (atom, int(candidates[row]), cells[row, column], float(distances[row, column]))
        for row, column in zip(rows, columns, strict=True)
    ]


def _pairs(found: list[tuple[int, int, NDArray[np.int64], float]]) -> _Pairs:
    first, second, image, distance = zip(*found, strict=True) if found else ((), (), (), ())
    return _Pairs(
        np.array(first, dtype=np.int64),
        np.array(second, dtype=np.int64),
        np.array(image, dtype=np.int64).reshape(-1, 3),
        np.array(distance, dtype=np.float64),
    )


def _closest_alike(
    kind: StructureType,
    ions: Mapping[str, Ion],
    matrix: NDArray[np.float64],
    fractional: NDArray[np.float64],
) -> float:
    """Smallest distance, Å, of ions of like charge that are not bonded to each other."""
    roles = kind.positions.roles
    paired = {(centre, ligand) for centre, ligand, _ in kind.bonds}
    positive = np.array([ions[role].charge > 0 for role in roles])
    smallest = np.inf
    for atom in kind.positions.representative:
        role = roles[atom]
        alike = [
            k
            for k, other in enumerate(roles)
            if positive[k] == positive[atom] and (role, other) not in paired
        ]
        if alike:
            nearest = _nearest(matrix, fractional, int(atom), np.array(alike), 1)
            smallest = min(smallest, nearest[0][3])
    return float(smallest)


def _primitive(
    kind: StructureType,
    ions: Mapping[str, Ion],
    matrix: NDArray[np.float64],
    fractional: NDArray[np.float64],
) -> Structure:
    from pymatgen.core.lattice import Lattice
    from pymatgen.core.structure import Structure
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    symbols = [ions[role].symbol for role in kind.positions.roles]
    conventional = Structure(Lattice(matrix), symbols, fractional % 1.0)
    analyzer = SpacegroupAnalyzer(conventional, symprec=SYMMETRY_PRECISION)
    found = analyzer.get_space_group_number()
    if found != kind.spacegroup:
        raise StructureError(
            f"the estimate has space group {found}",
            where=f"{kind.name}-{conventional.composition.reduced_formula}",
            expected=f"{kind.spacegroup}, that of {kind.title}",
        )
    primitive: Structure = analyzer.get_primitive_standard_structure()
    return primitive
