"""Files of a climb: one a job, whole or absent, each with the record of how it came about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from opalign.errors import StorageError
from opalign.files import atomic_path, write_text
from opalign.model.manifest import plain
from opalign.model.network import SpectrumModel
from opalign.training.spectra import SpectraSet

RECORD = "opalign.ladder"
CURE = "delete this file and call the same command again: it is then made anew"


def write_weights(path: Path, network: SpectrumModel, record: Mapping[str, Any]) -> Path:
    """Write the weights of a stage and its record."""
    tensors = {name: value.detach().contiguous() for name, value in network.state_dict().items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata={RECORD: _text(record)}))
    return path


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write_weights` wrote; StorageError if it cannot be."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            record: dict[str, Any] = json.loads(file.metadata()[RECORD])
            return {name: file.get_tensor(name) for name in file.keys()}, record  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"cannot be read: {error}", where=str(path), cure=CURE) from error


def write_trial(path: Path, record: Mapping[str, Any]) -> Path:
    """Write the record of a trial."""
    return write_text(path, _text(record) + "\n")


def write_fit(
    path: Path,
    ids: Sequence[str],
    output: Mapping[str, NDArray[np.float64]],
    level: int,
    record: Mapping[str, Any],
) -> Path:
    """Write what a network says of the materials ``ids`` at one of its levels, and the record.

    Parameters
    ----------
    output
        As of :func:`opalign.training.predictions.predict_materials`.
    level
        Place of the level among those of the network.
    """
    columns = {
        "material_id": pa.array(ids, pa.string()),
        "epsilon_imaginary": _lists(output["epsilon_imaginary"][:, level]),
        "epsilon_real": _lists(output["epsilon_real"][:, level]),
    }
    if "band_gap" in output:
        columns["band_gap"] = pa.array(output["band_gap"])
    table = pa.table(columns).replace_schema_metadata({RECORD: _text(record)})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)
    return path


def read_record(path: Path) -> dict[str, Any]:
    """Read the record of a job, whatever its stage; StorageError if it cannot be."""
    try:
        if path.suffix == ".safetensors":
            return read_weights(path)[1]
        if path.suffix == ".json":
            text = path.read_text(encoding="utf-8")
        else:
            text = pq.read_schema(path).metadata[RECORD.encode()].decode()
        record: dict[str, Any] = json.loads(text)
        return record
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise StorageError(f"cannot be read: {error}", where=str(path), cure=CURE) from error


def read_fit(path: Path, reference: SpectraSet) -> SpectraSet:
    """Read predictions; ``reference`` gives formulas, grid, level and broadening.

    Raises
    ------
    StorageError
        The file cannot be read, or is not of the materials and grid of the reference.
    """
    try:
        table = pq.read_table(path)
        ids = table.column("material_id").to_pylist()
        values = {
            name: np.stack(table.column(name).to_numpy()).astype(np.float64)
            for name in ("epsilon_imaginary", "epsilon_real")
        }
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise StorageError(f"cannot be read: {error}", where=str(path), cure=CURE) from error
    known = reference.select(ids)
    if values["epsilon_imaginary"].shape != known.imaginary.shape:
        raise StorageError("has another energy grid", where=str(path), cure=CURE)
    gap = np.full(len(ids), np.nan)
    if "band_gap" in table.column_names:
        gap = table.column("band_gap").to_numpy()
    return SpectraSet(
        level=known.level,
        grid=known.grid,
        broadening=known.broadening,
        ids=tuple(ids),
        formulas=known.formulas,
        # Convolution may leave a zero at minus a rounding error.
        imaginary=np.maximum(values["epsilon_imaginary"], 0.0),
        real=values["epsilon_real"],
        real_known=known.real_known,
        band_gap=gap,
    )


def _lists(values: NDArray[np.float64]) -> pa.Array:
    flat = pa.array(values.astype(np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _text(record: Mapping[str, Any]) -> str:
    return json.dumps(plain(dict(record), "record"), ensure_ascii=False)
