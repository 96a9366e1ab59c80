"""Worker processes on this machine: chunks out, results in, the dead replaced."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import pyarrow as pa

from opalign.errors import StorageError
from opalign.messages import pack_json, receive, send
from opalign.screening.batches import pack_batch, unpack_batch
from opalign.screening.config import Execution, ScreenConfig
from opalign.screening.results import Layout, failed_rows

COMMAND = (sys.executable, "-m", "opalign.screening.worker")
THREADS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
}
WAIT_SECONDS = 0.2
GRACE_SECONDS = 5.0
#: Times that a chunk is given to a worker before its rows have failed.
ATTEMPTS = 2
#: Times that a worker may die before it has loaded the model.
STARTS = 3
WORKER_DIED = "the worker died at its chunk, twice"


class _Worker:
    """A worker process with the model loaded, or on its way to that."""

    def __init__(self, job: bytes, log: Path) -> None:
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                # Ctrl-C on the terminal is the coordinator's business.
                start_new_session=True,
                env={**os.environ, **THREADS},
            )
        self._input = cast(IO[bytes], self.process.stdin)
        self._output = cast(IO[bytes], self.process.stdout)
        with contextlib.suppress(OSError):
            send(self._input, job)

    def ready(self) -> bool:
        """Wait until the model is loaded; False if that failed."""
        return receive(self._output) is not None

    def screen(self, chunk: bytes) -> pa.RecordBatch | None:
        """Return the results of a chunk, None if the worker died of it or before."""
        try:
            send(self._input, chunk)
            answer = receive(self._output)
        except (OSError, ValueError):
            return None
        return None if answer is None else unpack_batch(answer)

    def kill(self) -> None:
        self.process.kill()

    def end(self, grace: float = GRACE_SECONDS) -> None:
        """Let it end by itself, or bring that about."""
        with contextlib.suppress(OSError, ValueError):
            self._input.close()
        try:
            self.process.wait(timeout=grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._output.close()


class _Pool:
    """Threads of the coordinator, each at one worker, that draw from one stream of chunks."""

    def __init__(
        self, chunks: Iterator[pa.RecordBatch], layout: Layout, job: bytes, log: Path, size: int
    ) -> None:
        self._chunks, self._layout, self._job, self._log = chunks, layout, job, log
        self._drawing = threading.Lock()
        self._stop = threading.Event()
        # As many results wait as there are workers: a slow disk slows the workers down.
        self._results: queue.Queue[pa.RecordBatch | BaseException | None] = queue.Queue(size)
        self._workers: dict[int, _Worker] = {}
        self._threads = [
            threading.Thread(target=self._serve, args=(place,), daemon=True)
            for place in range(size)
        ]

    def results(self) -> Iterator[pa.RecordBatch]:
        """Yield results as they come; raise what went wrong in drawing chunks."""
        for thread in self._threads:
            thread.start()
        at_work = len(self._threads)
        while at_work:
            found = self._results.get()
            if isinstance(found, BaseException):
                raise found
            if found is None:
                at_work -= 1
            else:
                yield found

    def close(self) -> None:
        """End all workers, those at work by force."""
        self._stop.set()
        for worker in list(self._workers.values()):
            worker.kill()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _serve(self, place: int) -> None:
        try:
            while not self._stop.is_set():
                with self._drawing:
                    chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._put(self._screened(place, chunk))
            self._put(None)
        except BaseException as error:
            self._put(error)
        finally:
            if (worker := self._workers.pop(place, None)) is not None:
                worker.end(0.0 if self._stop.is_set() else GRACE_SECONDS)

    def _screened(self, place: int, chunk: pa.RecordBatch) -> pa.RecordBatch:
        content = pack_batch(chunk)
        for _ in range(ATTEMPTS):
            worker = self._workers.get(place) or self._started(place)
            if (found := worker.screen(content)) is not None:
                return found
            self._workers.pop(place).end(0.0)
            if self._stop.is_set():
                break
        return failed_rows(chunk, self._layout, f"{WORKER_DIED}; {self._log.name} may say why")

    def _started(self, place: int) -> _Worker:
        for _ in range(STARTS):
            worker = self._workers[place] = _Worker(self._job, self._log)
            if worker.ready():
                return worker
            self._workers.pop(place).end(0.0)
            if self._stop.is_set():
                break
        raise StorageError(
            "worker processes cannot start",
            where=str(self._log),
            cure="read there why; with too little memory choose fewer with --processes",
        )

    def _put(self, found: pa.RecordBatch | BaseException | None) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._results.put(found, timeout=WAIT_SECONDS)
                return


def run_processes(
    chunks: Iterator[pa.RecordBatch],
    config: ScreenConfig,
    execution: Execution,
    layout: Layout,
    log: Path,
) -> Iterator[pa.RecordBatch]:
    """Screen ``chunks`` in processes of this machine; results come in any order.

    A worker that dies is replaced and its chunk given out once more. If that kills the next one
    too, the rows of the chunk have failed. What workers print goes to ``log``.
    """
    job = pack_json({"config": config.model_dump(mode="json"), "device": execution.device})
    pool = _Pool(chunks, layout, job, log, execution.processes)
    try:
        yield from pool.results()
    finally:
        pool.close()
