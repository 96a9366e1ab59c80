"""Sizes and choices of a network, as validated configuration that travels with its weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from opalign.crystal.settings import GraphSettings
from opalign.model.elements import ElementTable
from opalign.model.layers import Normalization
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

SpectralTarget = Literal["epsilon_imaginary", "log_absorption"]


class _Configuration(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AlignnConfig(_Configuration):
    """ALIGNN: 4 + 4 layers, hidden 32, 64, 128 or 256 in the reference study."""

    architecture: Literal["alignn"] = "alignn"
    alignn_layers: int = Field(4, ge=0)
    gcn_layers: int = Field(4, ge=0)
    hidden_features: PositiveInt = 64
    embedding_features: PositiveInt = 64
    bond_basis_size: int = Field(80, ge=2)
    bond_basis_stop: PositiveFloat = Field(8.0, description="Å")
    angle_basis_size: int = Field(40, ge=2)
    norm: Normalization = "layer"
    element_table: ElementTable = "cgcnn"

    @model_validator(mode="after")
    def _has_layers(self) -> AlignnConfig:
        if self.alignn_layers + self.gcn_layers == 0:
            raise ValueError("alignn_layers + gcn_layers must be at least 1")
        return self


class OptimateConfig(_Configuration):
    """OPTIMATE: node network 48, 48; GATv2 of 48 and 96 features with 4 heads; radius graph 5 Å."""

    architecture: Literal["optimate"] = "optimate"
    node_features: tuple[PositiveInt, ...] = Field((48, 48), min_length=1)
    attention_features: tuple[PositiveInt, ...] = Field((48, 96), min_length=1)
    attention_heads: PositiveInt = 4
    bond_basis_size: int = Field(51, ge=2)
    bond_basis_stop: PositiveFloat = Field(5.0, description="Å")
    element_table: ElementTable = "main_group_period"


EncoderConfig = Annotated[AlignnConfig | OptimateConfig, Field(discriminator="architecture")]


class VectorHeadConfig(_Configuration):
    """The studies' own head: a free vector, one number per energy, no physics imposed."""

    kind: Literal["vector"] = "vector"
    target: SpectralTarget = "epsilon_imaginary"
    hidden_features: tuple[PositiveInt, ...] = ()
    leaky_output: bool = Field(False, description="leaky ReLU after the last layer, as OPTIMATE")


class PhysicalHeadConfig(_Configuration):
    """Non-negative spectra per site that begin at a predicted gap; ε₁ by Kramers–Kronig."""

    kind: Literal["physical"] = "physical"
    hidden_features: tuple[PositiveInt, ...] = (128,)
    basis_step: PositiveFloat = Field(0.1, description="eV between nodes of the per-site spectrum")
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    level_embedding: int = Field(
        0,
        ge=0,
        le=1024,
        description="size of a learned vector for the level of theory, an input beside the site's "
        "features, so that all levels share one network; 0: outputs of its own for every level",
    )
    context: bool = Field(
        False, description="a site also sees the mean of the features over its crystal"
    )
    composition: Literal["none", "gap", "all"] = Field(
        "none",
        description="whether a site also sees statistics of element properties over its crystal: "
        "nowhere, where the gap is made, or everywhere",
    )
    gap_pooling: Literal["mean", "attention"] = Field(
        "mean", description="over the sites; attention lets the sites that make the edge decide"
    )
    basis: Literal["linear", "spline"] = Field(
        "linear", description="between nodes: straight lines, or cubic B-splines"
    )
    components: int = Field(
        0,
        ge=0,
        le=1024,
        description="principal components of the training spectra that a spectrum is made of, "
        "before it is made positive; 0: every node is free",
    )


class DeltaHeadConfig(_Configuration):
    """A costly level from the cheap spectrum *of the same material*, which is an input."""

    kind: Literal["delta"] = "delta"
    base_level: str = Field("ipa", description="level of theory of the spectrum at hand")
    hidden_features: tuple[PositiveInt, ...] = (64,)
    basis_step: PositiveFloat = Field(0.5, description="eV between nodes of the reshaping")
    largest_factor: float = Field(
        4.0, gt=1.0, description="Im ε is multiplied by at most this, and divided by at most this"
    )
    largest_shift: float = Field(0.0, ge=0.0, description="eV by which a spectrum may be moved")


class ScalarHeadConfig(_Configuration):
    """One number per material: SC[cheap; costly], of the cheap level to the costly reference."""

    kind: Literal["scalar"] = "scalar"
    name: Literal["similarity"] = "similarity"
    cheap: str = Field("ipa", description="level that is held against the reference")
    costly: str = Field("rpa", description="level that is the reference")
    hidden_features: tuple[PositiveInt, ...] = (64,)
    kernel_points: int = Field(
        0,
        ge=0,
        le=10_000,
        description="materials of a Gaussian process on the ions, with which the network is "
        "averaged; 0: the network alone",
    )
    kernel_share: float = Field(2.0 / 3.0, ge=0.0, le=1.0, description="of it in the average")


HeadConfig = Annotated[
    VectorHeadConfig | PhysicalHeadConfig | DeltaHeadConfig | ScalarHeadConfig,
    Field(discriminator="kind"),
]


class ModelConfig(_Configuration):
    """Everything needed to build a network and to read what it predicts."""

    encoder: EncoderConfig = Field(default_factory=AlignnConfig)
    head: HeadConfig = Field(default_factory=PhysicalHeadConfig)
    graph: GraphSettings = Field(default_factory=GraphSettings)
    grid: EnergyGrid
    levels: tuple[str, ...] = Field(("rpa",), min_length=1)
    broadening: Broadening = Field(default_factory=Broadening)

    @property
    def trains_on_every_atom(self) -> bool:
        """Whether statistics or random numbers per atom need whole graphs while training."""
        batch_norm = isinstance(self.encoder, AlignnConfig) and self.encoder.norm == "batch"
        return batch_norm or bool(getattr(self.head, "dropout", 0.0))

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        if len(set(self.levels)) != len(self.levels):
            raise ValueError(f"levels repeat: {self.levels}")
        angle_layers = isinstance(self.encoder, AlignnConfig) and self.encoder.alignn_layers
        if angle_layers and not self.graph.angles:
            raise ValueError("ALIGNN layers need the line graph: set graph.angles to true")
        if isinstance(self.head, DeltaHeadConfig) and (
            len(self.levels) != 1 or self.head.base_level in self.levels
        ):
            raise ValueError(
                f"the delta head goes from {self.head.base_level} to one other level, not to "
                f"{', '.join(self.levels)}"
            )
        return self
