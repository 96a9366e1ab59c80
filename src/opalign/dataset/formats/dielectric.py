"""Import of static dielectric tensors of oxides: a table of scalars, without spectra.

Takahashi, Kumagai, Miyamoto, Mochizuki, Oba, Phys. Rev. Mater. 4, 103801 (2020): PBEsol(+U),
density functional perturbation theory.
"""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from opalign.dataset.columns import open_parquet, read_records, require_columns
from opalign.dataset.formats.report import TransferReport
from opalign.dataset.schema import DIAGONAL, OFF_DIAGONAL, ScalarInfo, TableSchema
from opalign.dataset.write import write_table
from opalign.errors import DatasetError

_AXES = {"xx": (0, 0), "yy": (1, 1), "zz": (2, 2), "xy": (0, 1), "yz": (1, 2), "xz": (0, 2)}
CONTRIBUTIONS = ("electronic", "ionic")

ASYMMETRY_TOLERANCE = 1e-2
"""Of the largest component. A dielectric tensor is symmetric; the published electronic ones are to
0.0003, one (mp-1079050) to 0.003 only. The symmetric part is kept; more than this is an error."""

ASYMMETRY_NOTED = 1e-3
"""Of the largest component; what exceeds this is reported."""


def import_dielectric(path: str | PathLike[str], out: str | PathLike[str]) -> TransferReport:
    """Bring ``oxide_dielectric.parquet`` into a table of scalars.

    Scalars: ``band_gap_eV``, ``is_direct`` (1 or 0), ``spacegroup_number``; for the ``electronic``
    and the ``ionic`` contribution to the static dielectric tensor ``dielectric_{contribution}``
    (trace/3) and ``dielectric_{contribution}_{xx|yy|zz|xy|yz|xz}``. The electronic one includes
    the vacuum's 1.

    Raises
    ------
    DatasetError
        A column is missing, or a tensor has not 9 numbers or is not symmetric.
    """
    source = Path(path)
    tensors = [f"epsilon_{contribution}" for contribution in CONTRIBUTIONS]
    scalars = ["band_gap_eV", "is_direct", "spacegroup_number"]
    wanted = ["material_id", "lattice", "species", "frac_coords", *scalars, *tensors]
    with open_parquet(source) as file:
        require_columns(file, wanted, source, "the table of oxide dielectric tensors")
        num_rows = file.metadata.num_rows
    notes: list[str] = []
    target = write_table(
        out, dielectric_schema(), _rows(read_records(source, wanted), source, notes)
    )
    return TransferReport(target, num_rows, notes=tuple(notes))


def dielectric_schema() -> TableSchema:
    """Return what a table of these tensors declares."""
    scalars = {
        "band_gap_eV": ScalarInfo(unit="eV", description="PBEsol(+U) gap"),
        "is_direct": ScalarInfo(description="1 if the gap is direct, 0 if not"),
        "spacegroup_number": ScalarInfo(),
    }
    for contribution in CONTRIBUTIONS:
        text = f"static dielectric tensor, {contribution} contribution"
        scalars[f"dielectric_{contribution}"] = ScalarInfo(description=f"{text}, trace/3")
        for axis in (*DIAGONAL, *OFF_DIAGONAL):
            scalars[f"dielectric_{contribution}_{axis}"] = ScalarInfo(description=f"{text}, {axis}")
    return TableSchema(
        scalars=scalars,
        licence="CC BY 4.0",
        source="A. Takahashi et al., relaxed structures and dielectric tensors of oxides",
        citation="Phys. Rev. Mater. 4, 103801 (2020), doi:10.1103/PhysRevMaterials.4.103801",
    )


def _rows(
    records: Iterator[dict[str, Any]], source: Path, notes: list[str]
) -> Iterator[dict[str, Any]]:
    for number, record in enumerate(records):
        row = {
            name: record[name]
            for name in ("material_id", "lattice", "species", "frac_coords", "band_gap_eV")
        }
        row["is_direct"] = None if record["is_direct"] is None else float(record["is_direct"])
        row["spacegroup_number"] = record["spacegroup_number"]
        for contribution in CONTRIBUTIONS:
            column = f"epsilon_{contribution}"
            place = f"{source}, row {number} ({record['material_id']}), column {column!r}"
            if record[column] is not None:
                row |= tensor_scalars(record[column], contribution, place, notes)
        yield row


def tensor_scalars(
    values: ArrayLike, contribution: str, place: str, notes: list[str]
) -> dict[str, float]:
    """Return the scalars of one tensor (9 numbers, row by row, or 3×3); noted if not symmetric."""
    tensor = np.asarray(values, dtype=np.float64)
    if tensor.size != 9:
        raise DatasetError(f"has {tensor.size} numbers", where=place, expected="9, row by row")
    tensor = tensor.reshape(3, 3)
    asymmetry = np.abs(tensor - tensor.T).max() / np.abs(tensor).max()
    if not asymmetry <= ASYMMETRY_TOLERANCE:
        raise DatasetError(
            "the tensor is not symmetric", where=place, cure="leave this material out"
        )
    if asymmetry > ASYMMETRY_NOTED:
        notes.append(f"{place}: symmetric to {asymmetry:.1g} only; its symmetric part was kept")
    tensor = (tensor + tensor.T) / 2
    name = f"dielectric_{contribution}"
    components = {f"{name}_{axis}": float(tensor[a, b]) for axis, (a, b) in _AXES.items()}
    return {name: float(np.trace(tensor)) / 3, **components}
