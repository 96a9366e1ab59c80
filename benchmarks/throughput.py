"""Throughput of Opalign beside alignn, in one run: graphs, training steps, predictions.

    python benchmarks/throughput.py $OPALIGN_DATA/mp_oxides_chalcogenides.parquet

Prints one table and writes it, with the machine and the versions, to ``benchmarks/results/``.

What is made equal, and where the choice went alignn's way:

* the same structures, each in its package's own object (pymatgen, jarvis) before the clock starts;
  Opalign's compiled loops, alignn's imports and both warm.
  jarvis holds arrays where pymatgen holds sites: in "arrays to batch" Opalign starts from arrays as
  well, as it does where it reads a table of spectra;
* alignn's graphs come from its pure-torch builder, once with each of its two neighbour searches:
  its own in torch, which is its default, and matscipy's, for which it has a switch; one cutoff for
  bonds and angles, so that every pair of bonds that share an atom is an angle on both sides;
* "12 nearest" is each package's own: alignn takes 12 bonds from every atom within 5 Å, Opalign
  whole shells and both directions, so Opalign's graphs are larger. "radius" is the same set on
  both sides, which is checked. Opalign writes out its angles when it batches, alignn when it
  builds: the rows "… to batch" are the ones to compare;
* the last graph rows have OPTIMATE's graphs, every bond within 5 Å and no angles, beside
  torch_geometric's batches of what pymatgen finds, which are the same bonds;
* graphs and batches are made with one thread, as in the worker of a data loader: more of them only
  get in each other's way on such small tensors, alignn's above all;
* the networks run on the same bonds and angles (Opalign's 12 nearest), each in the order of its own
  builder; Opalign's on the classes of those that are alike in a crystal, with the same outputs, and
  again on every one ("every atom"); 4 + 4 layers, layer norm, the same embeddings, 801 outputs.
  alignn's forces, penalty and ZBL terms are off, and its cosines are taken as stored rather than
  computed anew;
* classes are found once for a structure that is trained on; what they cost where a structure is
  seen once is in the rows "structure to batch of classes";
* Opalign predicts batches side by side, one thread each, as its Predictor does on a CPU; the other
  side one after the other on all threads, as it comes. In the rows "both side by side" alignn is
  given the same;
* OPTIMATE runs beside the same network of torch_geometric's parts.

The two sides take turns (A B A B …), times are medians. Run it on an idle machine all the same:
where something else holds a core, threads wait for each other, and not the same on both sides.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from network_rows import (
    BATCH,
    NEIGHBORS,
    OUTPUTS,
    RADIUS,
    THREADS,
    network_rows,
    optimate_rows,
)
from pymatgen.core import Structure
from rich.progress import Progress
from samples import sample_structures
from sides import ALIGNN_SEARCHES, AlignnSide, OpalignSide, PygSide
from timing import Row, alternate, report

PREPARING_THREADS = 1
OPTIMATE_RADIUS = 5.0


def same_bonds(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two sets of bond lengths (Å) agree to single precision."""
    return len(first) == len(second) and np.allclose(np.sort(first), np.sort(second), atol=1e-4)


def graph_rows(structures: list[Structure], repeats: int, progress: Progress) -> list[Row]:
    """Time what comes before the network, with each package's 12 nearest and with one radius."""
    torch.set_num_threads(PREPARING_THREADS)
    rows = []
    for kind in ("k_nearest", "radius"):
        label = f"{NEIGHBORS} nearest" if kind == "k_nearest" else f"radius {RADIUS} Å"
        opalign = OpalignSide(structures, kind, NEIGHBORS, RADIUS)
        alignn = AlignnSide(structures, kind, NEIGHBORS, RADIUS)
        ours, theirs = opalign.build(), alignn.build()
        sizes = {"opalign": opalign.sizes(ours), "alignn": alignn.sizes(theirs)}

        tasks: dict[str, tuple[Callable[[], object], Callable[[], object], str]] = {
            f"batch, {label}": (
                partial(opalign.batches, ours, BATCH),
                partial(alignn.batches, theirs, BATCH),
                alignn.search,
            )
        }
        for search in ALIGNN_SEARCHES:
            alignn.search = search
            found = alignn.lengths(alignn.build())
            if kind == "radius" and not same_bonds(opalign.lengths(ours), found):
                raise SystemExit("the two packages found different bonds within one radius")
            against = f"{label}, alignn with {search}"
            batched = partial(alignn.build_batches, BATCH)
            from_structures = partial(opalign.build_batches, BATCH)
            from_arrays = partial(opalign.build_batches_from_arrays, BATCH)
            tasks[f"graph, {against}"] = (opalign.build, alignn.build, search)
            tasks[f"structure to batch, {against}"] = (from_structures, batched, search)
            tasks[f"arrays to batch, {against}"] = (from_arrays, batched, search)
            classes = partial(opalign.build_batches, BATCH, reduced=True)
            tasks[f"structure to batch of classes, {against}"] = (classes, batched, search)
        for task, (a, b, search) in tasks.items():
            alignn.search = search
            times = alternate(a, b, repeats, progress, task)
            rows.append(Row(task, sizes, len(structures), times))
    return rows


def radius_rows(structures: list[Structure], repeats: int, progress: Progress) -> list[Row]:
    """Time OPTIMATE's graphs beside pymatgen's search and torch_geometric's batches."""
    torch.set_num_threads(PREPARING_THREADS)
    opalign = OpalignSide(structures, "radius", NEIGHBORS, OPTIMATE_RADIUS, angles=False)
    other = PygSide(structures, OPTIMATE_RADIUS)
    found = other.build()
    sizes = {"opalign": (opalign.sizes(opalign.build())[0], 0.0), "alignn": other.sizes(found)}
    if sizes["opalign"] != sizes["alignn"]:
        raise SystemExit("pymatgen and Opalign found different bonds within one radius")
    rows = []
    for start, run in (
        ("structure", partial(opalign.build_batches, BATCH)),
        ("arrays", partial(opalign.build_batches_from_arrays, BATCH)),
    ):
        task = f"{start} to batch, radius {OPTIMATE_RADIUS} Å, no angles, pymatgen and PyG"
        times = alternate(run, partial(other.build_batches, BATCH), repeats, progress, task)
        rows.append(Row(task, sizes, len(structures), times, peer="pymatgen, PyG"))
    return rows


def main() -> None:
    data = os.environ.get("OPALIGN_DATA")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "table",
        type=Path,
        nargs="?" if data else None,
        default=Path(data) / "mp_oxides_chalcogenides.parquet" if data else None,
        help="Parquet table of structures; by default the one in OPALIGN_DATA",
    )
    parser.add_argument("--structures", type=int, default=64, help="a multiple of the batch of 16")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each side")
    parser.add_argument("--device", default="cpu", help="of the networks: cpu, cuda")
    parser.add_argument("--networks-only", action="store_true", help="no graphs")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()

    structures = sample_structures(options.table, options.structures)
    with Progress(transient=True) as progress:
        rows: list[Row] = []
        if not options.networks_only:
            rows += graph_rows(structures, options.repeats, progress)
            rows += radius_rows(structures, options.repeats, progress)
        rows += network_rows(structures, options.repeats, options.device, progress)
        rows += optimate_rows(structures, options.repeats, options.device, progress)
    sizes = [len(structure) for structure in structures]
    print(
        report(
            rows,
            options.out,
            f"{len(structures)} structures of {options.table.name} ({min(sizes)} to {max(sizes)} "
            f"atoms, {sum(sizes) / len(sizes):.1f} on average), batches of {BATCH}, "
            f"{PREPARING_THREADS} thread for graphs and batches, {THREADS} for networks, "
            f"{OUTPUTS} outputs, {options.repeats} turns, networks on {options.device}",
        )
    )


if __name__ == "__main__":
    main()
