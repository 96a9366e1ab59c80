"""Graphs of 100,000 structures in one file: time, size and memory of writing and of reading.

    python benchmarks/graph_store.py $OPALIGN_DATA/mp_oxides_chalcogenides.parquet

The structures of the table, again and again, each time with every atom displaced a little, are
streamed into a file as ``cached_graphs`` does it, in a process of their own for each size, so that
each has a peak memory of its own. What is read lies in the file, and the system may take its memory
back; "own memory" is the rest. Prints one table and writes it to ``benchmarks/results/``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from ase.data import atomic_numbers
from timing import processor

from opalign.crystal.cache import content_key
from opalign.crystal.graph import collate
from opalign.crystal.many import CrystalArrays, build_graphs, require_graphs
from opalign.crystal.packed import PackedGraphs, write_graphs
from opalign.crystal.settings import GraphSettings
from opalign.files import write_text

DISPLACEMENT = 0.02
BATCH = 16
BATCHES = 200
MEBIBYTE = 1 << 20


class Displaced:
    """Structures of a table ``times`` times over, displaced by a seed of their own each time."""

    def __init__(self, path: Path, times: int) -> None:
        table = pq.read_table(path, columns=["lattice", "species", "frac_coords"])
        self.times = times
        self.crystals = []
        for row in table.to_pylist():
            lattice = np.reshape(row["lattice"], (3, 3))
            positions = np.reshape(row["frac_coords"], (-1, 3)) @ lattice
            numbers = np.array([atomic_numbers[symbol] for symbol in row["species"]])
            self.crystals.append((lattice, positions, numbers))

    def __len__(self) -> int:
        return self.times * len(self.crystals)

    def __iter__(self) -> Iterator[CrystalArrays]:
        for time_ in range(self.times):
            random = np.random.default_rng(time_)
            for lattice, positions, numbers in self.crystals:
                moved = positions + random.normal(scale=DISPLACEMENT, size=positions.shape)
                yield CrystalArrays(lattice, moved, numbers)


def memory() -> dict[str, float]:
    """Peak of all memory, and what is not files, now, in MiB; Linux alone tells."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if line.startswith(("VmHWM", "RssAnon")))
    return {name: int(value.split()[0]) / 1024 for name, value in fields.items()}


def measure(table: Path, times: int, threads: int, folder: Path) -> dict[str, float]:
    """Build, open and read; seconds and MiB."""
    crystals, settings = Displaced(table, times), GraphSettings()
    before = memory()["VmHWM"]
    start = time.perf_counter()
    for _ in crystals:
        pass
    making = time.perf_counter() - start
    start = time.perf_counter()
    content_key(crystals, settings)
    hashing = time.perf_counter() - start - making
    start = time.perf_counter()
    path = folder / "measured.graphs"
    write_graphs(path, require_graphs(build_graphs(crystals, settings, threads=threads)), settings)
    building = time.perf_counter() - start - making
    peak = memory()["VmHWM"]
    start = time.perf_counter()
    graphs = PackedGraphs.open(path)
    opening = time.perf_counter() - start
    order = np.random.default_rng(0).choice(len(graphs), size=BATCH * BATCHES)
    start = time.perf_counter()
    for rows in order.reshape(-1, BATCH).tolist():
        collate([graphs[row] for row in rows])
    batching = (time.perf_counter() - start) / order.size
    return {
        "structures": len(graphs),
        "atoms": sum(len(one[1]) for one in crystals.crystals) / len(crystals.crystals),
        "key": hashing,
        "build": building,
        "open": opening,
        "batch": batching * 1e6,
        "file": path.stat().st_size / MEBIBYTE,
        "before": before,
        "peak": peak,
        "own": memory()["RssAnon"],
    }


def main() -> None:
    data = os.environ.get("OPALIGN_DATA")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "table",
        type=Path,
        nargs="?" if data else None,
        default=Path(data) / "mp_oxides_chalcogenides.parquet" if data else None,
    )
    parser.add_argument("--times", type=int, nargs="+", default=[1, 5, 25])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(options.table, options.one, options.threads, Path(folder))
        print(json.dumps(found))
        return
    rows = []
    for times in options.times:
        command = [sys.executable, __file__, str(options.table), "--one", str(times)]
        command += ["--threads", str(options.threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout))
    text = "\n".join(
        [
            f"{options.table.name}, {rows[0]['atoms']:.1f} atoms a structure, 12 nearest, "
            f"{options.threads} thread(s). {processor()}, {os.cpu_count()} cores, Python "
            f"{platform.python_version()}, {datetime.date.today()}.",
            "",
            "| structures | key, s | build and write, s | structures/s | open and check, s "
            "| shuffled batches, µs a structure | file, MiB | memory before, MiB | peak while "
            "building, MiB | own memory after, MiB |",
            "|---|---|---|---|---|---|---|---|---|---|",
            *(
                f"| {row['structures']:,.0f} | {row['key']:.1f} | {row['build']:.1f} "
                f"| {row['structures'] / row['build']:,.0f} | {row['open']:.2f} "
                f"| {row['batch']:.0f} | {row['file']:,.0f} | {row['before']:.0f} "
                f"| {row['peak']:.0f} | {row['own']:.0f} |"
                for row in rows
            ),
            "",
        ]
    )
    write_text(options.out / "graph_store.md", text)
    print(text)


if __name__ == "__main__":
    main()
