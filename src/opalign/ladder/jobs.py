"""What has to be trained, in which order: every stage once, however many runs begin with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from opalign.ladder.config import DirectConfig, LadderConfig, StrategyConfig, TransferConfig

Stage = Literal["scalars", "cheap", "trial", "fit", "similarity", "advice"]
ALL = "all"


@dataclass(frozen=True)
class Job:
    """One training: a stage that others begin with, a trial of the tuning, or a fit to be tested.

    ``similarity`` is a fit of the model with one output, ``advice`` the same on all materials, with
    fold 0, which leaves nothing out.

    ``subset`` names the materials with costly labels (:meth:`opalign.ladder.data.LadderData.
    labelled`); ``variant`` is the strategy of a trial or fit, what sets a cheap stage or a fit
    of the model with one output apart, or empty; ``candidate`` counts trials.
    """

    stage: Stage
    variant: str
    subset: str
    fold: int
    seed: int
    candidate: int = 0

    @property
    def name(self) -> str:
        """Path within a folder of results, without suffix."""
        parts = [self.stage, self.variant, "" if self.subset == ALL else self.subset]
        place = f"fold-{self.fold}_seed-{self.seed}"
        trial = f"_trial-{self.candidate}" if self.stage == "trial" else ""
        return "/".join([*(part for part in parts if part), place + trial])

    def path(self, folder: Path) -> Path:
        """File of what it came to."""
        suffixes = {"fit": ".parquet", "trial": ".json", "similarity": ".json"}
        suffix = suffixes.get(self.stage, ".safetensors")
        return folder / "runs" / f"{self.name}{suffix}"


@dataclass(frozen=True)
class Budget:
    """Steps of the optimiser of the stages of a strategy; they sum to that of the ladder."""

    scalars: int
    cheap: int
    main: int

    @property
    def total(self) -> int:
        """Sum of all stages."""
        return self.scalars + self.cheap + self.main


def budget(config: LadderConfig, strategy: StrategyConfig) -> Budget:
    """Divide the steps of the ladder among the stages of a strategy."""
    scalars = round(config.steps * config.scalars_share) if strategy.scalars else 0
    rest = config.steps - scalars
    cheap = round(rest * strategy.cheap_share) if isinstance(strategy, TransferConfig) else 0
    return Budget(scalars, cheap, rest - cheap)


def candidates(config: LadderConfig, strategy: DirectConfig) -> list[tuple[str, float]]:
    """Give encoder (empty: that of the model) and learning rate of every trial of a tuning."""
    if strategy.tuning is None:
        return []
    encoders = ["", *strategy.tuning.encoders]
    return list(product(encoders, strategy.tuning.learning_rates))


def needs(config: LadderConfig, job: Job) -> list[Job]:
    """Jobs whose results this one begins with."""
    if job.stage == "scalars":
        return []
    if job.stage == "cheap":
        scalars = job.variant.startswith("scalars-")
        return [Job("scalars", "", ALL, job.fold, job.seed)] if scalars else []
    if job.stage in ("similarity", "advice"):
        cheap = Job("cheap", f"{cheap_steps(config)}-steps", ALL, job.fold, job.seed)
        return [cheap] if config.similarity.from_cheap else []
    strategy = config.strategies[job.variant]
    found: list[Job] = []
    if isinstance(strategy, TransferConfig):
        found.append(Job("cheap", cheap_variant(config, strategy), ALL, job.fold, job.seed))
    elif strategy.scalars:
        found.append(Job("scalars", "", ALL, job.fold, job.seed))
    if job.stage == "fit" and isinstance(strategy, DirectConfig):
        # Tuned with the first seed: what is tuned is the method, not a run.
        found += [
            Job("trial", job.variant, job.subset, job.fold, config.seeds[0], number)
            for number in range(len(candidates(config, strategy)))
        ]
    return found


def cheap_variant(config: LadderConfig, strategy: TransferConfig) -> str:
    """Name of the cheap stage of a strategy; strategies with the same share it."""
    start = "scalars-" if strategy.scalars else ""
    return f"{start}{budget(config, strategy).cheap}-steps"


def similarity_variant(config: LadderConfig) -> str:
    """Name of the model with one output, so that other settings of it are trained anew."""
    settings = config.similarity
    hidden = "-".join(map(str, settings.hidden_features))
    parts = [f"{settings.steps}-steps", f"{settings.learning_rate:g}", hidden]
    parts += [f"kernel-{settings.kernel_share:.3g}"] if settings.kernel_share else []
    parts += [] if settings.from_cheap else ["random"]
    return "_".join(parts)


def cheap_steps(config: LadderConfig) -> int:
    """Return the steps of the cheap stage before the similarity: those of the first transfer."""
    transfers = [s for s in config.strategies.values() if isinstance(s, TransferConfig)]
    plain = [strategy for strategy in transfers if not strategy.scalars]
    return budget(config, plain[0] if plain else TransferConfig()).cheap


def stage_steps(variant: str) -> int:
    """Return the steps of a cheap stage, as its name says."""
    return int(variant.removeprefix("scalars-").removesuffix("-steps"))


def similarity_plan(config: LadderConfig) -> list[Job]:
    """Fits of the model with one output on all folds and seeds, and on all materials."""
    order: dict[Job, None] = {}
    for seed, fold in product(config.seeds, range(config.folds + 1)):
        stage: Stage = "similarity" if fold else "advice"
        job = Job(stage, similarity_variant(config), ALL, fold, seed)
        for other in (*needs(config, job), job):
            order.setdefault(other)
    return list(order)


def plan(config: LadderConfig, subsets: Sequence[str], strategies: Sequence[str]) -> list[Job]:
    """Fits of the strategies on all folds, seeds and subsets, each after all that it needs."""
    order: dict[Job, None] = {}

    def add(job: Job) -> None:
        for other in needs(config, job):
            add(other)
        order.setdefault(job)

    for seed, subset, fold, name in product(
        config.seeds, subsets, range(1, config.folds + 1), strategies
    ):
        add(Job("fit", name, subset, fold, seed))
    return list(order)


def size_subset(share: float) -> str:
    """Name of the subset of a share of the training materials."""
    return f"size-{share:g}"


def cell_subset(atoms: int) -> str:
    """Name of the subset of training materials with at most so many atoms in the cell."""
    return f"cells-{atoms}"
