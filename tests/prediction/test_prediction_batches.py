import itertools

from hypothesis import given
from hypothesis import strategies as st

from opalign.prediction.batches import cut_batches


@given(
    sizes=st.lists(st.integers(0, 50), max_size=30),
    budget=st.integers(1, 100),
    most=st.one_of(st.none(), st.integers(1, 5)),
)
def test_batches_hold_all_in_order_within_the_budget(sizes, budget, most):
    batches = cut_batches(sizes, budget, most)
    assert [place for batch in batches for place in batch] == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) == 1 or sum(sizes[place] for place in batch) <= budget
        assert most is None or len(batch) <= most
    # None of them could have taken the first of the next one.
    for batch, following in itertools.pairwise(batches):
        total = sum(sizes[place] for place in [*batch, following[0]])
        assert total > budget or len(batch) == most


def test_one_that_is_too_large_is_alone():
    assert cut_batches([5, 500, 5, 5], 100) == [[0], [1], [2, 3]]
