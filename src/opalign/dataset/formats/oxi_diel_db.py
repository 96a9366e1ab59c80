"""Static dielectric tensors of oxides as published: one JSON a material.

Each holds ``mp_id``, ``structure`` (pymatgen), ``spacegroup``, ``band_gap`` (eV), ``is_direct`` and
``dielectric`` with ``epsilon_electronic`` and ``epsilon_ionic``, 3×3 (README of
github.com/takahashi-akira-36m/oxi_diel_db). The table is that of
:mod:`opalign.dataset.formats.dielectric`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from opalign.dataset.formats.collect import Done, Log, usable_rows
from opalign.dataset.formats.dielectric import CONTRIBUTIONS, dielectric_schema, tensor_scalars
from opalign.dataset.formats.entry_values import (
    array_of,
    id_of,
    mapping_of,
    number_of,
    structure_of,
)
from opalign.dataset.formats.json_entries import iterate_entries, json_files
from opalign.dataset.formats.report import TransferReport
from opalign.dataset.write import write_table


def import_oxi_diel_db(
    source: str | os.PathLike[str], out: str | os.PathLike[str], *, done: Done | None = None
) -> TransferReport:
    """Bring a folder of these files, or one of them, into a table of scalars.

    ``done`` is called with each id read.

    Raises
    ------
    DatasetError
        The source is missing, or gives nothing. A file that cannot be used is skipped and reported.
    """
    path, log = Path(source), Log()
    notes: list[str] = []

    def make_row(entry: Any, where: str) -> dict[str, Any]:
        tensors = mapping_of(entry, "dielectric", where)
        row: dict[str, Any] = {
            "material_id": id_of(entry, "mp_id", where),
            "structure": structure_of(entry, where),
            "band_gap_eV": number_of(entry, "band_gap"),
            "spacegroup_number": number_of(mapping_of(entry, "spacegroup", where), "number"),
        }
        is_direct = entry.get("is_direct")
        row["is_direct"] = float(is_direct) if isinstance(is_direct, bool) else None
        for contribution in CONTRIBUTIONS:
            name = f"epsilon_{contribution}"
            if tensors.get(name) is not None:
                tensor = array_of(tensors[name], (3, 3), name, where)
                row |= tensor_scalars(tensor, contribution, where, notes)
        return row

    entries = (entry for file in json_files([path]) for entry in iterate_entries(file))
    rows = list(usable_rows(entries, make_row, log, done))
    if not rows:
        raise log.nothing([path], "JSON files of dielectric tensors")
    table = write_table(out, dielectric_schema(), rows)
    return TransferReport(table, log.count, tuple(log.skipped), tuple(notes))
