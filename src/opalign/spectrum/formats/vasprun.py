"""VASP's vasprun.xml: dielectric tensors, structure, band gap and settings.

The file is streamed: what is kept are the settings, one structure and the dielectric functions of
the last ionic step, never the eigenvalues, densities of states or projections.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from opalign.errors import SpectrumError
from opalign.spectrum.formats.columns import NumberTable, number
from opalign.spectrum.formats.components import tensor_from_components
from opalign.spectrum.formats.result import Draft, ReadOptions, SpectrumFile, assemble
from opalign.spectrum.formats.safe_xml import ElementHandler, parse_xml
from opalign.spectrum.formats.vasp import (
    BandEdges,
    broadening_of,
    check_claim,
    formula_of,
    level_of_label,
    level_without_label,
    structure_of,
)

NAME = "vasprun.xml"
FIELDS = ("energy", "xx", "yy", "zz", "xy", "yz", "zx")
MAXIMUM_ATOMS = 100_000
_NAMES = (
    "SYSTEM LOPTICS LPEAD LNABLA CSHIFT NEDOS ALGO NBANDS ENCUT ENMAX ISMEAR SIGMA ISPIN NELECT "
    "LNONCOLLINEAR LSORBIT LRPA LHARTREE LADDER LFXC LHFCALC AEXX HFSCREEN GGA METAGGA NOMEGA "
    "OMEGAMAX ENCUTGW"
)
PARAMETERS = frozenset(_NAMES.split())
"""Settings that are kept, of those VASP used; INCAR's are all kept."""
_EIGENVALUES = ["modeling", "calculation", "eigenvalues", "array", "set", "set", "set"]


def read(path: Path, options: ReadOptions) -> SpectrumFile:
    """Read a vasprun.xml, compressed or not.

    Raises
    ------
    SpectrumError
        If it is cut off, no vasprun.xml, hostile, or without a usable dielectric function.
    """
    content = _Content(str(path))
    parse_xml(path, content)
    settings = content.settings
    check_claim(settings, str(path))
    if not content.blocks:
        raise SpectrumError(
            "there is no dielectric function",
            where=str(path),
            expected="a run with LOPTICS = .TRUE., or of ALGO = CHI or BSE",
        )
    drafts, notes = _drafts(content)
    structure = structure_of(content.lattice, content.species, content.positions)
    version = settings.get("version", "")
    return assemble(
        path,
        NAME,
        drafts,
        options,
        source=f"VASP {version}".strip(),
        material_id=formula_of(structure),
        structure=structure,
        metadata=settings | content.edges.gaps(),
        notes=notes,
    )


@dataclass
class _Block:
    """One dielectricfunction element: tables of its two parts, by the names of their columns."""

    label: str | None
    line: int
    tables: dict[str, NumberTable]
    fields: dict[str, list[str]]

    def components(self, where: str) -> tuple[NumberTable, dict[str, np.ndarray]]:
        missing = [part for part in ("imag", "real") if not self.tables.get(part)]
        if missing:
            raise SpectrumError(
                f"the dielectric function has no {missing[0]} part",
                where=f"{where}, line {self.line}",
                expected="both parts",
            )
        columns: dict[str, dict[str, np.ndarray]] = {}
        for part, table in self.tables.items():
            table.increasing()
            names = tuple(self.fields[part]) or FIELDS
            if sorted(names) != sorted(FIELDS):
                raise SpectrumError(
                    f"the {part} part has the columns {', '.join(names)[:200]}",
                    where=f"{where}, line {self.line}",
                    expected=", ".join(FIELDS),
                )
            columns[part] = dict(zip(names, table.values.T, strict=True))
        real, imaginary = columns["real"], columns["imag"]
        if not np.array_equal(real["energy"], imaginary["energy"]):
            raise SpectrumError(
                "real and imaginary part have different energies",
                where=f"{where}, line {self.line}",
                expected="one energy axis",
            )
        joined = {name: real[name] + 1j * imaginary[name] for name in FIELDS[1:]}
        joined["xz"] = joined.pop("zx")
        return self.tables["imag"], joined | {"energy": real["energy"]}


def _drafts(content: _Content) -> tuple[list[Draft], list[str]]:
    drafts: list[Draft] = []
    notes: list[str] = []
    unlabelled = 0
    for block in content.blocks:
        if block.label is None:
            level: str | None = level_without_label(content.settings, unlabelled)
            unlabelled += 1
        else:
            level = level_of_label(block.label)
        if level is None:
            continue
        origin = block.label or level
        if any(draft.level == level for draft in drafts):
            notes.append(f"{origin}: left out, since the file has another tensor of level {level}")
            continue
        table, columns = block.components(content.where)
        drafts.append(
            Draft(
                level,
                columns["energy"].real,
                tensor_from_components(columns),
                broadening_of(content.settings),
                origin.strip(),
                table.energy_resolution,
                table.energy_resolution,
            )
        )
    return drafts, notes


class _Content(ElementHandler):
    """Collects what is wanted while the file runs through."""

    skipped = frozenset({"dos", "projected", "scstep", "dynmat", "kpoints", "conductivity"})

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where
        self.settings: dict[str, Any] = {}
        self.blocks: list[_Block] = []
        self.edges = BandEdges()
        self.lattice: list[list[float]] = []
        self.positions: list[list[float]] = []
        self.species: list[str] = []
        self._attributes: dict[str, str] = {}
        self._varray = ""
        self._array = ""
        self._first_column = False

    def start(self, attributes: dict[str, str]) -> None:
        tag = self.path[-1]
        if len(self.path) == 1 and tag != "modeling":
            raise SpectrumError(
                f"the root element is <{tag[:40]}>", where=self.where, expected="<modeling>"
            )
        self._attributes = attributes
        if tag == "calculation":
            # Each ionic step has its own; the last one counts.
            self.blocks, self.edges = [], BandEdges()
        elif tag == "dielectricfunction":
            self.blocks.append(_Block(attributes.get("comment"), self.line, {}, {}))
        elif tag in ("imag", "real") and self._in_dielectric():
            self.blocks[-1].tables[tag] = NumberTable(len(FIELDS), self.where)
            self.blocks[-1].fields[tag] = []
        elif tag == "varray":
            self._varray = attributes.get("name", "")
            if self._varray == "basis" and "crystal" in self.path:
                self.lattice = []
            elif self._varray == "positions" and "structure" in self.path:
                self.positions = []
        elif tag == "array":
            self._array = attributes.get("name", "")
        elif tag == "rc":
            self._first_column = True

    def end(self, text: str) -> None:
        tag = self.path[-1]
        if tag == "r":
            self._row(text)
        elif tag == "field" and self._in_dielectric():
            fields = self.blocks[-1].fields.get(self.path[3] if len(self.path) > 3 else "")
            if fields is not None and len(fields) < 20:
                fields.append(text.strip())
        elif tag == "v":
            self._vector(text)
        elif tag == "i":
            self._setting(self._attributes.get("name", ""), text)
        elif tag == "c" and self._first_column:
            self._first_column = False
            if self._array == "atoms" and len(self.species) < MAXIMUM_ATOMS:
                self.species.append(text.strip())
        elif tag == "set" and self.path == _EIGENVALUES:
            self.edges.finish(1.0)

    def _in_dielectric(self) -> bool:
        return len(self.path) > 2 and self.path[2] == "dielectricfunction" and bool(self.blocks)

    def _row(self, text: str) -> None:
        if self._in_dielectric():
            table = self.blocks[-1].tables.get(self.path[3])
            if table is not None:
                table.append(text.split(), self.line)
        elif self.path[:-1] == _EIGENVALUES:
            energy, occupation = self._numbers(text, 2)
            self.edges.add(energy, occupation)

    def _vector(self, text: str) -> None:
        if "structure" not in self.path:
            return
        if self._varray == "basis" and "crystal" in self.path and len(self.lattice) < 3:
            self.lattice.append(self._numbers(text, 3))
        elif self._varray == "positions" and len(self.positions) < MAXIMUM_ATOMS:
            self.positions.append(self._numbers(text, 3))

    def _numbers(self, text: str, count: int) -> list[float]:
        try:
            values = [number(part) for part in text.split()]
        except ValueError as error:
            raise SpectrumError(str(error), where=f"{self.where}, line {self.line}") from error
        if len(values) != count:
            raise SpectrumError(
                f"there are {len(values)} numbers",
                where=f"{self.where}, line {self.line}",
                expected=str(count),
            )
        return values

    def _setting(self, name: str, text: str) -> None:
        section = self.path[1] if len(self.path) > 1 else ""
        wanted = section in ("incar", "generator") or (
            section == "parameters" and name in PARAMETERS
        )
        if not wanted or not name or len(self.settings) > 500:
            return
        # What VASP used stands below INCAR and has the defaults; INCAR's own words win.
        if section == "parameters" and name in self.settings:
            return
        self.settings[name] = _setting_value(self._attributes.get("type", "float"), text.strip())


def _setting_value(kind: str, text: str) -> Any:
    """Return a setting as what it is; as text where it is not what it claims."""
    try:
        if kind == "int":
            return int(text)
        if kind == "float":
            return number(text)
    except ValueError:
        return text
    return text.startswith(("T", ".T")) if kind == "logical" else text
