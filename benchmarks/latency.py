"""How long a user waits: for the command, for one prediction, and for each further one.

    python benchmarks/latency.py

Whole processes are timed from start to end, as typed, with files in the system's cache; a crystal
of 20 atoms in a process that has started, on one core: read, graph, network, spectrum with what is
derived from it. Prints one table and writes it to ``benchmarks/results/latency.md``.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pymatgen.core import Lattice, Structure
from timing import processor

from opalign.crystal.graph import build_graph
from opalign.crystal.read import read_structure
from opalign.files import write_text
from opalign.prediction.predictor import Predictor
from opalign.prediction.result import Prediction

REPEATS = 21
PROCESSES = 5


def perovskite() -> Structure:
    """Return CaTiO3, Pnma, as measured: 20 atoms."""
    return Structure.from_spacegroup(
        "Pnma",
        Lattice.orthorhombic(5.4405, 7.6436, 5.3812),
        ["Ca", "Ti", "O", "O"],
        [[0.0355, 0.25, 0.9932], [0, 0, 0.5], [0.4838, 0.25, 0.0711], [0.2885, 0.0371, 0.7113]],
    )


def process(
    arguments: list[str], code: str = "from opalign.cli.main import main; main()"
) -> list[float]:
    """Wall seconds of runs of the command, each in a process of its own; the first not counted."""
    command = [sys.executable, "-c", code, *arguments]
    seconds = []
    for _ in range(PROCESSES + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def repeated(run: Callable[[], object]) -> list[float]:
    """Seconds of runs in this process, the first three not counted."""
    seconds = []
    for _ in range(REPEATS + 3):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds[3:]


def derived(prediction: Prediction) -> tuple[object, ...]:
    """All numbers that a summary has."""
    return (
        prediction.onset_energy,
        prediction.band_gap,
        prediction.static_dielectric,
        prediction.sodium_index,
        prediction.visible_absorption,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="name of a model or path of its folder")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[tuple[str, list[float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        cif, poscar = Path(folder, "CaTiO3.cif"), Path(folder, "CaTiO3.vasp")
        perovskite().to(filename=str(cif))
        perovskite().to(filename=str(poscar), fmt="poscar")
        model = ["--model", options.model] if options.model else []
        predicting = ["predict", str(cif), "--out", str(Path(folder, "out")), *model]
        rows.append(("process: `opalign --help`", process(["--help"])))
        rows.append(("process: `import torch` alone", process([], "import torch")))
        rows.append(("process: `opalign predict one.cif`", process(predicting)))
        rows.append(
            ("process: `opalign predict one.cif --no-plots`", process([*predicting, "--no-plots"]))
        )
        start = time.perf_counter()
        double = Predictor.load(options.model, "cpu")
        rows.append(("load the model, libraries imported", [time.perf_counter() - start]))
        single = Predictor.load(options.model, "cpu", "single")

        def spectrum(predictor: Predictor, source: object) -> None:
            (prediction,) = predictor.predict(source)
            derived(prediction)

        structure = read_structure(cif)
        graph = build_graph(structure, double.config.graph)
        rows += [
            ("file (CIF) to spectrum", repeated(lambda: spectrum(double, cif))),
            ("file (POSCAR) to spectrum", repeated(lambda: spectrum(double, poscar))),
            ("file (CIF) to spectrum, single precision", repeated(lambda: spectrum(single, cif))),
            ("of it: read the CIF", repeated(lambda: read_structure(cif))),
            ("of it: read the POSCAR", repeated(lambda: read_structure(poscar))),
            ("of it: graph", repeated(lambda: build_graph(structure, double.config.graph))),
            ("of it: batch and network", repeated(lambda: double.run([graph]))),
            ("of it: the same, single precision", repeated(lambda: single.run([graph]))),
        ]
        name = double.name
    lines = [
        f"Model {name}; CaTiO3 of {len(structure)} atoms, {graph.num_bonds} bonds, "
        f"{graph.num_angles} angles; one thread. {processor()}, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"{datetime.date.today()}.",
        "",
        "| step | median, ms | least, ms |",
        "|---|---|---|",
        *(
            f"| {step} | {1e3 * statistics.median(seconds):.1f} | {1e3 * min(seconds):.1f} |"
            for step, seconds in rows
        ),
        "",
    ]
    text = "\n".join(lines)
    write_text(options.out / "latency.md", text)
    print(text)


if __name__ == "__main__":
    main()
