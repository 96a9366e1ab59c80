"""Many short trainings on the folds of one table: data read once, first stages shared, files kept.

Used by the benchmarks of this folder. A run's file is named by the content of all that it depends
on, so that a benchmark goes on where it stopped and never takes up what another configuration left.
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save

from opalign.dataset.split import Split, kfold_by_formula
from opalign.dataset.table import SpectraTable
from opalign.files import atomic_path, sha256
from opalign.model.network import SpectrumModel
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.training.components import fit_components
from opalign.training.config import TrainingConfig
from opalign.training.data import Materials, load_materials, load_pretraining, open_tables
from opalign.training.further import with_further
from opalign.training.light import fit_steps
from opalign.training.losses import TrainingLoss, training_loss
from opalign.training.metrics import per_material
from opalign.training.predictions import predict_materials
from opalign.training.run import build_model_config
from opalign.training.spectra import SpectraSet, join, read_spectra

FOLDS = 5


@dataclass(frozen=True)
class FoldRun:
    """One configuration on one fold: folds count from 1, ``fold_seed`` is that of the division."""

    config: TrainingConfig
    fold: int
    fold_seed: int
    folder: Path

    @property
    def path(self) -> Path:
        """File of the predictions of the fold's test materials."""
        return self.folder / "runs" / f"{content_key(self)}.npz"


def content_key(run: FoldRun) -> str:
    """Hash of configuration, data and fold, without the folders of this machine."""
    config = run.config
    tables = [_checksum(path) for path in (*config.data.tables, *config.data.training_tables)]
    if config.pretraining is not None:
        tables.append(_checksum(config.pretraining.table))
    settings = config.model_dump(
        mode="json", exclude={"data": {"tables", "training_tables", "graph_cache"}}
    )
    if settings["pretraining"]:
        del settings["pretraining"]["table"]
    return _hash([settings, tables, run.fold, run.fold_seed, FOLDS])


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


@lru_cache
def _checksum(path: Path) -> str:
    return sha256(path)


@lru_cache
def tables_of(paths: tuple[Path, ...]) -> list[SpectraTable]:
    """Open tables once a process."""
    return open_tables(paths)


def splits_of(
    tables: Sequence[SpectraTable], fold_seed: int, validation_fraction: float = 0.0
) -> list[Split]:
    """Folds by reduced formula; by default nothing is held back to choose an epoch by."""
    ids = [material_id for table in tables for material_id in table.ids]
    formulas = [formula for table in tables for formula in table.formulas]
    return kfold_by_formula(ids, formulas, FOLDS, fold_seed, validation_fraction)


@lru_cache(maxsize=4)
def _materials(config: str) -> Materials:
    settings = TrainingConfig.model_validate_json(config)
    tables = tables_of(settings.data.tables)
    return load_materials(
        tables, build_model_config(settings, tables), settings.data, settings.loss
    )


@lru_cache(maxsize=4)
def _scalars(config: str) -> Materials:
    settings = TrainingConfig.model_validate_json(config)
    model = build_model_config(settings, tables_of(settings.data.tables))
    return load_pretraining(settings.pretraining, model, (), None)


def _materials_of(config: TrainingConfig) -> Materials:
    """Materials of a configuration, kept for all that share graphs, grid and targets."""
    plain = TrainingConfig(data=config.data, model=config.model, loss=config.loss)
    head = {"kind": "physical"}
    model = plain.model.model_dump() | {"head": head, "graph": plain.model.graph_settings}
    loss = plain.loss.model_dump() | {"further": {}, "curriculum": None, "kind": "l1"}
    return _materials(TrainingConfig(data=config.data, model=model, loss=loss).model_dump_json())


def _scalars_of(config: TrainingConfig, held_out: set[str]) -> Materials:
    model = config.model.model_dump() | {"head": {"kind": "physical"}}
    stage = config.pretraining.model_copy(update={"epochs": 1, "batch_size": 1})
    key = TrainingConfig(data=config.data, model=model, pretraining=stage)
    found = _scalars(key.model_dump_json())
    keep = [m for m, f in zip(found.ids, found.formulas, strict=True) if f not in held_out]
    return found.select(keep)


def run_fold(run: FoldRun, device: str = "cpu", *, half: bool = False) -> float:
    """Train and predict the fold's test materials, unless that is done; seconds it took.

    ``half``: in mixed precision (bfloat16); no part of a file's name, so that it needs a folder of
    its own.
    """
    if run.path.is_file():
        return 0.0
    begin = time.monotonic()
    torch.set_num_threads(1)
    config = run.config
    split = splits_of(tables_of(config.data.tables), run.fold_seed)[run.fold - 1]
    materials = _materials_of(config)
    training, test = materials.select(split.train), materials.select(split.test)
    model = build_model_config(config, tables_of(config.data.tables))
    training = with_further(training, config.data, model, config.loss, test.formulas)
    steps = config.epochs * math.ceil(len(training) / config.batch_size)
    with torch.autocast(device, torch.bfloat16, enabled=half):
        network = _started(run, training, set(test.formulas), device)
        fit_steps(
            network,
            training_loss(network.config, config.loss),
            training,
            optimizer=config.optimizer,
            steps=steps,
            batch_size=config.batch_size,
            averaging=config.averaging,
            seed=config.seed,
            augmentation=config.augmentation,
        )
    output = predict_materials(network, test)
    kept = {
        name: output[name].astype(np.float32)
        for name in ("epsilon_imaginary", "epsilon_real", "band_gap")
    }
    seconds = time.monotonic() - begin
    with atomic_path(run.path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, ids=np.array(split.test), seconds=seconds, **kept)
    return seconds


def _started(run: FoldRun, training: Materials, held_out: set[str], device: str) -> SpectrumModel:
    """Network after its first stage, which all runs that share it begin with."""
    config, stage = run.config, run.config.pretraining
    model = build_model_config(config, tables_of(config.data.tables))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = SpectrumModel(model)
    fit_components(network, training)
    network.to(device)
    if stage is None:
        return network
    settings = stage.model_dump(mode="json", exclude={"table"})
    optimizer = config.optimizer.model_copy(update={"learning_rate": stage.learning_rate})
    key = _hash(
        [model.model_dump(mode="json"), settings, optimizer.model_dump(mode="json"),
         config.averaging, config.seed, sorted(held_out), _checksum(stage.table),
         sorted(training.ids)]
    )  # fmt: skip
    kept = run.folder / "pretrained" / f"{key}.safetensors"
    if kept.is_file():
        network.load_state_dict(load_file(kept))
        return network
    scalars = _scalars_of(config, held_out)
    fit_steps(
        network,
        TrainingLoss(
            model,
            band_gap_weight=stage.band_gap_weight,
            static_dielectric_weight=stage.static_dielectric_weight,
        ),
        scalars,
        optimizer=optimizer,
        steps=stage.epochs * math.ceil(len(scalars) / stage.batch_size),
        batch_size=stage.batch_size,
        averaging=config.averaging,
        seed=config.seed,
    )
    with atomic_path(kept) as temporary:
        temporary.write_bytes(save({n: v.contiguous() for n, v in network.state_dict().items()}))
    return network


def passes_of(config: TrainingConfig, training: int) -> tuple[int, int]:
    """Structures that go through the network in the first stage (none held out) and in the main."""
    first = 0
    if config.pretraining is not None:
        first = config.pretraining.epochs * len(_scalars_of(config, set()))
    return first, config.epochs * training


def run_all(runs: Sequence[object], work: Callable[[object], float], processes: int) -> None:
    """Do ``work`` on all runs that have no file yet, in processes that load torch once."""
    waiting = [run for run in runs if not run.path.is_file()]
    print(f"{len(runs) - len(waiting)} of {len(runs)} runs are there already", flush=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    begin = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        futures = [pool.submit(work, run) for run in waiting]
        try:
            for number, future in enumerate(as_completed(futures), start=1):
                seconds = future.result()
                left = (time.monotonic() - begin) / number * (len(waiting) - number)
                print(f"{number}/{len(waiting)}: {seconds:.0f} s, {left / 60:.0f} min left")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def references(
    config: TrainingConfig, grid: EnergyGrid, broadening: Broadening
) -> dict[str, SpectraSet]:
    """Read what was calculated, level → spectra, as the networks are to give it."""
    column = config.loss.band_gap_column
    return {
        level: join([read_spectra(t, level, broadening, grid, column)
                     for t in tables_of(config.data.tables)])
        for level in config.data.levels
    }  # fmt: skip


def out_of_fold(runs: Sequence[FoldRun], reference: SpectraSet, place: int) -> SpectraSet:
    """Predictions of the runs of all folds, in the order of the reference."""
    parts = []
    for run in runs:
        with np.load(run.path, allow_pickle=False) as kept:
            parts.append({name: kept[name] for name in kept.files})
    ids = np.concatenate([part["ids"] for part in parts])
    order = [{m: i for i, m in enumerate(ids.tolist())}[m] for m in reference.ids]

    def rows(name: str) -> np.ndarray:
        return np.concatenate([part[name] for part in parts])[order].astype(np.float64)

    return replace(
        reference,
        imaginary=np.maximum(rows("epsilon_imaginary")[:, place], 0.0),
        real=rows("epsilon_real")[:, place],
        real_known=True,
        band_gap=rows("band_gap"),
    )


def average(sets: Sequence[SpectraSet]) -> SpectraSet:
    """Mean of predictions: ε and gap alike, as an ensemble gives it."""
    return replace(
        sets[0],
        imaginary=np.mean([one.imaginary for one in sets], axis=0),
        real=np.mean([one.real for one in sets], axis=0),
        band_gap=np.mean([one.band_gap for one in sets], axis=0),
    )


def scored(predicted: SpectraSet, reference: SpectraSet, width: float) -> pd.DataFrame:
    """Figures of every material at a Gaussian of σ = ``width`` eV in all."""
    broadening = Broadening("gaussian", width)
    return per_material(predicted.broadened(broadening), reference.broadened(broadening))
