import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opalign.crystal.graph import collate
from opalign.crystal.settings import GraphSettings
from opalign.training.batches import EpochBatches, EpochShuffle, even_parts, work_of
from opalign.training.data import build_graphs, open_tables
from opalign.training.run import train

from .test_run import assert_same_weights, interrupt  # noqa: F401

#: Quantiles (0, 5 … 100 %) of the numbers of angle classes of 1,000 oxides and chalcogenides of the
#: Materials Project, 12 nearest neighbours.
CLASSES = [
    26, 83, 130, 188, 254, 298, 367, 436, 523, 610, 661, 731, 806, 904, 1017, 1138, 1333, 1530,
    1819, 2587, 6540,
]  # fmt: skip


def angles_of_real_crystals(number: int) -> np.ndarray:
    return np.interp(np.linspace(0, 20, number), range(21), CLASSES).astype(np.int64)


@given(
    st.lists(st.integers(1, 5000), min_size=1, max_size=70),
    st.integers(1, 9),
    st.integers(0, 5),
    st.booleans(),
)
def test_every_row_once_an_epoch_in_batches_of_the_size_asked_for(work, batch_size, epoch, even):
    array = np.array(work)
    found = []
    for _ in range(2):
        batches = EpochBatches(len(work), batch_size, 7, array if even else None)
        list(batches)  # what was drawn before does not matter
        batches.set_epoch(epoch)
        found.append(list(batches))
    assert found[0] == found[1]
    assert sorted(row for batch in found[0] for row in batch) == list(range(len(work)))
    assert len(found[0]) == len(batches) == -(-len(work) // batch_size)
    assert min(map(len, found[0])) >= 1
    assert max(map(len, found[0])) <= batch_size


def test_without_work_the_batches_are_the_shuffled_order_cut():
    batches, shuffle = EpochBatches(23, 5, 1), EpochShuffle(23, 1)
    batches.set_epoch(4)
    shuffle.set_epoch(4)
    order = list(shuffle)
    assert list(batches) == [order[0:5], order[5:10], order[10:15], order[15:20], order[20:23]]


@pytest.mark.parametrize(("number", "batch_size"), [(2144, 16), (2144, 64), (500, 8)])
def test_batches_of_even_work(number, batch_size):
    work = angles_of_real_crystals(number)

    def spread(batches: EpochBatches) -> float:
        sums = np.array([work[batch].sum() for batch in batches])
        return float(sums.std() / sums.mean())

    plain = spread(EpochBatches(number, batch_size, 0))
    even = EpochBatches(number, batch_size, 0, work)
    # Measured: 0.3 % against 15 to 35 %.
    assert spread(even) < 0.02 < 0.12 < plain
    first = {frozenset(batch) for batch in even}
    even.set_epoch(1)
    # Other company in every epoch: few batches, if any, come back.
    assert len(first & {frozenset(batch) for batch in even}) < 0.02 * len(first)


def test_rows_that_can_be_paired_are():
    parts = even_parts(range(6), np.array([1, 2, 3, 4, 5, 6]), 3)
    assert sorted(sorted(part) for part in parts) == [[0, 5], [1, 4], [2, 3]]


def test_one_crystal_beyond_help_does_not_keep_the_others_uneven():
    work = np.array([10_000, 1, 1, 1, 8, 8, 1, 1])
    parts = even_parts(range(8), work, 4)
    sums = sorted(int(work[part].sum()) for part in parts)
    assert sums == [2, 9, 9, 10_001]


@pytest.mark.parametrize("angles", [True, False])
@pytest.mark.parametrize("reduced", [True, False])
def test_work_is_the_length_of_what_a_batch_has(tiny, angles, reduced):
    (table,) = open_tables(tiny().data.tables)
    graphs = build_graphs([table], GraphSettings(neighbors=6, angles=angles), None)
    work = work_of(graphs, reduced=reduced)
    for graph, found in zip(graphs, work, strict=True):
        batch = collate([graph], reduced=reduced)
        assert found == len(batch["angle_cosine" if angles else "bond_length"])


def test_an_interrupted_run_of_even_batches_ends_in_the_same_weights(
    tiny,
    tmp_path,
    silent,
    interrupt,  # noqa: F811
):
    config = tiny(batching="angles", batch_size=2)
    whole = train(config, tmp_path / "whole", console=silent)
    interrupt(2)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "stopped", console=silent)
    resumed = train(None, tmp_path / "stopped", resume=True, console=silent)
    assert_same_weights(whole, resumed)
