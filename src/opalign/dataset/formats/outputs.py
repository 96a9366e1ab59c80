"""Outputs of VASP, Yambo, Quantum ESPRESSO or GPAW, or spectra in CSV or JSON, one a material.

They are what :func:`opalign.spectrum.formats.read_file` reads. A material is named after the folder
of such an output, whose file name says nothing (``MgO/vasprun.xml``), or after its own file
(``MgO.csv``). The first one that can be used settles what all have: levels, broadening, and whether
tensors or averages are kept.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opalign.dataset.formats.collect import Done, Log, usable_rows
from opalign.dataset.formats.report import TransferReport
from opalign.dataset.schema import (
    DIAGONAL,
    OFF_DIAGONAL,
    LevelInfo,
    ScalarInfo,
    TableSchema,
    spectrum_column,
)
from opalign.dataset.write import write_table
from opalign.errors import DatasetError, OpalignError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.formats import read_file
from opalign.spectrum.formats.registry import FORMATS, Format, recognise
from opalign.spectrum.formats.source import read_head
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

GRID = EnergyGrid(start=0.0, stop=20.0, num=801)
"""eV; where none is asked for."""

CODES = ("VASP", "Yambo", "Quantum ESPRESSO epsilon.x", "GPAW")
"""Their files are called alike for every material."""

SCALARS = {
    "direct_gap_eV": ("direct_band_gap", ScalarInfo(unit="eV", description="direct gap")),
    "band_gap_eV": ("band_gap", ScalarInfo(unit="eV", description="fundamental gap")),
}
"""Scalar of the table → key of a file's metadata, and what it is."""

NOTES_SHOWN = 8


def import_outputs(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    levels: Sequence[str] = (),
    grid: EnergyGrid | None = None,
    broadening: Broadening | None = None,
    licence: str = "",
    citation: str = "",
    done: Done | None = None,
) -> TransferReport:
    """Bring a folder of outputs, searched with its subfolders, or one output into a table.

    Parameters
    ----------
    levels
        Levels of theory to take. One alone also names what files hold that do not tell; without
        any, that of the first spectrum of the first file is taken.
    grid
        Energies of the table, within those of every file; 0 to 20 eV in 801 points without it.
    broadening
        What the spectra contain; without it, what the files tell.
    done
        Called with each id read.

    Raises
    ------
    DatasetError
        The source is missing, or gives nothing. An output that cannot be used is skipped and
        reported.
    """
    path, log = Path(source), Log()
    reader = _Reader(tuple(levels), grid or GRID, broadening)
    entries = ((str(files[0]), (name, files)) for name, files in _materials(path))
    rows = usable_rows(entries, reader.row, log, done)
    first = next(rows, None)
    if first is None:
        raise log.nothing([path], "outputs with a dielectric function: " + ", ".join(CODES))
    schema = TableSchema(
        grid=reader.grid,
        levels=reader.infos,
        scalars={name: info for name, (_, info) in SCALARS.items()},
        licence=licence,
        source="read from the outputs that the rows' provenance names",
        citation=citation,
    )
    table = write_table(out, schema, chain([first], rows))
    notes = [
        note + (f" ({count} files)" if count > 1 else "")
        for note, count in reader.notes.most_common(NOTES_SHOWN)
    ]
    return TransferReport(table, log.count, tuple(log.skipped), tuple(notes))


class _Reader:
    """Makes rows; ``infos`` is what the first one settled."""

    def __init__(
        self, levels: tuple[str, ...], grid: EnergyGrid, broadening: Broadening | None
    ) -> None:
        self.levels, self.grid, self.broadening = levels, grid, broadening
        self.infos: dict[str, LevelInfo] = {}
        self.notes: Counter[str] = Counter()

    def row(self, entry: tuple[str, list[Path]], where: str) -> dict[str, Any]:
        """Read the first of a material's files that can be used."""
        name, files = entry
        failure: OpalignError | None = None
        for path in files:
            try:
                return {"material_id": name, **self._read(path)}
            except OpalignError as error:
                failure = failure or error
        raise DatasetError(
            failure.problem if failure else "is empty",
            where=where,
            expected=failure.expected if failure else None,
        ) from failure

    def _read(self, path: Path) -> dict[str, Any]:
        alone = self.levels[0] if len(self.levels) == 1 else None
        found = read_file(path, level=alone, broadening=self.broadening)
        levels = self.levels or found.levels[:1]
        structure = found.structure or _structure_beside(path)
        row: dict[str, Any] = {"structure": structure}
        infos = {}
        for level in levels:
            spectrum = found.spectrum(level)
            settled = self.infos.get(level)
            # Of a structure from elsewhere, nobody knows that it lies in the tensor's frame.
            tensor = spectrum.is_tensor and found.structure is not None
            if settled is not None and settled.components == ("mean",):
                tensor = False
            spectrum = (spectrum if tensor else spectrum.isotropic()).resampled(self.grid)
            infos[level] = LevelInfo(
                broadening=spectrum.broadening,
                components=(*DIAGONAL, *OFF_DIAGONAL) if tensor else ("mean",),
                has_real=True,
            )
            if settled is not None and infos[level] != settled:
                raise DatasetError(
                    f"level {level} is {_words(infos[level])}", expected=_words(settled)
                )
            row |= _columns(level, spectrum)
            row["provenance"] = spectrum.provenance
        for name, (key, _) in SCALARS.items():
            value = found.metadata.get(key)
            row[name] = float(value) if isinstance(value, int | float) else None
        self.levels, self.infos = levels, infos
        self.notes.update(found.notes)
        return row


def _columns(level: str, spectrum: OpticalSpectrum) -> dict[str, Any]:
    if not spectrum.is_tensor:
        components = {"mean": spectrum.epsilon}
    else:
        place = {axis: number for number, axis in enumerate("xyz")}
        components = {
            pair: spectrum.epsilon[:, place[pair[0]], place[pair[1]]]
            for pair in (*DIAGONAL, *OFF_DIAGONAL)
        }
    return {
        spectrum_column(level, part, pair): getattr(values, attribute)  # type: ignore[arg-type]
        for pair, values in components.items()
        for part, attribute in (("re", "real"), ("im", "imag"))
    }


def _words(info: LevelInfo) -> str:
    kind = "an average" if info.components == ("mean",) else "a tensor"
    return f"{kind}, {info.broadening}"


def _materials(source: Path) -> Iterator[tuple[str, list[Path]]]:
    """Names of materials and their files, best first."""
    if not source.exists():
        raise DatasetError("does not exist", where=str(source), cure="check the path")
    if source.is_file():
        yield _name(source, recognise(source), source.parent), [source]
        return
    found: dict[str, list[tuple[int, Path]]] = {}
    for place, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(place, name) for name in names if not name.startswith(".")):
            entry = _format(path)
            if entry is not None:
                rank = FORMATS.index(entry)
                found.setdefault(_name(path, entry, source), []).append((rank, path))
    for name in sorted(found):
        yield name, [path for _, path in sorted(found[name])]


def _format(path: Path) -> Format | None:
    """Format of a file in a folder; YAML, JSON and CSV of other kinds are passed over."""
    try:
        head = read_head(path).replace("\r\n", "\n")
    except OpalignError:
        head = ""  # what is wrong with an output is said when it is read
    name = path.name.removesuffix(".gz")
    found = next((entry for entry in FORMATS if entry.has_content(head)), None)
    return found or next(
        (entry for entry in FORMATS if entry.name in CODES and entry.has_name(name)), None
    )


def _name(path: Path, entry: Format, source: Path) -> str:
    """Id of a material: of its folder, below ``source``, or with the name of its own file."""
    folders = path.parent.relative_to(source).parts
    if entry.name not in CODES:
        return "_".join((*folders, path.name.partition(".")[0]))
    return "_".join(folders) or path.resolve().parent.name


def _structure_beside(path: Path) -> Structure:
    """Structure of an output that has none: the file of its name, or the only one beside it."""
    from opalign.crystal.formats import format_of
    from opalign.crystal.read import read_structure

    beside = sorted(
        other
        for other in path.parent.iterdir()
        if other.is_file() and format_of(other) is not None and _format(other) is None
    )
    stem = path.name.partition(".")[0]
    named = [other for other in beside if other.name.partition(".")[0] == stem] or beside
    if len(named) != 1:
        raise DatasetError(
            f"has no structure, and {len(named) or 'no'} structure files stand beside it",
            expected="one, or one of the same name",
        )
    return read_structure(named[0])
