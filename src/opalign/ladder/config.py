"""What is compared: two levels of theory, strategies to climb from one to the other, one budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from opalign.model.config import EncoderConfig, OptimateConfig, PhysicalHeadConfig
from opalign.spectrum.broadening import Broadening
from opalign.training.config import (
    DEFAULT_BROADENING,
    AugmentationConfig,
    LossConfig,
    NetworkConfig,
    OptimizerConfig,
    PretrainingConfig,
)


class _Configuration(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TuningConfig(_Configuration):
    """Grid from which direct learning takes its best, anew in every fold and at every size.

    The choice falls on materials of the training part of the fold that are set aside for it, by
    formula; the winner is then trained on all of them. It comes on top of the budget.
    """

    learning_rates: tuple[PositiveFloat, ...] = Field((1e-3, 4e-3), min_length=1)
    encoders: dict[str, EncoderConfig] = Field(
        default_factory=dict, description="by name, beside that of the model"
    )
    validation_fraction: float = Field(0.25, gt=0.0, lt=1.0, description="share set aside")
    steps_share: float = Field(1.0, gt=0.0, le=1.0, description="steps of a trial, of the budget")


class _Strategy(_Configuration):
    scalars: bool = Field(
        False,
        description="begin with a stage on the scalars of the pretraining table, paid from the "
        "budget",
    )


class DirectConfig(_Strategy):
    """Random start, costly level only."""

    kind: Literal["direct"] = "direct"
    tuning: TuningConfig | None = TuningConfig()


class TransferConfig(_Strategy):
    """The cheap level of all training materials first, then the costly one of those that have it.

    All weights go on unless ``frozen_layers`` keeps the first layers of the encoder as they are (1:
    what embeds elements and distances, 2: the first layer of messages too, …); ``layer_decay`` is
    the factor on the learning rate from one layer to the one below it.
    """

    kind: Literal["transfer"] = "transfer"
    cheap_share: float = Field(0.75, gt=0.0, lt=1.0, description="of steps, for the cheap level")
    learning_rate_factor: PositiveFloat = Field(0.1, description="on the costly level")
    frozen_layers: NonNegativeInt = 0
    layer_decay: float = Field(1.0, gt=0.0, le=1.0)


class MultiFidelityConfig(_Strategy):
    """One network for both levels, trained on all spectra there are at once."""

    kind: Literal["multi_fidelity"] = "multi_fidelity"
    level_embedding: NonNegativeInt = Field(
        16, description="size of the level's vector; 0: outputs of its own for every level"
    )


class DeltaConfig(_Strategy):
    """The costly spectrum from the structure and the cheap spectrum of the same material."""

    kind: Literal["delta"] = "delta"
    hidden_features: tuple[PositiveInt, ...] = (64,)
    basis_step: PositiveFloat = 0.5
    largest_factor: float = Field(4.0, gt=1.0)
    largest_shift: float = Field(0.0, ge=0.0)


StrategyConfig = Annotated[
    DirectConfig | TransferConfig | MultiFidelityConfig | DeltaConfig,
    Field(discriminator="kind"),
]


def _default_strategies() -> dict[str, StrategyConfig]:
    return {
        "direct": DirectConfig(),
        "transfer": TransferConfig(),
        "multi_fidelity": MultiFidelityConfig(),
        "delta": DeltaConfig(),
    }


class SimilarityConfig(_Configuration):
    """The model with one output, SC[cheap; costly]: of the cheap level to the costly one."""

    hidden_features: tuple[PositiveInt, ...] = (64,)
    steps: PositiveInt = 1000
    learning_rate: PositiveFloat = 1e-3
    from_cheap: bool = Field(
        True, description="begin with an encoder that has learned the cheap level, within the fold"
    )
    kernel_share: float = Field(
        2.0 / 3.0,
        ge=0.0,
        le=1.0,
        description="share of a Gaussian process on the ions of the crystal, which needs fewer "
        "materials, in the average with the network; 0: the network alone",
    )


class LadderConfig(_Configuration):
    """Everything that the comparison of strategies depends on."""

    tables: tuple[Path, ...] = Field(min_length=1, description="spectra tables, read as one")
    cheap: str = Field("ipa", description="level of theory that all materials have")
    costly: str = Field("rpa", description="level of theory to be learned")
    broadening: Broadening = Field(DEFAULT_BROADENING, description="of the spectra learned")
    model: NetworkConfig = NetworkConfig(encoder=OptimateConfig(element_table="cgcnn_group_period"))
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    augmentation: AugmentationConfig | None = Field(
        None, description="changes of the geometry while spectra are learned"
    )
    pretraining: PretrainingConfig | None = Field(
        None, description="scalars for strategies that begin with them; epochs are not used here"
    )
    strategies: dict[str, StrategyConfig] = Field(default_factory=_default_strategies, min_length=1)
    similarity: SimilarityConfig = SimilarityConfig()
    sizes: tuple[float, ...] = Field(
        (0.125, 0.25, 0.5, 1.0), min_length=1, description="shares of the training materials"
    )
    cells: tuple[PositiveInt, ...] = Field(
        (2, 3, 4, 6), min_length=1, description="atoms in the largest training cell"
    )
    folds: int = Field(5, ge=2)
    fold_seed: int = 0
    seeds: tuple[NonNegativeInt, ...] = Field((0, 1, 2), min_length=1)
    steps: PositiveInt = Field(500, description="budget of every strategy: steps of the optimiser")
    scalars_share: float = Field(0.3, gt=0.0, lt=1.0, description="of the steps, for scalars")
    batch_size: PositiveInt = 8
    averaging: float | None = Field(0.98, gt=0.0, lt=1.0)

    @field_validator("tables", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str | Path) else value

    @field_validator("sizes")
    @classmethod
    def _shares(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0.0 < size <= 1.0 for size in value):
            raise ValueError("sizes are shares of the training materials, above 0 and at most 1")
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _consistent(self) -> LadderConfig:
        if self.cheap == self.costly:
            raise ValueError(f"cheap and costly are both {self.cheap}: name two levels of theory")
        if not isinstance(self.model.head, PhysicalHeadConfig):
            raise ValueError("the strategies share the physical head: set model.head.kind so")
        if self.model.head.components:
            raise ValueError("few spectra have few components: leave model.head.components at 0")
        if self.loss.target != "epsilon_imaginary":
            raise ValueError("spectra are compared as Im ε: set loss.target: epsilon_imaginary")
        if self.optimizer.schedule == "plateau":
            raise ValueError("a budget of steps has no plateau: take one_cycle or constant")
        for name, strategy in self.strategies.items():
            if not name.replace("_", "").replace("-", "").isalnum():
                raise ValueError(f"strategy {name!r}: a name has letters, digits, - and _ alone")
            if not strategy.scalars:
                continue
            if self.pretraining is None:
                raise ValueError(f"strategy {name} begins with scalars: name a pretraining table")
            if isinstance(strategy, DirectConfig) and strategy.tuning and strategy.tuning.encoders:
                raise ValueError(f"strategy {name}: other encoders have learned no scalars")
        return self

    @property
    def counted_seeds(self) -> str:
        """How many seeds, in words for headings and captions."""
        return "one seed" if len(self.seeds) == 1 else f"{len(self.seeds)} seeds"
