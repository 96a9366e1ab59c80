"""Our own local pool: worker processes of one core each, fed from a queue of jobs.

The pool only hands out jobs and hears how they ended; the workers guard them and record the
outcome (:mod:`opalign.firstprinciples.worker`). jobflow's own local runner is serial.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

from opalign.firstprinciples.job_state import Attempt, write_state
from opalign.firstprinciples.tasks import Task, TaskName
from opalign.firstprinciples.worker import GRACE_SECONDS, LOCK_WAIT_SECONDS, Order, now

THREADS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
}
POLL_SECONDS = 0.5
OVERDUE_SECONDS = 60.0
"""Beyond its job's time limit a worker that does not answer is taken for dead."""
WORKER_DIED = "its worker died"


@dataclass(frozen=True)
class Report:
    """How one attempt at a job ended."""

    folder: Path
    attempt: Attempt


class _Worker:
    """A worker process and the job that it is at."""

    def __init__(self, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "opalign.firstprinciples.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                bufsize=0,
                # Ctrl-C on the terminal is the pool's business.
                start_new_session=True,
                env={**os.environ, **THREADS},
            )
        self._input = cast(IO[bytes], self.process.stdin)
        self._output = cast(IO[bytes], self.process.stdout)
        self.descriptor = self._output.fileno()
        self.dead = False
        self.order: Order | None = None
        self.overdue = float("inf")
        self._text = b""

    def give(self, order: Order) -> None:
        """Hand over a job; a dead worker is found out when its answer is awaited."""
        self.order = order
        self.overdue = time.monotonic() + order.time_seconds + LOCK_WAIT_SECONDS + OVERDUE_SECONDS
        with contextlib.suppress(BrokenPipeError):
            self._input.write(json.dumps(asdict(order)).encode() + b"\n")

    def answer(self) -> Attempt | None:
        """Read an answer; None if it is not whole yet. EOFError when the worker is gone."""
        block = os.read(self.descriptor, 65536)
        if not block:
            raise EOFError
        self._text += block
        if b"\n" not in self._text:
            return None
        line, self._text = self._text.split(b"\n", 1)
        return Attempt(**json.loads(line))

    def close(self) -> None:
        """Let the worker stop its job and end by itself."""
        with contextlib.suppress(BrokenPipeError):
            self._input.close()

    def end(self) -> None:
        """Wait for the end, or bring it about."""
        try:
            self.process.wait(timeout=2 * GRACE_SECONDS + 5.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._output.close()


def run_pool(
    folders: Sequence[Path],
    *,
    workers: int,
    time_seconds: float,
    memory_gb: float,
    log: Path,
    report: Callable[[Report], None],
    started: Callable[[Path], None] | None = None,
    before: float | None = None,
    name: TaskName = "compute",
    settings: Mapping[str, Any] | None = None,
) -> int:
    """Compute the jobs of ``folders`` in this order, at most ``workers`` at a time.

    Parameters
    ----------
    time_seconds, memory_gb
        Limits of one job.
    log
        File for what goes wrong in the workers themselves.
    report, started
        Called for every attempt that ended, and every job handed out.
    before
        ``time.monotonic()`` after which no further job is started; those at work go on.
    name, settings
        What to do with the jobs: to compute them, or to correct their results, and how.

    Returns
    -------
    int
        How many jobs were left because of ``before``.

    Raises
    ------
    KeyboardInterrupt
        After all jobs at work were stopped; what they had reached stays for the next time.
    StorageError
        A state cannot be written, as on a full disk.
    """
    waiting, left = deque(folders), 0
    pool = [_Worker(log) for _ in range(min(workers, len(waiting)))]
    selector = selectors.DefaultSelector()
    try:
        for worker in pool:
            selector.register(worker.descriptor, selectors.EVENT_READ, worker)
        while True:
            if before is not None and time.monotonic() > before:
                left += len(waiting)
                waiting.clear()
            for worker in pool:
                if worker.order is None and waiting:
                    folder = waiting.popleft()
                    worker.give(Order(str(folder), time_seconds, memory_gb, name, settings))
                    if started is not None:
                        started(folder)
            if not any(worker.order for worker in pool):
                return left
            ready = {key.data for key, _ in selector.select(POLL_SECONDS)}
            for place, worker in enumerate(pool):
                if worker in ready or time.monotonic() > worker.overdue:
                    if (ended := _hear(worker, worker in ready)) is not None:
                        report(ended)
                    if worker.dead:
                        selector.unregister(worker.descriptor)
                        worker.end()
                        pool[place] = _Worker(log)
                        selector.register(pool[place].descriptor, selectors.EVENT_READ, pool[place])
    finally:
        for worker in pool:
            worker.close()
        for worker in pool:
            worker.end()
        selector.close()


def _hear(worker: _Worker, ready: bool) -> Report | None:
    """Return how the worker's job ended, if it has."""
    attempt: Attempt | None = None
    try:
        attempt = worker.answer() if ready else None
    except EOFError:
        worker.dead = True
    if time.monotonic() > worker.overdue and attempt is None:
        worker.dead = True
    order = worker.order
    if worker.dead:
        worker.process.kill()
        attempt = None if order is None else _bury(order.task())
    if attempt is None or order is None:
        return None
    worker.order, worker.overdue = None, float("inf")
    return Report(Path(order.folder), attempt)


def _bury(task: Task) -> Attempt:
    """Record the attempt of a worker that could not do so itself."""
    state = task.settled()
    if state.status == "done":
        return state.attempts[-1]
    attempt = Attempt(now(), 0.0, "failed", "crashed", WORKER_DIED)
    write_state(task.folder, state.after(attempt))
    return attempt
