"""Training runs side by side, each in a process of its own, with one thread."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from opalign.errors import ConfigurationError

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Job:
    """One run: its name, configuration file, folder, and the log that its output goes to."""

    name: str
    config: Path
    folder: Path
    log: Path


def run_jobs(jobs: Sequence[Job], processes: int, report: Callable[[Job, float], None]) -> None:
    """Run all jobs, at most ``processes`` at a time; ``report`` gets each one done and its seconds.

    Raises
    ------
    ConfigurationError
        A run failed; the others are stopped, and resume when asked for again.
    KeyboardInterrupt
        After all running processes have been told and have ended.
    """
    waiting = list(jobs)
    running: dict[subprocess.Popen[bytes], tuple[Job, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                job = waiting.pop(0)
                running[_start(job)] = (job, time.monotonic())
            for process in [p for p in running if p.poll() is not None]:
                job, start = running.pop(process)
                if process.returncode:
                    raise ConfigurationError(
                        f"the run {job.name} failed: {_last_words(job.log)}",
                        where=str(job.log),
                        cure="mend what the log says; the same command goes on from there",
                    )
                report(job, time.monotonic() - start)
            if running:
                time.sleep(POLL_SECONDS)
    finally:
        for process in running:
            process.send_signal(signal.SIGINT)
        for process in running:
            process.wait()


def _start(job: Job) -> subprocess.Popen[bytes]:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with job.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "opalign.training", str(job.config), str(job.folder)],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **threads},
        )


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    errors = [number for number, line in enumerate(lines) if line.startswith("Error: ")]
    return " ".join(lines[errors[-1] :]) if errors else lines[-1] if lines else "without a word"
