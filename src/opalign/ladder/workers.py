"""Jobs on several cores: processes that read the data once, and a queue that knows what waits."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch

from opalign.errors import ConfigurationError, OpalignError
from opalign.ladder.config import LadderConfig
from opalign.ladder.data import LadderData
from opalign.ladder.jobs import Job, needs
from opalign.ladder.strategies import run_job

Report = Callable[[Job, float], None]


def run_jobs(
    jobs: Sequence[Job], data: LadderData, folder: Path, processes: int, report: Report
) -> None:
    """Do all jobs whose file is not there yet, each after those it needs.

    Parameters
    ----------
    jobs
        In an order in which each stands after all it needs.
    processes
        1 works in this process.
    report
        Called with each job done and its seconds.

    Raises
    ------
    ConfigurationError
        A job failed; what the others have finished is kept.
    KeyboardInterrupt
        Someone stopped it; the same call goes on from there.
    """
    waiting = [job for job in jobs if not job.path(folder).is_file()]
    if processes == 1 or len(waiting) < 2:
        for job in waiting:
            begin = time.monotonic()
            with _one_thread():
                _named(job, data, folder)
            report(job, time.monotonic() - begin)
        return
    _in_processes(waiting, data.config, folder, min(processes, len(waiting)), report)


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    job: Job | None = None
    begin: float = 0.0

    def give(self, job: Job) -> None:
        self.job, self.begin = job, time.monotonic()
        self.connection.send(job)


def _in_processes(
    waiting: list[Job], config: LadderConfig, folder: Path, processes: int, report: Report
) -> None:
    missing = set(waiting)
    workers = [_start(config, folder) for _ in range(processes)]
    try:
        while missing:
            for worker in workers:
                if worker.job is None:
                    ready = next((j for j in waiting if not missing & set(needs(config, j))), None)
                    if ready is not None:
                        waiting.remove(ready)
                        worker.give(ready)
            busy = {worker.connection: worker for worker in workers if worker.job is not None}
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                job = worker.job
                try:
                    problem = worker.connection.recv()
                except EOFError:
                    problem = "its process ended without a word (out of memory?)"
                if job is None:
                    continue
                if problem is not None:
                    raise ConfigurationError(
                        f"the training {job.name} failed: {problem}",
                        where=str(folder),
                        cure="mend what it says; the same command goes on from there",
                    )
                missing.discard(job)
                worker.job = None
                report(job, time.monotonic() - worker.begin)
    finally:
        for worker in workers:
            worker.connection.close()
            worker.process.terminate()
        for worker in workers:
            worker.process.join()


def _start(config: LadderConfig, folder: Path) -> _Worker:
    # A fresh interpreter: threads of torch do not survive a fork.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=work, args=(config.model_dump_json(), str(folder), theirs), daemon=True
    )
    process.start()
    theirs.close()
    return _Worker(process, ours)


def work(config: str, folder: str, connection: Connection) -> None:
    """Do jobs as they come, until nobody sends any more; answers None, or what went wrong."""
    torch.set_num_threads(1)
    data: LadderData | None = None
    while True:
        try:
            job: Job = connection.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        try:
            if data is None:
                data = LadderData(LadderConfig.model_validate_json(config))
            run_job(job, data, Path(folder))
            answer = None
        except KeyboardInterrupt:
            return
        except OpalignError as error:
            answer = str(error)
        except Exception as error:  # told to the parent, which stops and says which job it was
            answer = f"{type(error).__name__}: {error}"
        try:
            connection.send(answer)
        except OSError:
            return


def _named(job: Job, data: LadderData, folder: Path) -> None:
    try:
        run_job(job, data, folder)
    except OpalignError as error:
        raise ConfigurationError(
            f"the training {job.name} failed: {error}",
            where=str(folder),
            cure="mend what it says; the same command goes on from there",
        ) from error


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread of torch inside, as many as before afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
