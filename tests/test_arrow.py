import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opalign import arrow

KINDS = {
    "float64": (pa.float64(), st.one_of(st.none(), st.floats())),
    "float32": (pa.float32(), st.one_of(st.none(), st.floats(width=32))),
    "int32": (pa.int32(), st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1))),
    "int64": (pa.int64(), st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))),
    "string": (pa.string(), st.one_of(st.none(), st.text())),
}


def identical(first, second):
    first.validate(full=True)
    assert first.type == second.type
    assert first.null_count == second.null_count
    # Not equals(): it takes two NaN for different.
    assert repr(first.to_pylist()) == repr(second.to_pylist())


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_sequences_are_pyarrow_s(name, data):
    kind, values = KINDS[name]
    flat = data.draw(st.lists(values, max_size=20))
    identical(arrow.to_array(flat, kind), pa.array(flat, kind))
    nested = data.draw(st.lists(st.one_of(st.none(), st.lists(values, max_size=4)), max_size=6))
    identical(arrow.to_array(nested, pa.list_(kind)), pa.array(nested, pa.list_(kind)))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([np.arange(3.0), None, np.array([]), np.array([np.nan])], pa.list_(pa.float64())),
        ([np.arange(3.0), np.ones(2)], pa.list_(pa.float32())),
        ([np.arange(3), [4]], pa.list_(pa.float64())),
        ([np.array(["Mg", "O"]), np.array(["Ga"])], pa.list_(pa.string())),
        ([np.array(["Mg", None], dtype=object)], pa.list_(pa.string())),
        ([np.array([1.0, None], dtype=object)], pa.list_(pa.float64())),
        (np.arange(4)[::2], pa.int64()),
        (np.arange(4), pa.float64()),
        ([True, None], pa.bool_()),
        ([np.float32(0.1), 2], pa.float64()),
    ],
)
def test_arrays_are_pyarrow_s(values, kind):
    identical(arrow.to_array(values, kind), pa.array(values, kind))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["Mg", 12], pa.string()),
        (["1.5"], pa.float64()),
        ([2**31], pa.int32()),
        ([[1.0], 2.0], pa.list_(pa.float64())),
        ([np.ones((2, 2))], pa.list_(pa.float64())),
        ([[1.0], ["a"]], pa.list_(pa.float64())),
    ],
)
def test_what_does_not_fit_is_refused_as_pyarrow_refuses_it(values, kind):
    errors = (pa.ArrowException, TypeError, ValueError, OverflowError)
    with pytest.raises(errors) as theirs:
        pa.array(values, kind)
    with pytest.raises(errors) as ours:
        arrow.to_array(values, kind)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1.0, None, 3.0]),
        pa.array([1.0, 2.0, 3.0], pa.float32()),
        pa.array([1, 2, 3]),
        pa.array([1, None, 3]),
        pa.array([], pa.float64()),
        pa.array([True, None]),
        pa.array(["a", None]),
    ],
)
def test_numpy_arrays_are_pyarrow_s(column):
    for part in (column, column[1:], column[1:2]):
        ours, theirs = arrow.to_numpy(part), part.to_numpy(zero_copy_only=False)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_pandas_stays_out():
    code = """
import sys
import numpy as np, pyarrow as pa
from opalign.arrow import to_array, to_numpy
to_numpy(to_array([1.0, None, np.nan], pa.float64()))
to_array([["Mg", "O"], None], pa.list_(pa.string()))
print("pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
