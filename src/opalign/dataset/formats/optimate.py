"""Spectra of OPTIMATE and OptiMate3B: pymatgen's computed entries as JSON, by Yambo.

An entry has ``structure``, ``parameters`` and ``data``. In ``data`` stand ``mat_id``, gaps (eV) and

- ``ipa_epsI_0``, ``_1``, ``_2`` and ``ipa_epsR_…``: Im ε and Re ε along x, y, z; or
- ``ipa_epsI``, ``ipa_epsR``, ``rpa_epsI``, ``rpa_epsR``: objects with ``xx``, ``yy``, ``zz``,

each of 2,001 values from 0 to 20 eV. Directions that are equal by symmetry are left out there.
``parameters`` hold ``ipa_broad`` or ``rpa_broad``, the half width (eV) of the Lorentzian.
(READMEs of github.com/magr4826/HT_IPA and HT_RPA.)
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opalign.dataset.formats.collect import Done, Log, usable_rows
from opalign.dataset.formats.entry_values import (
    array_of,
    id_of,
    mapping_of,
    number_of,
    structure_of,
)
from opalign.dataset.formats.gpaw import clip_negative
from opalign.dataset.formats.json_entries import iterate_entries, json_files
from opalign.dataset.formats.report import TransferReport
from opalign.dataset.schema import LevelInfo, ScalarInfo, TableSchema
from opalign.dataset.write import write_table
from opalign.errors import DatasetError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

GRID = EnergyGrid(start=0.0, stop=20.0, num=2001)
AXES = ("xx", "yy", "zz")

SYMPREC = 0.1
"""Å; loose, because a direction that is left out is believed where the lattice makes it equal."""

_WIDTH_TOLERANCE = 1e-6
_RESPONSE = {
    "ipa": "independent particles, no local fields",
    "rpa": "random-phase approximation, with local fields",
}
_SCALARS = {
    "band_gap_eV": ScalarInfo(unit="eV", description="semi-local gap on the mesh of the optics"),
    "direct_gap_eV": ScalarInfo(unit="eV", description="semi-local direct gap on that mesh"),
    "energy_above_hull_eV": ScalarInfo(unit="eV", description="per atom, as Alexandria states it"),
}
_SOURCES = {
    "band_gap_eV": "ipa_indirect_gap",
    "direct_gap_eV": "ipa_direct_gap",
    "energy_above_hull_eV": "e_above_hull",
}
_PARAMETERS = ("ipa_eps_kppa", "ipa_nbands", "rpa_kppa", "pw_conv_cutoff")
# Which directions are equal to x by symmetry, where z is the only axis and where all are alike.
_UNIAXIAL = {"tetragonal", "trigonal", "hexagonal"}


def import_optimate(
    sources: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    levels: Iterable[str] = ("ipa",),
    width: float | None = None,
    excluded: Mapping[str, str] | None = None,
    licence: str = "",
    source: str = "",
    citation: str = "",
    done: Done | None = None,
) -> TransferReport:
    """Bring JSON files, and folders of them, into a table of isotropic averages (Re and Im).

    The average alone is kept, which is what the studies learn: the axes of the calculation are
    those of Quantum ESPRESSO's standard cell, and nothing says that they are the axes of the
    structure that stands beside the spectra.

    Parameters
    ----------
    levels
        ``"ipa"``, ``"rpa"`` or both. With ``"rpa"``, IPA is that of the same k points.
    width
        Half width (eV) of the Lorentzian, where the files hold several; otherwise that of the
        first entry. A table has one.
    excluded
        Ids to leave out, and why.
    done
        Called with each id read.

    Raises
    ------
    DatasetError
        A source is a pickle or missing, a level unknown, or nothing is left. An entry that cannot
        be used is skipped and reported.
    """
    wanted = tuple(levels)
    if not wanted or not set(wanted) <= set(_RESPONSE):
        raise DatasetError(f"unknown levels {wanted}", expected=" or ".join(_RESPONSE))
    paths = [Path(path) for path in sources]
    reader = _Reader(wanted, width, dict(excluded or {}))
    log = Log()
    entries = (entry for path in json_files(paths) for entry in iterate_entries(path))
    rows = usable_rows(entries, reader.row, log, done)
    first = next(rows, None)
    if first is None or reader.width is None:
        raise log.nothing(paths, f"JSON files of computed entries{reader.others_found()}")
    schema = TableSchema(
        grid=GRID,
        levels={
            level: LevelInfo(
                broadening=Broadening("lorentzian", reader.width),
                has_real=True,
                description=f"Quantum ESPRESSO and Yambo, {_RESPONSE[level]}",
            )
            for level in wanted
        },
        scalars=_SCALARS,
        licence=licence,
        source=source or "JSON of Yambo calculations",
        citation=citation,
    )
    path = write_table(out, schema, chain([first], rows))
    return TransferReport(path, log.count, tuple(log.skipped), reader.notes())


class _Reader:
    """Makes rows out of entries, and remembers what was changed or passed over on the way."""

    def __init__(
        self, levels: tuple[str, ...], width: float | None, excluded: dict[str, str]
    ) -> None:
        self.levels = levels
        self.width = width
        self.excluded = excluded
        self.clipped: list[str] = []
        self.unstated = 0
        self.others: Counter[float] = Counter()

    def row(self, entry: Any, where: str) -> dict[str, Any] | None:
        """Return the row of an entry, None if it has another line; DatasetError if it is broken."""
        data = mapping_of(entry, "data", where)
        parameters = entry.get("parameters")
        parameters = parameters if isinstance(parameters, Mapping) else {}
        material_id = id_of(data, "mat_id", where)
        line = self._line(data, parameters, where)
        if line is not None and abs(line - (self.width or line)) > _WIDTH_TOLERANCE:
            self.others[line] += 1
            return None
        if material_id in self.excluded:
            raise DatasetError(f"{material_id} is {self.excluded[material_id]}", where=where)
        structure = structure_of(entry, where)
        row: dict[str, Any] = {"material_id": material_id, "structure": structure}
        for level in self.levels:
            for part, letter in (("im", "I"), ("re", "R")):
                prefix = f"{level}_eps{letter}"
                values = _average(_directions(data, prefix, self.levels), structure, prefix, where)
                if part == "im":
                    values, changed = clip_negative(values, where)
                    if changed:
                        self.clipped.append(material_id)
                row[f"{level}_{part}_mean"] = values
        for name, key in _SOURCES.items():
            row[name] = number_of(data, key)
        # What sets the line of the table, or goes without saying it, is an entry that is used.
        self.unstated += line is None
        self.width = line if self.width is None else self.width
        stated = {key: number_of(parameters, key) for key in _PARAMETERS}
        row["provenance"] = "Quantum ESPRESSO, Yambo" + "".join(
            f", {key} {value:g}" for key, value in stated.items() if value is not None
        )
        return row

    def _line(
        self, data: Mapping[str, Any], parameters: Mapping[str, Any], where: str
    ) -> float | None:
        """Half width that an entry states of the spectra that are taken of it."""
        along_axes = self.levels == ("ipa",) and "ipa_epsI_0" in data
        stated = number_of(parameters, "ipa_broad" if along_axes else "rpa_broad")
        if stated is None and self.width is None:
            raise DatasetError("does not state its broadening", where=where, cure="give the width")
        if stated is not None and stated <= 0.0:
            raise DatasetError(f"states a broadening of {stated:g} eV", where=where)
        return stated

    def notes(self) -> tuple[str, ...]:
        """Return what to tell of the entries as a whole."""
        notes = [
            f"{number} entries of {width:g} eV broadening were passed over: a table has one"
            for width, number in sorted(self.others.items())
        ]
        if self.unstated:
            notes.append(f"{self.unstated} entries do not state their broadening: taken as given")
        if self.clipped:
            shown = ", ".join(self.clipped[:5])
            notes.append(
                f"small negative Im ε set to zero in {len(self.clipped)} spectra, first {shown}"
            )
        return tuple(notes)

    def others_found(self) -> str:
        """Return which lines the entries have that were passed over, if any."""
        found = ", ".join(f"{width:g} eV" for width in sorted(self.others))
        return f" of {self.width:g} eV broadening; there are some of {found}" if found else ""


def _directions(data: Mapping[str, Any], prefix: str, levels: tuple[str, ...]) -> list[Any]:
    """Values along x, y, z as they stand there; None for a direction that is left out."""
    if levels == ("ipa",) and f"{prefix}_0" in data:
        found = [data.get(f"{prefix}_{axis}") for axis in range(3)]
    else:
        tensor = data.get(prefix)
        if not isinstance(tensor, Mapping):
            raise DatasetError(f"has no {prefix}")
        found = [tensor.get(axis) for axis in AXES]
    # pandas writes a NaN where there is nothing.
    return [found[0], *(None if isinstance(v, float) and v != v else v for v in found[1:])]


def _average(
    directions: list[Any], structure: Structure, prefix: str, where: str
) -> NDArray[np.float64]:
    """Average over x, y, z, where those left out are equal to x by the crystal's symmetry."""
    given = [
        None if v is None else array_of(v, (GRID.num,), f"{prefix} along {axis[0]}", where)
        for v, axis in zip(directions, AXES, strict=True)
    ]
    x, y, z = given
    if x is None:
        raise DatasetError(f"has no {prefix} along x", where=where)
    if y is None or z is None:
        system = _crystal_system(structure)
        allowed = {"cubic"} if z is None else {"cubic", *_UNIAXIAL}
        if y is not None or system not in allowed:
            missing = " and ".join(a for a, v in (("y", y), ("z", z)) if v is None)
            raise DatasetError(
                f"lacks {prefix} along {missing}, which is not equal to x in a {system} crystal",
                where=where,
            )
    return np.mean([x, x if y is None else y, x if z is None else z], axis=0)


def _crystal_system(structure: Structure) -> str:
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    try:
        return str(SpacegroupAnalyzer(structure, symprec=SYMPREC).get_crystal_system())
    except (ValueError, TypeError) as error:
        raise DatasetError(f"has a structure of no known symmetry: {error}") from error
