"""A worker: one process that does jobs one after the other, each in a process forked from it.

The worker itself computes nothing: it watches the clock and the memory of the job, kills it with
all that it has started, and writes down how it ended. So a crash, a hang or a memory hog costs one
job. It reads one JSON line per job from its standard input and answers with one; when the other
end is gone, be it by kill -9, it kills its job and ends. The job is forked, not started anew, so
that Python and pymatgen are loaded once per worker.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from opalign.errors import MissingExtraError
from opalign.firstprinciples.engine import EngineFailure, FailureReason
from opalign.firstprinciples.job_state import (
    LOCK_FILE,
    Attempt,
    Outcome,
    job_lock,
    write_state,
)
from opalign.firstprinciples.jobs import LOG_FILE, load_engine, read_job
from opalign.firstprinciples.tasks import Task, TaskName, task_of

POLL_SECONDS = 0.05
GRACE_SECONDS = 2.0
"""Between the polite and the certain end of a job."""
LOCK_WAIT_SECONDS = 10.0
ADDRESS_HEADROOM_GB = 4.0
"""Address space beyond the memory limit: libraries map far more than they ever touch."""
GIGABYTE = 1e9
PR_SET_PDEATHSIG = 1
"""Of Linux, see prctl(2)."""
DETAIL_LENGTH = 2000


Verdict = Literal["ended", "time limit", "out of memory", "interrupted"]


@dataclass(frozen=True)
class Order:
    """What a worker is told to do."""

    folder: str
    time_seconds: float
    memory_gb: float
    name: TaskName = "compute"
    settings: Mapping[str, Any] | None = None

    def task(self) -> Task:
        """Return what is to be done."""
        return task_of(self.name, Path(self.folder), self.settings)


def supervise(order: Order, orders: Orders) -> Attempt:
    """Run one job in a forked process within its limits and record the attempt in its state."""
    task = order.task()
    patience = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        with job_lock(task.folder / LOCK_FILE) as free:
            if free:
                # Whoever held the lock until now may have finished the job.
                state = task.settled()
                if state.status == "done":
                    return state.attempts[-1]
                write_state(task.folder, replace(state, status="running"))
                attempt = _supervised(order, task, orders)
                write_state(task.folder, state.after(attempt))
                return attempt
        if time.monotonic() > patience:
            return Attempt(now(), 0.0, "interrupted", detail="another process is at this job")
        time.sleep(POLL_SECONDS)


def _supervised(order: Order, task: Task, orders: Orders) -> Attempt:
    started, clock = now(), time.monotonic()
    readable, writable = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(readable)
        _child(task, order, writable)
    os.close(writable)
    os.set_blocking(readable, False)
    # Both sides set the group, since either may come first.
    _quietly(lambda: os.setpgid(process, process))
    verdict, status, usage = _watch(process, readable, order, orders)
    # What the job has started itself goes with it.
    _quietly(lambda: os.killpg(process, signal.SIGKILL))
    told = _told(readable)
    os.close(readable)
    outcome, reason, detail = _judge(verdict, status, told, order, _peak_gb(usage))
    return Attempt(
        started,
        round(time.monotonic() - clock, 3),
        outcome,
        reason,
        detail,
        round(usage.ru_utime + usage.ru_stime, 3),
        round(_peak_gb(usage), 4),
    )


def _watch(
    process: int, readable: int, order: Order, orders: Orders
) -> tuple[Verdict, int, resource.struct_rusage]:
    """Wait for the end of a job or bring it about; returns why, the wait status and the usage."""
    deadline = time.monotonic() + order.time_seconds
    verdict: Verdict = "ended"
    waiting_for = [readable, orders.descriptor]
    while True:
        ended, status, usage = os.wait4(process, os.WNOHANG)
        if ended:
            return verdict, status, usage
        if orders.closed:
            verdict = "interrupted"
        elif time.monotonic() > deadline:
            verdict = "time limit"
        elif _resident_gb(process) > order.memory_gb:
            verdict = "out of memory"
        if verdict != "ended":
            status, usage = _end(process)
            return verdict, status, usage
        ready, _, _ = select.select(waiting_for, [], [], POLL_SECONDS)
        if orders.descriptor in ready:
            orders.fill()
        if readable in ready:
            # Either the last word of the job or its end: both come just before it is over.
            waiting_for = [orders.descriptor]


def _end(process: int) -> tuple[int, resource.struct_rusage]:
    for number, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, None)):
        _quietly(lambda number=number: os.killpg(process, number))  # type: ignore[misc]
        if patience is None:
            break
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            ended, status, usage = os.wait4(process, os.WNOHANG)
            if ended:
                return status, usage
            time.sleep(POLL_SECONDS / 5)
    _, status, usage = os.wait4(process, 0)
    return status, usage


def _judge(
    verdict: Verdict, status: int, told: dict[str, Any] | None, order: Order, peak_gb: float
) -> tuple[Outcome, FailureReason | None, str]:
    if told is not None:
        return told["outcome"], told["reason"], told["detail"]
    if verdict == "interrupted":
        return "interrupted", None, "stopped"
    if verdict == "time limit":
        return "failed", "time limit", f"not done after {order.time_seconds:g} s"
    memory = f"{peak_gb:.2f} GB taken, {order.memory_gb:g} GB allowed"
    if verdict == "out of memory":
        return "failed", "out of memory", memory
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return "failed", "crashed", f"ended with status {code} and without a result"
    name = signal.Signals(-code).name
    if code == -signal.SIGKILL and peak_gb > 0.5 * order.memory_gb:
        return "failed", "out of memory", f"killed from outside ({name}); {memory}"
    return "failed", "crashed", f"killed by {name}"


def _child(task: Task, order: Order, writable: int) -> NoReturn:
    """Be the job: never returns into the worker's code, whatever happens."""
    try:
        os.setpgid(0, 0)
        _die_with_parent()
        _redirect(task.folder / LOG_FILE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        space = int((order.memory_gb + ADDRESS_HEADROOM_GB) * GIGABYTE)
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        _quietly(lambda: resource.setrlimit(resource.RLIMIT_AS, (space, hard)))
        told: dict[str, Any] = {"outcome": "done", "reason": None, "detail": ""}
        try:
            task.run()
        except EngineFailure as failure:
            detail = failure.detail[:DETAIL_LENGTH]
            told = {"outcome": "failed", "reason": failure.reason, "detail": detail}
        except MissingExtraError as error:
            # Not the material's fault: it waits until the code is there.
            told = {"outcome": "interrupted", "reason": None, "detail": str(error)}
        os.write(writable, json.dumps(told).encode())
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _redirect(log: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    for source, number in ((nothing, 0), (target, 1), (target, 2)):
        os.dup2(source, number)


def _die_with_parent() -> None:
    """Have Linux kill this process when its worker dies; elsewhere only a worker alive does so."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _told(readable: int) -> dict[str, Any] | None:
    try:
        told = json.loads(os.read(readable, 65536))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and "outcome" in told else None


def _resident_gb(process: int) -> float:
    """Resident memory now; 0 where there is no /proc."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * resource.getpagesize() / GIGABYTE


def _peak_gb(usage: resource.struct_rusage) -> float:
    # Kilobytes on Linux, bytes on macOS.
    return usage.ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0) / GIGABYTE


def _quietly(action: Callable[[], object]) -> None:
    """Do what may come too late: the process is gone, or the limit is fixed."""
    with contextlib.suppress(OSError, ValueError):
        action()


def _preload(folder: Path, known: set[str]) -> None:
    """Import an engine's module before the first fork, so that not every job has to.

    An engine that cannot be had fails the job, not the worker.
    """
    with contextlib.suppress(Exception):
        job = read_job(folder)
        if job.engine not in known:
            known.add(job.engine)
            load_engine(job.engine, job.settings)


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class Orders:
    """Lines from a file descriptor, with a look at whether its other end is still there."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.closed = False
        self._text = b""

    def fill(self) -> None:
        """Read what is there, waiting for at least one byte or the end."""
        block = os.read(self.descriptor, 65536)
        self.closed = not block
        self._text += block

    def next(self) -> Order | None:
        """Wait for the next order; None when the other end is gone."""
        while b"\n" not in self._text:
            if self.closed:
                return None
            self.fill()
        line, self._text = self._text.split(b"\n", 1)
        return Order(**json.loads(line))


def main() -> None:
    """Take orders until there are no more."""
    # Loaded once here, so that no job has to.
    import pymatgen.core  # noqa: F401

    answers = os.dup(1)
    os.dup2(2, 1)
    orders = Orders(os.dup(0))
    known: set[str] = set()
    while (order := orders.next()) is not None:
        _preload(Path(order.folder), known)
        attempt = supervise(order, orders)
        if not orders.closed:
            answer = json.dumps(asdict(attempt)).encode() + b"\n"
            with contextlib.suppress(BrokenPipeError):
                os.write(answers, answer)


if __name__ == "__main__":
    main()
