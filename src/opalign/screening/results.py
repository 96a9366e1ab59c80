"""The output: a Parquet dataset in numbered parts, each whole or absent, each saying what it is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

import opalign
from opalign.files import atomic_path

if TYPE_CHECKING:
    from opalign.prediction.predictor import Predictor
    from opalign.screening.config import ScreenConfig
    from opalign.screening.quantities import Quantity

PARTS = "parts"
#: Key of the schema's metadata, JSON.
METADATA_KEY = b"opalign_screen"
FEATURES = "features"

Status: TypeAlias = Literal["ok", "filtered", "failed"]
STATUSES: tuple[Status, ...] = ("ok", "filtered", "failed")


class PartRecord(BaseModel):
    """What the footer of a part says of it."""

    model_config = ConfigDict(frozen=True)

    part: int
    first_row: int
    rows: int
    counts: dict[str, int]
    key: str
    """Of the configuration, the input and the model that made it."""
    columns: dict[str, dict[str, str]]
    """Unit and description of each quantity."""
    about: dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """Columns of the output."""

    quantities: Mapping[str, Mapping[str, str]]
    """Name → unit and description."""
    lists: Mapping[str, str]
    """Name of a column of lists → where it comes from in BatchArrays."""
    about: Mapping[str, Any]
    """Model, level, grid and broadening, for the footer."""

    @classmethod
    def of(
        cls,
        config: ScreenConfig,
        predictor: Predictor,
        level: str,
        quantities: Sequence[Quantity],
    ) -> Layout:
        """Return the columns that a configuration asks of a model."""
        lists = {}
        if config.diversity == "features":
            lists[FEATURES] = "features"
        if config.spectra:
            lists[f"{level}_re_mean"] = "epsilon_real"
            lists[f"{level}_im_mean"] = "epsilon_imaginary"
        model = predictor.config
        return cls(
            {one.name: {"unit": one.unit, "description": one.description} for one in quantities},
            lists,
            {
                "model": predictor.name,
                "level": level,
                "grid": model.grid.model_dump(mode="json"),
                "broadening": str(model.broadening),
                "opalign": opalign.__version__,
            },
        )

    @property
    def schema(self) -> pa.Schema:
        """Of every part."""
        return pa.schema(
            [
                pa.field("row", pa.int64(), nullable=False),
                pa.field("material_id", pa.string(), nullable=False),
                ("formula", pa.string()),
                ("num_sites", pa.int32()),
                pa.field("status", pa.string(), nullable=False),
                ("reason", pa.string()),
                *((name, pa.float64()) for name in self.quantities),
                *((name, pa.list_(pa.float32())) for name in self.lists),
            ]
        )


def part_path(folder: Path, part: int) -> Path:
    """Path of a part of the output in ``folder``."""
    return folder / PARTS / f"part-{part:06d}.parquet"


def write_part(
    folder: Path, part: int, batches: Sequence[pa.RecordBatch], layout: Layout, key: str
) -> PartRecord:
    """Write a part, atomically: it appears under its name when it is whole and on the disk.

    Raises
    ------
    StorageError
        If it cannot be written; what is there already stays.
    """
    table = pa.Table.from_batches(batches, schema=layout.schema)
    counts = Counter(table.column("status").to_pylist())
    record = PartRecord(
        part=part,
        first_row=table.column("row")[0].as_py(),
        rows=len(table),
        counts={status: counts[status] for status in STATUSES},
        key=key,
        columns={name: dict(info) for name, info in layout.quantities.items()},
        about=dict(layout.about),
    )
    table = table.replace_schema_metadata({METADATA_KEY: record.model_dump_json()})
    with atomic_path(part_path(folder, part)) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return record


def read_record(path: Path) -> PartRecord | None:
    """Return what a part says of itself, None if it is damaged or none of ours."""
    try:
        with pq.ParquetFile(path) as file:
            content = json.loads((file.schema_arrow.metadata or {})[METADATA_KEY])
            record = PartRecord.model_validate(content)
            whole = file.metadata.num_rows == record.rows
    except (pa.ArrowException, OSError, KeyError, ValueError, ValidationError):
        return None
    return record if whole else None


def finished_parts(folder: Path, key: str) -> Iterator[PartRecord]:
    """Yield the records of all sound parts that were made with this ``key``, in their order."""
    for path in sorted((folder / PARTS).glob("part-*.parquet")):
        record = read_record(path)
        if record is not None and record.key == key and path == part_path(folder, record.part):
            yield record


def failed_rows(chunk: pa.RecordBatch, layout: Layout, reason: str) -> pa.RecordBatch:
    """Return the rows of a chunk that could not be screened at all, each with its own reason."""
    count = len(chunk)
    problems = chunk.column("problem").to_pylist()
    given = {
        "row": chunk.column("row"),
        "material_id": chunk.column("material_id"),
        "status": pa.array(["failed"] * count, pa.string()),
        "reason": pa.array([problem or reason for problem in problems], pa.string()),
    }
    return pa.RecordBatch.from_arrays(
        [given.get(field.name, pa.nulls(count, field.type)) for field in layout.schema],
        schema=layout.schema,
    )
