"""The training step in Lightning's terms: losses, optimiser, schedule, averaged weights."""

from __future__ import annotations

import math
from typing import Any, cast

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from opalign.model.network import SpectrumModel
from opalign.spectrum.similarity import similarity_coefficient
from opalign.training import distributed
from opalign.training.augmentation import perturb
from opalign.training.averaging import AveragedNetwork
from opalign.training.batches import EpochBatches
from opalign.training.config import AugmentationConfig, OptimizerConfig
from opalign.training.data import Batch
from opalign.training.losses import TrainingLoss
from opalign.training.optimization import new_optimizer
from opalign.training.recorded import RecordedStep

MONITOR = "validation/loss"


class DivergenceError(ArithmeticError):
    """A loss that is not a finite number."""


class RunningMeans:
    """Means over the materials of an epoch, summed on the device that the terms are on.

    Lightning's own logging keeps its books after every step, which takes longer than a step of a
    small network; and a number that is looked at in every step makes a GPU wait.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    @torch.no_grad()
    def add(self, terms: dict[str, Tensor], size: int) -> None:
        """Take up means over a batch of ``size`` materials, by name."""
        for name, value in terms.items():
            weighted = value.detach() * size
            self._sums[name] = self._sums[name] + weighted if name in self._sums else weighted
            self._counts[name] = self._counts.get(name, 0) + size

    def take(self, stage: str) -> dict[str, tuple[Tensor, int]]:
        """Return and forget mean and number of materials of the names that begin with a stage."""
        names = [name for name in self._sums if name.startswith(f"{stage}/")]
        counts = {name: self._counts.pop(name) for name in names}
        return {name: (self._sums.pop(name) / count, count) for name, count in counts.items()}


class SpectrumTask(lightning.LightningModule):
    """Trains one network; validates its running average if there is one, else the network itself.

    Random numbers follow from seed, epoch and step alone, so that a resumed run draws the same.
    Validation sees all its materials, in evaluation mode (Lightning switches modes).
    """

    def __init__(
        self,
        network: SpectrumModel,
        loss: TrainingLoss,
        optimizer: OptimizerConfig,
        total_steps: int,
        averaging: float | None,
        seed: int,
        augmentation: AugmentationConfig | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss, self.optimizer_config = loss, optimizer
        self.means = RunningMeans()
        self.total_steps, self.seed = total_steps, seed
        self.augmentation = augmentation
        #: Takes the place of forward and backward pass where steps are recorded.
        self.recorded: RecordedStep | None = None
        # A submodule, so that its state is saved and restored with everything else.
        self.averaged = None if averaging is None else AveragedNetwork(network, averaging)

    @property
    def evaluated(self) -> SpectrumModel:
        """The network whose spectra are validated and kept."""
        network = self.network if self.averaged is None else self.averaged.module
        return cast(SpectrumModel, network)

    def on_train_epoch_start(self) -> None:
        """Give the materials the order of this epoch."""
        batches = getattr(self.trainer.train_dataloader, "batch_sampler", None)
        if isinstance(batches, EpochBatches):
            batches.set_epoch(self.current_epoch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Draw dropout from seed and step.

        Not once an epoch: what the loaders draw in between differs in a resumed run.
        """
        torch.manual_seed(self._own_seed * 1_000_003 + self.global_step)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Loss of one batch."""
        if self.recorded is not None:
            terms = self.recorded(batch["rows"])
            self._log_terms("training", terms, batch, len(batch["rows"]))
            return terms["loss"]
        step = self.global_step
        graph = perturb(batch["graph"], self.augmentation, self._own_seed, step)
        terms = self.loss(self.network(graph), batch["targets"], step / self.total_steps)
        batches = getattr(self.trainer.train_dataloader, "batch_sampler", None)
        whole = batches.rows_in(index) if isinstance(batches, EpochBatches) else None
        self._log_terms("training", terms, batch, whole)
        return terms["loss"]

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Log the means of the epoch, before callbacks ask for them; stop where all is lost."""
        if not self.trainer.is_last_batch:
            return
        figures = self._log_means("training")
        if not math.isfinite(figures["training/loss"]):
            raise DivergenceError

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of the gradient; no precision in use scales it."""
        if gradient_clip_val is not None:
            trained = [weight for group in optimizer.param_groups for weight in group["params"]]
            torch.nn.utils.clip_grad_norm_(trained, gradient_clip_val)

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Step, then let the running average follow."""
        super().optimizer_step(*arguments, **options)
        if self.averaged is not None:
            # Lightning counts this step when it has ended.
            self.averaged.update(self.network, self.global_step)

    def validation_step(self, batch: Batch, index: int) -> None:
        """Losses and SC of one batch, logged as means over all validation materials."""
        output = self.evaluated(batch["graph"])
        self._log_terms("validation", self.loss(output, batch["targets"]), batch)
        reference = batch["targets"].get("epsilon_imaginary")
        predicted = output.get("epsilon_imaginary", output.get("target"))
        if reference is not None and predicted is not None:
            similarity = similarity_coefficient(predicted.float(), reference, self.loss.grid)
            # A material may lack a level.
            self._log_terms("validation", {"similarity": similarity.nanmean()}, batch)

    def on_validation_epoch_end(self) -> None:
        """Log the means of the epoch, and tell a plateau schedule how it went.

        Here and not by Lightning, which does so only after the state to resume from is saved.
        """
        figures = self._log_means("validation")
        schedule = self.lr_schedulers()
        if isinstance(schedule, ReduceLROnPlateau) and not self.trainer.sanity_checking:
            schedule.step(figures[MONITOR])

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step all schedules but the plateau, see :meth:`on_validation_epoch_end`."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW on the network, and the schedule on that same optimiser."""
        optimizer, schedule = new_optimizer(self.network, self.optimizer_config, self.total_steps)
        if isinstance(schedule, ReduceLROnPlateau):
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": schedule, "monitor": MONITOR, "strict": False},
            }
        if schedule is not None:
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": schedule, "interval": "step"},
            }
        return optimizer

    @property
    def _own_seed(self) -> int:
        """Seed of what each process draws for itself; in one process that of the run."""
        return self.seed + 104_729 * distributed.own()

    def _log_terms(
        self, stage: str, terms: dict[str, Tensor], batch: Batch, size: int | None = None
    ) -> None:
        """Take up means over a batch of ``size``, all processes together; default: over this."""
        if size is None:
            size = len(next(iter(batch["targets"].values())))
        self.means.add({f"{stage}/{name}": value for name, value in terms.items()}, size)

    def _log_means(self, stage: str) -> dict[str, float]:
        """Log the means over the materials of an epoch that has ended, and return them.

        Averaged over the processes: each has its share of training, and validates everything.
        """
        figures = {}
        for name, (own, count) in self.means.take(stage).items():
            mean = distributed.mean(own)
            self.log(name, mean, on_step=False, on_epoch=True, batch_size=count)
            figures[name] = float(mean)
        return figures
