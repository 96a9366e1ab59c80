"""The training materials as a model sees them: what new materials are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opalign.errors import CheckpointError

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData

#: Numbers in a column beyond which a file of references cannot be what it claims to be: a million
#: materials with a thousand features each. Compression makes the size of the file no guide.
_MOST_VALUES = 1 << 30


@dataclass(frozen=True, eq=False)
class Reference:
    """Ids, reduced formulas and pooled features of M materials."""

    ids: tuple[str, ...]
    formulas: tuple[str, ...]
    features: NDArray[np.float32]
    """(M, D), the model's ``features``."""

    def __len__(self) -> int:
        return len(self.ids)

    def check(self, size: int, where: str) -> None:
        """Raise CheckpointError unless features are finite, (M, ``size``), one row per id."""
        shape = np.shape(self.features)
        if not (len(self.ids) == len(self.formulas) and shape == (len(self.ids), size)):
            raise CheckpointError(
                f"{len(self.ids)} ids, {len(self.formulas)} formulas and features of shape {shape} "
                "do not make a reference of this model",
                where=where,
                expected=f"one id, one formula and {size} features for every material",
            )
        if not np.isfinite(self.features).all():
            row = int(np.argmax(~np.isfinite(self.features).all(axis=1)))
            raise CheckpointError(
                f"the features of {self.ids[row]} are not finite",
                where=where,
                cure="leave this material out, or train again if many are affected",
            )


def write_reference(path: Path, reference: Reference) -> None:
    """Write ``material_id``, ``formula`` and ``features`` (a list of D floats) as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from opalign.arrow import to_array

    features = np.ascontiguousarray(reference.features, dtype=np.float32)
    columns = {
        "material_id": to_array(reference.ids, pa.string()),
        "formula": to_array(reference.formulas, pa.string()),
        "features": pa.FixedSizeListArray.from_arrays(
            to_array(features.reshape(-1), pa.float32()), features.shape[1]
        ),
    }
    pq.write_table(pa.table(columns), path)


def read_reference(path: Path, size: int) -> Reference:
    """Read a reference of a model with ``size`` pooled features.

    Raises
    ------
    CheckpointError
        If the file is no such table, or holds more than any training set could.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from opalign.arrow import to_numpy

    features_type = pa.list_(pa.float32(), size)
    wanted = {"material_id": pa.string(), "formula": pa.string(), "features": features_type}
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            if dict(zip(schema.names, schema.types, strict=True)) != wanted:
                raise CheckpointError(
                    f"the table of training materials has the columns {', '.join(schema.names)} "
                    f"of types {', '.join(map(str, schema.types))}",
                    where=str(path),
                    expected=", ".join(f"{name} ({kind})" for name, kind in wanted.items()),
                )
            _check_amount(path, file.metadata)
            ids, formulas, features = (column.combine_chunks() for column in file.read().columns)
        values = features.flatten()
        if any(column.null_count for column in (ids, formulas, features, values)):
            raise CheckpointError("the table of training materials has gaps", where=str(path))
        reference = Reference(
            ids=tuple(ids.to_pylist()),
            formulas=tuple(formulas.to_pylist()),
            features=to_numpy(values).reshape(len(ids), size),
        )
    except (pa.ArrowException, OSError) as error:
        raise CheckpointError(
            f"the table of training materials cannot be read: {error}",
            where=str(path),
            cure="copy the checkpoint again",
        ) from error
    reference.check(size, str(path))
    return reference


def _check_amount(path: Path, metadata: FileMetaData) -> None:
    """Refuse a table by what its columns claim to hold, before any of it is unpacked."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    values = sum(chunk.num_values for chunk in chunks)
    size = sum(chunk.total_uncompressed_size for chunk in chunks)
    if max(values, size // 4) > _MOST_VALUES:
        raise CheckpointError(
            f"the table of training materials claims {values} values in {size} bytes",
            where=str(path),
            expected=f"at most {_MOST_VALUES} values",
        )
