"""Structure files: which formats there are, where one structure ends, and who parses it.

pymatgen and ASE do the parsing. A file of many structures is cut into frames first, so that one bad
frame is reported and the others are read, and so that a long file is never in memory as a whole.
"""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from opalign.errors import StructureError
from opalign.lazy import deferred

# Bytes of one structure as text. A cell of 10,000 atoms takes about one megabyte; what is far above
# is a trajectory, a charge density, or no structure at all.
MAXIMUM_SIZE = 50_000_000


@dataclass(frozen=True)
class StructureFormat:
    """A file format: ``split`` cuts an open file into the texts of single structures."""

    name: str
    pattern: str
    """Regular expression that the whole lower-case file name must match, without ``.gz``."""
    split: Callable[[TextIO], Iterator[str]]
    parse: Callable[[str], Any]
    """Text of one structure → pymatgen Structure, ASE Atoms or dict; raises anything."""


def format_of(path: Path) -> StructureFormat | None:
    """Format of a file by its name, or None if the name is not that of a structure."""
    name = path.name.lower().removesuffix(".gz")
    return next((known for known in FORMATS if re.fullmatch(known.pattern, name)), None)


def supported_formats() -> str:
    """All formats by name, for messages."""
    return ", ".join(known.name for known in FORMATS)


def open_text(path: Path) -> TextIO:
    """Open a structure file, compressed with gzip or not, as UTF-8 text."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _whole(stream: TextIO) -> Iterator[str]:
    text = stream.read(MAXIMUM_SIZE + 1)
    _refuse_long(len(text))
    yield text


def _split_cif(stream: TextIO) -> Iterator[str]:
    """Cut a CIF into its data blocks with atoms; publications add blocks with only words."""
    blocks = 0
    block: list[str] = []
    size = 0

    def complete() -> Iterator[str]:
        text = "".join(block)
        if "_atom_site_" in text:
            yield text

    for line in stream:
        if line.lstrip().lower().startswith("data_"):
            for text in complete():
                blocks += 1
                yield text
            block, size = [], 0
        block.append(line)
        size += len(line)
        _refuse_long(size)
    for text in complete():
        blocks += 1
        yield text
    if not blocks:
        raise StructureError("no data block with atoms (_atom_site_…) in this CIF")


def _split_xyz(stream: TextIO) -> Iterator[str]:
    """Frames of an XYZ file: number of atoms, comment, one line per atom."""
    start = 1
    while line := stream.readline(MAXIMUM_SIZE):
        if not line.strip():
            start += 1
            continue
        try:
            count = int(line)
        except ValueError:
            raise StructureError(
                f"line {start} should be a number of atoms, but is {line.strip()[:40]!r}",
                expected="frames of a number of atoms, a comment line and one line per atom",
                cure="compare the number of atoms of the frame before with its lines",
            ) from None
        lines = list(islice(stream, min(count + 1, MAXIMUM_SIZE)))
        if len(lines) < count + 1:
            raise StructureError(
                f"the frame that starts on line {start} ends after {max(len(lines) - 1, 0)}"
                f" of its {count} atoms",
                cure="copy the file again; it has been cut off",
            )
        text = line + "".join(lines)
        _refuse_long(len(text))
        yield text
        start += count + 2


def _split_json(stream: TextIO) -> Iterator[str]:
    for text in _whole(stream):
        content = json.loads(text)
        for entry in content if isinstance(content, list) else [content]:
            yield json.dumps(entry)


def _refuse_long(size: int) -> None:
    if size > MAXIMUM_SIZE:
        raise StructureError(
            f"is larger than {MAXIMUM_SIZE // 1_000_000} MB",
            expected="one structure",
            cure="cut it into one file per structure",
        )


def _parse_cif(text: str) -> Any:
    with deferred("scipy.cluster"):
        from pymatgen.io.cif import CifParser

    structures = CifParser.from_str(text).parse_structures(primitive=False)
    return structures[0]


def _parse_poscar(text: str) -> Any:
    from pymatgen.io.vasp.inputs import Poscar

    # Without a line of symbols pymatgen would call the elements H, He, Li …, with a mere warning.
    lines = text.splitlines()
    if len(lines) > 5 and lines[5].split() and all(word.isdigit() for word in lines[5].split()):
        raise StructureError(
            "line 6 holds numbers of atoms, not symbols of elements (the format of VASP 4)",
            expected="the elements on line 6, their numbers on line 7",
            cure="insert the line of element symbols",
        )
    return Poscar.from_str(text).structure


def _parse_shelx(text: str) -> Any:
    from pymatgen.io.res import ResIO

    return ResIO.structure_from_str(text)


def _parse_with_ase(name: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        from ase.io import read

        return read(io.StringIO(text), format=name)

    return parse


FORMATS = (
    StructureFormat("CIF (.cif, .mcif)", r".*\.m?cif", _split_cif, _parse_cif),
    StructureFormat(
        "VASP (POSCAR, CONTCAR, .vasp, .poscar)",
        r"(poscar|contcar).*|.*\.(vasp|poscar|contcar)",
        _whole,
        _parse_poscar,
    ),
    StructureFormat("JSON of pymatgen or JARVIS (.json)", r".*\.json", _split_json, json.loads),
    StructureFormat(
        "extended XYZ (.xyz, .extxyz)", r".*\.(ext)?xyz", _split_xyz, _parse_with_ase("extxyz")
    ),
    StructureFormat("XCrySDen (.xsf)", r".*\.xsf", _whole, _parse_with_ase("xsf")),
    StructureFormat("SHELX (.res)", r".*\.res", _whole, _parse_shelx),
    StructureFormat(
        "Quantum ESPRESSO input (.pwi)", r".*\.pwi", _whole, _parse_with_ase("espresso-in")
    ),
)
