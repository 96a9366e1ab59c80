"""Anything structure-like → pymatgen's Structure, or a refusal that says why."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from opalign.crystal.convert import to_structure
from opalign.crystal.formats import (
    MAXIMUM_SIZE,
    StructureFormat,
    format_of,
    open_text,
    supported_formats,
)
from opalign.errors import StructureError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core.structure import Structure

StructureLike: TypeAlias = "str | os.PathLike[str] | Structure | Atoms | Mapping[str, Any]"
"""A path, a pymatgen Structure, ASE Atoms, or a dict: pymatgen's or JARVIS's."""


def read_structure(source: StructureLike) -> Structure:
    """Read and check one structure.

    The result has the sites of the source in their order (of a CIF: in that of pymatgen, by
    electronegativity), one neutral element each (oxidation states are dropped, deuterium and
    tritium become hydrogen), no site properties, and is periodic in three directions; a slab or a
    chain must bring its vacuum in its cell. Atoms outside the cell stay there.

    Parameters
    ----------
    source
        Path to a file of one of :data:`opalign.crystal.formats.FORMATS` (with ``.gz`` or not), a
        pymatgen ``Structure``, ASE ``Atoms``, pymatgen's ``Structure.as_dict()`` or JARVIS's
        ``{lattice_mat, coords, elements, cartesian}``.

    Raises
    ------
    StructureError
        If there is not exactly one structure, or it cannot be used: the message names file and
        atom, says what was expected and what to do.
    """
    if not isinstance(source, str | os.PathLike):
        return to_structure(source)
    path = Path(source)
    found = _format_of_file(path)
    if path.stat().st_size > MAXIMUM_SIZE:
        raise StructureError(
            f"is {path.stat().st_size / 1e6:.0f} MB large",
            where=str(path),
            expected=f"one structure, of at most {MAXIMUM_SIZE // 1_000_000} MB",
            cure="cut it into one file per structure",
        )
    structures: list[Structure] = []
    for _, outcome in _frames(path, found, at_most=2):
        if isinstance(outcome, StructureError):
            raise outcome
        structures.append(outcome)
    if len(structures) > 1:
        raise StructureError(
            "holds several structures",
            where=str(path),
            expected="one",
            cure="predict all of them, or copy the one you want into a file of its own",
        )
    return structures[0]


def iterate_structures(
    path: str | os.PathLike[str],
) -> Iterator[tuple[str, Structure | StructureError]]:
    """Read all structures of a file or of a folder, one after the other.

    Parameters
    ----------
    path
        A file of one or many structures, or a folder, searched with its subfolders in sorted order.
        In a folder, hidden files and files whose names are not those of structures are left out.

    Returns
    -------
    Iterator of (id, structure or the error that tells why there is none). The id is the file's name
    without suffix, after its subfolder if any (``mp-1/POSCAR``), with the suffix where two files
    would share an id, and with ``#1``, ``#2`` … for files of several structures.

    Raises
    ------
    StructureError
        At once, if the path does not exist, is not a structure file, or the folder has none.
    """
    path = Path(path)
    # Not Path.is_dir, which fails on a path that cannot be reached.
    if not os.path.isdir(path):
        return _identified(path.name, _frames(path, _format_of_file(path)), {})
    files = _structure_files(path)
    if not files:
        raise StructureError(
            "no structure files in this folder",
            where=str(path),
            expected=supported_formats(),
            cure="give the folder that holds them, or a file",
        )
    return _iterate_folder(path, files)


def _iterate_folder(
    folder: Path, files: list[Path]
) -> Iterator[tuple[str, Structure | StructureError]]:
    names = [file.relative_to(folder).as_posix() for file in files]
    uses = Counter(_without_suffix(name) for name in names)
    for file, name in zip(files, names, strict=True):
        try:
            found = _format_of_file(file)
        except StructureError as error:
            yield from _identified(name, iter([(1, error)]), uses)
            continue
        yield from _identified(name, _frames(file, found), uses)


def _identified(
    name: str,
    frames: Iterator[tuple[int, Structure | StructureError]],
    uses: Mapping[str, int],
) -> Iterator[tuple[str, Structure | StructureError]]:
    """Give the frames of the file ``name`` their ids; the first waits until a second is known."""
    stem = _without_suffix(name)
    identifier = name if uses.get(stem, 1) > 1 else stem
    first = next(frames, None)
    if first is None:
        return
    second = next(frames, None)
    if second is None:
        yield identifier, first[1]
        return
    yield f"{identifier}#{first[0]}", first[1]
    yield f"{identifier}#{second[0]}", second[1]
    for number, outcome in frames:
        yield f"{identifier}#{number}", outcome


def _without_suffix(name: str) -> str:
    folder, _, file = name.rpartition("/")
    for ending in (".gz", Path(file.removesuffix(".gz")).suffix):
        # Names such as POSCAR.mp-1 carry their identity in what looks like a suffix.
        if ending and not file.lower().startswith(("poscar.", "contcar.")):
            file = file.removesuffix(ending)
    return f"{folder}/{file}" if folder else file


def _structure_files(folder: Path) -> list[Path]:
    files = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(file for file in files if format_of(file) is not None)


def _format_of_file(path: Path) -> StructureFormat:
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise StructureError("does not exist", where=str(path), cure="check the path") from error
    except OSError as error:
        raise StructureError(
            f"cannot be reached: {error.strerror or error}",
            where=str(path),
            cure="check the path and the right to read it",
        ) from error
    if path.is_dir():
        raise StructureError(
            "is a folder", where=str(path), expected="a file", cure="choose a file in it"
        )
    found = format_of(path)
    if found is None:
        raise StructureError(
            "is not known as a structure file by its name",
            where=str(path),
            expected=supported_formats(),
            cure="rename or convert it, for example with `ase convert`",
        )
    if size == 0:
        raise StructureError("is empty", where=str(path), expected=found.name)
    return found


def _frames(
    path: Path, found: StructureFormat, at_most: int | None = None
) -> Iterator[tuple[int, Structure | StructureError]]:
    """Yield number (from 1) and structure or error of every frame.

    A place where the file cannot be cut into frames is the last thing reported of it.
    """
    number = 0
    try:
        with open_text(path) as stream:
            for number, text in enumerate(found.split(stream), start=1):
                yield number, _parsed(path, found, number, text)
                if number == at_most:
                    return
    except StructureError as error:
        yield number + 1, _placed(error, str(path))
    except (OSError, EOFError, ValueError) as error:
        # Not text, not JSON, a broken archive, no right to read.
        yield number + 1, _unreadable(error, found, str(path))
    else:
        if number == 0:
            yield (
                1,
                StructureError("holds no structure", where=str(path), expected=found.name),
            )


def _parsed(
    path: Path, found: StructureFormat, number: int, text: str
) -> Structure | StructureError:
    where = f"{path}, structure {number}" if number > 1 else str(path)
    try:
        parsed = found.parse(text)
    except StructureError as error:
        return _placed(error, where)
    except Exception as error:
        # Parsers of text from anywhere raise whatever they stumble on, assertions included.
        return _unreadable(error, found, where)
    try:
        return to_structure(parsed, where)
    except StructureError as error:
        return error


def _placed(error: StructureError, where: str) -> StructureError:
    return StructureError(error.problem, where=where, expected=error.expected, cure=error.cure)


def _unreadable(error: Exception, found: StructureFormat, where: str) -> StructureError:
    said = f"{type(error).__name__}: {error}".removesuffix(": ")
    return StructureError(
        f"could not be read ({said[:300]})",
        where=where,
        expected=found.name,
        cure="check that the file is complete and that its name tells its format",
    )
