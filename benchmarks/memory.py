"""Memory of a training step per angle, and the largest batch that fits a given memory.

    python benchmarks/memory.py --hidden 64

Every batch size runs in a process of its own, whose largest resident memory is read when it ends.
A line is fitted to what it took beyond the smallest batch; sizes stay far below the machine's
memory. On a GPU torch keeps count itself (``--device cuda``).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from network_rows import NEIGHBORS, OUTPUTS, RADIUS
from sides import OpalignSide, moved
from throughput import sample_structures
from timing import processor

from opalign.files import write_text

COUNTS = (8, 16, 32, 64)
LARGEST_GIB = 24.0
GIB = 2.0**30


def step(table: Path, count: int, hidden: int, device: str, reduced: bool) -> dict[str, float]:
    """Train one step on ``count`` structures; return its angles and this process's peak, bytes."""
    torch.set_num_threads(1)
    side = OpalignSide(sample_structures(table, count), "k_nearest", NEIGHBORS, RADIUS)
    graphs = side.build()
    batches = moved(side.batches(graphs, count, reduced=reduced), device)
    network = side.network(hidden, OUTPUTS, device)
    network.train(batches, [torch.zeros(count, OUTPUTS, device=device)])
    angles = float(len(batches[0]["angle_cosine"]))
    if device == "cuda":
        return {"angles": angles, "bytes": float(torch.cuda.max_memory_allocated())}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"angles": angles, "bytes": peak * (1.0 if sys.platform == "darwin" else 1024.0)}


def measure(options: argparse.Namespace, reduced: bool) -> list[dict[str, float]]:
    """Run a process for every batch size."""
    found = []
    for count in COUNTS:
        command = [
            sys.executable, __file__, str(options.table), "--hidden", str(options.hidden),
            "--device", options.device, "--one", str(count),
        ]  # fmt: skip
        command += ["--reduced"] if reduced else []
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found.append(json.loads(output.splitlines()[-1]))
    return found


def main() -> None:
    data = os.environ.get("OPALIGN_DATA", ".")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(data) / "mp_oxides_chalcogenides.parquet"
    parser.add_argument("table", type=Path, nargs="?", default=default)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--reduced", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        found = step(options.table, options.one, options.hidden, options.device, options.reduced)
        print(json.dumps(found))
        return
    lines = [
        f"One training step of ALIGNN, 4 + 4 layers, hidden {options.hidden}, {NEIGHBORS} nearest, "
        f"single precision, on {options.device}; {processor()}; {time.strftime('%Y-%m-%d')}.",
        "",
        "| graphs | angles a structure | bytes an angle | GiB without any | structures in 24 GiB |",
        "|---|---|---|---|---|",
    ]
    for reduced in (False, True):
        found = measure(options, reduced)
        angles = np.array([row["angles"] for row in found])
        slope, constant = np.polyfit(angles, [row["bytes"] for row in found], 1)
        each = float(np.mean(angles / np.array(COUNTS)))
        largest = int((LARGEST_GIB * GIB - constant) / (slope * each))
        label = "classes" if reduced else "every atom"
        lines.append(f"| {label} | {each:.0f} | {slope:.0f} | {constant / GIB:.2f} | {largest:,} |")
    text = "\n".join(lines) + "\n"
    write_text(options.out / f"memory_{options.hidden}.md", text)
    print(text)


if __name__ == "__main__":
    main()
