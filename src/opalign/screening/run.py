"""A screening from start to end: one row out for each row in, part by part, resumable."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from opalign.errors import ConfigurationError, DatasetError
from opalign.files import write_text
from opalign.screening.chunk import UniqueIds, numbered_chunks
from opalign.screening.config import Execution, ScreenConfig
from opalign.screening.folder import (
    LOG_FILE,
    PROGRESS_FILE,
    Origin,
    ScreenFolder,
    locked,
    open_folder,
)
from opalign.screening.identity import identify
from opalign.screening.ranking import TOP_FILE, rank, write_top
from opalign.screening.results import (
    STATUSES,
    PartRecord,
    finished_parts,
    part_path,
    write_part,
)
from opalign.screening.screener import Screener, load_predictor
from opalign.screening.sources import Source, open_source
from opalign.screening.summary import write_summary


@dataclass
class Tally:
    """Rows so far, and how fast they came."""

    total: int | None
    """Rows of the input, where that is known."""
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATUSES, 0))
    resumed: int = 0
    """Rows that an earlier run had finished; they are among the counts."""
    seconds: float = 0.0
    """Of this run, the loading of the coordinator's model left out."""
    warm: tuple[int, float] | None = None
    """Rows done and seconds when each worker had given back its first chunk."""

    @property
    def done(self) -> int:
        """Rows that have been screened, by earlier runs too."""
        return sum(self.counts.values())

    @property
    def rate(self) -> float | None:
        """Structures per second of this run; None where it had nothing to do.

        The start of the workers is left out, unless nothing came after their first chunks.
        """
        done, seconds = self.warm or (self.resumed, 0.0)
        if self.done == done:
            done, seconds = self.resumed, 0.0
        new = self.done - done
        return new / (self.seconds - seconds) if new and self.seconds > seconds else None


@dataclass
class ScreenReport:
    """What came of a screening."""

    folder: Path
    tally: Tally
    parts: int
    repeated_ids: int
    top: pa.Table | None
    summary: dict[str, Any]


def screen(
    config: ScreenConfig,
    out: Path,
    execution: Execution | None = None,
    *,
    on_progress: Callable[[Tally], None] | None = None,
) -> ScreenReport:
    """Predict the spectra of all structures of an input and keep what was asked for.

    The folder ``out`` gets ``parts/part-000000.parquet`` … with exactly one row for each row of
    the input, ``screen.yaml``, ``progress.json`` while it works, ``summary.json`` and, with a
    ranking, ``top.csv`` at the end. Stopped in whatever way, the same call keeps the whole parts
    and goes on.

    Parameters
    ----------
    execution
        One process, several, or a Ray cluster; it changes no row.
    on_progress
        Called after every chunk.

    Raises
    ------
    ConfigurationError
        The folder was begun with another configuration, input or model; a quantity or level is
        none of the model's.
    DatasetError, StructureError
        The input cannot be read; a single row of it never raises.
    StorageError
        A part cannot be written; those before it are kept.
    """
    execution = execution or Execution()
    config = config.model_copy(update={"input": config.input.expanduser().resolve()})
    _require_apart(config.input, out)
    source = open_source(config.input)
    device = execution.device if execution.engine == "serial" else "cpu"
    screener = Screener(config, load_predictor(config, device))
    origin = Origin(
        input=identify(source.kind, source.files, config.input),
        model=screener.predictor.checkpoint.identifier,
    )
    with locked(out):
        folder = open_folder(out, config, origin)
        progress = _Run(folder, source, screener, execution, on_progress or (lambda _: None))
        progress.work()
        return _finish(progress, config)


class _Run:
    """The pass over the input: which parts there are, which are open, how many rows came."""

    def __init__(
        self,
        folder: ScreenFolder,
        source: Source,
        screener: Screener,
        execution: Execution,
        notify: Callable[[Tally], None],
    ) -> None:
        self.folder, self.screener, self.execution = folder, screener, execution
        self.ids = UniqueIds()
        self.records: dict[int, PartRecord] = {
            record.part: record for record in finished_parts(folder.path, folder.key)
        }
        self.tally = Tally(source.rows)
        for record in self.records.values():
            self._count(record.counts)
        self.tally.resumed = self.tally.done
        self._source, self._notify = source, notify
        self._finished = frozenset(self.records)
        self._open: dict[int, dict[int, pa.RecordBatch]] = {}
        self._rows_in: dict[int, int] = {}

    def work(self) -> None:
        """Screen what is not finished yet."""
        start = time.monotonic()
        for number, result in enumerate(self._results(self._unfinished()), start=1):
            row = result.column("row")[0].as_py()
            part = row // self.screener.config.rows_per_part
            statuses = result.column("status").to_pylist()
            self._count({status: statuses.count(status) for status in STATUSES})
            chunks = self._open.setdefault(part, {})
            chunks[row] = result
            self.tally.seconds = time.monotonic() - start
            if number == self.execution.processes:
                self.tally.warm = (self.tally.done, self.tally.seconds)
            if len(chunks) == self.screener.config.chunks_per_part:
                self._write(part)
            self._notify(self.tally)
        # The input has ended, so that what is still open is the last part, whole but shorter.
        for part in sorted(self._open):
            self._write(part)
        self.tally.seconds = time.monotonic() - start
        self._require_all_rows()

    def _results(self, chunks: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        screener, execution = self.screener, self.execution
        if execution.engine == "serial":
            return map(screener.screen, chunks)
        log = self.folder.path / LOG_FILE
        if execution.engine == "processes":
            from opalign.screening.pool import run_processes

            return run_processes(chunks, screener.config, execution, screener.layout, log)
        from opalign.screening.cluster import run_ray

        folder = screener.predictor.checkpoint.folder
        return run_ray(chunks, screener.config, execution, screener.layout, folder)

    def _unfinished(self) -> Iterator[pa.RecordBatch]:
        """Chunks of the parts that are not finished; ids are worked out over all of them."""
        config = self.screener.config
        for chunk in numbered_chunks(self._source.batches(), config.rows_per_chunk, self.ids):
            part = chunk.column("row")[0].as_py() // config.rows_per_part
            self._rows_in[part] = self._rows_in.get(part, 0) + len(chunk)
            if part not in self._finished:
                yield chunk

    def _write(self, part: int) -> None:
        chunks = self._open.pop(part)
        batches = [chunks[row] for row in sorted(chunks)]
        self.records[part] = write_part(
            self.folder.path, part, batches, self.screener.layout, self.folder.key
        )
        content: dict[str, Any] = {
            "rows": sum(record.rows for record in self.records.values()),
            "total": self.tally.total,
            "parts": len(self.records),
            **{status: self.tally.counts[status] for status in STATUSES},
            "structures_per_second": self.tally.rate,
        }
        write_text(self.folder.path / PROGRESS_FILE, json.dumps(content, indent=1) + "\n")

    def _count(self, counts: dict[str, int]) -> None:
        for status in STATUSES:
            self.tally.counts[status] += counts.get(status, 0)

    def _require_all_rows(self) -> None:
        """Hold what went out against what came in: each row once, none left out."""
        for part, rows in self._rows_in.items():
            found = self.records.get(part)
            if found is None or found.rows != rows:
                raise DatasetError(
                    f"part {part} has {0 if found is None else found.rows} rows and should have "
                    f"{rows}: the input changed while it was read",
                    where=str(part_path(self.folder.path, part)),
                    cure="delete this part and repeat the command",
                )
        for part in set(self.records) - set(self._rows_in):
            # Of an input that was longer, so that it cannot be one of this screening.
            raise DatasetError(
                f"part {part} lies beyond the end of the input",
                where=str(part_path(self.folder.path, part)),
                cure="delete it and repeat the command",
            )


def _finish(run: _Run, config: ScreenConfig) -> ScreenReport:
    paths = [part_path(run.folder.path, part) for part in sorted(run.records)]
    names = list(run.screener.layout.quantities)
    top = None
    if config.rank_by is not None:
        top = rank(paths, config, names)
        write_top(run.folder.path / TOP_FILE, top)
    tally = run.tally
    summary = write_summary(
        run.folder.path, paths, names, tally.counts, tally.rate, run.ids.repeated, run.execution
    )
    return ScreenReport(run.folder.path, tally, len(paths), run.ids.repeated, top, summary)


def _require_apart(source: Path, out: Path) -> None:
    """Refuse a folder of results within the folder of structures: it would change the input."""
    resolved = out.expanduser().resolve()
    if source.is_dir() and (resolved == source or source in resolved.parents):
        raise ConfigurationError(
            "the results would lie within the folder of the structures",
            where=str(out),
            cure="choose a folder beside it",
        )
