"""One training run: from a configuration to a folder with checkpoint, predictions and figures."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import load_file, save

from opalign.dataset.split import PARTS, Split
from opalign.dataset.table import SpectraTable
from opalign.errors import ConfigurationError, DatasetError, OpalignError
from opalign.files import atomic_path
from opalign.model.config import ModelConfig
from opalign.model.network import SpectrumModel
from opalign.training import distributed
from opalign.training.absent import without_absent_terms
from opalign.training.components import fit_components
from opalign.training.conclusion import RESULT_FILE, RunResult, conclude
from opalign.training.config import PretrainingConfig, TrainingConfig
from opalign.training.config_file import differing_keys, read_config, write_config
from opalign.training.crossvalidated import read_figures
from opalign.training.data import (
    Materials,
    load_materials,
    load_pretraining,
    make_split,
    open_tables,
    training_grid,
)
from opalign.training.further import with_further
from opalign.training.initial import load_initial
from opalign.training.losses import TrainingLoss, training_loss
from opalign.training.stage import fit_stage

CONFIG_FILE = "config.yaml"
SPLIT_FILE = "split.json"


def train(
    config: TrainingConfig | None,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    console: Console | None = None,
) -> RunResult:
    """Train a model and write everything about it into the folder ``out``.

    Parameters
    ----------
    config
        May be None when resuming: a run keeps its configuration.
    resume
        Take up a run that was stopped; a finished one is left as it is, and a folder without a
        run starts one.

    Raises
    ------
    ConfigurationError
        ``out`` holds a run and ``resume`` was not asked for, or one with another configuration.
    DatasetError, StructureError, SpectrumError, CheckpointError
        The data or the weights to start from are not as the configuration says.
    KeyboardInterrupt
        Someone stopped it; resuming gives the same weights as if nobody had.
    """
    out = Path(out)
    first = distributed.is_first()
    console = console or Console(quiet=not first)
    config = None if config is None else without_absent_terms(config, console)
    begun = (out / CONFIG_FILE).is_file() or not first
    with distributed.in_turn():
        # The others find the run that the first has just begun.
        config = claim(config, out, resume or not first)
    if (out / RESULT_FILE).is_file():
        return RunResult(out, read_result(out / RESULT_FILE), was_finished=True)
    try:
        with distributed.in_turn(first_alone=config.data.graph_cache is not None):
            # Read now, not after hours of training: it may be refused.
            promised = config.cross_validated
            crossed = None if promised is None else read_figures(promised, config)
            tables = open_tables(config.data.tables)
            split = _split(config, tables, out)
            model_config = build_model_config(config, tables)
            materials = load_materials(tables, model_config, config.data, config.loss)
            parts = {name: materials.select(getattr(split, name)) for name in PARTS}
            held_out = [*parts["validation"].formulas, *parts["test"].formulas]
            parts["train"] = with_further(
                parts["train"], config.data, model_config, config.loss, held_out
            )
            network = _new_network(model_config, config.seed)
            distributed.check_network(network)
            if config.compile:
                network.fuse()
            fit_components(network, parts["train"])
            if config.initial is not None:
                ids = [*parts["validation"].ids, *parts["test"].ids]
                load_initial(config.initial, network, dict(zip(ids, held_out, strict=True)))
    except OpalignError:
        if not begun:
            release(out)
        raise
    console.print(
        "materials: " + ", ".join(f"{len(part)} {name}" for name, part in parts.items()),
        f"on {model_config.grid}, levels {', '.join(model_config.levels)}",
    )
    if config.pretraining is not None:
        _pretrain(config, config.pretraining, network, parts, out, console)
    stage = fit_stage(
        network,
        training_loss(model_config, config.loss),
        parts["train"],
        parts["validation"] if len(parts["validation"]) else None,
        run=config,
        optimizer=config.optimizer,
        epochs=config.epochs,
        batch_size=config.batch_size,
        title="epoch",
        state=out / "state",
        logs=out / "logs",
        console=console,
        augmentation=config.augmentation,
    )
    metrics: dict[str, Any] = {"best_epoch": stage.best_epoch + 1, "epochs": stage.epochs}
    if crossed is not None:
        metrics["cross_validation"] = crossed
    result = RunResult(out, metrics)
    with distributed.in_turn():
        if first:
            result = conclude(config, tables, split, parts, network, metrics, out)
    return result


def build_model_config(config: TrainingConfig, tables: list[SpectraTable]) -> ModelConfig:
    """Describe the network, with the grid of the tables where none is asked for."""
    return ModelConfig(
        encoder=config.model.encoder,
        head=config.model.head,
        graph=config.model.graph_settings,
        grid=training_grid(config.model.grid, tables),
        levels=config.data.levels,
        broadening=config.data.broadening,
    )


def claim(config: TrainingConfig | None, out: Path, resume: bool) -> TrainingConfig:
    """Write the configuration into a new folder, or check it against the one that is there."""
    path = out / CONFIG_FILE
    if path.is_file():
        if not resume:
            raise ConfigurationError(
                "a run stands here already",
                where=str(out),
                cure="continue it with --resume, or choose another folder",
            )
        kept = read_config(path)
        changed = [] if config is None else differing_keys(kept, config)
        if changed:
            raise ConfigurationError(
                f"the run that stands here has another {', '.join(changed)}",
                where=str(out),
                cure="resume it without a configuration, or choose another folder",
            )
        return kept
    if config is None:
        raise ConfigurationError(
            "there is no run to resume",
            where=str(out),
            expected=f"a folder with {CONFIG_FILE}",
            cure="give a configuration to start one",
        )
    if out.is_dir() and any(out.iterdir()):
        raise ConfigurationError(
            "the folder holds other things", where=str(out), cure="choose a new or empty folder"
        )
    write_config(path, config)
    return config


def release(out: Path) -> None:
    """Give the folder back: a run that could not begin must not stand in the way of the next."""
    for name in (CONFIG_FILE, SPLIT_FILE):
        (out / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        out.rmdir()  # only if empty


def read_result(path: Path) -> dict[str, Any]:
    """Read the figures of a finished run; ConfigurationError if that fails."""
    try:
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"cannot be read: {error}",
            where=str(path),
            cure="delete this file and resume: the run then concludes anew",
        ) from error
    return metrics


def _split(config: TrainingConfig, tables: list[SpectraTable], out: Path) -> Split:
    ids = [material_id for table in tables for material_id in table.ids]
    formulas = [formula for table in tables for formula in table.formulas]
    split = make_split(config.data.split, ids, formulas)
    path = out / SPLIT_FILE
    if path.is_file() and Split.load(path) != split:
        raise DatasetError(
            "the tables give another split than when this run began",
            where=str(path),
            cure="put the tables back as they were, or start a new run in another folder",
        )
    if distributed.is_first():
        split.save(path)
    return split


def _new_network(config: ModelConfig, seed: int) -> SpectrumModel:
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        return SpectrumModel(config)


def _pretrain(
    config: TrainingConfig,
    stage: PretrainingConfig,
    network: SpectrumModel,
    parts: dict[str, Materials],
    out: Path,
    console: Console,
) -> None:
    """Pretrain, or take up what an earlier start of this run has pretrained."""
    held_out = [*parts["validation"].formulas, *parts["test"].formulas]
    kept = out / "state" / "pretrained.safetensors"
    if kept.is_file():
        network.load_state_dict(load_file(kept))
        return
    materials = load_pretraining(
        stage,
        network.config,
        held_out,
        config.data.graph_cache,
        symmetry_reduced=config.data.symmetry_reduced,
    )
    console.print(f"pretraining on {len(materials)} materials")
    fit_stage(
        network,
        TrainingLoss(
            network.config,
            band_gap_weight=stage.band_gap_weight,
            static_dielectric_weight=stage.static_dielectric_weight,
        ),
        materials,
        None,
        run=config,
        optimizer=config.optimizer.model_copy(update={"learning_rate": stage.learning_rate}),
        epochs=stage.epochs,
        batch_size=stage.batch_size,
        title="pretraining epoch",
        state=out / "state" / "pretraining",
        logs=out / "logs" / "pretraining",
        console=console,
    )
    if not distributed.is_first():
        return
    with atomic_path(kept) as temporary:
        # Not save_file, whose errors are not the system's.
        temporary.write_bytes(save({n: v.contiguous() for n, v in network.state_dict().items()}))
