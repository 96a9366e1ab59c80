"""What a user hands over, files and folders and structures in any mix, as one stream."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opalign.errors import StructureError
from opalign.prediction.result import Failure

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

    from opalign.crystal.read import StructureLike

#: Characters of an id. File names hold 255 bytes, of which one character may take four.
_LONGEST_ID = 56
_UNFIT_FOR_FILE_NAMES = re.compile(r"[^\w.+=()#-]+")


@dataclass(frozen=True, eq=False)
class Source:
    """A structure that was read, with an id that is unique in its run and fit for a file name."""

    id: str
    file: str
    structure: Structure


class UniqueIds:
    """Hands out ids that differ from all before, on file systems that ignore case as well."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def __call__(self, wanted: str) -> str:
        """Return ``wanted``, made fit for a file name, with ``-2``, ``-3``, … if it was taken."""
        stem = _UNFIT_FOR_FILE_NAMES.sub("_", wanted)[:_LONGEST_ID].lstrip(".") or "structure"
        candidate, number = stem, 1
        while candidate.lower() in self._taken:
            number += 1
            candidate = f"{stem}-{number}"
        self._taken.add(candidate.lower())
        return candidate


def read_sources(
    structures: StructureLike | Iterable[StructureLike],
) -> Iterator[Source | Failure]:
    """Read structures one after the other; what cannot be used comes as a Failure with the reason.

    Parameters
    ----------
    structures
        One structure-like object or several: files of one or many structures, folders, pymatgen or
        ASE structures, dicts. Structures in memory are called by their formula.
    """
    from opalign.crystal.read import iterate_structures, read_structure

    unique = UniqueIds()
    for source in _as_iterable(structures):
        if not isinstance(source, str | os.PathLike):
            try:
                structure = read_structure(source)
            except StructureError as error:
                yield Failure(type(source).__name__, _reason(error))
                continue
            name = unique(structure.composition.reduced_formula)
            yield Source(name, name, structure)
            continue
        path = Path(source)
        try:
            found = iterate_structures(path)
        except StructureError as error:
            yield Failure(str(path), _reason(error))
            continue
        files = _files_by_id(path) if os.path.isdir(path) else {}
        for name, outcome in found:
            file = files.get(name.rpartition("#")[0], files.get(name, str(path)))
            if isinstance(outcome, StructureError):
                yield Failure(outcome.where or file, _reason(outcome))
            else:
                yield Source(unique(name), file, outcome)


def _as_iterable(structures: Any) -> Iterable[Any]:
    """Tell one structure from many: paths, mappings and structures are iterable themselves."""
    one = isinstance(structures, str | os.PathLike | Mapping) or hasattr(structures, "cell")
    return [structures] if one or hasattr(structures, "lattice") else structures


def _files_by_id(folder: Path) -> dict[str, str]:
    """Files of a folder by the ids of their structures, with the suffix and without."""
    files: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        files[name] = str(path)
        bare = name.removesuffix(".gz")
        # Where two files share an id, it is the name with the suffix.
        files.setdefault(bare.removesuffix(Path(bare).suffix), str(path))
    return files


def failure_of(error: StructureError, file: str) -> Failure:
    """Return the failure that this error of the structure from ``file`` makes."""
    return Failure(file, _reason(error))


def _reason(error: StructureError) -> str:
    """Return the error in one line, without its place."""
    parts = [error.problem]
    if error.expected:
        parts.append(f"expected {error.expected}")
    if error.cure:
        parts.append(f"try: {error.cure}")
    return " ".join("; ".join(parts).split())
