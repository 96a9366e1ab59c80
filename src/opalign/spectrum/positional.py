"""Small models that are called as functions are: ``EnergyGrid(0.0, 20.0, 801)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict


class PositionalModel(BaseModel):
    """A frozen model whose fields may be given in their order, too.

    A model's own signature would not do: pydantic calls it with whatever a file holds, and a
    misspelt key ended in a TypeError. Here unknown, absent and wrong values alike are a
    :class:`pydantic.ValidationError` that names the field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    if not TYPE_CHECKING:

        def __init__(self, *values: Any, **named: Any) -> None:
            fields = list(type(self).model_fields)
            if len(values) > len(fields):
                raise TypeError(f"{len(values)} values for {', '.join(fields)}")
            ordered = dict(zip(fields, values, strict=False))
            if twice := ordered.keys() & named.keys():
                raise TypeError(f"{', '.join(sorted(twice))} given twice")
            super().__init__(**ordered, **named)
