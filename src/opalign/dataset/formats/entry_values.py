"""Values out of the entries of others, each checked before it is believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opalign.crystal.convert import to_structure
from opalign.errors import DatasetError, StructureError

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

LONGEST_ID = 200


def mapping_of(entry: Any, key: str, where: str) -> Mapping[str, Any]:
    """Return the object under a key of an entry; DatasetError if there is none."""
    value = entry.get(key) if isinstance(entry, Mapping) else None
    if not isinstance(value, Mapping):
        raise DatasetError(f"has no {key!r}", where=where, expected=f"an object under {key!r}")
    return value


def id_of(data: Mapping[str, Any], key: str, where: str) -> str:
    """Return a material's id: text without control characters, of sensible length."""
    value = data.get(key)
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= LONGEST_ID:
        raise DatasetError(f"has no id under {key!r}", where=where, expected="a short text")
    return value


def structure_of(entry: Any, where: str) -> Structure:
    """Return the structure of an entry: a dict of pymatgen, read without what it asks to import."""
    try:
        return to_structure(mapping_of(entry, "structure", where), where)
    except StructureError as error:
        raise DatasetError(error.problem, where=where) from error


def number_of(data: Mapping[str, Any], key: str) -> float | None:
    """Return a finite number, None where there is none."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def array_of(value: Any, shape: tuple[int | None, ...], name: str, where: str) -> NDArray:
    """Return nested lists of numbers as an array of this shape; None stands for any length.

    Arrays may be wrapped as monty writes them (``{"@class": "array", "data": […]}``).

    Raises
    ------
    DatasetError
        Other lengths, or a value that is no number, NaN or infinite.
    """
    if isinstance(value, Mapping):
        value = value.get("data")
    _check_lists(value, shape, name, where)
    try:
        array = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise DatasetError(f"{name} is no array of numbers: {error}", where=where) from error
    if not np.isfinite(array).all():
        at = int(np.argmin(np.isfinite(array).reshape(-1)))
        raise DatasetError(f"{name} is NaN or infinite (value {at})", where=where)
    return array


def _check_lists(value: Any, shape: tuple[int | None, ...], name: str, where: str) -> None:
    """Look at lengths and types before anything is converted: NumPy would read text as numbers."""
    if not isinstance(value, list):
        kind = "not a number (NaN)" if isinstance(value, float) else type(value).__name__
        raise DatasetError(
            f"{name} is {'missing' if value is None else kind}",
            where=where,
            expected="a list of numbers",
        )
    if shape[0] is not None and len(value) != shape[0]:
        raise DatasetError(
            f"{name} has {len(value):,} values", where=where, expected=f"{shape[0]:,}"
        )
    if len(shape) > 1:
        for item in value:
            _check_lists(item, shape[1:], name, where)
    elif not {type(item) for item in value} <= {int, float}:
        raise DatasetError(f"{name} holds something that is no number", where=where)
