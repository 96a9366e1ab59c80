"""Spectra from what is named on the command line: files of codes, CSV, tables of spectra."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from opalign.errors import ConfigurationError, DatasetError, OpalignError, StorageError

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

    from opalign.dataset.table import SpectraTable
    from opalign.spectrum.broadening import Broadening
    from opalign.spectrum.optical import OpticalSpectrum

TABLE_SUFFIX = ".parquet"
#: Scalars of a table that are taken for the gaps in eV.
DIRECT_GAP, FUNDAMENTAL_GAP = "direct_gap_eV", "band_gap_eV"


@dataclass(frozen=True, eq=False)
class Source:
    """A spectrum with what is known beside it; gaps in eV."""

    name: str
    spectrum: OpticalSpectrum
    structure: Structure | None = None
    direct_gap: float | None = None
    fundamental_gap: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unusable:
    """A file or material that gave no spectrum, and why."""

    source: str
    error: OpalignError


def open_sources(
    paths: Sequence[Path],
    *,
    materials: Sequence[str] = (),
    level: str | None = None,
    broadening: Broadening | None = None,
    structure: Path | None = None,
) -> Iterator[Source | Unusable]:
    """Yield every spectrum of ``paths``, or what was wrong; one bad file stops no other.

    Parameters
    ----------
    paths
        Files of any supported format, and tables (``.parquet``).
    materials
        Ids of the materials wanted from tables; all without any.
    level
        The level of theory wanted; all without one. For a file that does not tell, its level.
    broadening
        What the spectra of files contain that do not tell.
    structure
        File with the crystal, in the frame of the tensors; in place of what the files have.

    Raises
    ------
    StructureError
        If the structure cannot be read: it is for all files.
    ConfigurationError
        If materials are named and no table is.
    """
    tables = [path for path in paths if path.suffix.lower() == TABLE_SUFFIX]
    if materials and not tables:
        raise ConfigurationError(
            "--material chooses from a table, and none is given",
            expected=f"a file of spectra that ends in {TABLE_SUFFIX}",
        )
    crystal = None
    if structure is not None:
        from opalign.crystal.read import read_structure

        crystal = read_structure(structure)
    for path in paths:
        found = (
            _from_table(path, materials, level)
            if path in tables
            else _from_file(path, level, broadening)
        )
        try:
            for source in found:
                if isinstance(source, Source) and crystal is not None:
                    yield Source(**{**vars(source), "structure": crystal})
                else:
                    yield source
        except OpalignError as error:
            yield Unusable(str(path), error)
        except OSError as error:
            yield Unusable(str(path), StorageError(f"cannot be read: {error.strerror or error}"))


def _from_file(path: Path, level: str | None, broadening: Broadening | None) -> Iterator[Source]:
    from opalign.spectrum.formats import read_file

    found = read_file(path, level=level, broadening=broadening)
    stem = path.name.partition(".")[0]
    for spectrum in found.spectra:
        yield Source(
            f"{stem} {spectrum.level}" if len(found.spectra) > 1 else stem,
            spectrum,
            found.structure,
            found.metadata.get("direct_band_gap"),
            found.metadata.get("band_gap"),
            tuple(found.notes),
        )


def _from_table(
    path: Path, materials: Sequence[str], level: str | None
) -> Iterator[Source | Unusable]:
    from opalign.dataset.table import SpectraTable

    table = SpectraTable.open(path)
    if level is not None and level not in table.levels:
        raise DatasetError(
            f"there are no spectra of level {level!r}",
            where=str(path),
            expected=f"one of {', '.join(table.levels)}",
        )
    known = set(table.ids)
    for material in materials:
        if material not in known:
            yield Unusable(
                f"{path}, {material}",
                DatasetError("there is no such material in the table", where=str(path)),
            )
    chosen = table.select([one for one in materials if one in known]) if materials else table
    direct, fundamental = (_gaps(chosen, name) for name in (DIRECT_GAP, FUNDAMENTAL_GAP))
    levels = [level] if level else list(table.levels)
    for row in range(len(chosen)):
        name = f"{chosen.formulas[row]} {chosen.ids[row]}"
        for one in levels:
            try:
                yield Source(
                    f"{name} {one}" if len(levels) > 1 else name,
                    chosen.spectrum(row, one),
                    chosen.structure(row),
                    direct[row],
                    fundamental[row],
                )
            except OpalignError as error:
                yield Unusable(f"{path}, {chosen.ids[row]}", error)


def _gaps(table: SpectraTable, name: str) -> list[float | None]:
    if name not in table.schema.scalars:
        return [None] * len(table)
    return [float(value) for value in table.scalar(name)]
