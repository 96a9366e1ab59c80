"""Training and inference on a GPU, against what the GPU allows.

    python benchmarks/accelerator.py $OPALIGN_DATA/mp_oxides_chalcogenides.parquet [--parts …]

Epochs of the reference configuration: 2,144 oxides and chalcogenides of a few to forty atoms, 12
neighbours, 4 + 4 layers, 1,501 outputs, batches of 16 as well as larger ones; plain steps, recorded
ones, and with torch's compiler, in single and in mixed precision. An epoch is every material once
forward and back with clipping, AdamW and the average of the weights, as ``opalign train`` does it,
and nothing of Lightning's. Inference runs over batches that are on the device already. Results go
to ``benchmarks/results/accelerator.json`` part by part, and as a table to ``accelerator.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from samples import SEED, sample_structures

from opalign.crystal.compiled import load_kernels
from opalign.crystal.graph import collate, structure_arrays
from opalign.crystal.many import build_graphs, require_graphs
from opalign.crystal.settings import GraphSettings
from opalign.files import write_text
from opalign.model.config import AlignnConfig, ModelConfig, VectorHeadConfig
from opalign.model.network import SpectrumModel
from opalign.spectrum.grid import EnergyGrid
from opalign.training.averaging import AveragedNetwork
from opalign.training.batches import EpochBatches, work_of
from opalign.training.config import OptimizerConfig
from opalign.training.data import Materials, batch_of, moved
from opalign.training.losses import TrainingLoss
from opalign.training.optimization import new_optimizer
from opalign.training.recorded import RecordedStep
from opalign.training.resident import ResidentMaterials

MATERIALS, OUTPUTS, NEIGHBORS, LAYERS = 2144, 1501, 12, 4
#: Matrix products forward and back, of those forward.
FORWARD_AND_BACK = 3
#: Arrays of edge features that a convolution moves at least when it trains: edges in, messages and
#: edges out; back again messages, edges and the gradient of the result in, that of the edges out.
LEAST_ARRAYS = 7
STUDY_SECONDS = 46.0
"""An epoch of the study on an A100: 6.4 hours for 500 of them."""
PARTS = ("ceilings", "agreement", "training", "inference", "profile")


def materials_of(path: Path, count: int, seed: int = SEED) -> Materials:
    """Draw materials from a table of structures, with random spectra: only time is asked for."""
    structures = sample_structures(path, count)
    settings = GraphSettings(kind="k_nearest", neighbors=NEIGHBORS)
    load_kernels()
    arrays = [structure_arrays(structure) for structure in structures]
    graphs = tuple(require_graphs(build_graphs(arrays, settings, threads=os.cpu_count() or 1)))
    random = torch.Generator().manual_seed(seed)
    spectra = torch.rand((count, 1, OUTPUTS), generator=random)
    names = tuple(str(number) for number in range(count))
    return Materials(names, names, graphs, {"epsilon_imaginary": spectra})


def network_of(hidden: int) -> SpectrumModel:
    config = ModelConfig(
        encoder=AlignnConfig(
            alignn_layers=LAYERS, gcn_layers=LAYERS, hidden_features=hidden, norm="layer"
        ),
        head=VectorHeadConfig(),
        graph=GraphSettings(kind="k_nearest", neighbors=NEIGHBORS),
        grid=EnergyGrid(0.0, 15.0, OUTPUTS),
    )
    torch.manual_seed(0)
    return SpectrumModel(config)


class Training:
    """Epochs as ``opalign train`` goes through them, one way of doing a step or another."""

    def __init__(
        self,
        materials: Materials,
        hidden: int,
        batch: int,
        *,
        recorded: bool,
        fused: bool = False,
        half: bool = False,
        device: str = "cuda",
    ) -> None:
        self.device, self.half = torch.device(device), half
        self.network = network_of(hidden).to(device).train()
        if fused:
            self.network.fuse()
        self.loss = TrainingLoss(self.network.config, "l1")
        self.average = AveragedNetwork(self.network, 0.999)
        self.optimizer, self.schedule = new_optimizer(self.network, OptimizerConfig(), 10**6)
        self.materials = materials
        self.step: RecordedStep | None = None
        if recorded:
            resident = ResidentMaterials(materials, device)
            self.step = RecordedStep(self.network, self.loss, resident, batch)
        work = work_of(materials.graphs, reduced=materials.reduced)
        self.batches = EpochBatches(len(materials), batch, SEED, work)
        self.steps = 0

    def epoch(self, number: int, limit: int | None = None) -> float:
        """Mean loss of an epoch, of which ``limit`` batches at most are done."""
        self.batches.set_epoch(number)
        total = torch.zeros((), device=self.device)
        for place, rows in enumerate(self.batches):
            if place == limit:
                break
            total += self.take(rows) * len(rows)
        return float(total) / len(self.materials)

    def take(self, rows: list[int]) -> torch.Tensor:
        kind = self.device.type
        context: Any = (
            torch.autocast(kind, torch.bfloat16) if self.half else contextlib.nullcontext()
        )
        with context:
            if self.step is not None:
                value = self.step(rows)["loss"]
            else:
                batch = moved(batch_of(self.materials, rows), self.device)
                value = self.loss(self.network(batch["graph"]), batch["targets"])["loss"]
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.average.update(self.network, self.steps)
        self.steps += 1
        return value.detach()


def synchronized(run: Callable[[], object]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    begin = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def median_time(run: Callable[[], object], repeats: int = 5) -> float:
    run()
    return statistics.median(synchronized(run) for _ in range(repeats))


def ceilings(device: str) -> dict[str, float]:
    """Measure what this GPU moves and multiplies."""
    found = {}
    source = torch.rand(1 << 28, device=device) if device == "cuda" else torch.rand(1 << 22)
    target = torch.empty_like(source)
    seconds = median_time(partial(target.copy_, source))
    found["copy, TB/s read and written"] = 2 * source.numel() * 4 / seconds / 1e12
    rows = 1 << 20 if device == "cuda" else 1 << 12
    for hidden in (64, 256):
        for name, dtype, tf32 in (
            ("single", torch.float32, False),
            ("TF32", torch.float32, True),
            ("bf16", torch.bfloat16, False),
        ):
            a = torch.rand((rows, hidden), device=device, dtype=dtype)
            b = torch.rand((hidden, hidden), device=device, dtype=dtype)
            with tensor_cores(tf32):
                seconds = median_time(lambda a=a, b=b: a @ b)
            found[f"product with {hidden} columns, {name}, TFLOP/s"] = (
                2 * rows * hidden**2 / seconds / 1e12
            )
    return found


@contextlib.contextmanager
def tensor_cores(allowed: bool) -> Iterator[None]:
    """Let single-precision products round their factors to TF32."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def agreement(materials: Materials, device: str) -> list[dict[str, Any]]:
    """Losses of the first epochs, way by way, and what is left of the first step's difference."""
    few = materials.select(materials.ids[:256])
    rows = []
    for label, options in (
        ("CPU", {"recorded": False, "device": "cpu"}),
        ("plain", {"recorded": False, "device": device}),
        ("recorded", {"recorded": True, "device": device}),
        ("recorded, compiled", {"recorded": True, "fused": True, "device": device}),
        ("recorded, bf16", {"recorded": True, "half": True, "device": device}),
    ):
        run = Training(few, 64, 32, **options)
        losses = [run.epoch(number) for number in range(2)]
        rows.append({"way": label, "losses": losses})
        print(label, losses, flush=True)
    return rows


def training(materials: Materials, device: str, quick: bool) -> list[dict[str, Any]]:
    """Seconds of an epoch of each way."""
    whole = replace(materials, reduced=False)
    cases: list[tuple[str, int, int, dict[str, Any]]] = []
    for hidden in (64, 256):
        for batch in (16, 64):
            cases.append(("plain", hidden, batch, {"recorded": False}))
            cases.append(("recorded", hidden, batch, {"recorded": True}))
            cases.append(("recorded, compiled", hidden, batch, {"recorded": True, "fused": True}))
        fused = {"recorded": True, "fused": True}
        cases.append(("recorded, compiled, TF32", hidden, 64, {**fused, "tf32": True}))
        cases.append(("recorded, compiled, bf16", hidden, 64, {**fused, "half": True}))
        cases.append(("recorded, compiled", hidden, 256, fused))
        cases.append(("every atom, plain", hidden, 16, {"recorded": False, "whole": True}))
        cases.append(("every atom, recorded, compiled", hidden, 16, {**fused, "whole": True}))
        cases.append(("every atom, recorded, compiled", hidden, 64, {**fused, "whole": True}))
    rows = []
    for way, hidden, batch, options in cases:
        if quick and (batch != 64 or hidden != 64):
            continue
        options = dict(options)
        tf32, every = options.pop("tf32", False), options.pop("whole", False)
        with tensor_cores(tf32):
            row = timed_epochs(whole if every else materials, hidden, batch, options, device)
        rows.append({"way": way, "hidden": hidden, "batch": batch, **row})
        print(rows[-1], flush=True)
    return rows


def timed_epochs(
    materials: Materials, hidden: int, batch: int, options: dict[str, Any], device: str
) -> dict[str, Any]:
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        begin = time.perf_counter()
        run = Training(materials, hidden, batch, device=device, **options)
        run.epoch(0)
        start = time.perf_counter() - begin
        seconds = [synchronized(lambda number=number: run.epoch(number)) for number in (1, 2, 3)]
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    return {
        "seconds": statistics.median(seconds),
        "all": seconds,
        "first_epoch_and_start": start,
        "recordings": None if run.step is None else run.step.recordings,
        "memory_GB": torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None,
    }


def inference(materials: Materials, device: str, quick: bool) -> list[dict[str, Any]]:
    """Structures per second of ready batches, and of graphs that are batched and moved first."""
    rows = []
    for hidden in (64, 256):
        network = network_of(hidden).to(device).eval()
        for batch in (256, 1072):
            parts = [
                materials.graphs[first : first + batch] for first in range(0, len(materials), batch)
            ]
            begin = time.perf_counter()
            ready = [collate(part, reduced=True) for part in parts]
            collating = time.perf_counter() - begin
            there = [{k: v.to(device) for k, v in one.items()} for one in ready]
            for way in ("single", "single, compiled", "TF32, compiled", "bf16, compiled"):
                if quick and (hidden, batch) != (64, 1072):
                    continue
                used = network
                if "compiled" in way:
                    used = network_of(hidden).to(device).eval()
                    used.fuse()
                with torch.inference_mode(), tensor_cores("TF32" in way), torch.autocast(
                    device, torch.bfloat16, enabled="bf16" in way
                ):  # fmt: skip

                    def run(used: SpectrumModel = used) -> None:
                        for one in there:  # noqa: B023
                            used(one)["target"]

                    seconds = median_time(run)

                    def whole(used: SpectrumModel = used) -> None:
                        for one in ready:  # noqa: B023
                            graph = {k: v.to(device) for k, v in one.items()}
                            used(graph)["target"].cpu()

                    moving = median_time(whole, 3)
                rows.append(
                    {"hidden": hidden, "batch": batch, "way": way,
                     "per_second": len(materials) / seconds,
                     "moved_per_second": len(materials) / moving,
                     "collated_per_second_one_thread": len(materials) / collating}
                )  # fmt: skip
                print(rows[-1], flush=True)
    return rows


def profile(materials: Materials, device: str) -> str:
    """Where a recorded and a plain step at hidden 64 spend the GPU's time."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    text = []
    for recorded in (False, True):
        run = Training(materials, 64, 64, recorded=recorded, device=device)
        run.epoch(0, limit=6)
        kinds = [ProfilerActivity.CPU]
        if device == "cuda":
            kinds.append(ProfilerActivity.CUDA)
        with profiler(activities=kinds) as found:
            run.epoch(1, limit=5)
        sort = "self_cuda_time_total" if device == "cuda" else "self_cpu_time_total"
        table = found.key_averages().table(sort_by=sort, row_limit=25, max_name_column_width=60)
        text.append(f"{'recorded' if recorded else 'plain'}, five steps of 64\n{table}")
    return "\n\n".join(text)


def counts_of(materials: Materials) -> tuple[int, int, int]:
    """Atoms, bonds and angles of all materials, or their classes."""
    atoms = bonds = angles = 0
    for graph in materials.graphs:
        quotient = graph.quotient if materials.reduced else None
        atoms += graph.num_atoms if quotient is None else len(quotient.atomic_numbers)
        bonds += graph.num_bonds if quotient is None else len(quotient.bond_length)
        angles += graph.num_angles if quotient is None else len(quotient.angle_cosine)
    return atoms, bonds, angles


def operations(counts: tuple[int, int, int], hidden: int) -> float:
    """Matrix products of an epoch forward and back, in operations: 8nd² + 2ed² a convolution."""
    atoms, bonds, angles = counts
    on_bonds = 2 * LAYERS * (8 * atoms + 2 * bonds)
    on_angles = LAYERS * (8 * bonds + 2 * angles)
    return float(FORWARD_AND_BACK * (on_bonds + on_angles) * hidden**2)


def least_bytes(counts: tuple[int, int, int], hidden: int) -> float:
    """Bytes of edge arrays that an epoch moves at least, in single precision."""
    _, bonds, angles = counts
    return float(LEAST_ARRAYS * 4 * hidden * (2 * LAYERS * bonds + LAYERS * angles))


def floor(record: dict[str, Any], row: dict[str, Any]) -> float:
    """Seconds below which an epoch cannot get here: products or memory, whatever takes longer."""
    kind = "every atom" if "every atom" in row["way"] else "classes"
    precision = next((name for name in ("TF32", "bf16") if name in row["way"]), "single")
    rate = record["ceilings"][f"product with {row['hidden']} columns, {precision}, TFLOP/s"]
    bandwidth = record["ceilings"]["copy, TB/s read and written"]
    key = f"{row['hidden']}, {kind}"
    return max(record["operations"][key] / rate, record["bytes"][key] / bandwidth) / 1e12


def report(record: dict[str, Any]) -> str:
    """Write the record as text."""
    low, high, mean = record["atoms"]
    lines = [
        f"{record['materials']:,} oxides and chalcogenides of {low} to {high} atoms ({mean:.1f} on "
        f"average), {NEIGHBORS} neighbours, {LAYERS} + {LAYERS} layers, {OUTPUTS} outputs. "
        f"{record['device']}, torch {record['torch']}, {record['date']}. Made by "
        "`benchmarks/accelerator.py`.",
        "",
    ]
    if isinstance(record.get("ceilings"), dict):
        lines += ["| measured ceiling | |", "|---|---|"]
        lines += [f"| {name} | {value:.1f} |" for name, value in record["ceilings"].items()]
        lines.append("")
    if isinstance(record.get("training"), list):
        lines += [
            "| an epoch of training | hidden | batch | s | of the floor | 500 epochs, minutes "
            "| against the study's A100 | memory, GB |",
            "|---" * 8 + "|",
        ]
        for row in record["training"]:
            if "error" in row:
                lines.append(
                    f"| {row['way']} | {row['hidden']} | {row['batch']} | {row['error']} |"
                )
                continue
            seconds, memory = row["seconds"], row["memory_GB"]
            share = floor(record, row) / seconds if "ceilings" in record else float("nan")
            lines.append(
                f"| {row['way']} | {row['hidden']} | {row['batch']} | {seconds:.2f} | {share:.0%} "
                f"| {500 * seconds / 60:.1f} | {STUDY_SECONDS / seconds:.0f} × "
                f"| {'' if memory is None else f'{memory:.1f}'} |"
            )
        lines.append("")
    if isinstance(record.get("inference"), list):
        lines += [
            "| inference on classes | hidden | batch | structures/s | with transfers "
            "| batches made by one thread |",
            "|---" * 6 + "|",
        ]
        lines += [
            f"| {row['way']} | {row['hidden']} | {row['batch']} | {row['per_second']:,.0f} "
            f"| {row['moved_per_second']:,.0f} | {row['collated_per_second_one_thread']:,.0f} |"
            for row in record["inference"]
        ]
        lines.append("")
    if isinstance(record.get("agreement"), list):
        lines += ["| way | mean loss of the first epochs, 256 materials |", "|---|---|"]
        for row in record["agreement"]:
            lines.append(f"| {row['way']} | {', '.join(f'{v:.6f}' for v in row['losses'])} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--materials", type=int, default=MATERIALS)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="one case of each")
    options = parser.parse_args()
    begin = time.perf_counter()
    materials = materials_of(options.table, options.materials)
    sizes = np.array([graph.num_atoms for graph in materials.graphs])
    built = time.perf_counter() - begin
    _ = [graph.quotient for graph in materials.graphs]
    whole = replace(materials, reduced=False)
    sizes_of = {"classes": counts_of(materials), "every atom": counts_of(whole)}
    record: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "CPU",
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "materials": len(materials),
        "atoms": [int(sizes.min()), int(sizes.max()), float(sizes.mean())],
        "graphs_seconds": built,
        "classes_seconds": time.perf_counter() - begin - built,
        "operations": {
            f"{hidden}, {name}": operations(counts, hidden)
            for hidden in (64, 256)
            for name, counts in sizes_of.items()
        },
        "bytes": {
            f"{hidden}, {name}": least_bytes(counts, hidden)
            for hidden in (64, 256)
            for name, counts in sizes_of.items()
        },
    }
    print(record, flush=True)
    actions: dict[str, Callable[[], Any]] = {
        "ceilings": lambda: ceilings(options.device),
        "agreement": lambda: agreement(materials, options.device),
        "training": lambda: training(materials, options.device, options.quick),
        "inference": lambda: inference(materials, options.device, options.quick),
        "profile": lambda: profile(materials, options.device),
    }
    for name in options.parts:
        start = time.perf_counter()
        try:
            record[name] = actions[name]()
        except Exception as error:
            traceback.print_exc()
            record[name] = f"{type(error).__name__}: {error}"
        print(f"{name}: {time.perf_counter() - start:.1f} s", flush=True)
        write_text(options.out / "accelerator.json", json.dumps(record, indent=1) + "\n")
        write_text(options.out / "accelerator.md", report(record))


if __name__ == "__main__":
    main()
