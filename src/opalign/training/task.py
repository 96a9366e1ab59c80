"""The training step in Lightning's terms: losses, optimiser, schedule, averaged weights."""

from __future__ import annotations

from typing import Any, cast

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from opalign.model.network import SpectrumModel
from opalign.spectrum.similarity import similarity_coefficient
from opalign.training.augmentation import perturb
from opalign.training.config import AugmentationConfig, OptimizerConfig
from opalign.training.data import Batch, EpochShuffle
from opalign.training.losses import TrainingLoss
from opalign.training.optimization import RunningAverage, new_optimizer

MONITOR = "validation/loss"


class DivergenceError(ArithmeticError):
    """A loss that is not a finite number."""


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
        self.total_steps, self.seed = total_steps, seed
        self.augmentation = augmentation
        # A submodule, so that its state is saved and restored with everything else. Its buffers
        # (the running statistics of batch norms) are copies of the network's.
        self.averaged = (
            None
            if averaging is None
            else AveragedModel(network, multi_avg_fn=RunningAverage(averaging))
        )

    @property
    def evaluated(self) -> SpectrumModel:
        """The network whose spectra are validated and kept."""
        network = self.network if self.averaged is None else self.averaged.module
        return cast(SpectrumModel, network)

    def on_train_epoch_start(self) -> None:
        """Give the materials the order of this epoch."""
        sampler = getattr(self.trainer.train_dataloader, "sampler", None)
        if isinstance(sampler, EpochShuffle):
            sampler.set_epoch(self.current_epoch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Draw dropout from seed and step.

        Not once an epoch: what the loaders draw in between differs in a resumed run.
        """
        torch.manual_seed(self.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Loss of one batch."""
        step = self.global_step
        graph = perturb(batch["graph"], self.augmentation, self.seed, step)
        terms = self.loss(self.network(graph), batch["targets"], step / self.total_steps)
        if not torch.isfinite(terms["loss"]):
            raise DivergenceError
        self._log_terms("training", terms, batch)
        return terms["loss"]

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Step, then let the running average follow."""
        super().optimizer_step(*arguments, **options)
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)

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
        """Tell a plateau schedule how it went.

        Here and not by Lightning, which does so only after the state to resume from is saved.
        """
        schedule = self.lr_schedulers()
        if isinstance(schedule, ReduceLROnPlateau) and not self.trainer.sanity_checking:
            schedule.step(float(self.trainer.callback_metrics[MONITOR]))

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

    def _log_terms(self, stage: str, terms: dict[str, Tensor], batch: Batch) -> None:
        size = len(next(iter(batch["targets"].values())))
        self.log_dict(
            {f"{stage}/{name}": value.detach() for name, value in terms.items()},
            on_step=False,
            on_epoch=True,
            batch_size=size,
        )
