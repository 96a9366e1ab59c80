"""Spectra of OptiMetal: interband dielectric functions and Drude frequencies of intermetallics.

- **JSON**, pymatgen's computed entries; in ``data`` stand ``mat_id``, ``e_above_hull`` (eV),
  ``drude_freq`` (eV, one a direction) and ``eps_inter_re``, ``eps_inter_im``: rows of photon
  energy (eV) and the value along each direction.
- **HDF5** (extra ``hdf5``), one group a material with ``mat_id``, ``lattice`` (3×3, Å),
  ``atomic_number``, ``position`` (N×3, Å, Cartesian), ``drude`` (eV, root mean square over the
  directions), ``eps`` (2,001 complex values, averaged over the directions), ``e_above_hull``.

(``optimetal/data/preprocess.py`` and ``transform.py`` in github.com/MaxGrossmann/optimetal.) The
whole ε is that of the table plus ε_intra(E) = −ω_D²/(E² + iγE), with γ = 0.1 eV there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opalign.crystal.convert import to_structure
from opalign.dataset.formats.collect import Done, Log, usable_rows
from opalign.dataset.formats.entry_values import (
    array_of,
    id_of,
    mapping_of,
    number_of,
    structure_of,
)
from opalign.dataset.formats.gpaw import clip_negative
from opalign.dataset.formats.json_entries import Entry, iterate_entries, json_files
from opalign.dataset.formats.optimate import GRID
from opalign.dataset.formats.report import TransferReport
from opalign.dataset.pickles import refuse_pickle
from opalign.dataset.schema import LevelInfo, ScalarInfo, TableSchema
from opalign.dataset.write import write_table
from opalign.errors import DatasetError, MissingExtraError, StructureError

LEVEL = "ipa_interband"
HDF5_SUFFIXES = (".h5", ".hdf5")
#: Atoms of a cell; the largest of the set has 10.
MOST_ATOMS = 1000
_ENERGY_TOLERANCE = 1e-3  # of a step


def import_optimetal(
    sources: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    licence: str = "",
    source: str = "",
    citation: str = "",
    done: Done | None = None,
) -> TransferReport:
    """Bring JSON or HDF5 files, and folders of them, into a table of averages over the directions.

    Scalars: ``drude_frequency_eV`` (root mean square over the directions) and
    ``energy_above_hull_eV``. ``done`` is called with each id read.

    Raises
    ------
    DatasetError
        A source is a pickle, missing or no HDF5, or nothing is left. An entry that cannot be used
        is skipped and reported.
    MissingExtraError
        There are HDF5 files, and h5py is not installed.
    """
    paths = [Path(path) for path in sources]
    log, clipped = Log(), []

    def make_row(entry: Any, where: str) -> dict[str, Any]:
        row = _hdf5_row(entry, where) if isinstance(entry, _Group) else _json_row(entry, where)
        row[f"{LEVEL}_im_mean"], changed = clip_negative(row[f"{LEVEL}_im_mean"], where)
        if changed:
            clipped.append(row["material_id"])
        return row

    rows = usable_rows(_entries(paths), make_row, log, done)
    first = next(rows, None)
    if first is None:
        raise log.nothing(paths, "JSON or HDF5 files of OptiMetal")
    table = write_table(out, _schema(licence, source, citation), chain([first], rows))
    notes = [
        "the spectra are the interband part alone: metals have a Drude part besides, from the "
        "scalar drude_frequency_eV"
    ]
    if clipped:
        notes.append(f"small negative Im ε set to zero in {len(clipped)} spectra")
    return TransferReport(table, log.count, tuple(log.skipped), tuple(notes))


def _schema(licence: str, source: str, citation: str) -> TableSchema:
    return TableSchema(
        grid=GRID,
        levels={
            LEVEL: LevelInfo(
                has_real=True,
                description="interband part, independent particles, without the Drude part; its "
                "broadening is not stated by the authors and is not none",
            )
        },
        scalars={
            "drude_frequency_eV": ScalarInfo(
                unit="eV", description="root mean square over the directions"
            ),
            "energy_above_hull_eV": ScalarInfo(unit="eV", description="per atom"),
        },
        licence=licence,
        source=source or "OptiMetal",
        citation=citation,
    )


class _Group(dict[str, Any]):
    """Values of one group of an HDF5 file by name."""


def _entries(paths: list[Path]) -> Iterator[Entry]:
    for path in json_files(paths):
        yield from iterate_entries(path)
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in inside:
            if file.is_file() and file.suffix.lower() in HDF5_SUFFIXES:
                yield from _hdf5_entries(file)


def _json_row(entry: Any, where: str) -> dict[str, Any]:
    data = mapping_of(entry, "data", where)
    spectra = {}
    for part in ("re", "im"):
        name = f"eps_inter_{part}"
        table = array_of(data.get(name), (GRID.num, None), name, where)
        if table.shape[1] < 2:
            raise DatasetError(f"{name} has no values beside the energies", where=where)
        if np.abs(table[:, 0] - GRID.values).max() > _ENERGY_TOLERANCE * GRID.step:
            raise DatasetError(
                f"the energies of {name} are not those of the set",
                where=where,
                expected=f"{GRID.num:,} from {GRID.start:g} to {GRID.stop:g} eV, evenly spaced",
            )
        spectra[part] = table[:, 1:].mean(axis=1)
    drude = array_of(data.get("drude_freq"), (None,), "drude_freq", where)
    return {
        "material_id": id_of(data, "mat_id", where),
        "structure": structure_of(entry, where),
        f"{LEVEL}_re_mean": spectra["re"],
        f"{LEVEL}_im_mean": spectra["im"],
        "drude_frequency_eV": float(np.sqrt(np.mean(drude**2))) if drude.size else None,
        "energy_above_hull_eV": number_of(data, "e_above_hull"),
    }


def _hdf5_entries(path: Path) -> Iterator[Entry]:
    refuse_pickle(path)
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError(
            "HDF5 files need h5py, which is not installed",
            where=str(path),
            cure="pip install 'opalign[hdf5]'",
        ) from error
    try:
        with h5py.File(path, "r") as file:
            for name in file:
                where = f"{path}, group {name!r}"
                try:
                    yield where, _group(h5py, file, name)
                except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
                    yield where, DatasetError(f"cannot be read: {error}", where=where)
    except OSError as error:
        yield str(path), DatasetError(f"cannot be read as HDF5: {error}", where=str(path))


def _group(h5py: Any, file: Any, name: str) -> _Group:
    """Read the values that are wanted, after a look at what they claim to be.

    Links that lead out of the file are not followed, and nothing is read that is larger than it
    can be.
    """
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError("is a link")
    group, values = file[name], _Group()
    for key in ("mat_id", "lattice", "atomic_number", "position", "drude", "eps", "e_above_hull"):
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise ValueError(f"has no {key!r}, or a link")
        data = group[key]
        if data.size is None or data.size > max(GRID.num, 3 * MOST_ATOMS):
            raise ValueError(f"{key!r} is larger than it can be")
        if data.external or data.is_virtual:
            raise ValueError(f"{key!r} lies in another file")
        values[key] = data[()]
    return values


def _hdf5_row(group: _Group, where: str) -> dict[str, Any]:
    epsilon = np.asarray(group["eps"], dtype=np.complex128)
    if epsilon.shape != (GRID.num,) or not np.isfinite(epsilon).all():
        raise DatasetError(
            f"eps has shape {epsilon.shape}, or is NaN or infinite",
            where=where,
            expected=f"{GRID.num:,} values",
        )
    material_id = group["mat_id"]
    text = material_id.decode("utf-8", "replace") if isinstance(material_id, bytes) else material_id
    return {
        "material_id": id_of({"mat_id": text}, "mat_id", where),
        "structure": _structure(group, where),
        f"{LEVEL}_re_mean": epsilon.real,
        f"{LEVEL}_im_mean": epsilon.imag,
        "drude_frequency_eV": _number(group, "drude"),
        "energy_above_hull_eV": _number(group, "e_above_hull"),
    }


def _structure(group: Mapping[str, Any], where: str) -> Any:
    from ase.data import chemical_symbols

    numbers: NDArray = np.asarray(group["atomic_number"])
    known = numbers.ndim == 1 and numbers.dtype.kind in "iu"
    if not known or not ((numbers > 0) & (numbers < len(chemical_symbols))).all():
        raise DatasetError("atomic_number holds no atomic numbers", where=where)
    try:
        return to_structure(
            {
                "lattice_mat": group["lattice"],
                "coords": group["position"],
                "elements": [chemical_symbols[number] for number in numbers],
                "cartesian": True,
            },
            where,
        )
    except StructureError as error:
        raise DatasetError(error.problem, where=where) from error


def _number(group: Mapping[str, Any], key: str) -> float | None:
    value = np.asarray(group[key])
    return number_of({key: value.item()}, key) if value.size == 1 else None
