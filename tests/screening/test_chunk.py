import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opalign.screening.chunk import (
    CHUNK,
    STRUCTURES,
    SeenIds,
    Structure,
    UniqueIds,
    numbered_chunks,
    structure_batch,
)


def batch_of(ids):
    return structure_batch([Structure(one, None, None, None, "no structure") for one in ids])


@settings(deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([None, "", "a", "b", "a@3", "row-2"]), max_size=7)),
    st.integers(1, 5),
)
def test_chunks_have_every_row_once_whatever_the_batches(batches, size):
    chunks = list(numbered_chunks(map(batch_of, batches), size, UniqueIds()))
    total = sum(map(len, batches))
    assert all(len(chunk) == size for chunk in chunks[:-1])
    rows = [row for chunk in chunks for row in chunk.column("row").to_pylist()]
    assert rows == list(range(total))
    ids = [one for chunk in chunks for one in chunk.column("material_id").to_pylist()]
    assert len(set(ids)) == total
    # By the order of the input alone, not by how it came.
    again = numbered_chunks([batch_of([x for b in batches for x in b])], size, UniqueIds())
    assert [one for chunk in again for one in chunk.column("material_id").to_pylist()] == ids
    given_ids = [x for batch in batches for x in batch]
    for row, (one, before) in enumerate(zip(ids, given_ids, strict=True)):
        assert one == before or one.endswith(f"@{row}") or one == f"row-{row}"


def test_a_repeated_id_is_told_by_its_row():
    unique = UniqueIds()
    assert unique(["x", "y", "x"], 0) == ["x", "y", "x@2"]
    assert unique(["y", "x@2", None], 3) == ["y@3", "x@2@4", "row-5"]
    assert unique.repeated == 3


def test_ids_are_remembered_over_many_runs_of_merging(monkeypatch):
    monkeypatch.setattr("opalign.screening.chunk._RUN", 4)
    seen = SeenIds()
    for start in range(0, 300, 3):
        assert not seen.mark([f"m-{k}" for k in range(start, start + 3)]).any()
    assert seen.mark([f"m-{k}" for k in range(300)]).all()
    assert not seen.mark(["m-300"])[0]


def test_arrays_pass_unchanged():
    lattice, numbers = np.arange(9.0).reshape(3, 3), np.array([12, 8], dtype=np.int32)
    coordinates = np.array([[0, 0, 0], [0.5, 0.5, 0.25]])
    batch = structure_batch(
        [Structure("a", lattice, numbers, coordinates, None), Structure("b", *[None] * 3, "bad")]
    )
    assert batch.schema == STRUCTURES
    (chunk,) = numbered_chunks([batch], 10, UniqueIds())
    assert chunk.schema == CHUNK
    first, second = chunk.to_pylist()
    assert first["lattice"] == lattice.ravel().tolist()
    assert first["coordinates"] == coordinates.ravel().tolist()
    assert (second["numbers"], second["problem"], second["row"]) == (None, "bad", 1)


def test_an_empty_input_has_no_chunk():
    assert list(numbered_chunks([], 3, UniqueIds())) == []
    assert list(numbered_chunks([batch_of([])], 3, UniqueIds())) == []
    with pytest.raises(pa.ArrowInvalid):
        structure_batch([Structure("a", np.zeros(9), np.array(["x"]), None, None)])
