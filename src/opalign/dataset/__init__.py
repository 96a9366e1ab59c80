"""Tables of structures and spectra, their splits, and the formats of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opalign.lazy import lazy_names

if TYPE_CHECKING:
    from opalign.dataset.formula import reduced_formula
    from opalign.dataset.schema import LevelInfo, ScalarInfo, TableSchema
    from opalign.dataset.split import Split, kfold_by_formula, split_by_formula, split_from_ids
    from opalign.dataset.table import SpectraTable
    from opalign.dataset.write import concatenate, write_table

_HOMES = {
    "LevelInfo": "schema",
    "ScalarInfo": "schema",
    "SpectraTable": "table",
    "Split": "split",
    "TableSchema": "schema",
    "concatenate": "write",
    "kfold_by_formula": "split",
    "reduced_formula": "formula",
    "split_by_formula": "split",
    "split_from_ids": "split",
    "write_table": "write",
}

__all__ = [
    "LevelInfo",
    "ScalarInfo",
    "SpectraTable",
    "Split",
    "TableSchema",
    "concatenate",
    "kfold_by_formula",
    "reduced_formula",
    "split_by_formula",
    "split_from_ids",
    "write_table",
]

# The command line starts without PyArrow.
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
