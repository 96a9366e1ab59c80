"""One structure in chemical terms: symmetry, oxidation states, surroundings of its cations.

Oxidation states are those of pymatgen's bond-valence analysis (M. O'Keeffe, N. E. Brese, J. Am.
Chem. Soc. 113, 3226, 1991). Neighbours are CrystalNN's (H. Pan et al., Inorg. Chem. 60, 1590,
2021), and what their arrangement resembles is matminer's CrystalNN fingerprint of order parameters
(N. E. R. Zimmermann, A. Jain, RSC Adv. 10, 6063, 2020): for each motif, such as "tetrahedral CN_4",
a number from 0 to 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opalign.errors import MissingExtraError

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

#: Å, as the space groups of the tables.
SYMMETRY_PRECISION = 0.01
#: A site resembles a motif if its order parameter, weighted by how likely that coordination is,
#: exceeds this.
MOTIF_THRESHOLD = 0.5

_CHALCOGENS = ("O", "S", "Se", "Te")


@dataclass(frozen=True)
class SiteChemistry:
    """A cation site; symmetrically equivalent ones are stated once."""

    site: int
    """Number of the first of the equivalent sites, from 0."""
    multiplicity: int
    element: str
    oxidation_state: float | None
    """None where the bond-valence analysis failed."""
    coordination_number: int
    motif: str | None
    """The motif that it resembles most, if any beyond :data:`MOTIF_THRESHOLD`."""
    motifs: dict[str, float]
    """Motif → weighted order parameter."""
    bond_lengths: tuple[float, ...]
    """Å, to the neighbours."""
    angles: tuple[float, ...]
    """Degrees, neighbour–site–neighbour."""


@dataclass(frozen=True)
class StructureChemistry:
    """A structure in chemical terms."""

    elements: tuple[str, ...]
    anion: str | None
    """The anion element; several joined by ``+``; None if there is none."""
    cations: tuple[str, ...]
    space_group: str
    space_group_number: int
    crystal_system: str
    prototype: str
    """Anonymous formula, space group and sizes of the orbits in the conventional cell: equal for
    structures of one type."""
    volume_per_atom: float
    """Å³"""
    oxidation_states: dict[str, list[float]]
    """Element → its states; empty where the analysis failed."""
    sites: tuple[SiteChemistry, ...]
    problems: tuple[str, ...]
    """What could not be found out, and why."""


def describe_structure(structure: Structure) -> StructureChemistry:
    """Describe one structure.

    Raises
    ------
    MissingExtraError
        If matminer is not installed.
    """
    problems: list[str] = []
    symmetry = _symmetry(structure)
    states = _oxidation_states(structure, problems)
    anions = anion_elements(structure, states)
    sites = []
    for site, multiplicity in zip(
        *np.unique(symmetry.equivalent_atoms, return_counts=True), strict=True
    ):
        element = structure[int(site)].specie.symbol
        if element in anions:
            continue
        found = _site(structure, int(site), int(multiplicity), states, problems)
        if found is not None:
            sites.append(found)
    elements = sorted({specie.symbol for specie in structure.species})
    by_element: dict[str, list[float]] = {}
    for specie, state in zip(structure.species, states or (), strict=False):
        by_element.setdefault(specie.symbol, []).append(float(state))
    return StructureChemistry(
        elements=tuple(elements),
        anion="+".join(sorted(anions)) or None,
        cations=tuple(element for element in elements if element not in anions),
        space_group=symmetry.international,
        space_group_number=int(symmetry.number),
        crystal_system=_crystal_system(int(symmetry.number)),
        prototype=_prototype(structure, symmetry),
        volume_per_atom=float(structure.volume / len(structure)),
        oxidation_states={name: sorted(set(values)) for name, values in by_element.items()},
        sites=tuple(sites),
        problems=tuple(problems),
    )


def equivalent_sites(structure: Structure) -> NDArray[np.int64]:
    """Return for each site (N,) the number of the first one that symmetry makes equal to it."""
    return np.asarray(_symmetry(structure).equivalent_atoms, dtype=np.int64)


def anion_elements(structure: Structure, states: Sequence[float] | None = None) -> set[str]:
    """Elements that are anions: of negative oxidation state, or else by electronegativity.

    Without ``states``, the most electronegative element, and every chalcogen that has no more
    electronegative partner than another chalcogen (S in a sulphate is none).
    """
    if states is not None:
        negative = {s.symbol for s, v in zip(structure.species, states, strict=True) if v < 0}
        positive = {s.symbol for s, v in zip(structure.species, states, strict=True) if v > 0}
        if negative and positive:
            return negative - positive
    elements = {specie for specie in structure.composition.elements}
    if len(elements) < 2:
        return set()
    strongest = max(elements, key=lambda element: (element.X, element.symbol))
    anions = {strongest.symbol}
    if strongest.symbol in _CHALCOGENS[1:]:
        anions |= {e.symbol for e in elements if e.symbol in _CHALCOGENS[1:]}
    return anions


@lru_cache(maxsize=1)
def _fingerprint() -> Any:
    try:
        from matminer.featurizers.site import CrystalNNFingerprint
    except ImportError as error:
        raise MissingExtraError(
            "coordination motifs need matminer", cure="pip install 'opalign[explain]'"
        ) from error
    return CrystalNNFingerprint.from_preset("ops")


def motif_names() -> tuple[str, ...]:
    """Names of the motifs that the fingerprint knows, such as ``tetrahedral CN_4``."""
    return tuple(
        name for name in _fingerprint().feature_labels() if not name.startswith(("wt ", "q"))
    )


def _site(
    structure: Structure,
    site: int,
    multiplicity: int,
    states: Sequence[float] | None,
    problems: list[str],
) -> SiteChemistry | None:
    fingerprint = _fingerprint()
    element = structure[site].specie.symbol
    try:
        with warnings.catch_warnings():
            # It says for every table anew that a radius is missing, and uses another.
            warnings.simplefilter("ignore")
            values = dict(
                zip(
                    fingerprint.feature_labels(),
                    fingerprint.featurize(structure, site),
                    strict=True,
                )
            )
            neighbors = fingerprint.cnn.get_nn_info(structure, site)
    # Voronoi tessellation and order parameters fail in many ways on odd surroundings.
    except Exception as error:
        problems.append(f"no coordination of site {site} ({element}): {error}")
        return None
    if not neighbors:
        problems.append(f"site {site} ({element}) has no neighbours")
        return None
    vectors = np.array([info["site"].coords for info in neighbors]) - structure[site].coords
    lengths = np.linalg.norm(vectors, axis=1)
    unit = vectors / lengths[:, None]
    first, second = np.triu_indices(len(unit), 1)
    cosines = np.clip(np.einsum("ij,ij->i", unit[first], unit[second]), -1.0, 1.0)
    motifs = {name: float(values[name]) for name in motif_names()}
    best = max(motifs, key=lambda name: motifs[name])
    return SiteChemistry(
        site=site,
        multiplicity=multiplicity,
        element=element,
        oxidation_state=None if states is None else float(states[site]),
        coordination_number=len(neighbors),
        motif=best if motifs[best] > MOTIF_THRESHOLD else None,
        motifs=motifs,
        bond_lengths=tuple(float(length) for length in np.sort(lengths)),
        angles=tuple(float(angle) for angle in np.sort(np.degrees(np.arccos(cosines)))),
    )


def _oxidation_states(structure: Structure, problems: list[str]) -> list[float] | None:
    from pymatgen.analysis.bond_valence import BVAnalyzer

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            states = BVAnalyzer(symm_tol=SYMMETRY_PRECISION).get_valences(structure)
    # It raises ValueError where no assignment fits, and others for elements without parameters.
    except Exception as error:
        problems.append(f"no oxidation states: {error}")
        return None
    return [float(state) for state in states]


def _symmetry(structure: Structure) -> Any:
    import spglib

    cell: Any = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    found = spglib.get_symmetry_dataset(cell, symprec=SYMMETRY_PRECISION)
    if found is None:
        # Sites closer than the precision, say; no symmetry is always true.
        found = spglib.get_symmetry_dataset(cell, symprec=1e-5)
    return found


def _crystal_system(number: int) -> str:
    bounds = (2, 15, 74, 142, 167, 194, 230)
    names = (
        "triclinic",
        "monoclinic",
        "orthorhombic",
        "tetragonal",
        "trigonal",
        "hexagonal",
        "cubic",
    )
    return names[int(np.searchsorted(bounds, number))]


def _prototype(structure: Structure, symmetry: Any) -> str:
    """Label a structure type by its orbits' sizes: Wyckoff letters depend on the origin."""
    formula = structure.composition.anonymized_formula
    _, multiplicities = np.unique(symmetry.crystallographic_orbits, return_counts=True)
    cells = len(structure) / len(symmetry.std_types)
    orbits = sorted(round(multiplicity / cells) for multiplicity in multiplicities)
    return f"{formula} {symmetry.number} {'-'.join(map(str, orbits))}"
