"""Between Arrow list columns and NumPy arrays, without a Python loop over values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from opalign.arrow import to_numpy
from opalign.errors import DatasetError


def list_lengths(column: pa.Array) -> NDArray[np.int64]:
    """Length of the list in each row, (rows,); −1 where the list is null."""
    # By way of NaN: the −1 that pyarrow would fill in is a scalar, for which it imports pandas.
    lengths = to_numpy(pc.list_value_length(column).cast(pa.float64()))
    return np.nan_to_num(lengths, nan=-1.0).astype(np.int64)


def list_values(column: pa.Array) -> NDArray[np.float64]:
    """All numbers of all lists, one after the other; NaN where a number is null."""
    return np.asarray(to_numpy(column.flatten()), dtype=np.float64)


def list_matrix(column: pa.Array, width: int) -> NDArray[np.float64] | None:
    """Return the lists as a matrix (rows, width), or None if a list has another length."""
    if not np.array_equal(list_lengths(column), np.full(len(column), width)):
        return None
    return list_values(column).reshape(len(column), width)


@contextmanager
def open_parquet(path: Path, **options: Any) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; whatever is wrong with it, then or while reading, is a DatasetError.

    ``options`` are those of :class:`pyarrow.parquet.ParquetFile`.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DatasetError(
            f"cannot be opened: {error.strerror}", where=str(path), cure="check the path"
        ) from error
    if path.is_dir() or size == 0:
        raise DatasetError(
            "is a folder" if path.is_dir() else "is empty (0 bytes)",
            where=str(path),
            expected="a Parquet file",
            cure="give the path of a spectra table, or write or download it again",
        )
    try:
        with pq.ParquetFile(path, **options) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(
            f"cannot be read as Parquet: {first_line}",
            where=str(path),
            expected="a whole Parquet file",
            cure="the file is cut off, damaged or of another format: write or download it again",
        ) from error


def read_records(path: Path, columns: list[str], batch_rows: int = 256) -> Iterator[dict[str, Any]]:
    """Stream the rows of a Parquet file as dictionaries.

    What is wrong with the file shows as a DatasetError here, and cannot be taken for trouble of
    whoever writes what is read.
    """
    with open_parquet(path) as file:
        for batch in file.iter_batches(batch_rows, columns=columns):
            yield from batch.to_pylist()


def require_columns(file: pq.ParquetFile, names: list[str], path: Path, what: str) -> None:
    """Raise DatasetError, naming them, if a source file lacks columns that its format has."""
    missing = [name for name in names if name not in file.schema_arrow.names]
    if missing:
        raise DatasetError(
            f"column {', '.join(map(repr, missing))} is missing",
            where=str(path),
            expected=what,
            cure="check that this is the right file and format",
        )
