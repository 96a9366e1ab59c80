"""All materials of a table in chemical terms: one row a material, one row a cation site."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opalign.errors import DatasetError, StructureError
from opalign.explain.chemistry.structure import (
    SiteChemistry,
    StructureChemistry,
    describe_structure,
)
from opalign.files import write_text

if TYPE_CHECKING:
    import pandas as pd
    from pymatgen.core.structure import Structure

    from opalign.dataset.table import SpectraTable

#: Part of the key of what is kept, to be raised when a description changes.
_VERSION = 1

#: Groups of the periodic table by the names that chemists use.
_FAMILIES = {
    1: "alkali",
    2: "alkaline earth",
    3: "group-3 metal",
    4: "group-4 metal",
    5: "group-5 metal",
    6: "group-6 metal",
    11: "coinage metal",
    12: "group-12 metal",
}


@dataclass(frozen=True)
class MaterialsChemistry:
    """What :func:`describe_materials` found."""

    materials: pd.DataFrame
    """One row per material, indexed by ``material_id``: ``formula``, ``elements`` (tuple),
    ``anion``, ``cations`` (tuple), ``cation_families`` (tuple), ``space_group``,
    ``crystal_system``, ``prototype``, ``volume_per_atom`` (Å³), ``coordination`` (numbers of the
    cation sites, tuple), ``coordination_class`` (element-free: the numbers that occur, joined),
    ``motifs`` (tuple), ``shortest_bond``, ``mean_bond`` (Å), ``mean_angle`` (degrees),
    ``highest_oxidation_state`` of a cation, ``cation_states`` (tuple of such as ``V5+``; None where
    the analysis failed), and for each motif a column ``motif: <name>`` with the largest value over
    the cation sites."""
    sites: pd.DataFrame
    """One row per symmetry-unique cation site: ``material_id``, ``formula``, ``site``,
    ``multiplicity``, ``element``, ``oxidation_state``, ``coordination_number``, ``motif``,
    ``mean_bond`` (Å), ``angle_spread`` (degrees), ``anion``."""
    problems: list[tuple[str, str]]
    """Material id and what could not be found out of it."""


def describe_materials(
    table: SpectraTable,
    *,
    cache: str | os.PathLike[str] | None = None,
    processes: int = 1,
    on_done: Callable[[], None] = lambda: None,
) -> MaterialsChemistry:
    """Describe every material of a table.

    Parameters
    ----------
    cache
        Folder in which descriptions are kept, by the content of the structure.
    processes
        Worker processes; the result does not depend on their number.
    on_done
        Called after each structure that is described anew.

    Raises
    ------
    DatasetError
        If the table has no material with a structure that can be read.
    MissingExtraError
        If matminer is not installed.
    """
    ids, formulas = table.ids, table.formulas
    structures: list[tuple[int, Structure]] = []
    problems: list[tuple[str, str]] = []
    for index, material_id in enumerate(ids):
        try:
            structures.append((index, table.structure(index)))
        except (DatasetError, StructureError) as error:
            problems.append((material_id, error.problem))
    if not structures:
        raise DatasetError(
            "holds no structure that can be read",
            where=str(table.path),
            expected="lattice, species and frac_coords for every material",
            cure="explain a table with structures",
        )
    described = _describe_all([structure for _, structure in structures], cache, processes, on_done)
    materials, sites = [], []
    for (index, _), found in zip(structures, described, strict=True):
        materials.append(_material_row(ids[index], formulas[index], found))
        sites += [_site_row(ids[index], formulas[index], found, site) for site in found.sites]
        problems += [(ids[index], problem) for problem in found.problems]
    import pandas as pd

    return MaterialsChemistry(
        pd.DataFrame(materials).set_index("material_id"), pd.DataFrame(sites), problems
    )


def _describe_all(
    structures: Sequence[Structure],
    cache: str | os.PathLike[str] | None,
    processes: int,
    on_done: Callable[[], None],
) -> list[StructureChemistry]:
    folder = None if cache is None else Path(cache)
    found: dict[int, StructureChemistry] = {}
    keys = [structure_key(structure) for structure in structures]
    if folder is not None:
        for place, key in enumerate(keys):
            kept = _read_kept(folder / f"{key}.json")
            if kept is not None:
                found[place] = kept
    missing = [place for place in range(len(structures)) if place not in found]
    for place, description in zip(
        missing, _run([structures[place] for place in missing], processes), strict=True
    ):
        found[place] = description
        on_done()
        if folder is not None:
            content = json.dumps(dataclasses.asdict(description))
            write_text(folder / f"{keys[place]}.json", content)
    return [found[place] for place in range(len(structures))]


def _run(structures: Sequence[Structure], processes: int) -> Iterator[StructureChemistry]:
    if processes == 1 or len(structures) < 2 * processes:
        yield from map(describe_structure, structures)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Forking a process that has run torch's threads can hang it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield from pool.map(describe_structure, structures, chunksize=8)


def structure_key(structure: Structure) -> str:
    """Key of a structure's content: equal structures have equal keys, to 1e-6 Å."""
    digest = hashlib.sha256(str(_VERSION).encode())
    digest.update(np.round(structure.lattice.matrix, 6).tobytes())
    digest.update(np.asarray(structure.atomic_numbers, dtype=np.int64).tobytes())
    digest.update(np.round(structure.frac_coords, 6).tobytes())
    return digest.hexdigest()[:32]


def _read_kept(path: Path) -> StructureChemistry | None:
    """Read a kept description; one that is absent or damaged is made anew."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        sites = tuple(
            SiteChemistry(
                **{
                    **site,
                    "bond_lengths": tuple(site["bond_lengths"]),
                    "angles": tuple(site["angles"]),
                }
            )
            for site in content.pop("sites")
        )
        for name in ("elements", "cations", "problems"):
            content[name] = tuple(content[name])
        return StructureChemistry(**content, sites=sites)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def cation_family(element: str) -> str:
    """Name of an element's column of the periodic table, as chemists call it."""
    from pymatgen.core.periodic_table import Element

    found = Element(element)
    if found.is_lanthanoid or found.is_actinoid:
        return "lanthanoid" if found.is_lanthanoid else "actinoid"
    return _FAMILIES.get(found.group, f"group-{found.group} element")


def state_name(element: str, state: float) -> str:
    """Write an oxidation state as chemists do: ``Na+``, ``V5+``, ``Fe2.67+``."""
    amount = "" if abs(state) == 1.0 else f"{round(abs(state), 2):g}"
    return f"{element}{amount}{'+' if state >= 0 else '−'}"


def _material_row(material_id: str, formula: str, found: StructureChemistry) -> dict[str, Any]:
    numbers = sorted({site.coordination_number for site in found.sites})
    lengths = [length for site in found.sites for length in site.bond_lengths]
    angles = [angle for site in found.sites for angle in site.angles]
    states = {
        (site.element, site.oxidation_state)
        for site in found.sites
        if site.oxidation_state is not None
    }
    row: dict[str, Any] = {
        "material_id": material_id,
        "formula": formula,
        "elements": found.elements,
        "anion": found.anion,
        "cations": found.cations,
        "cation_families": tuple(sorted({cation_family(name) for name in found.cations})),
        "space_group": found.space_group,
        "crystal_system": found.crystal_system,
        "prototype": found.prototype,
        "volume_per_atom": found.volume_per_atom,
        "coordination": tuple(numbers),
        "coordination_class": ",".join(map(str, numbers)) or None,
        "motifs": tuple(sorted({site.motif for site in found.sites if site.motif})),
        "shortest_bond": min(lengths, default=float("nan")),
        "mean_bond": float(np.mean(lengths)) if lengths else float("nan"),
        "mean_angle": float(np.mean(angles)) if angles else float("nan"),
        "highest_oxidation_state": max((s for _, s in states), default=float("nan")),
        "cation_states": tuple(sorted(state_name(*state) for state in states))
        if found.oxidation_states
        else None,
    }
    for site in found.sites:
        for name, value in site.motifs.items():
            key = f"motif: {name}"
            row[key] = max(row.get(key, 0.0), value)
    return row


def _site_row(
    material_id: str, formula: str, found: StructureChemistry, site: SiteChemistry
) -> dict[str, Any]:
    return {
        "material_id": material_id,
        "formula": formula,
        "site": site.site,
        "multiplicity": site.multiplicity,
        "element": site.element,
        "oxidation_state": site.oxidation_state,
        "coordination_number": site.coordination_number,
        "motif": site.motif,
        "mean_bond": float(np.mean(site.bond_lengths)),
        "angle_spread": float(np.std(site.angles)) if site.angles else float("nan"),
        "anion": found.anion,
    }
