"""What a run keeps while it trains: best weights, learning curve, a state to resume from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from opalign.files import atomic_path, write_text
from opalign.training import distributed
from opalign.training.task import MONITOR

STATE_FILE = "last.ckpt"
HISTORY_FILE = "history.csv"
LINES_IN_A_LOG = 40


class BestWeights(Callback):
    """Copies of the weights with the lowest validation loss, and the learning curve.

    Without validation materials the weights of the last epoch are the best. Copies, not
    references: training changes tensors in place.
    """

    def __init__(self) -> None:
        self.loss = float("inf")
        self.epoch = -1
        self.weights: dict[str, Tensor] = {}
        self.history: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Take the epoch's figures down, and a copy of the weights if they are the best so far."""
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        self.history.append(
            {"epoch": float(trainer.current_epoch), "learning_rate": rate, **figures}
        )
        loss = figures.get(MONITOR)
        if loss is not None and not loss < self.loss:
            return
        self.loss = float("inf") if loss is None else loss
        self.epoch = trainer.current_epoch
        self.weights = {
            name: value.detach().cpu().clone()
            for name, value in pl_module.evaluated.state_dict().items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything, as plain numbers and tensors."""
        return {
            "loss": self.loss,
            "epoch": self.epoch,
            "weights": self.weights,
            "history": self.history,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what :meth:`state_dict` gave."""
        self.loss, self.epoch = state_dict["loss"], state_dict["epoch"]
        self.weights, self.history = state_dict["weights"], state_dict["history"]


class StateWriter(Checkpoint):
    """Writes the state to resume from, whole or not at all, after epochs that have ended.

    Lightning calls it after all other callbacks of an epoch (it is a ``Checkpoint``), so that their
    states are those of this epoch. It reads the file back with ``weights_only`` alone.
    """

    def __init__(self, folder: Path, best: BestWeights, seconds: float) -> None:
        self.folder, self.best, self.seconds = folder, best, seconds
        self._written = time.monotonic()

    @property
    def path(self) -> Path:
        """File of the state."""
        return self.folder / STATE_FILE

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Write, unless the last time was a short while ago."""
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        # Clocks differ, and all processes take part in writing.
        if distributed.any_of(last or time.monotonic() - self._written >= self.seconds):
            self.write(trainer)

    def write(self, trainer: lightning.Trainer) -> None:
        """Write state and learning curve."""
        self._written = time.monotonic()
        if not distributed.is_first():
            trainer.save_checkpoint(self.path)  # takes part, and writes nothing
            return
        with atomic_path(self.path) as temporary:
            trainer.save_checkpoint(temporary)
        curve = pd.DataFrame(self.best.history)
        curve["epoch"] = curve["epoch"].astype(int)
        write_text(self.folder / HISTORY_FILE, curve.to_csv(index=False))
        self._written = time.monotonic()


class Reporter(Callback):
    """A progress bar on a terminal, some forty lines in a log."""

    def __init__(self, title: str, best: BestWeights, console: Console) -> None:
        self.title, self.best, self.console = title, best, console
        self._progress: Progress | None = None
        self._task: Any = None
        self._start = time.monotonic()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Begin."""
        self._start = time.monotonic()
        if not self.console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._task = self._progress.add_task(
            self.title, total=trainer.max_epochs, completed=trainer.current_epoch, figures=""
        )
        self._progress.start()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Say how it goes."""
        text = _figures(trainer.callback_metrics)
        done, total = trainer.current_epoch + 1, trainer.max_epochs or 0
        if self._progress is not None:
            self._progress.update(self._task, completed=done, figures=text)
        elif done in (1, total) or done % max(1, total // LINES_IN_A_LOG) == 0:
            seconds = time.monotonic() - self._start
            self.console.print(f"{self.title} {done}/{total}  {text}  {seconds:.0f} s")

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Leave the terminal in order."""
        self._stop()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException
    ) -> None:
        """Leave the terminal in order."""
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _figures(metrics: dict[str, torch.Tensor]) -> str:
    names = {
        "training/loss": "loss",
        "validation/loss": "validation loss",
        "validation/similarity": "validation SC",
    }
    return "  ".join(
        f"{label} {float(metrics[name]):.4f}" for name, label in names.items() if name in metrics
    )
