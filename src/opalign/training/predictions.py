"""What a trained network says of materials of a table, as a table with ids, and back as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from opalign.dataset.schema import LevelInfo, ScalarInfo, TableSchema, spectrum_column
from opalign.dataset.table import SpectraTable
from opalign.dataset.write import write_table
from opalign.model.config import DeltaHeadConfig, PhysicalHeadConfig, VectorHeadConfig
from opalign.model.ensemble import Network
from opalign.spectrum.units import LOG_ABSORPTION_FLOOR
from opalign.training.data import Materials, batch_of

PREDICTED_GAP = "band_gap_eV"


def predict_materials(
    network: Network, materials: Materials, batch_size: int = 32
) -> dict[str, NDArray[np.float64]]:
    """Everything the network gives for each material, rows first, in evaluation mode.

    ``features`` (rows, D); ``epsilon_imaginary``, ``epsilon_real`` (rows, L, n) and ``band_gap``
    (rows,), or ``target`` (rows, L, n).
    """
    was_training = network.training
    network.eval()
    parts: dict[str, list[NDArray[np.float64]]] = {}
    device = next(network.parameters()).device
    with torch.inference_mode():
        for first in range(0, len(materials), batch_size):
            rows = range(first, min(first + batch_size, len(materials)))
            graph = batch_of(materials, rows)["graph"]
            output = network({name: value.to(device) for name, value in graph.items()})
            for name, value in output.items():
                if isinstance(value, torch.Tensor):
                    parts.setdefault(name, []).append(value.double().cpu().numpy())
    network.train(was_training)
    return {name: np.concatenate(values) for name, values in parts.items()}


def prediction_schema(network: Network, licence: str, source: str) -> TableSchema:
    """Return the schema of a table of predictions of this network."""
    config = network.config
    physical = isinstance(config.head, PhysicalHeadConfig)
    has_real = physical or isinstance(config.head, DeltaHeadConfig)
    logarithmic = (
        isinstance(config.head, VectorHeadConfig) and config.head.target == "log_absorption"
    )
    info = LevelInfo(
        broadening=config.broadening,
        has_real=has_real,
        quantity="log_absorption" if logarithmic else "epsilon",
        floor=LOG_ABSORPTION_FLOOR if logarithmic else None,
        description="predicted",
    )
    scalars = {}
    if physical:
        scalars[PREDICTED_GAP] = ScalarInfo(unit="eV", description="predicted gap")
    return TableSchema(
        grid=config.grid,
        levels=dict.fromkeys(config.levels, info),
        scalars=scalars,
        licence=licence,
        source=source,
    )


def write_predictions(
    path: Path,
    network: Network,
    materials: Materials,
    tables: Sequence[SpectraTable],
    source: str,
) -> Path:
    """Write a spectra table of predictions, with the structures and ids of the materials.

    Negative values of Im ε, which a free vector may give, are set to zero: no passive material
    has them.
    """
    licence = "; ".join(dict.fromkeys(table.licence for table in tables if table.licence))
    schema = prediction_schema(network, licence, source)
    output = predict_materials(network, materials)
    home = {m: (table, row) for table in tables for row, m in enumerate(table.ids)}

    def rows() -> Iterator[dict[str, Any]]:
        for index, material_id in enumerate(materials.ids):
            table, row = home[material_id]
            record: dict[str, Any] = {
                "material_id": material_id,
                "structure": table.structure(row),
            }
            for number, level in enumerate(network.config.levels):
                if "band_gap" in output:
                    record[PREDICTED_GAP] = float(output["band_gap"][index])
                if "epsilon_real" in output:
                    record[spectrum_column(level, "re", "mean")] = output["epsilon_real"][
                        index, number
                    ]
                    record[spectrum_column(level, "im", "mean")] = output["epsilon_imaginary"][
                        index, number
                    ]
                elif schema.levels[level].quantity == "log_absorption":
                    record[spectrum_column(level, "logalpha", "mean")] = np.maximum(
                        output["target"][index, number], 2.0
                    )
                else:
                    record[spectrum_column(level, "im", "mean")] = np.maximum(
                        output["target"][index, number], 0.0
                    )
            yield record

    return write_table(path, schema, rows())
