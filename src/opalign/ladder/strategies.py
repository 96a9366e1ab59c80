"""One job done: train the stage that it is, and say from what, with how many steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from opalign.ladder.config import (
    DeltaConfig,
    DirectConfig,
    LadderConfig,
    MultiFidelityConfig,
    StrategyConfig,
    TransferConfig,
)
from opalign.ladder.data import LadderData
from opalign.ladder.jobs import Job, budget, candidates, needs, stage_steps
from opalign.ladder.kernel import with_kernel
from opalign.ladder.store import read_record, read_weights, write_fit, write_trial, write_weights
from opalign.model.config import (
    AlignnConfig,
    DeltaHeadConfig,
    EncoderConfig,
    ModelConfig,
    PhysicalHeadConfig,
    ScalarHeadConfig,
)
from opalign.model.network import SpectrumModel
from opalign.spectrum.similarity import similarity_coefficient
from opalign.training.config import OptimizerConfig
from opalign.training.data import SIMILARITY, Materials
from opalign.training.light import LightStage, fit_steps
from opalign.training.losses import TrainingLoss, training_loss
from opalign.training.predictions import predict_materials


@dataclass
class Account:
    """What a network has gone through so far: its stages, materials, steps and time."""

    trained_on: dict[str, list[str]] = field(default_factory=dict)
    """Stage → ids that were in a batch; for ``fit`` and ``trial`` also stage and level, those with
    a known spectrum."""
    steps: dict[str, int] = field(default_factory=dict)
    passes: dict[str, int] = field(default_factory=dict)
    core_seconds: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, result: LightStage, seconds: float) -> None:
        """Take down one stage."""
        self.trained_on[stage] = list(result.seen)
        self.steps[stage], self.passes[stage] = result.steps, result.passes
        self.core_seconds[stage] = round(seconds, 3)

    def inherit(self, record: dict[str, Any]) -> None:
        """Take over what an earlier stage has gone through."""
        for name in ("trained_on", "steps", "passes", "core_seconds"):
            getattr(self, name).update(record[name])

    def record(self) -> dict[str, Any]:
        """Everything as JSON holds it."""
        return {
            "trained_on": self.trained_on,
            "steps": self.steps,
            "passes": self.passes,
            "core_seconds": self.core_seconds,
        }


def run_job(job: Job, data: LadderData, folder: Path) -> None:
    """Train what the job asks for and write its file, whole or not at all.

    Raises
    ------
    ConfigurationError
        Training diverged, or no material is left to train on.
    """
    stages = {
        "scalars": _scalars,
        "cheap": _cheap,
        "trial": _trial,
        "fit": _fit,
        "similarity": _similarity,
        "advice": _similarity,
    }
    stages[job.stage](job, data, folder)


def head_of(config: LadderConfig, strategy: StrategyConfig) -> PhysicalHeadConfig | DeltaHeadConfig:
    """Head of the network of a strategy."""
    if isinstance(strategy, DeltaConfig):
        return DeltaHeadConfig(
            base_level=config.cheap,
            hidden_features=strategy.hidden_features,
            basis_step=strategy.basis_step,
            largest_factor=strategy.largest_factor,
            largest_shift=strategy.largest_shift,
        )
    head = config.model.head
    if not isinstance(head, PhysicalHeadConfig):
        raise TypeError("a ladder has a physical head")  # LadderConfig has seen to it
    if isinstance(strategy, MultiFidelityConfig):
        return head.model_copy(update={"level_embedding": strategy.level_embedding})
    return head


def levels_of(config: LadderConfig, strategy: StrategyConfig) -> tuple[str, ...]:
    """Levels that the network of a strategy predicts, the costly one last."""
    both = isinstance(strategy, MultiFidelityConfig)
    return (config.cheap, config.costly) if both else (config.costly,)


def _scalars(job: Job, data: LadderData, folder: Path) -> None:
    config = data.config
    stage = config.pretraining
    if stage is None:
        raise TypeError("a stage of scalars without a table")  # LadderConfig has seen to it
    model = data.model_config((config.costly,), config.model.head)
    network, account = new_network(model, job), Account()
    loss = TrainingLoss(
        model,
        band_gap_weight=stage.band_gap_weight,
        static_dielectric_weight=stage.static_dielectric_weight,
    )
    strategy = next(s for s in config.strategies.values() if s.scalars)
    optimizer = config.optimizer.model_copy(update={"learning_rate": stage.learning_rate})
    materials = data.scalars(model, job.fold)
    steps = budget(config, strategy).scalars
    train(account, "scalars", network, loss, materials, config, job, optimizer, steps)
    write_weights(job.path(folder), network, account.record())


def _cheap(job: Job, data: LadderData, folder: Path) -> None:
    config = data.config
    model = data.model_config((config.cheap,), config.model.head)
    network, account = _started(job, data, folder, model)
    split = data.split(job.fold)
    train(
        account,
        "cheap",
        network,
        training_loss(model, config.loss),
        data.materials(model, split.train),
        config,
        job,
        config.optimizer,
        stage_steps(job.variant),
    )
    # What it says of the test materials at its own level serves the questions of the ladder.
    if split.test:
        output = predict_materials(network, data.materials(model, split.test))
        beside = job.path(folder).with_suffix(".parquet")
        write_fit(beside, split.test, output, 0, {**account.record(), "level": config.cheap})
    write_weights(job.path(folder), network, account.record())


def _trial(job: Job, data: LadderData, folder: Path) -> None:
    config = data.config
    strategy = config.strategies[job.variant]
    if not isinstance(strategy, DirectConfig) or strategy.tuning is None:
        raise TypeError(f"{job.variant} is not tuned")  # no plan has such a job
    name, rate = candidates(config, strategy)[job.candidate]
    model = _direct_model(data, strategy, name)
    network, account = _started(job, data, folder, model)
    labelled = data.labelled(job.subset, job.fold, job.seed)
    inner, judged = data.set_aside(labelled, strategy.tuning.validation_fraction, job.seed)
    optimizer = config.optimizer.model_copy(update={"learning_rate": rate})
    steps = max(1, round(budget(config, strategy).main * strategy.tuning.steps_share))
    loss = training_loss(model, config.loss)
    train(
        account, "trial", network, loss, data.materials(model, inner), config, job, optimizer, steps
    )
    validation = data.materials(model, judged)
    predicted = predict_materials(network, validation)["epsilon_imaginary"][:, 0]
    reference = data.reference(config.costly).select(validation.ids).imaginary
    similarity = similarity_coefficient(predicted, reference, data.grid)
    record = {
        **account.record(),
        "encoder": name,
        "learning_rate": rate,
        "judged_on": list(validation.ids),
        "similarity_mean": float(similarity.mean()),
    }
    write_trial(job.path(folder), record)


def _fit(job: Job, data: LadderData, folder: Path) -> None:
    config = data.config
    strategy = config.strategies[job.variant]
    split = data.split(job.fold)
    labelled = data.labelled(job.subset, job.fold, job.seed)
    optimizer, encoder, extra, rate_of = config.optimizer, "", dict[str, Any](), None
    if isinstance(strategy, DirectConfig) and strategy.tuning is not None:
        trials = [read_record(j.path(folder)) for j in needs(config, job) if j.stage == "trial"]
        best = max(trials, key=lambda record: record["similarity_mean"])
        encoder = best["encoder"]
        optimizer = optimizer.model_copy(update={"learning_rate": best["learning_rate"]})
        extra["trials"] = [
            {k: t[k] for k in ("encoder", "learning_rate", "similarity_mean")} for t in trials
        ]
        extra["tuning_core_seconds"] = sum(sum(t["core_seconds"].values()) for t in trials)
        extra["tuning_steps"] = sum(t["steps"]["trial"] for t in trials)
    if isinstance(strategy, DirectConfig):
        model = _direct_model(data, strategy, encoder)
    else:
        model = data.model_config(levels_of(config, strategy), head_of(config, strategy))
    if isinstance(strategy, TransferConfig):
        rate = optimizer.learning_rate * strategy.learning_rate_factor
        optimizer = optimizer.model_copy(update={"learning_rate": rate})
        rate_of = layer_rates(model.encoder, strategy.frozen_layers, strategy.layer_decay)
    network, account = _started(job, data, folder, model)
    both = isinstance(strategy, MultiFidelityConfig)
    materials = data.materials(model, split.train if both else labelled, set(labelled))
    loss = training_loss(model, config.loss)
    if isinstance(strategy, DeltaConfig):
        loss.weights["band_gap"] = 0.0  # this head predicts none
    steps = budget(config, strategy).main
    train(account, "fit", network, loss, materials, config, job, optimizer, steps, rate_of)
    known = ~torch.isnan(materials.targets[config.loss.target]).any(-1)
    for place, level in enumerate(model.levels):
        seen = set(account.trained_on["fit"])
        account.trained_on[f"fit {level}"] = [
            m for m, row in zip(materials.ids, known[:, place], strict=True) if row and m in seen
        ]
    # The test part is read here for its structures (and, by the delta head, its cheap spectra).
    output = predict_materials(network, data.materials(model, split.test, ()))
    extra |= {"level": config.costly, "learning_rate": optimizer.learning_rate, "encoder": encoder}
    place = model.levels.index(config.costly)
    write_fit(job.path(folder), split.test, output, place, {**account.record(), **extra})


def similarity_model(data: LadderData, kernel_points: int = 0) -> ModelConfig:
    """Describe the network with one output, and how many materials its kernel knows."""
    config = data.config
    head = ScalarHeadConfig(
        cheap=config.cheap,
        costly=config.costly,
        hidden_features=config.similarity.hidden_features,
        kernel_points=kernel_points,
        kernel_share=config.similarity.kernel_share,
    )
    return data.model_config((config.cheap, config.costly), head)


def _similarity(job: Job, data: LadderData, folder: Path) -> None:
    config = data.config
    model = similarity_model(data)
    network, account = _started(job, data, folder, model)
    optimizer = config.optimizer.model_copy(
        update={"learning_rate": config.similarity.learning_rate}
    )
    split = data.split(job.fold)
    loss = TrainingLoss(model, similarity_weight=1.0)
    steps = config.similarity.steps
    materials = data.with_similarity(model, split.train)
    train(account, "similarity", network, loss, materials, config, job, optimizer, steps)
    whole = with_kernel(network, materials) if config.similarity.kernel_share else network
    if job.stage == "advice":
        write_weights(job.path(folder), whole, account.record())
        return
    tested = data.with_similarity(model, split.test)
    told = {
        name: dict(
            zip(split.test, predict_materials(one, tested)[SIMILARITY].tolist(), strict=True)
        )
        for name, one in (("predicted", whole), ("network", network))
    }
    write_trial(job.path(folder), {**account.record(), **told})


def train(
    account: Account,
    stage: str,
    network: SpectrumModel,
    loss: TrainingLoss,
    materials: Materials,
    config: LadderConfig,
    job: Job,
    optimizer: OptimizerConfig,
    steps: int,
    rate_of: Callable[[str], float] | None = None,
) -> None:
    """Go through one stage and take it down in the account."""
    begin = time.process_time()
    result = fit_steps(
        network,
        loss,
        materials,
        optimizer=optimizer,
        steps=steps,
        batch_size=config.batch_size,
        averaging=config.averaging,
        seed=job.seed,
        rate_of=rate_of,
        augmentation=None if stage == "scalars" else config.augmentation,
    )
    account.add(stage, result, time.process_time() - begin)


def new_network(model: ModelConfig, job: Job) -> SpectrumModel:
    """Return a network with the random start of the job's seed and fold."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 * job.seed + job.fold)
        return SpectrumModel(model)


def layer_rates(
    encoder: EncoderConfig, frozen_layers: int, layer_decay: float
) -> Callable[[str], float]:
    """Name of a parameter → factor on its learning rate, by the layer that it belongs to.

    Layer 0 embeds atoms, bonds and angles; then come the encoder's layers of messages; the last
    layer is pooling and head, which is never frozen.
    """
    first_graph_convolution = encoder.alignn_layers if isinstance(encoder, AlignnConfig) else 0
    last = 1 + (
        encoder.alignn_layers + encoder.gcn_layers
        if isinstance(encoder, AlignnConfig)
        else len(encoder.attention_features)
    )

    def factor(name: str) -> float:
        parts = name.split(".")
        depth = 0
        if parts[0] != "encoder" or parts[1] == "pooling":
            depth = last
        elif parts[2].isdigit() and not parts[1].endswith(("_embedding", "_network")):
            after = first_graph_convolution if parts[1] == "graph_convolutions" else 0
            depth = 1 + after + int(parts[2])
        frozen = depth < min(frozen_layers, last)
        return 0.0 if frozen else layer_decay ** (last - depth)

    return factor


def load_matching(network: SpectrumModel, state: dict[str, Tensor]) -> list[str]:
    """Copy tensors of equal name and shape; return the names of the network's that stay random."""
    own = network.state_dict()
    fitting = {n: v for n, v in state.items() if n in own and own[n].shape == v.shape}
    network.load_state_dict(fitting, strict=False)
    return sorted(set(own) - set(fitting))


def _started(
    job: Job, data: LadderData, folder: Path, model: ModelConfig
) -> tuple[SpectrumModel, Account]:
    """Return a network at its start, random or that of the stage before, and its account."""
    network, account = new_network(model, job), Account()
    for other in needs(data.config, job):
        if other.stage in ("scalars", "cheap"):
            state, record = read_weights(other.path(folder))
            load_matching(network, state)
            account.inherit(record)
    return network, account


def _direct_model(data: LadderData, strategy: DirectConfig, encoder: str) -> ModelConfig:
    config = data.config
    other = strategy.tuning.encoders[encoder] if strategy.tuning and encoder else None
    return data.model_config((config.costly,), config.model.head, other)
