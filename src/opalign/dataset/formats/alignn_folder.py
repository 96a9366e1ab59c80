"""What an ALIGNN folder consists of: ``id_prop.csv``, structure files, and Opalign's sidecar."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from opalign.crystal.read import read_structure
from opalign.errors import DatasetError, StructureError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

Target = Literal["log_absorption", "epsilon_imaginary", "scalar"]
StructureFormat = Literal["poscar", "cif"]

CSV_NAME = "id_prop.csv"
SIDECAR_NAME = "opalign.json"
_SUFFIXES = {"poscar": ".vasp", "cif": ".cif"}
_STEM_SUFFIXES = (".vasp", ".poscar", ".cif", ".xyz", ".pdb", ".json", ".xsf")


class AlignnFolder(BaseModel):
    """What ``id_prop.csv`` cannot say of its values: the quantity, the grid, the level."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: Target
    level: str
    """Level of theory or, for a scalar, its name."""
    grid: EnergyGrid | None = None
    broadening: Broadening = Broadening()
    floor: float | None = None
    unit: str = ""
    licence: str = ""
    source: str = ""
    citation: str = ""


def read_lines(listing: Path, width: int) -> Iterator[tuple[str, list[float], str]]:
    """File name, values and place of each line of ``id_prop.csv``, ``width`` values a line.

    Raises
    ------
    DatasetError
        A value is no number, a line has another number of values, or a file is listed twice.
    """
    names: set[str] = set()
    try:
        with listing.open(newline="", encoding="utf-8") as stream:
            for number, line in enumerate(csv.reader(stream), start=1):
                if not line:
                    continue
                name, place = line[0].strip(), f"line {number} of {listing}"
                if name in names:
                    raise DatasetError(f"{name} is listed before", where=place)
                names.add(name)
                yield name, _numbers(name, line[1:], width, place), place
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"cannot be read: {error}", where=str(listing)) from error


def _numbers(name: str, texts: list[str], width: int, place: str) -> list[float]:
    try:
        values = [float(text) for text in texts]
    except ValueError as error:
        raise DatasetError(
            f"a value is no number: {error}",
            where=place,
            expected="file name, value, value, …; there is no header",
        ) from error
    if len(values) != width:
        raise DatasetError(
            f"{name} has {len(values)} values",
            where=place,
            expected=f"{width}, one for each energy of the grid" if width > 1 else "one",
            cure="give the grid of these spectra",
        )
    return values


def read_listed_structure(path: Path, structure_format: StructureFormat | None) -> Structure:
    """Read a structure file, recognising its format if not given; StructureError if broken."""
    if structure_format is None:
        return read_structure(path)
    from pymatgen.core.structure import Structure

    try:
        structure = Structure.from_str(path.read_text(encoding="utf-8"), fmt=structure_format)
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise StructureError(
            f"cannot be read as {structure_format}: {error}", where=str(path)
        ) from error
    return read_structure(structure)


def stem_of(name: str) -> str:
    """Material id that a structure file's name stands for."""
    stem, suffix = os.path.splitext(Path(name).name)
    # An id may have a full stop of its own: only what names a format is cut off.
    return stem if suffix.lower() in _STEM_SUFFIXES else Path(name).name


def file_name_of(material_id: str, structure_format: StructureFormat) -> str:
    """Name of the structure file of a material; DatasetError if its id makes none."""
    if not re.fullmatch(r"[A-Za-z0-9_+\-][A-Za-z0-9_+.\-]*", material_id):
        raise DatasetError(
            f"the id {material_id!r} makes no file name",
            expected="letters, digits, and - _ + . (not in front)",
            cure="rename the material",
        )
    return material_id + _SUFFIXES[structure_format]


def structure_text(structure: Structure, structure_format: StructureFormat) -> str:
    """Content of a structure file, with as many digits as the format and doubles take."""
    if structure_format == "poscar":
        from pymatgen.io.vasp.inputs import Poscar

        return Poscar(structure).get_str(significant_figures=16)
    from pymatgen.io.cif import CifWriter

    return str(CifWriter(structure, significant_figures=12))
