"""One stage of a run: fit a network to materials, resumable, and hand its best weights back."""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from rich.console import Console

from opalign.errors import ConfigurationError, StorageError
from opalign.model.network import SpectrumModel
from opalign.training import distributed
from opalign.training.augmentation import changes_geometry
from opalign.training.callbacks import BestWeights, Reporter, StateWriter
from opalign.training.config import AugmentationConfig, OptimizerConfig, TrainingConfig
from opalign.training.data import Materials, loader
from opalign.training.losses import TrainingLoss
from opalign.training.recorded import RecordedStep, can_record
from opalign.training.resident import ResidentMaterials
from opalign.training.task import MONITOR, DivergenceError, SpectrumTask


@dataclass(frozen=True)
class StageResult:
    """What a stage came to."""

    best_epoch: int
    """Counts from 0."""
    best_loss: float
    """Lowest validation loss; infinite without validation materials."""
    epochs: int
    """Epochs gone through."""


def fit_stage(
    network: SpectrumModel,
    loss: TrainingLoss,
    training: Materials,
    validation: Materials | None,
    *,
    run: TrainingConfig,
    optimizer: OptimizerConfig,
    epochs: int,
    batch_size: int,
    title: str,
    state: Path,
    logs: Path,
    console: Console,
    augmentation: AugmentationConfig | None = None,
) -> StageResult:
    """Fit ``network`` in place; it ends with the best weights, in evaluation mode.

    A state in the folder ``state`` is taken up where it ended, and the result is then the same as
    if nothing had come between, bit for bit on the CPU.

    Raises
    ------
    ConfigurationError
        A GPU is asked for where there is none, or training diverged.
    StorageError
        State or logs cannot be written, or the state cannot be read.
    KeyboardInterrupt
        Someone stopped it; the state of the last epochs is on disk.
    """
    if changes_geometry(augmentation):
        training = replace(training, reduced=False)
    task = SpectrumTask(
        network,
        loss,
        optimizer,
        total_steps=epochs * math.ceil(len(training) / batch_size),
        averaging=run.averaging,
        seed=run.seed,
        augmentation=augmentation,
    )
    best = BestWeights()
    writer = StateWriter(state, best, run.save_seconds)
    callbacks: list[Callback] = [best, writer, Reporter(title, best, console)]
    if run.early_stopping is not None and validation is not None:
        callbacks.append(EarlyStopping(MONITOR, patience=run.early_stopping, check_finite=False))
    with _quiet(), _without_traces(run):
        trainer = _trainer(run, optimizer, epochs, callbacks, logs)
        task.recorded = _recorded(run, task, training, batch_size, trainer.strategy.root_device)
        try:
            trainer.fit(
                task,
                loader(
                    training,
                    batch_size,
                    shuffle_seed=run.seed,
                    batching=run.batching,
                    only_rows=task.recorded is not None,
                ),
                None if validation is None else loader(validation, batch_size),
                ckpt_path=_readable(writer.path),
                # Tensors and plain values alone: a state is read without running code of a file.
                weights_only=True,
            )
        except SystemExit as error:
            # Lightning turns Ctrl-C into an exit of its own.
            raise KeyboardInterrupt from error
        except DivergenceError as error:
            raise ConfigurationError(
                f"the loss is no finite number any more in {title} {trainer.current_epoch + 1}",
                cure="start a new run with a lower optimizer.learning_rate or with "
                "optimizer.gradient_clip",
            ) from error
        except OSError as error:
            if error.errno is None:
                raise  # nothing that the operating system said
            raise StorageError(
                f"could not be written: {error.strerror}",
                where=str(error.filename or logs),
                cure="free some space, then continue with --resume",
            ) from error
    if not best.weights:
        raise ConfigurationError(
            f"the validation loss was no finite number in any {title}",
            cure="start a new run with a lower optimizer.learning_rate",
        )
    network.load_state_dict(best.weights)
    network.cpu().eval()
    return StageResult(best.epoch, best.loss, len(best.history))


def _recorded(
    run: TrainingConfig,
    task: SpectrumTask,
    training: Materials,
    batch_size: int,
    device: torch.device,
) -> RecordedStep | None:
    """Return what replays steps, or None where they cannot be recorded or shall not."""
    several = distributed.count() > 1
    if not run.recorded or several or not can_record(
        task.network, task.loss, training, task.augmentation, device
    ):  # fmt: skip
        return None
    # Before Lightning does it, as a recording knows the weights by their places.
    task.to(device)
    resident = ResidentMaterials(training, device)
    return RecordedStep(task.network, task.loss, resident, min(batch_size, len(training)))


def _readable(state: Path) -> str | None:
    """Return the path of a state to resume from, None if there is none.

    Raises
    ------
    StorageError
        There is one, and it is damaged.
    """
    if not state.is_file():
        return None
    try:
        torch.load(state, map_location="cpu", weights_only=True)
    # A damaged file may provoke any error in torch's reader.
    except Exception as error:
        raise StorageError(
            f"the state of the run cannot be read: {str(error).strip().splitlines()[0][:200]}",
            where=str(state),
            cure="copy it again, or delete it and resume: training then begins anew",
        ) from error
    return str(state)


def _trainer(
    run: TrainingConfig,
    optimizer: OptimizerConfig,
    epochs: int,
    callbacks: list[Callback],
    logs: Path,
) -> lightning.Trainer:
    if run.accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigurationError(
            "accelerator is gpu, and torch finds none",
            cure="set accelerator to auto or cpu, or install a torch build for your GPU",
        )
    several, here = distributed.count() > 1, distributed.on_this_machine()
    return lightning.Trainer(
        accelerator=run.accelerator,
        devices=here,
        num_nodes=distributed.count() // here,
        # Pretraining does not use the whole network.
        strategy=DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)
        if several
        else "auto",
        use_distributed_sampler=False,
        precision=run.precision,
        max_epochs=epochs,
        callbacks=callbacks,
        logger=TensorBoardLogger(logs.parent, name=logs.name, version=""),
        gradient_clip_val=optimizer.gradient_clip,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=0,  # once an epoch
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advertisements and advice for other situations off the terminal."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        # Batches of small graphs are made in a millisecond: worker processes would only cost.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        # A resumed run writes into the folder that its first part made.
        warnings.filterwarnings("ignore", ".*exists and is not empty.*")
        # Without validation materials there is nothing to validate, and that is meant.
        warnings.filterwarnings("ignore", ".*no `val_dataloader`.*")
        warnings.filterwarnings("ignore", ".*defined a `validation_step`.*")
        # The averaged weights are in evaluation mode when validation has put them there.
        warnings.filterwarnings("ignore", ".*in eval mode at the start of training.*")
        # States are written at the ends of epochs only; that is all a resumed run needs.
        warnings.filterwarnings("ignore", ".*resuming from a checkpoint.*")
        # Figures are averaged over the processes before they are logged.
        warnings.filterwarnings("ignore", ".*sync_dist=True.*")
        # torch's own tensorboard writer and its deprecations are no business of the user's.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def _without_traces(run: TrainingConfig) -> Iterator[Any]:
    """Put torch's random numbers, threads, precision and signal handlers back afterwards."""
    import signal
    import threading

    threads, products = torch.get_num_threads(), torch.backends.cuda.matmul
    rounding = products.allow_tf32
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main else None
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        try:
            if run.num_threads is not None:
                torch.set_num_threads(run.num_threads)
            products.allow_tf32 = rounding or run.tensor_cores
            yield
        finally:
            products.allow_tf32 = rounding
            torch.set_num_threads(threads)
            if main:
                signal.signal(signal.SIGINT, handler)
