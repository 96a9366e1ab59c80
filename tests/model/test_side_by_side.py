import threading
import time

import pytest
import torch

from opalign.model.side_by_side import side_by_side


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_items():
    def run(number):
        time.sleep(0.02 if number % 3 == 0 else 0.0)
        return number * number

    assert list(side_by_side(run, range(20))) == [number**2 for number in range(20)]


def test_as_many_run_at_once_as_torch_has_threads_each_on_one():
    # Nobody passes before all three are there.
    together = threading.Barrier(3, timeout=10.0)

    def run(_):
        together.wait()
        return torch.get_num_threads()

    assert list(side_by_side(run, range(6))) == [1] * 6
    assert torch.get_num_threads() == 3


def test_threads_to_come_have_as_many_of_torch_as_before():
    list(side_by_side(lambda item: item, range(4)))
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert found == [3]


@pytest.mark.parametrize(("items", "threads"), [(1, None), (4, 1)])
def test_the_caller_s_thread_does_what_gains_nothing(items, threads):
    found = side_by_side(lambda _: threading.current_thread(), range(items), threads)
    assert set(found) == {threading.current_thread()}


def test_no_items():
    assert list(side_by_side(abs, [])) == []


def test_items_are_taken_no_further_ahead_than_threads():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = side_by_side(abs, items(), 2)
    assert [next(results), next(results)] == [0, 1]
    assert len(taken) <= 2 + 2 + 1
    results.close()


def test_an_error_comes_in_its_place():
    def run(number):
        if number == 2:
            raise ValueError("two")
        return number

    results = side_by_side(run, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert torch.get_num_threads() == 3
