"""ALIGNN's folders: ``id_prop.csv`` beside one structure file a material, in and out.

Each line of ``id_prop.csv`` is the name of a structure file and then one value or, for spectra, one
value per energy. The file names neither grid nor quantity; :func:`export_alignn` therefore adds a
small ``opalign.json``, which ALIGNN passes over and :func:`import_alignn` reads.
"""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from opalign.dataset.formats.alignn_folder import (
    CSV_NAME,
    SIDECAR_NAME,
    AlignnFolder,
    StructureFormat,
    Target,
    file_name_of,
    read_lines,
    read_listed_structure,
    stem_of,
    structure_text,
)
from opalign.dataset.formats.report import TransferReport
from opalign.dataset.schema import LevelInfo, ScalarInfo, TableSchema, spectrum_column
from opalign.dataset.write import write_table
from opalign.errors import DatasetError, StorageError, StructureError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.units import LOG_ABSORPTION_FLOOR

if TYPE_CHECKING:
    from opalign.dataset.table import SpectraTable


def import_alignn(
    folder: str | PathLike[str],
    out: str | PathLike[str],
    *,
    target: Target | None = None,
    level: str | None = None,
    grid: EnergyGrid | None = None,
    broadening: Broadening | None = None,
    floor: float | None = None,
    unit: str = "",
    licence: str = "",
    source: str = "",
    citation: str = "",
    structure_format: StructureFormat | None = None,
) -> TransferReport:
    """Bring an ALIGNN folder into a spectra table; material ids are the stems of the file names.

    Parameters
    ----------
    target
        ``"log_absorption"``: log₁₀(α / cm⁻¹), kept as it is; ``"epsilon_imaginary"``: Im ε̄;
        ``"scalar"``: one value a line. Taken from ``opalign.json`` where the folder has one, as
        are the following.
    level
        Level of theory, or the name of the scalar.
    grid
        Energy grid of the values, eV.
    structure_format
        Format of the structure files; recognised from their names if None.

    Raises
    ------
    DatasetError
        No ``id_prop.csv``; target, level or grid not given; a line with a value that is no
        number, or with another number of values than the grid. A structure file that cannot be
        used is skipped and reported.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError(
            "is a file" if folder.exists() else "there is no such folder",
            where=str(folder),
            expected=f"a folder with {CSV_NAME} and structure files",
            cure="give the folder that ALIGNN takes as --root_dir",
        )
    about = _about(folder, target, level, grid, broadening, floor, unit, licence, source, citation)
    listing = folder / CSV_NAME
    if not listing.is_file():
        raise DatasetError(
            f"has no {CSV_NAME}",
            where=str(folder),
            cure="give the folder that ALIGNN takes as --root_dir",
        )
    column, schema = _schema(about)
    skipped: list[tuple[str, str]] = []
    count = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal count
        for name, values, place in read_lines(listing, 1 if about.grid is None else about.grid.num):
            try:
                structure = read_listed_structure(folder / name, structure_format)
            except StructureError as error:
                skipped.append((name, f"{place}: {error}"))
                continue
            value = values[0] if about.grid is None else values
            count += 1
            yield {"material_id": stem_of(name), "structure": structure, column: value}
        if not count:
            raise DatasetError(
                "gives no material that can be used",
                where=str(listing),
                cure=f"the first was left out because: {skipped[0][1]}" if skipped else None,
            )

    path = write_table(out, schema, rows())
    return TransferReport(path, count, tuple(skipped))


def export_alignn(
    table: SpectraTable,
    folder: str | PathLike[str],
    *,
    level: str,
    target: Target = "log_absorption",
    broadening: Broadening | None = None,
    floor: float = LOG_ABSORPTION_FLOOR,
    structure_format: StructureFormat = "poscar",
) -> TransferReport:
    """Write a table as the folder that ALIGNN's ``train_alignn.py --root_dir`` takes.

    Spectra are isotropic averages. ``broadening`` comes on top of what the table has; ``floor``
    bounds log₁₀ α from below. Values are written with the fewest digits that give back the same
    number of single precision; a POSCAR holds the structure to 1e-16, while readers of CIF round
    atoms to special positions and may order them anew. For a scalar, ``level`` is its name, and
    rows without it are skipped and reported.

    Raises
    ------
    DatasetError
        The folder holds files already, a material id makes no file name, or there is no such level.
    StorageError
        The folder cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(
            "exists and is not an empty folder",
            where=str(folder),
            cure="give a new folder: ALIGNN would read stray files of an old one",
        )
    about = _about_table(table, level, target, broadening, floor)
    values = _values(table, level, target, broadening, floor)
    known = np.flatnonzero(np.isfinite(values).all(axis=1))
    skipped = [(table.ids[i], f"no {level}") for i in sorted({*range(len(table))} - {*known})]
    names = [file_name_of(table.ids[index], structure_format) for index in known]
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        temporary.chmod(0o755)
        with (temporary / CSV_NAME).open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            for index, name in zip(known, names, strict=True):
                text = structure_text(table.structure(int(index)), structure_format)
                (temporary / name).write_text(text, encoding="utf-8")
                writer.writerow([name, *(str(value) for value in values[index])])
        (temporary / SIDECAR_NAME).write_text(about.model_dump_json(indent=1), encoding="utf-8")
        os.replace(temporary, folder)
    except OSError as error:
        raise StorageError(
            f"could not be written: {error.strerror or error}",
            where=str(folder),
            cure="free some space or choose another folder",
        ) from error
    finally:
        if temporary is not None and temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)
    return TransferReport(folder, len(known), tuple(skipped))


def _about(
    folder: Path,
    target: Target | None,
    level: str | None,
    grid: EnergyGrid | None,
    broadening: Broadening | None,
    floor: float | None,
    unit: str,
    licence: str,
    source: str,
    citation: str,
) -> AlignnFolder:
    """Describe the folder by what the caller says, otherwise by what its sidecar says."""
    given = {
        "target": target,
        "level": level,
        "grid": grid,
        "broadening": broadening,
        "floor": floor,
        "unit": unit or None,
        "licence": licence or None,
        "source": source or None,
        "citation": citation or None,
    }
    known: dict[str, Any] = {}
    sidecar = folder / SIDECAR_NAME
    try:
        if sidecar.is_file():
            about = AlignnFolder.model_validate_json(sidecar.read_text(encoding="utf-8"))
            known = {name: getattr(about, name) for name in AlignnFolder.model_fields}
        known |= {name: value for name, value in given.items() if value is not None}
        for name in ("target", "level"):
            if name not in known:
                raise DatasetError(
                    f"{CSV_NAME} does not say what its values are: give the {name}",
                    where=str(folder),
                )
        about = AlignnFolder.model_validate(known)
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise DatasetError(
            f"is not described well: {error}", where=str(folder), cure=f"correct {SIDECAR_NAME}"
        ) from error
    if (about.grid is None) != (about.target == "scalar"):
        raise DatasetError(
            "a grid belongs to spectra, and to spectra alone",
            where=str(folder),
            expected="a grid with log_absorption or epsilon_imaginary, none with scalar",
        )
    return about


def _schema(about: AlignnFolder) -> tuple[str, TableSchema]:
    """Name of the column that the values go to, and the schema of the table."""
    texts = {
        "licence": about.licence,
        "source": about.source or "an ALIGNN folder",
        "citation": about.citation,
    }
    if about.target == "scalar":
        return about.level, TableSchema(scalars={about.level: ScalarInfo(unit=about.unit)}, **texts)
    absorption = about.target == "log_absorption"
    info = LevelInfo(
        broadening=about.broadening,
        quantity="log_absorption" if absorption else "epsilon",
        floor=about.floor if absorption else None,
    )
    column = spectrum_column(about.level, info.parts[0], "mean")
    return column, TableSchema(grid=about.grid, levels={about.level: info}, **texts)


def _values(
    table: SpectraTable,
    level: str,
    target: Target,
    broadening: Broadening | None,
    floor: float,
) -> NDArray[np.floating]:
    if target == "scalar":
        return table.scalar(level)[:, None]
    if target == "log_absorption":
        return table.log_absorption(level, broadening, floor, np.float32)
    return table.isotropic_imaginary(level, broadening, np.float32)


def _about_table(
    table: SpectraTable,
    level: str,
    target: Target,
    broadening: Broadening | None,
    floor: float,
) -> AlignnFolder:
    texts = {"licence": table.licence, "source": table.source, "citation": table.citation}
    if target == "scalar":
        info = table.schema.scalars.get(level, ScalarInfo())
        return AlignnFolder(target=target, level=level, unit=info.unit, **texts)
    if level not in table.levels:
        raise DatasetError(
            f"has no level {level!r}", where=str(table.path), expected=", ".join(table.levels)
        )
    return AlignnFolder(
        target=target,
        level=level,
        grid=table.grid,
        broadening=table.levels[level].broadening_after(broadening, table.grid),
        floor=floor if target == "log_absorption" else None,
        **texts,
    )
