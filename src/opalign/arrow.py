"""Between Python, NumPy and Arrow by buffers: ``pyarrow.array`` and ``to_numpy`` import pandas.

That takes half a second, a tenth of what one prediction takes in all. What these functions do not
know goes to pyarrow, whose results and errors are theirs too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

#: Arrow's types of numbers whose buffers NumPy reads as they are.
_NUMBERS: dict[pa.DataType, np.dtype[Any]] = {
    pa.int32(): np.dtype(np.int32),
    pa.int64(): np.dtype(np.int64),
    pa.float32(): np.dtype(np.float32),
    pa.float64(): np.dtype(np.float64),
}
_LARGEST_OFFSET = 2**31 - 1


def to_array(values: Any, kind: pa.DataType) -> pa.Array:
    """Return what ``pyarrow.array(values, kind)`` does.

    Parameters
    ----------
    values
        NumPy array or sequence: numbers, texts, or lists and arrays of these; None is null.

    Raises
    ------
    pyarrow.ArrowException, TypeError, ValueError, OverflowError
        As pyarrow does: values are not of the kind.
    """
    made = _to_array(values, kind)
    return pa.array(values, type=kind) if made is None else made


def to_numpy(column: pa.Array) -> NDArray[Any]:
    """Return what ``column.to_numpy(zero_copy_only=False)`` does: null is NaN, or None.

    A view of the column's memory where it can be: not writable, as pyarrow's.
    """
    dtype = _NUMBERS.get(column.type)
    if dtype is None or (column.null_count and dtype.kind != "f"):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if column.null_count:
        column = pc.fill_null(column, to_array(np.array([np.nan]), column.type)[0])
    _, memory = column.buffers()
    if not len(column) or memory is None:
        return np.empty(0, dtype)
    return np.frombuffer(memory, dtype, len(column), column.offset * dtype.itemsize)


def _to_array(values: Any, kind: pa.DataType) -> pa.Array | None:
    """Return an array, or None for what pyarrow should see to."""
    if kind in _NUMBERS:
        return _numbers(values, kind)
    if isinstance(values, np.ndarray):
        return None if values.dtype.kind != "U" else _to_array(values.tolist(), kind)
    if pa.types.is_string(kind):
        return _texts(values)
    if pa.types.is_list(kind):
        return _lists(values, kind)
    return None


def _numbers(values: Any, kind: pa.DataType) -> pa.Array | None:
    dtype = _NUMBERS[kind]
    known = None
    if not isinstance(values, np.ndarray):
        present = [value for value in values if value is not None]
        if len(present) < len(values):
            known = np.array([value is not None for value in values])
        values = np.asarray(present)
        if not len(values):
            values = np.empty(0, dtype)
    # Whatever would be rounded, cut or read out of a text is pyarrow's to judge.
    fits = np.can_cast(values.dtype, dtype) or (dtype.kind == "f" and values.dtype.kind == "f")
    if values.ndim != 1 or values.dtype.kind == "b" or not fits:
        return None
    if known is None:
        return _from_memory(kind, values.astype(dtype))
    filled = np.zeros(len(known), dtype)
    filled[known] = values
    return _from_memory(kind, filled, known)


def _texts(values: Sequence[Any]) -> pa.Array | None:
    if not all(value is None or isinstance(value, str) for value in values):
        return None
    known = np.array([value is not None for value in values], dtype=bool)
    encoded = [(value or "").encode() for value in values]
    offsets = _offsets([len(text) for text in encoded])
    if offsets is None:
        return None
    return pa.StringArray.from_buffers(
        len(encoded),
        pa.py_buffer(offsets),
        pa.py_buffer(b"".join(encoded)),
        None if known.all() else _bits(known),
        int(np.count_nonzero(~known)),
    )


def _lists(values: Sequence[Any], kind: pa.ListType) -> pa.Array | None:
    if not all(value is None or isinstance(value, list | np.ndarray) for value in values):
        return None
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, np.ndarray) for value in present):
        if any(value.ndim != 1 for value in present):
            return None
        inner = _to_array(np.concatenate(present), kind.value_type)
    else:
        inner = _to_array([one for value in present for one in value], kind.value_type)
    offsets = _offsets([0 if value is None else len(value) for value in values])
    if inner is None or offsets is None:
        return None
    known = np.array([value is not None for value in values], dtype=bool)
    return pa.Array.from_buffers(
        kind,
        len(known),
        [None if known.all() else _bits(known), pa.py_buffer(offsets)],
        children=[inner],
    )


def _from_memory(
    kind: pa.DataType, values: NDArray[Any], known: NDArray[np.bool_] | None = None
) -> pa.Array:
    bits = None if known is None else _bits(known)
    memory = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(kind, len(values), [bits, memory])


def _offsets(lengths: Sequence[int]) -> NDArray[np.int32] | None:
    ends = np.cumsum([0, *lengths], dtype=np.int64)
    return None if ends[-1] > _LARGEST_OFFSET else ends.astype(np.int32)


def _bits(known: NDArray[np.bool_]) -> pa.Buffer:
    """Arrow's bitmap of what is not null, lowest bit first."""
    return pa.py_buffer(np.packbits(known, bitorder="little"))
