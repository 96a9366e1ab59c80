"""Networks beside others': ALIGNN beside alignn's, OPTIMATE beside torch_geometric's parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from optimate_side import SETTINGS, ReferenceNetwork, own_network
from pymatgen.core import Structure
from rich.progress import Progress
from sides import AlignnSide, Network, OpalignSide, moved
from timing import Row, alternate

from opalign.crystal import keys
from opalign.crystal.graph import build_graph

THREADS = 2
HIDDEN = (64, 256)
NEIGHBORS = 12
RADIUS = 4.0
BATCH = 16
OUTPUTS = 801
SEED = 7


def network_rows(
    structures: list[Structure], repeats: int, device: str, progress: Progress
) -> list[Row]:
    """Time training steps and predictions on one and the same set of bonds and angles.

    Opalign trains and predicts on symmetry-reduced graphs, which give the same; the rows "every
    atom" are without.
    """
    opalign = OpalignSide(structures, "k_nearest", NEIGHBORS, RADIUS)
    graphs = opalign.build()
    twins = AlignnSide(structures, "k_nearest", NEIGHBORS, RADIUS).adopt(graphs)
    sizes = {"opalign": opalign.sizes(graphs), "alignn": AlignnSide.sizes(twins)}
    if sizes["opalign"] != sizes["alignn"]:
        raise SystemExit(f"the two sides run on different graphs: {sizes}")
    theirs = moved(AlignnSide.batches(twins, BATCH), device)
    whole = moved(opalign.batches(graphs, BATCH), device)
    classes = moved(opalign.batches(graphs, BATCH, reduced=True), device)
    torch.manual_seed(SEED)
    parts = torch.rand(len(structures), OUTPUTS).to(device).split(BATCH)
    torch.set_num_threads(THREADS)
    rows = []
    for hidden in HIDDEN:
        a, b = opalign.network(hidden, OUTPUTS, device), AlignnSide.network(hidden, OUTPUTS, device)
        parameters = {"opalign": a.parameters, "alignn": b.parameters}
        for label, ours in (("", classes), (", every atom", whole)):
            tasks = {
                f"training step, hidden {hidden}{label}": (
                    partial(a.train, ours, parts),
                    partial(b.train, theirs, parts),
                ),
                f"inference, hidden {hidden}{label}": (
                    partial(predicting(a, device), ours),
                    partial(b.infer, theirs),
                ),
            }
            if device == "cpu" and ours is classes:
                tasks[f"inference, hidden {hidden}, both side by side"] = (
                    partial(a.infer_side_by_side, ours),
                    partial(b.infer_side_by_side, theirs),
                )
            for task, (opalign_run, alignn_run) in tasks.items():
                times = alternate(opalign_run, alignn_run, repeats, progress, task)
                found = {**sizes, "opalign": batch_sizes(ours, len(structures))}
                rows.append(Row(task, found, len(structures), times, parameters))
    return rows


def optimate_rows(
    structures: list[Structure], repeats: int, device: str, progress: Progress
) -> list[Row]:
    """Time OPTIMATE beside the same network of torch_geometric's parts, on the same bonds."""
    graphs = [build_graph(structure, SETTINGS) for structure in structures]
    whole = moved(OpalignSide.batches(graphs, BATCH), device)
    classes = moved(OpalignSide.batches(graphs, BATCH, reduced=True), device)
    torch.manual_seed(SEED)
    parts = torch.rand(len(structures), OUTPUTS).to(device).split(BATCH)
    a = Network(own_network(OUTPUTS), "target", device)
    b = Network(ReferenceNetwork(OUTPUTS), "target", device)
    sizes = {
        "opalign": batch_sizes(classes, len(structures)),
        "alignn": batch_sizes(whole, len(structures)),
    }
    rows = []
    for task, ours, theirs in (
        ("training step", partial(a.train, classes, parts), partial(b.train, whole, parts)),
        ("inference", partial(predicting(a, device), classes), partial(b.infer, whole)),
    ):
        label = f"OPTIMATE {task}"
        times = alternate(ours, theirs, repeats, progress, label)
        rows.append(Row(label, sizes, len(structures), times, peer="PyG"))
    return rows


def predicting(side: Network, device: str) -> Callable[[Sequence[object]], None]:
    """Opalign's way: batches side by side on a CPU, one after the other on a GPU."""
    return side.infer_side_by_side if device == "cpu" else side.infer


def batch_sizes(batches: list[dict[str, torch.Tensor]], structures: int) -> tuple[float, float]:
    """Mean bonds and angles of a structure in these batches."""
    bonds = sum(len(batch[keys.BOND_LENGTH]) for batch in batches)
    angles = sum(len(batch.get(keys.ANGLE_COSINE, ())) for batch in batches)
    return bonds / structures, angles / structures
