"""One validated configuration per screening, written beside its results; and how it is executed."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from opalign.prediction.models import DEFAULT_MODEL
from opalign.screening.expression import Condition, parse_condition

#: Keys that choose among finished rows and change none: a finished screening can be ranked anew.
RANKING_KEYS = ("top", "descending", "candidates", "diversity_weight")
#: Candidates for each place of a diverse selection, unless another number is given.
CANDIDATES_PER_PLACE = 10


class _Configuration(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScreenConfig(_Configuration):
    """Everything that decides what the rows of a screening are."""

    input: Path = Field(description="table, folder, database or file of structures")
    model: str = Field(DEFAULT_MODEL, description="name or folder of the checkpoint")
    level: str | None = Field(None, description="level of theory; default: the model's highest")
    quantities: tuple[str, ...] = Field((), description="default: those of the summary")
    where: str | None = Field(None, description="condition on quantities that rows must meet")
    elements: tuple[str, ...] | None = Field(None, description="no others are allowed")
    require: tuple[str, ...] = Field((), description="all of these must be there")
    exclude: tuple[str, ...] = Field((), description="none of these may be there")
    min_sites: PositiveInt = 1
    max_sites: PositiveInt | None = None
    rank_by: str | None = Field(None, description="quantity that the best are chosen by")
    top: PositiveInt = Field(50, description="how many are listed")
    descending: bool = Field(False, description="the largest are the best")
    diversity: Literal["none", "composition", "features"] = Field(
        "none", description="what the best must differ in"
    )
    diversity_weight: float = Field(0.5, ge=0.0, le=1.0, description="0: rank alone; 1: distance")
    candidates: PositiveInt | None = Field(
        None, description="how many of the best the diverse ones are chosen from; default: 10 × top"
    )
    spectra: bool = Field(False, description="keep ε of every row, in single precision")
    precision: Literal["half", "single", "double"] = "single"
    rows_per_part: PositiveInt = Field(5000, description="rows of one file of the output")
    rows_per_chunk: PositiveInt = Field(250, description="rows handed to a worker at a time")

    @field_validator("elements", "require", "exclude")
    @classmethod
    def _elements(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for symbol in value or ():
            _check_element(symbol)
        return value

    @field_validator("where")
    @classmethod
    def _condition(cls, value: str | None) -> str | None:
        if value is not None:
            parse_condition(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> ScreenConfig:
        if self.max_sites is not None and self.max_sites < self.min_sites:
            raise ValueError("max_sites lies below min_sites: no structure could pass")
        if self.elements is not None and (lost := set(self.require) - set(self.elements)):
            raise ValueError(f"required, but not among the allowed: {', '.join(sorted(lost))}")
        if both := set(self.require) & set(self.exclude):
            raise ValueError(f"required and excluded at once: {', '.join(sorted(both))}")
        if self.diversity != "none" and self.rank_by is None:
            raise ValueError("diversity chooses among the best: rank_by must say which those are")
        if self.rows_per_part % self.rows_per_chunk:
            raise ValueError("rows_per_part must be a multiple of rows_per_chunk")
        return self

    @property
    def condition(self) -> Condition | None:
        """The condition, ready to be applied."""
        return None if self.where is None else parse_condition(self.where)

    @property
    def chunks_per_part(self) -> int:
        """How many chunks make one file of the output."""
        return self.rows_per_part // self.rows_per_chunk

    @property
    def pool_size(self) -> int:
        """How many of the best the listed ones are chosen from."""
        if self.diversity == "none":
            return self.top
        return max(self.top, self.candidates or CANDIDATES_PER_PLACE * self.top)


class Execution(_Configuration):
    """How a screening is carried out; changes its speed and none of its rows."""

    engine: Literal["serial", "processes", "ray"] = "serial"
    processes: PositiveInt = Field(1, description="workers, of one thread each where several")
    device: str = Field("auto", description="auto, cpu, cuda or mps")
    address: str | None = Field(None, description="ray: of the cluster; default: this machine")
    num_gpus: NonNegativeFloat = Field(0.0, description="ray: GPUs of each worker")


def _check_element(symbol: str) -> None:
    from ase.data import chemical_symbols

    if symbol not in chemical_symbols[1:]:
        guess = difflib.get_close_matches(
            symbol.capitalize(), chemical_symbols[1:], n=1, cutoff=0.5
        )
        hint = f", did you mean {guess[0]!r}?" if guess else ""
        raise ValueError(f"{symbol!r} is no chemical element{hint}")
