"""One training run, described whole: data, network, loss, optimisation and what it starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from opalign.crystal.settings import GraphSettings
from opalign.model.config import (
    AlignnConfig,
    DeltaHeadConfig,
    EncoderConfig,
    HeadConfig,
    OptimateConfig,
    PhysicalHeadConfig,
    ScalarHeadConfig,
    SpectralTarget,
    VectorHeadConfig,
)
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

DEFAULT_BROADENING = Broadening(shape="gaussian", width=0.1)
"""The widest Gaussian that leaves the onset of absorption where it is."""


class _Configuration(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FractionSplit(_Configuration):
    """Shares of training, validation and test, by reduced formula."""

    method: Literal["fractions"] = "fractions"
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    seed: int = 0


class FoldSplit(_Configuration):
    """One fold of a cross-validation by reduced formula; folds count from 1."""

    method: Literal["fold"] = "fold"
    fold: PositiveInt = 1
    folds: int = Field(5, ge=2)
    seed: int = 0
    validation_fraction: float = Field(0.1, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _fold_exists(self) -> FoldSplit:
        if self.fold > self.folds:
            raise ValueError(f"fold {self.fold} of {self.folds}: folds count from 1")
        return self


class FileSplit(_Configuration):
    """Ids from a JSON file with the lists train, validation and test."""

    method: Literal["file"] = "file"
    file: Path


Batching = Literal["count", "angles"]

SplitConfig = Annotated[FractionSplit | FoldSplit | FileSplit, Field(discriminator="method")]


class DataConfig(_Configuration):
    """What is learned from."""

    tables: tuple[Path, ...] = Field(min_length=1, description="spectra tables, read as one")
    levels: tuple[str, ...] = Field(("rpa",), min_length=1, description="levels of theory to learn")
    broadening: Broadening = Field(DEFAULT_BROADENING, description="of the spectra learned")
    split: SplitConfig = FractionSplit()
    training_tables: tuple[Path, ...] = Field(
        (),
        description="further spectra tables, only learned from: never held out, and materials "
        "with a reduced formula of the validation or test part are left out",
    )
    graph_cache: Path | None = Field(None, description="folder that keeps graphs between runs")
    symmetry_reduced: bool = Field(
        True, description="compute what is alike in a crystal once, where the network allows it"
    )
    label_subset: dict[str, Path | tuple[str, ...]] = Field(
        default_factory=dict,
        description="level → ids, or a text file with one a line, of the materials whose spectrum "
        "of that level may be learned from; a level that is not named: all",
    )

    @field_validator("tables", "training_tables", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str | Path) else value

    @model_validator(mode="after")
    def _subsets_of_levels(self) -> DataConfig:
        if unknown := sorted(set(self.label_subset) - set(self.levels)):
            raise ValueError(f"label_subset names levels that are not learned: {unknown}")
        return self


class NetworkConfig(_Configuration):
    """The network: ModelConfig without what follows from the data."""

    encoder: EncoderConfig = AlignnConfig()
    head: HeadConfig = PhysicalHeadConfig()
    graph: GraphSettings | None = Field(
        None,
        description="default: 12 nearest neighbours and angles for ALIGNN, 5 Å for OPTIMATE",
    )
    grid: EnergyGrid | None = Field(None, description="default: the grid of the table")

    @property
    def graph_settings(self) -> GraphSettings:
        """Graph settings, with the default of the encoder where none are given."""
        if self.graph is not None:
            return self.graph
        if isinstance(self.encoder, OptimateConfig):
            return GraphSettings(kind="radius", cutoff=5.0, angles=False)
        return GraphSettings(angles=self.encoder.alignn_layers > 0)


class FurtherTerms(_Configuration):
    """Weights of further distances of Im ε (:mod:`opalign.training.spectral_terms`)."""

    blurred: NonNegativeFloat = Field(0.0, description="1 − SC of spectra blurred further")
    blurred_width: PositiveFloat = Field(0.5, description="eV, σ of that Gaussian")
    cumulative: NonNegativeFloat = Field(0.0, description="per eV by which weight is misplaced")
    slope: NonNegativeFloat = Field(0.0, description="of the relative error of the slope")
    logarithmic: NonNegativeFloat = Field(0.0, description="of the error of log₁₀(nα)")

    def __bool__(self) -> bool:
        return any((self.blurred, self.cumulative, self.slope, self.logarithmic))


class CurriculumConfig(_Configuration):
    """Blurred spectra first: both sides of the loss get a Gaussian that narrows to nothing."""

    width: PositiveFloat = Field(0.5, description="eV, σ at the start, on top of data.broadening")
    share: float = Field(0.5, gt=0.0, le=1.0, description="of the steps, after which it is gone")


class LossConfig(_Configuration):
    """Loss on the spectrum, and weights of further terms.

    ``similarity`` is 1 − SC = ∫|Δ| dE / ∫|reference| dE; ``l1``, ``mse`` and ``huber`` average over
    the energy window.
    """

    kind: Literal["l1", "mse", "huber", "similarity"] = "similarity"
    target: SpectralTarget = "epsilon_imaginary"
    huber_width: PositiveFloat = Field(1.0, description="where the Huber loss becomes linear")
    band_gap_weight: NonNegativeFloat = Field(0.1, description="per eV of absolute error")
    band_gap_column: str = Field("direct_gap_eV", description="scalar of the table, eV")
    static_dielectric_weight: NonNegativeFloat = Field(
        0.1, description="of the relative error of ε₁(0)"
    )
    further: FurtherTerms = FurtherTerms()
    curriculum: CurriculumConfig | None = None

    @model_validator(mode="after")
    def _terms_of_epsilon(self) -> LossConfig:
        if self.target != "epsilon_imaginary" and (self.further or self.curriculum):
            raise ValueError(
                "further and curriculum are about Im ε: leave them out, or set target to "
                "epsilon_imaginary"
            )
        return self


class AugmentationConfig(_Configuration):
    """Small changes of the geometry in every step of training, the targets kept.

    An exact supercell changes nothing in these networks, so there is nothing to learn from one.
    """

    strain: float = Field(
        0.0, ge=0.0, le=0.05, description="standard deviation of traceless strain's components"
    )
    rattle: float = Field(
        0.0, ge=0.0, le=0.2, description="Å, standard deviation of an atom's displacement per axis"
    )


class OptimizerConfig(_Configuration):
    """AdamW and the course of its learning rate."""

    learning_rate: PositiveFloat = 2e-3
    weight_decay: NonNegativeFloat = 1e-2
    gradient_clip: PositiveFloat | None = Field(1.0, description="largest norm of the gradient")
    schedule: Literal["one_cycle", "plateau", "constant"] = "one_cycle"
    warmup: float = Field(0.2, gt=0.0, lt=1.0, description="one_cycle: share of rising steps")
    plateau_patience: PositiveInt = Field(20, description="plateau: epochs without gain")
    plateau_factor: float = Field(0.5, gt=0.0, lt=1.0)


class PretrainingConfig(_Configuration):
    """A first stage on scalars of another table: the gap and the static dielectric constant.

    Materials with a reduced formula of the validation or test part of the main split are left out.
    """

    table: Path
    band_gap_column: str | None = "band_gap_eV"
    static_dielectric_column: str | None = "dielectric_electronic"
    band_gap_weight: NonNegativeFloat = 0.3
    static_dielectric_weight: NonNegativeFloat = 1.0
    max_sites: PositiveInt | None = Field(None, description="leave out larger cells")
    epochs: PositiveInt = 30
    batch_size: PositiveInt = 16
    learning_rate: PositiveFloat = 2e-3

    @model_validator(mode="after")
    def _has_a_target(self) -> PretrainingConfig:
        if self.band_gap_column is None and self.static_dielectric_column is None:
            raise ValueError("name band_gap_column, static_dielectric_column or both")
        return self


class InitialConfig(_Configuration):
    """Weights to start from, as in transfer from a cheap level of theory to a costly one."""

    checkpoint: Path
    parts: Literal["all", "encoder"] = "all"
    allow_seen: bool = Field(
        False,
        description="go on though the checkpoint was trained on formulas of this test set; "
        "figures are then no measure of what the model knows of unseen materials",
    )


class CrossValidatedConfig(_Configuration):
    """A finished cross-validation of the same configuration, whose figures the card reports."""

    folder: Path
    method: str = Field(description="name of its configuration file, without .yaml")


class TrainingConfig(_Configuration):
    """Everything that one training run depends on."""

    data: DataConfig
    model: NetworkConfig = NetworkConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    augmentation: AugmentationConfig | None = Field(
        None, description="changes of the geometry while spectra are learned"
    )
    pretraining: PretrainingConfig | None = None
    initial: InitialConfig | None = None
    cross_validated: CrossValidatedConfig | None = Field(
        None, description="for a model trained on everything: where its figures come from"
    )
    epochs: PositiveInt = 150
    batch_size: PositiveInt = 8
    batching: Batching = Field(
        "count",
        description="count: batches as the shuffled order has them; angles: rows exchanged between "
        "them until their numbers of angles are even",
    )
    early_stopping: PositiveInt | None = Field(
        None, description="epochs without gain in validation loss after which to stop"
    )
    averaging: float | None = Field(
        0.99, gt=0.0, lt=1.0, description="decay of the running average of the weights"
    )
    seed: NonNegativeInt = 0
    precision: Literal["32", "bf16-mixed"] = "32"
    compile: bool = Field(
        False, description="let torch compile the convolutions; for a GPU, and long runs"
    )
    recorded: bool = Field(
        True,
        description="on one GPU, keep the materials there and replay steps that were recorded "
        "once; where steps differ (batch norm, a curriculum, augmentation) it has no effect",
    )
    tensor_cores: bool = Field(
        False, description="on a GPU, multiply in TF32: factors are rounded to 1e-3 of themselves"
    )
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    num_threads: PositiveInt | None = Field(None, description="CPU threads; default: torch's own")
    save_seconds: NonNegativeFloat = Field(
        30.0, description="shortest time between two states to resume from; 0: after every epoch"
    )

    @model_validator(mode="after")
    def _consistent(self) -> TrainingConfig:
        head = self.model.head
        if isinstance(head, VectorHeadConfig):
            if head.target != self.loss.target:
                raise ValueError(
                    f"the vector head gives {head.target}, the loss wants {self.loss.target}: "
                    "set model.head.target and loss.target alike"
                )
            if self.loss.band_gap_weight or self.loss.static_dielectric_weight:
                raise ValueError(
                    "a vector head predicts neither gap nor static dielectric constant: set "
                    "loss.band_gap_weight and loss.static_dielectric_weight to 0, or "
                    "model.head.kind to physical"
                )
            if self.pretraining:
                raise ValueError("pretraining on scalars needs model.head.kind: physical")
        if isinstance(head, DeltaHeadConfig | ScalarHeadConfig):
            raise ValueError(
                f"the {head.kind} head is trained by 'opalign ladder', which gives it its inputs"
            )
        if self.pretraining and self.initial:
            raise ValueError("start from a checkpoint or from pretraining, not from both")
        return self
