"""What a table holds, as one declared schema: columns, grid, levels of theory, licence, source.

A table is a Parquet file. Its Arrow metadata carries, under the key ``opalign``, the JSON of a
:class:`TableSchema`; the columns follow from it (:func:`arrow_schema`).
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from opalign.errors import DatasetError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid

SCHEMA_VERSION = 1
METADATA_KEY = b"opalign"

DIAGONAL = ("xx", "yy", "zz")
OFF_DIAGONAL = ("xy", "yz", "xz")
Component = Literal["xx", "yy", "zz", "xy", "yz", "xz", "mean"]
Part = Literal["re", "im", "logalpha"]

STRUCTURE_COLUMNS = ("material_id", "formula", "lattice", "species", "frac_coords")
PROVENANCE = "provenance"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def spectrum_column(level: str, part: Part, component: str) -> str:
    """Name of the column that holds one component of one part of a level, as ``rpa_im_xx``."""
    return f"{level}_{part}_{component}"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LevelInfo(_Frozen):
    """One level of theory of a table: what was computed, how it is broadened, what is stored.

    Attributes
    ----------
    quantity
        ``"epsilon"``: Im ε, and Re ε if ``has_real``. ``"log_absorption"``: log₁₀(α / cm⁻¹) of the
        isotropic average alone, as ALIGNN's absorption sets hold it; ε is then derived when asked
        for, never stored.
    components
        ``("mean",)`` for trace/3, or ``xx, yy, zz`` with or without ``xy, yz, xz`` (Cartesian).
    floor
        log₁₀(α / cm⁻¹) at which the values were cut off from below; only for ``log_absorption``.
    broadening
        What the stored spectra already have.
    """

    broadening: Broadening = Broadening()
    components: tuple[Component, ...] = ("mean",)
    has_real: bool = False
    quantity: Literal["epsilon", "log_absorption"] = "epsilon"
    floor: float | None = None
    description: str = ""

    @model_validator(mode="after")
    def _components_belong_together(self) -> Self:
        given = set(self.components)
        allowed = ({"mean"}, set(DIAGONAL), {*DIAGONAL, *OFF_DIAGONAL})
        if len(given) != len(self.components) or given not in allowed:
            raise ValueError(
                f"components {self.components} are neither ('mean',), nor {DIAGONAL}, "
                f"nor {DIAGONAL + OFF_DIAGONAL}"
            )
        if self.quantity == "log_absorption" and (given != {"mean"} or self.has_real):
            raise ValueError("log_absorption has the component 'mean' alone and no real part")
        if self.quantity == "epsilon" and self.floor is not None:
            raise ValueError("a floor belongs to log_absorption only")
        return self

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts stored: ``("logalpha",)``, ``("im",)`` or ``("re", "im")``."""
        if self.quantity == "log_absorption":
            return ("logalpha",)
        return ("re", "im") if self.has_real else ("im",)

    def broadening_after(self, extra: Broadening | None, grid: EnergyGrid) -> Broadening:
        """Return what the spectra have once ``extra`` is applied on top of :attr:`broadening`.

        A stored line narrower than a step of the grid does not show on it and counts as none.

        Raises
        ------
        SpectrumError
            The two lines are of different shapes, so that their sum has none of the two.
        """
        if extra is None or extra.shape == "none":
            return self.broadening
        visible = self.broadening if self.broadening.width >= grid.step else Broadening()
        return visible.combined(extra)


class ScalarInfo(_Frozen):
    """One number per material; null where it is not known."""

    unit: str = ""
    description: str = ""


class ListInfo(_Frozen):
    """A list per material that Opalign carries along without interpreting it."""

    kind: Literal["number", "string"] = "number"
    unit: str = ""
    description: str = ""


class TableSchema(_Frozen):
    """Everything a table says about itself.

    ``grid`` is the energy grid (eV) of all spectra of the table, and None in a table of scalars
    alone. Column names follow from ``levels``, ``scalars`` and ``lists`` and may not collide.
    """

    version: int = Field(default=SCHEMA_VERSION, ge=1)
    grid: EnergyGrid | None = None
    levels: dict[str, LevelInfo] = {}
    scalars: dict[str, ScalarInfo] = {}
    lists: dict[str, ListInfo] = {}
    licence: str = ""
    source: str = ""
    citation: str = ""

    @field_validator("levels", "scalars", "lists")
    @classmethod
    def _names_are_words(cls, named: dict[str, Any]) -> dict[str, Any]:
        for name in named:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a name of letters, digits and underscores")
        return named

    @model_validator(mode="after")
    def _columns_are_distinct(self) -> Self:
        if self.levels and self.grid is None:
            raise ValueError("a table with levels needs a grid")
        names = [*STRUCTURE_COLUMNS, PROVENANCE, *self.spectrum_columns()]
        counts = Counter([*names, *self.scalars, *self.lists])
        repeated = [name for name, count in counts.items() if count > 1]
        if repeated:
            raise ValueError(f"columns named twice: {', '.join(repeated)}")
        return self

    def spectrum_columns(self) -> list[str]:
        """Names of all columns with one value per energy."""
        return [
            spectrum_column(name, part, component)
            for name, level in self.levels.items()
            for part in level.parts
            for component in level.components
        ]


def arrow_schema(schema: TableSchema) -> pa.Schema:
    """Arrow schema, with metadata, of a table that :func:`write_table` writes."""
    fields = [
        pa.field("material_id", pa.string(), nullable=False),
        pa.field("formula", pa.string(), nullable=False),
        pa.field("lattice", pa.list_(pa.float64()), nullable=False),
        pa.field("species", pa.list_(pa.string()), nullable=False),
        pa.field("frac_coords", pa.list_(pa.float64()), nullable=False),
    ]
    # Single precision holds seven digits of a spectrum, more than any level of theory has.
    fields += [pa.field(name, pa.list_(pa.float32())) for name in schema.spectrum_columns()]
    fields += [pa.field(name, pa.float64()) for name in schema.scalars]
    fields += [
        pa.field(name, pa.list_(pa.string() if info.kind == "string" else pa.float64()))
        for name, info in schema.lists.items()
    ]
    fields.append(pa.field(PROVENANCE, pa.string()))
    return pa.schema(fields, metadata={METADATA_KEY: schema.model_dump_json().encode()})


def declared_schema(found: pa.Schema, where: str) -> TableSchema:
    """Read the declared schema out of a file's Arrow schema and hold the columns against it.

    Raises
    ------
    DatasetError
        No or broken metadata, a newer schema version, a missing column or one of the wrong type.
    """
    text = (found.metadata or {}).get(METADATA_KEY)
    if text is None:
        raise DatasetError(
            "is Parquet, but not a spectra table: the schema metadata 'opalign' is missing",
            where=where,
            cure="bring it in with `opalign dataset import`, or write it with write_table",
        )
    try:
        version = _Version.model_validate_json(text).version
        if version > SCHEMA_VERSION:
            raise DatasetError(
                f"has table schema version {version}",
                where=where,
                expected=f"version {SCHEMA_VERSION} or older",
                cure="update opalign; a newer release wrote this table",
            )
        schema = TableSchema.model_validate_json(text)
    except ValidationError as error:
        raise DatasetError(
            f"declares a schema that does not validate: {error}",
            where=where,
            cure="write the table anew with write_table",
        ) from error
    _check_columns(found, schema, where)
    return schema


class _Version(BaseModel):
    version: int


def _check_columns(found: pa.Schema, schema: TableSchema, where: str) -> None:
    for field in arrow_schema(schema):
        if field.name not in found.names:
            if field.name == PROVENANCE:
                continue
            raise DatasetError(
                f"column {field.name!r} is missing, though the table's schema declares it",
                where=where,
                expected=f"a column of type {field.type}",
                cure="import or write the table anew; this file was changed after it was written",
            )
        kind = found.field(field.name).type
        if not _compatible(kind, field.type):
            raise DatasetError(
                f"column {field.name!r} has type {kind}",
                where=where,
                expected=str(field.type),
                cure="import or write the table anew; this file was changed after it was written",
            )


def _compatible(found: pa.DataType, declared: pa.DataType) -> bool:
    """Whether values of one type can stand for the other: any width of number, any kind of list."""
    if pa.types.is_list(declared):
        is_list = (
            pa.types.is_list(found)
            or pa.types.is_large_list(found)
            or pa.types.is_fixed_size_list(found)
        )
        return is_list and _compatible(found.value_type, declared.value_type)
    if pa.types.is_floating(declared):
        return pa.types.is_floating(found) or pa.types.is_integer(found)
    return pa.types.is_string(found) or pa.types.is_large_string(found)
