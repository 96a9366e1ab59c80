"""VASP's OUTCAR: dielectric tensors with six decimals, structure, band gap and settings.

Read line by line in constant memory. Runs of ALGO = CHI or BSE write their tensors to vasprun.xml
in full and only in part here; they are read from there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from opalign.errors import SpectrumError
from opalign.spectrum.formats.columns import NumberTable, number
from opalign.spectrum.formats.components import tensor_from_components
from opalign.spectrum.formats.result import Draft, ReadOptions, SpectrumFile, assemble
from opalign.spectrum.formats.source import iterate_lines
from opalign.spectrum.formats.vasp import (
    BandEdges,
    broadening_of,
    check_claim,
    formula_of,
    level_of_label,
    level_without_label,
    structure_of,
)

NAME = "OUTCAR"
COMPONENT_ORDER = ("xx", "yy", "zz", "xy", "yz", "xz")
MAXIMUM_ATOMS = 100_000

_HEADER = re.compile(
    r"frequency dependent\s+(IMAGINARY|REAL) DIELECTRIC FUNCTION[^)]*\)\s*([a-z]+-[a-z]+)?"
)
_SETTING = re.compile(
    r"\b(LOPTICS|CSHIFT|NEDOS|NBANDS|ENCUT|ISMEAR|SIGMA|ISPIN|NELECT|LNONCOLLINEAR|LSORBIT|LRPA)"
    r"\s*=\s*([^\s;]+)"
)
_SYMBOL = re.compile(r"VRHFIN\s*=\s*([A-Z][a-z]?)\s*:")


def read(path: Path, options: ReadOptions) -> SpectrumFile:
    """Read an OUTCAR, compressed or not.

    Raises
    ------
    SpectrumError
        If it is cut off within a tensor, no OUTCAR, or without a usable dielectric function.
    """
    content = _Content(str(path))
    for line, text in iterate_lines(path):
        content.read_line(line, text)
    content.finish()
    check_claim(content.settings, str(path))
    structure = content.structure()
    return assemble(
        path,
        NAME,
        _drafts(content),
        options,
        source=f"VASP {content.settings.get('version', '')}".strip(),
        material_id=formula_of(structure),
        structure=structure,
        metadata=content.settings | content.edges.gaps(),
    )


def _drafts(content: _Content) -> list[Draft]:
    drafts = []
    for position, (label, parts) in enumerate(content.tensors.items()):
        missing = {"IMAGINARY", "REAL"} - parts.keys()
        if missing:
            raise SpectrumError(
                f"the {label or 'dielectric'} tensor has no {missing.pop().lower()} part",
                where=content.where,
                expected="both parts",
                cure="if the run was stopped, run it to its end",
            )
        for table in parts.values():
            table.increasing()
        real, imaginary = parts["REAL"].values, parts["IMAGINARY"].values
        if not np.array_equal(real[:, 0], imaginary[:, 0]):
            raise SpectrumError(
                "real and imaginary part have different energies",
                where=f"{content.where}, line {parts['REAL'].lines[0]}",
                expected="one energy axis",
            )
        columns = real[:, 1:] + 1j * imaginary[:, 1:]
        resolution = parts["REAL"].energy_resolution
        level = level_of_label(label) if label else level_without_label({}, position)
        drafts.append(
            Draft(
                level,
                real[:, 0],
                tensor_from_components(dict(zip(COMPONENT_ORDER, columns.T, strict=True))),
                broadening_of(content.settings),
                label or "",
                resolution,
                resolution,
            )
        )
    return drafts


class _Content:
    """Collects what is wanted line by line; ``_take`` is what the lines of a block go to."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.settings: dict[str, Any] = {}
        self.tensors: dict[str, dict[str, NumberTable]] = {}
        self.edges = BandEdges()
        self._lattice: list[list[float]] = []
        self._fractional: list[list[float]] = []
        self._cartesian: list[list[float]] = []
        self._symbols: list[str] = []
        self._counts: list[int] = []
        self._take: Callable[[int, str], bool] | None = None
        self._table: NumberTable | None = None
        self._k_points = 0

    def structure(self) -> Any:
        """Return the last structure of the run, or None."""
        if len(self._symbols) != len(self._counts) or sum(self._counts) > MAXIMUM_ATOMS:
            return None
        species = [
            symbol
            for symbol, count in zip(self._symbols, self._counts, strict=True)
            for _ in range(count)
        ]
        positions = self._cartesian or self._fractional
        return structure_of(self._lattice, species, positions, cartesian=bool(self._cartesian))

    def read_line(self, line: int, text: str) -> None:
        if self._take is not None and self._take(line, text):
            return
        self._take = None
        if "frequency dependent" in text and (header := _HEADER.search(text)):
            self._start_tensor(header, line)
        elif "direct lattice vectors" in text:
            self._lattice, self._take = [], self._lattice_row
        elif "position of ions in fractional coordinates" in text:
            self._fractional, self._take = [], self._fractional_row
        elif text.lstrip().startswith("POSITION") and "TOTAL-FORCE" in text:
            self._cartesian, self._take = [], self._cartesian_row
        elif "band No." in text and "occupation" in text:
            self._take = self._state_row
        elif "E-fermi" in text:
            self.edges = BandEdges()
        elif "=" in text or "version" not in self.settings:
            self._read_settings(text)

    def finish(self) -> None:
        """Close the file; SpectrumError if it ended within a tensor or has none."""
        if self._table is not None:
            raise self._cut_off(self._table.lines[-1] if len(self._table) else 0)
        if not self.tensors:
            raise SpectrumError(
                "there is no dielectric function",
                where=self.where,
                expected="a run with LOPTICS = .TRUE. that has come to its end",
                cure="read vasprun.xml for runs of ALGO = CHI or BSE",
            )

    def _cut_off(self, line: int) -> SpectrumError:
        return SpectrumError(
            "the file ends within a dielectric tensor",
            where=f"{self.where}, line {line}",
            expected="a whole table",
            cure="if the run was stopped or the file was cut off, write or copy it anew",
        )

    def _start_tensor(self, header: re.Match[str], line: int) -> None:
        if self._table is not None:
            raise self._cut_off(line)
        part, label = header.group(1), header.group(2) or ""
        self._table = NumberTable(7, self.where)
        # A relaxation writes them at every step; the last ones count.
        self.tensors.setdefault(label, {})[part] = self._table
        self._take = self._tensor_row

    def _tensor_row(self, line: int, text: str) -> bool:
        table = self._table
        stripped = text.strip()
        if table is None:
            return False
        if not len(table) and (
            stripped.startswith("E(ev)") or (stripped and not stripped.strip("-"))
        ):
            return True
        if not text.endswith("\n"):
            raise self._cut_off(line)
        if not stripped:
            self._table = None
            return False
        table.append(stripped.split(), line)
        return True

    def _lattice_row(self, line: int, text: str) -> bool:
        # Row vectors in Å, then those of the reciprocal lattice.
        return len(self._lattice) < 3 and self._row_of_numbers(self._lattice, text, 6)

    def _fractional_row(self, line: int, text: str) -> bool:
        return self._row_of_numbers(self._fractional, text, 3)

    def _cartesian_row(self, line: int, text: str) -> bool:
        if text.strip() and not text.strip().strip("-"):
            return not self._cartesian
        return self._row_of_numbers(self._cartesian, text, 6)

    @staticmethod
    def _row_of_numbers(rows: list[list[float]], text: str, count: int) -> bool:
        """Add the first three of ``count`` numbers; False, which ends the block, otherwise."""
        try:
            values = [number(part) for part in text.split()]
        except ValueError:
            return False
        if len(values) != count or len(rows) >= MAXIMUM_ATOMS:
            return False
        rows.append(values[:3])
        return True

    def _state_row(self, line: int, text: str) -> bool:
        fields = text.split()
        try:
            energy, occupation = number(fields[1]), number(fields[2])
        except (ValueError, IndexError):
            # Non-collinear and polarised runs hold one electron a state, others two.
            spinful = self.settings.get("ISPIN") == 2 or self.settings.get("LNONCOLLINEAR") is True
            self.edges.finish(1.0 if spinful else 2.0)
            return False
        self.edges.add(energy, occupation)
        return True

    def _read_settings(self, text: str) -> None:
        if "version" not in self.settings and text.startswith(" vasp."):
            self.settings["version"] = text.split()[0].removeprefix("vasp.")
            self.settings["subversion"] = text.split("(")[-1].strip().lstrip("(")
        elif symbol := _SYMBOL.search(text):
            self._symbols.append(symbol.group(1))
        elif "ions per type" in text:
            fields = text.partition("=")[2].split()
            self._counts = [int(field) for field in fields if field.isdecimal() and len(field) < 7]
        for name, value in _SETTING.findall(text):
            self.settings.setdefault(name, _setting_value(value))


def _setting_value(text: str) -> Any:
    if text in ("T", "F"):
        return text == "T"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return number(text)
    except ValueError:
        return text
