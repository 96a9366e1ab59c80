"""What a campaign shows while it runs: a bar on a terminal, lines in a log."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from opalign.cli.common import LOG_INTERVAL, message_console

if TYPE_CHECKING:
    from opalign.firstprinciples.campaign_run import Progress


@contextlib.contextmanager
def shown_progress(total: int) -> Iterator[Callable[[Progress], None]]:
    """Show what ended and the time left: a bar on a terminal, lines in a log."""
    console = message_console()
    if not console.is_terminal:
        yield _log_lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("computing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("computing", total=total, left="")

        def show(progress: Progress) -> None:
            bar.console.print(_line(progress), markup=False)
            left = "" if progress.seconds_left is None else f"{_duration(progress)} left"
            bar.update(task, completed=progress.finished, left=left)

        yield show


def _log_lines() -> Callable[[Progress], None]:
    console = message_console()
    last = time.monotonic()
    passed: list[str] = []

    def log(progress: Progress) -> None:
        nonlocal last
        # Failures are always told; what succeeds in quick succession is told together.
        passed.append(_line(progress))
        is_due = time.monotonic() - last >= LOG_INTERVAL
        if is_due or progress.state.status == "failed" or progress.finished == progress.total:
            for line in passed:
                console.print(line, markup=False)
            left = f", {_duration(progress)} left" if progress.seconds_left is not None else ""
            console.print(f"[{progress.finished}/{progress.total}{left}]", markup=False)
            passed.clear()
            last = time.monotonic()

    return log


def _line(progress: Progress) -> str:
    state = progress.state
    seconds = state.attempts[-1].seconds if state.attempts else 0.0
    ended = "done" if state.status == "done" else f"{state.reason}: {state.detail[:120]}"
    return f"{progress.job.identifier}  {seconds:.0f} s  {ended}"


def _duration(progress: Progress) -> str:
    seconds = progress.seconds_left or 0.0
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
