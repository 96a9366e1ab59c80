"""One validated configuration per explanation, written beside its results."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from opalign.explain.maps import MINIMUM_DISTANCE, NEIGHBORS
from opalign.explain.number import Criterion


class _Configuration(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OtherModel(_Configuration):
    """A further network whose layers are scored beside those of the explained one."""

    model: str = Field(description="name or folder of a checkpoint")
    name: str | None = Field(None, description="in tables; default: that of the folder")
    cross_validation: Path | None = Field(None, description="folder of `opalign crossvalidate`")
    method: str | None = Field(None, description="method in it, where it has several")
    role: Literal["architecture", "seed"] | None = Field(
        None, description="how it differs from the explained network; default: by its encoder"
    )


class TargetConfig(_Configuration):
    """What spectra the table is explained by."""

    kind: Literal["absorption", "pdos", "list"] = "absorption"
    level: str | None = Field(None, description="absorption: level; default: the model's first")
    column: str | None = Field(None, description="list: column with one value per point")
    start: float = Field(0.0, description="list: first point of the grid")
    stop: float = Field(1.0, description="list: last point of the grid")
    label: str = Field("", description="list: quantity and unit, for axes")
    x_label: str = Field("", description="list: what the points are, and their unit")

    @model_validator(mode="after")
    def _complete(self) -> TargetConfig:
        if self.kind == "list" and self.column is None:
            raise ValueError("a target of kind list needs a column")
        return self


class ExplainConfig(_Configuration):
    """Everything that `opalign explain table` needs."""

    model: str = Field(description="name or folder of the checkpoint that is explained")
    table: Path = Field(description="spectra table")
    layer: str | None = Field(None, description="layer that groups are made of; default: the first")
    target: TargetConfig = TargetConfig()
    method: Literal["ward", "hdbscan"] = "ward"
    number: PositiveInt | None = Field(None, description="groups; default: by the criterion")
    distance: float | None = Field(None, ge=0.0, description="cut the dendrogram here instead")
    criterion: Criterion = "silhouette"
    smallest: PositiveInt = Field(5, description="hdbscan: materials that make a group")
    cross_validation: Path | None = Field(
        None, description="folder of `opalign crossvalidate`: without it spectra are not tested"
    )
    cross_validation_method: str | None = None
    other_models: tuple[OtherModel, ...] = ()
    validity_groups: PositiveInt | None = Field(
        None, description="groups in the validity table; default: as many as are shown"
    )
    draws: PositiveInt = Field(20, description="bootstrap draws behind stabilities")
    significance: float = Field(0.05, gt=0.0, lt=1.0)
    map_neighbors: PositiveInt = NEIGHBORS
    map_minimum_distance: float = Field(MINIMUM_DISTANCE, ge=0.0)
    processes: PositiveInt = 1
    seed: int = 0

    @model_validator(mode="after")
    def _one_cut(self) -> ExplainConfig:
        if self.number is not None and self.distance is not None:
            raise ValueError("number and distance exclude each other")
        return self
