"""Our best configuration beside two published recipes, trained on the same folds at equal budget.

    python benchmarks/peers.py CONFIG.yaml runs/tables/gpaw.parquet WORK_FOLDER \
        [--seeds 1] [--peer-seeds 1] [--processes 2] [--width 0.3] [--epochs N] [--peers …] \
        [--weights best last]

alignn's own recipe for spectra (its model class, graphs, loss and optimiser) and OPTIMATE of
torch_geometric's parts learn Im ε̄ of the RPA, broadened as it is scored. Both see as many
structures (every pass counted) as one network of ours in both stages together; what that takes of a
core is told, for structures cost the peers more. Their recipes take the best of
their epochs on a tenth of the training materials; a second row of each trains on all of them and
takes the last weights. Resumes; prints a table and writes it into WORK_FOLDER.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fold_runs import (
    FOLDS,
    FoldRun,
    average,
    out_of_fold,
    passes_of,
    references,
    run_all,
    run_fold,
    scored,
    splits_of,
    tables_of,
)

from opalign.files import atomic_path, write_text
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.training.config import TrainingConfig
from opalign.training.config_file import read_config
from opalign.training.spectra import SpectraSet, read_spectra

LEVEL = "rpa"
GRID = EnergyGrid(start=0.0, stop=20.0, num=401)
FOLD_SEED = 0
PEER_NAMES = ("optimate", "alignn")


@dataclass(frozen=True)
class PeerRun:
    """One peer on one fold; ``validated`` as its recipe has it, or trained on all materials."""

    peer: str
    validated: bool
    table: Path
    width: float
    epochs: int
    fold: int
    seed: int
    folder: Path

    @property
    def path(self) -> Path:
        kind = "best" if self.validated else "last"
        name = f"{self.peer}-{kind}_{self.width:g}-eV_{self.epochs}-epochs"
        return self.folder / "peers" / name / f"fold-{self.fold}_seed-{self.seed}.npz"


@lru_cache(maxsize=4)
def _peer_data(peer: str, table: Path, width: float) -> tuple[object, SpectraSet]:
    from peer_networks import PEERS

    (opened,) = tables_of((table,))
    spectra = read_spectra(opened, LEVEL, Broadening("gaussian", width), GRID)
    return PEERS[peer][2](list(opened.structures())), spectra


def run_peer(run: PeerRun, device: str = "cpu") -> float:
    from peer_networks import PEERS, train_peer

    if run.path.is_file():
        return 0.0
    begin = time.monotonic()
    torch.set_num_threads(1)
    batch_of, spectra = _peer_data(run.peer, run.table, run.width)
    share = PEERS[run.peer][0].validation_fraction if run.validated else 0.0
    split = splits_of(tables_of((run.table,)), FOLD_SEED, share)[run.fold - 1]
    place = {material_id: row for row, material_id in enumerate(spectra.ids)}
    rows = {part: [place[m] for m in getattr(split, part)]
            for part in ("train", "validation", "test")}  # fmt: skip
    predicted = train_peer(
        run.peer,
        batch_of,
        spectra.imaginary,
        rows["train"],
        rows["validation"],
        rows["test"],
        epochs=run.epochs,
        seed=run.seed,
        device=device,
    )
    seconds = time.monotonic() - begin
    with atomic_path(run.path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, ids=np.array(split.test), seconds=seconds, imaginary=predicted)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--peer-seeds", type=int, help="default: as many as of ours")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--width", type=float, default=0.3, help="σ in eV at which all are scored")
    parser.add_argument("--epochs", type=int, help="of the peers; default: the passes of ours")
    parser.add_argument("--peers", nargs="*", choices=PEER_NAMES, default=list(PEER_NAMES))
    parser.add_argument("--weights", nargs="*", choices=("best", "last"), default=["best", "last"])
    parser.add_argument("--scalars", type=Path, help="table of the first stage; default: as given")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--skip-ours", action="store_true", help="train the peers alone, no table")
    arguments = parser.parse_args()
    table, work = arguments.table.resolve(), arguments.work.resolve()
    grid = f"model.grid={{start: {GRID.start}, stop: {GRID.stop}, num: {GRID.num}}}"
    changes = [f"data.tables={table}", grid]
    if arguments.scalars is not None:
        changes.append(f"pretraining.table={arguments.scalars.resolve()}")
    config = read_config(arguments.config, changes)
    seeds = range(arguments.seeds)
    ours = {
        seed: [FoldRun(config.model_copy(update={"seed": seed}), fold, FOLD_SEED, work)
               for fold in range(1, FOLDS + 1)]
        for seed in seeds
    }  # fmt: skip
    if not arguments.skip_ours:
        work_on_ours = partial(run_fold, device=arguments.device)
        run_all([r for group in ours.values() for r in group], work_on_ours, arguments.processes)
    training = round(len(tables_of((table,))[0]) * (1 - 1 / FOLDS))
    first, second = passes_of(config, training)
    epochs = arguments.epochs or round((first + second) / training)
    peers = {
        (peer, validated, seed): [
            PeerRun(peer, validated, table, arguments.width, epochs, fold, seed, work)
            for fold in range(1, FOLDS + 1)
        ]
        for peer in arguments.peers
        for validated in (weights == "best" for weights in arguments.weights)
        for seed in range(arguments.peer_seeds or arguments.seeds)
    }
    work_on_peers = partial(run_peer, device=arguments.device)
    run_all([r for group in peers.values() for r in group], work_on_peers, arguments.processes)
    if arguments.skip_ours:
        return
    text = table_of(config, ours, peers, arguments.width, (first, second, epochs, training))
    print(text)
    write_text(work / "peers.md", text)


def table_of(
    config: TrainingConfig,
    ours: dict[int, list[FoldRun]],
    peers: dict[tuple[str, bool, int], list[PeerRun]],
    width: float,
    budget: tuple[int, int, int, int],
) -> str:
    reference = references(config, GRID, config.data.broadening)[LEVEL]
    place = config.data.levels.index(LEVEL)
    mine = [out_of_fold(group, reference, place) for group in ours.values()]
    frames = {"ours": [scored(one, reference, width) for one in mine]}
    seconds = {"ours": [_seconds(group) for group in ours.values()]}
    if len(mine) > 1:
        together = f"ours, an ensemble of {len(mine)}"
        frames[together] = [scored(average(mine), reference, width)]
        seconds[together] = [sum(seconds["ours"])]
    truth = reference.broadened(Broadening("gaussian", width))
    for (peer, validated, _), group in peers.items():
        label = {"alignn": "alignn 2026.8.11", "optimate": "OPTIMATE of torch_geometric"}[peer]
        label += ", its recipe" if validated else ", all materials, last weights"
        frames.setdefault(label, []).append(scored(_read(group, truth), truth, width))
        seconds.setdefault(label, []).append(_seconds(group))
    first, second, epochs, training = budget
    better = min(_median(f, "mae") for name, f in frames.items() if not name.startswith("ours"))
    lines = [
        f"{len(reference)} materials, {FOLDS} folds, {LEVEL}, Gaussian σ = {width:g} eV. "
        f"Structures through a network: ours {first} of scalars and {second} of spectra; the peers "
        f"{epochs * training} of spectra in {epochs} epochs.",
        "",
        "| | seeds | seconds of a core, a fold | MAE median | MAE mean | SC median | SC mean "
        "| MAE median against the better peer |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, group in frames.items():
        figures = [_median(group, "mae"), _mean(group, "mae"),
                   _median(group, "similarity"), _mean(group, "similarity")]  # fmt: skip
        against = 100 * (figures[0] / better - 1)
        cells = " | ".join(f"{figure:.3f}" for figure in figures)
        used = f"{len(group)} | {np.mean(seconds[name]):.0f}"
        lines.append(f"| {name} | {used} | {cells} | {against:+.0f} % |")
    return "\n".join(lines) + "\n"


def _seconds(group: list[FoldRun] | list[PeerRun]) -> float:
    """Seconds of a core for the median fold, of ours with the first stage."""
    return float(np.median([np.load(run.path, allow_pickle=False)["seconds"] for run in group]))


def _median(group: list[pd.DataFrame], column: str) -> float:
    return float(np.mean([frame[column].median() for frame in group]))


def _mean(group: list[pd.DataFrame], column: str) -> float:
    return float(np.mean([frame[column].mean() for frame in group]))


def _read(group: list[PeerRun], truth: SpectraSet) -> SpectraSet:
    parts = [dict(np.load(run.path, allow_pickle=False)) for run in group]
    ids = np.concatenate([part["ids"] for part in parts]).tolist()
    values = np.concatenate([part["imaginary"] for part in parts])
    order = [ids.index(material_id) for material_id in truth.ids]
    # Negative values of Im ε, which a free vector may give, are set to zero, to the peer's good.
    return replace(
        truth,
        imaginary=np.maximum(values[order], 0.0),
        real_known=False,
        band_gap=np.full(len(ids), np.nan),
    )


if __name__ == "__main__":
    main()
