"""Import of the project's own GPAW campaigns: spectra by IPA and RPA, gaps, projected densities.

Source columns: ``material_id, lattice, species, frac_coords``, ``{ipa|rpa}_{re|im}_{xx|yy|zz}``
on a uniform grid from 0 to 20 eV, scalars, ``k_grid``, and the projected density of states.
"""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opalign.dataset.columns import open_parquet, read_records, require_columns
from opalign.dataset.formats.report import TransferReport
from opalign.dataset.schema import DIAGONAL, LevelInfo, ListInfo, ScalarInfo, TableSchema
from opalign.dataset.write import write_table
from opalign.errors import DatasetError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

STOP_ENERGY = 20.0
"""eV; the campaign's spectra run from 0 to here."""

ETA = 0.002
"""eV; half width at half maximum of the campaign's Lorentzian."""

CLIP_TOLERANCE = 1e-3
"""Im ε between minus this and zero is noise of interpolation; it is set to zero and reported."""

_RESPONSE = {
    "ipa": "PBE, independent particles, no local fields",
    "rpa": "PBE, random-phase approximation, with local fields",
}
_SCALARS = {
    "band_gap_eV": ScalarInfo(unit="eV", description="PBE gap on the optics mesh"),
    "direct_gap_eV": ScalarInfo(unit="eV", description="PBE direct gap on the optics mesh"),
    "pbe0_shift_eV": ScalarInfo(
        unit="eV", description="change of the gap from PBE to PBE0, not self-consistent"
    ),
    "num_electrons": ScalarInfo(description="valence electrons in the cell"),
    "num_bands": ScalarInfo(description="bands in the response"),
    "num_sites": ScalarInfo(description="atoms in the cell"),
    "spacegroup_number": ScalarInfo(),
}
_LISTS = {
    "k_grid": ListInfo(description="Monkhorst–Pack mesh of the response"),
    "pdos_channels": ListInfo(kind="string", description="element-l names of pdos_per_eV"),
    "pdos_per_eV": ListInfo(
        unit="1/eV",
        description="projected densities of states, channel after channel, 401 points each, "
        "−10…10 eV from the valence-band maximum, Gaussian σ 0.1 eV",
    ),
}
_SPECTRA = [
    f"{level}_{part}_{axis}" for level in _RESPONSE for part in ("re", "im") for axis in DIAGONAL
]
_STRUCTURE = ["material_id", "lattice", "species", "frac_coords"]


def import_gpaw(path: str | PathLike[str], out: str | PathLike[str]) -> TransferReport:
    """Bring a campaign's ``spectra.parquet`` into a spectra table.

    Raises
    ------
    DatasetError
        A column is missing, a row is broken, or Im ε lies below ``-CLIP_TOLERANCE``.
    """
    source = Path(path)
    wanted = [*_STRUCTURE, *_SPECTRA, *_SCALARS, *_LISTS]
    with open_parquet(source) as file:
        require_columns(file, wanted, source, "a campaign's spectra.parquet")
        rows = file.metadata.num_rows
        if rows == 0:
            raise DatasetError("has no rows", where=str(source), cure="check the campaign")
        first = next(file.iter_batches(1, columns=[_SPECTRA[0]]))
        grid = EnergyGrid(start=0.0, stop=STOP_ENERGY, num=len(first.column(0)[0]))
        clipped: list[str] = []
    records = read_records(source, wanted)
    target = write_table(out, _schema(grid), _rows(records, clipped, source))
    notes = (f"small negative Im ε set to zero: {', '.join(clipped)}",) if clipped else ()
    return TransferReport(target, rows, notes=notes)


def _schema(grid: EnergyGrid) -> TableSchema:
    return TableSchema(
        grid=grid,
        levels={
            level: LevelInfo(
                broadening=Broadening("lorentzian", ETA),
                components=DIAGONAL,
                has_real=True,
                description=f"{description}; Im ε is zero below the direct gap",
            )
            for level, description in _RESPONSE.items()
        },
        scalars=_SCALARS,
        lists=_LISTS,
        licence="CC BY 4.0 (structures)",
        source="computed with GPAW; structures after the Materials Project",
        citation="A. Jain et al., APL Mater. 1, 011002 (2013), doi:10.1063/1.4812323",
    )


def _rows(
    records: Iterator[dict[str, Any]], clipped: list[str], source: Path
) -> Iterator[dict[str, Any]]:
    for number, record in enumerate(records):
        place = f"{source}, row {number} ({record['material_id']})"
        for name in _SPECTRA:
            if "_im_" in name and record[name] is not None:
                values = np.asarray(record[name], dtype=np.float64)
                record[name], changed = clip_negative(values, f"{place}, column {name!r}")
                if changed:
                    clipped.append(f"{record['material_id']} {name} ({changed} values)")
        mesh = "×".join(str(k) for k in record["k_grid"] or [])
        record["provenance"] = f"GPAW, PBE, {mesh} k points, {record['num_bands']} bands"
        yield record


def clip_negative(values: NDArray[np.float64], where: str) -> tuple[NDArray[np.float64], int]:
    """Set noise below zero to zero; return the values and how many were changed.

    Raises
    ------
    DatasetError
        A value lies below ``-CLIP_TOLERANCE`` and so is no noise.
    """
    negative = values < 0.0
    if (values < -CLIP_TOLERANCE).any():
        raise DatasetError(
            f"Im ε reaches {values.min():g}",
            where=where,
            expected=f"no value below {-CLIP_TOLERANCE:g}",
            cure="compute this material again; negative absorption is no noise of this size",
        )
    return np.where(negative, 0.0, values), int(negative.sum())
