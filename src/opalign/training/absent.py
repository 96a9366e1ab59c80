"""Terms of the loss that nobody asked for, where a table holds nothing to learn them from."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from opalign.dataset.table import SpectraTable
from opalign.errors import DatasetError
from opalign.training.config import TrainingConfig


def without_absent_terms(config: TrainingConfig, console: Console) -> TrainingConfig:
    """Return the configuration without gap and ε₁(0) in the loss where a table lacks them.

    The console says so. A weight that the configuration sets itself stays, and that a table lacks
    what was asked for is an error where materials are loaded; so is a table that cannot be opened.
    """
    try:
        tables = [SpectraTable.open(p) for p in (*config.data.tables, *config.data.training_tables)]
    except DatasetError:
        return config
    loss, changes = config.loss, {}
    for table in tables:
        absent: dict[str, str] = {}
        if loss.band_gap_weight and not _has_gaps(table, loss.band_gap_column):
            absent["band_gap_weight"] = f"a column {loss.band_gap_column!r} with gaps"
        if loss.static_dielectric_weight and not _has_static_dielectric(table, config):
            absent["static_dielectric_weight"] = "Re ε from 0 eV on"
        for weight, lacking in absent.items():
            asked = {weight, "band_gap_column"} if weight == "band_gap_weight" else {weight}
            if weight in changes or asked & loss.model_fields_set:
                continue
            changes[weight] = 0.0
            console.print(
                f"{table.path.name} lacks {lacking}: loss.{weight} is set to 0", markup=False
            )
    if not changes:
        return config
    return config.model_copy(update={"loss": loss.model_copy(update=changes)})


def _has_gaps(table: SpectraTable, column: str) -> bool:
    return column in table.schema.scalars and not np.isnan(table.scalar(column)).all()


def _has_static_dielectric(table: SpectraTable, config: TrainingConfig) -> bool:
    grid = config.model.grid or table.schema.grid
    levels = [table.levels[name] for name in config.data.levels if name in table.levels]
    return grid is not None and grid.start == 0.0 and all(level.has_real for level in levels)
