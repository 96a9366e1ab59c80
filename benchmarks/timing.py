"""Timing in turns, and one table of it."""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import Progress

from opalign.files import write_text

PACKAGES = (
    "opalign",
    "alignn",
    "jarvis-tools",
    "torch",
    "torch_geometric",
    "numpy",
    "numba",
    "vesin",
    "matscipy",
    "pymatgen",
)
TURN = 1.0


@dataclass
class Row:
    """One line of the table.

    ``sizes`` gives mean bonds and angles per structure of each side, ``seconds`` the time of one
    run over all ``structures`` in each turn; the other side goes by "alignn" in both, ``peer`` says
    what it is.
    """

    task: str
    sizes: dict[str, tuple[float, float]]
    structures: int
    seconds: dict[str, list[float]]
    parameters: dict[str, int] = field(default_factory=dict)
    peer: str = "alignn"

    def rate(self, side: str) -> float:
        """Structures per second, from the median turn."""
        return self.structures / statistics.median(self.seconds[side])

    @property
    def ratio(self) -> float:
        """How many times as fast Opalign is: the median over pairs of neighbouring turns."""
        pairs = zip(self.seconds["opalign"], self.seconds["alignn"], strict=True)
        return statistics.median(theirs / ours for ours, theirs in pairs)


def alternate(
    opalign: Callable[[], object],
    alignn: Callable[[], object],
    repeats: int,
    progress: Progress,
    label: str,
) -> dict[str, list[float]]:
    """Run both in turns after a warm-up; return the mean seconds of a run in each turn.

    A turn repeats short work for about ``TURN`` seconds, or it would measure the system's whims.
    """
    sides = {"opalign": opalign, "alignn": alignn}
    runs = {}
    for name, run in sides.items():
        run()
        runs[name] = max(1, round(TURN / timed(run, 1)))
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    bar = progress.add_task(label, total=repeats)
    for _ in range(repeats):
        for name, run in sides.items():
            seconds[name].append(timed(run, runs[name]))
        progress.advance(bar)
    return seconds


def timed(run: Callable[[], object], times: int) -> float:
    """Mean seconds of one run out of several in a row."""
    gc.collect()
    start = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - start) / times


def report(rows: list[Row], folder: Path, setting: str) -> str:
    """Write ``throughput.md`` and ``throughput.json`` into ``folder``; return the table."""
    versions = {name: version_of(name) for name in PACKAGES}
    machine = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }
    lines = [
        "| task | bonds, angles per structure | Opalign, structures/s | the other "
        "| its structures/s | Opalign is faster by |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.task} | {size_text(row.sizes, row.peer)} | {row.rate('opalign'):.3g} "
            f"| {row.peer} | {row.rate('alignn'):.3g} | {row.ratio:.2f} × |"
        )
    notes = [
        f"{row.task}: {row.parameters['opalign']:,} and {row.parameters['alignn']:,} parameters."
        for row in rows
        if row.parameters and row.task.startswith("inference")
    ]
    text = "\n".join(
        [
            f"{setting}. {machine['processor']}, {machine['cores']} cores; "
            f"{machine['date']}; Python {machine['python']}, "
            + ", ".join(f"{name} {version}" for name, version in versions.items())
            + ".",
            "",
            *lines,
            "",
            *(f"- {note}" for note in notes),
            "",
        ]
    )
    write_text(folder / "throughput.md", text)
    record: dict[str, Any] = {
        "setting": setting,
        "machine": machine,
        "versions": versions,
        "rows": [asdict(row) | {"ratio": row.ratio} for row in rows],
    }
    write_text(folder / "throughput.json", json.dumps(record, indent=1) + "\n")
    return text


def version_of(package: str) -> str:
    """Version of a package, or where it is when it was never installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def size_text(sizes: dict[str, tuple[float, float]], peer: str) -> str:
    """Bonds and angles per structure, of both sides where they differ."""
    ours, theirs = (f"{b:.0f}, {a:.0f}" for b, a in (sizes["opalign"], sizes["alignn"]))
    return ours if ours == theirs else f"Opalign {ours}; {peer} {theirs}"


def processor() -> str:
    """Name of the processor, as far as the system tells."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
