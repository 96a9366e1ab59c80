"""Structures per second, memory and resumption of `opalign screen`, as a user calls it.

    python benchmarks/screening.py $OPALIGN_DATA WORK_FOLDER [--rows 4099] [--model alignn]

Screens the structures of ``mp_oxides_chalcogenides.parquet`` with one and with two processes, then
a table of ten times as many rows (the same structures under new ids), and measures the greatest
resident memory of the coordinator and of its workers; then kills a run with SIGKILL and resumes it,
and holds the rows against those of the run that was left in peace. Needs /proc, as Linux has it.
Writes ``benchmarks/results/screening.md``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import opalign
from opalign.files import write_text

RESULT = Path(__file__).resolve().parent / "results" / "screening.md"
TIMES = 10
#: Seconds between looks at the memory of all processes.
INTERVAL = 0.05
QUESTION = (
    "--where", "onset_eV > 1.5 and static_dielectric < 8", "-q", "onset_eV", "-q",
    "refractive_index_589nm", "-q", "slme_percent", "-q", "visible_transmittance_1000nm",
    "-q", "relative_distance", "--rank-by", "slme_percent", "--descending",
    "--diversity", "composition", "--device", "cpu",
)  # fmt: skip


@dataclass(frozen=True)
class Measurement:
    name: str
    rows: int
    seconds: float
    rate: float | None
    """Structures per second once the model is loaded, as the summary has it."""
    coordinator: float
    """MiB"""
    worker: float | None
    """MiB, of the largest one"""
    cores: float
    """Core seconds of all processes over wall seconds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rows", type=int, default=4099)
    parser.add_argument("--model", default="alignn")
    arguments = parser.parse_args()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    table = pq.read_table(arguments.data / "mp_oxides_chalcogenides.parquet")
    table = table.slice(0, arguments.rows)
    once, often = work / "once.parquet", work / "often.parquet"
    pq.write_table(table, once)
    write_repeated(table, often)
    options = ("--model", arguments.model)
    measured = []
    for name, source, processes in (
        ("1 process", once, 1), ("2 processes", once, 2), (f"2 processes, {TIMES} × the rows",
        often, 2),
    ):  # fmt: skip
        out = work / name.replace(" ", "-").replace(",", "").replace("×", "x")
        shutil.rmtree(out, ignore_errors=True)
        found = measure(name, source, out, processes, options)
        print(found, flush=True)
        measured.append(found)
    resumed = kill_and_resume(once, work, options)
    print(resumed, flush=True)
    text = report(measured, resumed, arguments.model)
    write_text(RESULT, text)
    print(text)


def write_repeated(table: pa.Table, path: Path) -> None:
    """Write the rows again and again, each time under other ids."""
    ids = table.column("material_id").to_pylist()
    with pq.ParquetWriter(path, table.schema) as writer:
        for turn in range(TIMES):
            names = pa.array([f"{one}-{turn}" for one in ids])
            writer.write_table(table.set_column(0, "material_id", names))


def start(
    source: Path, out: Path, processes: int, options: tuple[str, ...]
) -> subprocess.Popen[bytes]:
    # Some ten parts of the smaller table, so that there is something to keep and to resume.
    code = "from opalign.cli.main import main; main()"
    chunk = max(1, pq.read_metadata(source.with_name("once.parquet")).num_rows // 40)
    parts = ("--set", f"rows_per_part={4 * chunk}", "--set", f"rows_per_chunk={chunk}")
    return subprocess.Popen(
        [sys.executable, "-c", code, "screen", str(source), str(out), "--processes",
         str(processes), *QUESTION, *options, *parts],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )  # fmt: skip


def measure(
    name: str, source: Path, out: Path, processes: int, options: tuple[str, ...]
) -> Measurement:
    before, began = os.times(), time.monotonic()
    process = start(source, out, processes, options)
    coordinator, workers = 0.0, 0.0
    while process.poll() is None:
        coordinator = max(coordinator, resident(process.pid))
        workers = max([workers, *(resident(child) for child in children(process.pid))])
        time.sleep(INTERVAL)
    if process.returncode:
        raise SystemExit(f"opalign screen ended with {process.returncode}")
    seconds, after = time.monotonic() - began, os.times()
    used = after.children_user + after.children_system
    used -= before.children_user + before.children_system
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return Measurement(
        name,
        summary["rows"],
        seconds,
        summary["structures_per_second"],
        coordinator,
        workers or None,
        used / seconds,
    )


def kill_and_resume(source: Path, work: Path, options: tuple[str, ...]) -> str:
    """Kill a run once a third of its parts are there, resume it, and compare all rows."""
    out, whole = work / "killed", work / "2-processes"
    shutil.rmtree(out, ignore_errors=True)
    parts = len(list(whole.glob("parts/part-*")))
    process = start(source, out, 2, options)
    while len(list(out.glob("parts/part-*"))) < max(1, parts // 3):
        if process.poll() is not None:
            raise SystemExit("the run ended before it could be killed: give it more rows")
        time.sleep(INTERVAL)
    process.kill()
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("parts/part-*")}
    if start(source, out, 2, options).wait():
        raise SystemExit("the resumed run failed")
    untouched = all(path.stat().st_mtime_ns == then for path, then in kept.items())
    found, expected = (read_parts(folder) for folder in (out, whole))
    numbers = [
        name for name in expected.column_names if expected.schema.field(name).type == "double"
    ]
    same = found.drop(numbers).equals(expected.drop(numbers))
    largest = max(
        np.nanmax(np.abs(found.column(n).to_numpy() - expected.column(n).to_numpy()))
        for n in numbers
    )
    return (
        f"Killed with SIGKILL after {len(kept)} of {parts} parts and resumed: parts kept "
        f"{'untouched' if untouched else 'CHANGED'}, {found.num_rows} rows for "
        f"{expected.num_rows}, ids, statuses and reasons {'equal' if same else 'DIFFERENT'}, "
        f"quantities within {largest:.1g}."
    )


def read_parts(folder: Path) -> pa.Table:
    paths = sorted(folder.glob("parts/part-*.parquet"))
    return pa.concat_tables([pq.read_table(path).replace_schema_metadata() for path in paths])


def resident(process: int) -> float:
    """Greatest resident memory so far in MiB; zero for a process that is gone."""
    try:
        with open(f"/proc/{process}/status", encoding="ascii") as stream:
            lines = dict(line.split(":", 1) for line in stream)
        return int(lines["VmHWM"].split()[0]) / 1024.0
    except (OSError, KeyError, ValueError):
        return 0.0


def children(process: int) -> list[int]:
    try:
        with open(f"/proc/{process}/task/{process}/children", encoding="ascii") as stream:
            found = [int(one) for one in stream.read().split()]
    except OSError:
        return []
    # Workers are started by threads of the coordinator, each of which has its own list.
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            found += [int(one) for one in task.read_text().split()]
        except OSError:
            continue
    return sorted(set(found))


def report(measured: list[Measurement], resumed: str, model: str) -> str:
    lines = [
        "# Screening\n",
        f"`opalign screen` over {measured[0].rows} structures of mp_oxides_chalcogenides.parquet "
        f"(2 to 40 atoms), model `{model}`, single precision: onset, n, SLME, transmittance, "
        "distance; a condition, a ranking, a diverse choice. "
        f"{processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, opalign "
        f"{opalign.__version__}, torch {version('torch')}, pyarrow {version('pyarrow')}; "
        f"{datetime.date.today()}.\n",
        "| run | rows | seconds | structures/s | coordinator, MiB | largest worker, MiB "
        "| cores used | 10⁶, hours | 10⁸, days |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in measured:
        worker = "–" if one.worker is None else f"{one.worker:.0f}"
        rate = one.rate or float("nan")
        lines.append(
            f"| {one.name} | {one.rows} | {one.seconds:.1f} | {rate:.0f} | {one.coordinator:.0f} "
            f"| {worker} | {one.cores:.2f} | {1e6 / rate / 3600:.2f} | {1e8 / rate / 86400:.1f} |"
        )
    lines += [
        "",
        "Seconds are those of the whole command; the rate leaves out the start of the "
        "workers. Memory is the greatest resident one. The estimates take these workers.",
        "",
        resumed,
        "",
    ]
    return "\n".join(lines)


def processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            return next(line.split(":")[1].strip() for line in stream if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def version(package: str) -> str:
    from importlib.metadata import version as installed

    return installed(package)


if __name__ == "__main__":
    main()
