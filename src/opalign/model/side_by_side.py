"""Batch after batch through a network on a CPU, several at a time.

The operations on a batch of small graphs are too short to be shared by several cores: two batches
side by side, each on one core, take less time than one after the other, each on two.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    run: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Iterator[Result]:
    """Yield ``run(item)`` of every item, in their order.

    Parameters
    ----------
    run
        What to do, with torch's operations, which it should do on a single thread as well: called
        in several threads at once. A single item is seen to in the caller's thread, with all of
        torch's.
    items
        Taken one by one in the caller's thread, at most ``threads`` ahead of what was yielded.
    threads
        How many at a time; by default as many as torch has threads. 1 works in the caller's thread.

    Raises
    ------
    Whatever ``run`` raises, in the place of its result.
    """
    source = iter(items)
    threads = threads or torch.get_num_threads()
    first = list(itertools.islice(source, 1 if threads == 1 else 2))
    if len(first) < 2:
        yield from map(run, itertools.chain(first, source))
        return
    intra_operation = torch.get_num_threads()
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        for item in itertools.chain(first, source):
            waiting.append(pool.submit(run, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        # The number that a thread sets is also that of threads still to come.
        torch.set_num_threads(intra_operation)
