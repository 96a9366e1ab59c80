"""Telling values and colours apart in compiled loops (numba, the extra ``fast``).

The part of :mod:`opalign.crystal.quotient_kernels` that knows nothing of crystals. numba keeps that
module's code, with this one's in it, until that file changes: whoever edits only this one has to
touch the other.
"""

from __future__ import annotations

import math

import numpy as np

from opalign.crystal import refinement
from opalign.crystal.kernels import compiled

# Plain numbers are compiled in as they stand here.
WIDEST = refinement.WIDEST
FIRST = refinement.FIRST
_ONE, _TWO = refinement.SCRAMBLE
_30, _27, _31, _1 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(1)
#: Integers are sorted by digits of so many bits.
_BITS = np.uint64(8)
DIGIT = 1 << 8
_MASK = np.uint64(DIGIT - 1)
#: Values whose table would be larger than a processor's caches.
MANY = 1 << 15


@compiled
def mixed(value):
    """Do as the array operations: the finaliser of SplitMix64."""
    value ^= value >> _30
    value *= _ONE
    value ^= value >> _27
    value *= _TWO
    return value ^ (value >> _31)


@compiled
def _hash_table(count):
    """Empty table of at least twice ``count`` places, and the shift that leaves a place's bits."""
    size, shift = 2, np.uint64(63)
    while size < 2 * count:
        size *= 2
        shift -= np.uint64(1)
    return np.full(size, -1, np.int32), shift


@compiled
def _cells(values, width):
    """Return the number (M,) of each value's cell on a grid, and where the cells lie."""
    count = values.shape[0]
    inverse = 1.0 / width
    most = float(count)
    if count > MANY:
        # There are no more cells than their range allows.
        most = min(most, (values.max() - values.min()) * inverse + 2.0)
    table, shift = _hash_table(most)
    mask = np.uint64(table.shape[0] - 1)
    place, number = np.empty(count, np.int64), np.empty(count, np.uint32)
    used = 0
    for index in range(count):
        at = math.floor(values[index] * inverse)
        # Unsigned, for numba has to look whether a signed index counts from the end.
        slot = (np.uint64(at) * FIRST) >> shift
        cell = table[slot]
        while cell >= 0 and place[np.uint32(cell)] != at:
            slot = (slot + _1) & mask
            cell = table[slot]
        if cell < 0:
            cell = used
            table[slot] = cell
            place[cell] = at
            used += 1
        number[index] = cell
    return number, place[:used]


@compiled
def _order(places):
    """Order (M,) of integers, by their digits: several times as fast as by comparing them."""
    count = places.shape[0]
    order, other = np.arange(count), np.empty(count, np.int64)
    if count == 0:
        return order
    least, span = places.min(), np.uint64(places.max() - places.min())
    starts = np.empty(DIGIT + 1, np.int64)
    shift = np.uint64(0)
    while span >> shift > np.uint64(0):
        starts[:] = 0
        for index in order:
            starts[(np.uint64(places[index] - least) >> shift & _MASK) + _1] += 1
        for digit in range(DIGIT):
            starts[digit + 1] += starts[digit]
        for index in order:
            digit = np.uint64(places[index] - least) >> shift & _MASK
            other[starts[digit]] = index
            starts[digit] += 1
        order, other = other, order
        shift += _BITS
    return order


@compiled
def distinct(values, times, tolerance):
    """Do as :func:`opalign.crystal.refinement.distinct`; ``tolerance`` well above rounding.

    Every value counts ``times`` (M,) in the means.
    """
    number, place = _cells(values, 0.5 * tolerance)
    cells = place.shape[0]
    low, high = np.full(cells, np.inf), np.full(cells, -np.inf)
    total, members = np.zeros(cells), np.zeros(cells)
    for index in range(values.shape[0]):
        cell, value = number[index], values[index]
        low[cell], high[cell] = min(low[cell], value), max(high[cell], value)
        total[cell] += times[index] * value
        members[cell] += times[index]
    order = _order(place)
    run, begin = np.empty(cells, np.int64), np.empty(cells)
    sums, counts = np.zeros(cells), np.zeros(cells)
    runs = -1
    wide = False
    highest = 0.0
    for index in range(cells):
        cell = order[index]
        if index == 0 or low[cell] - highest > tolerance:
            runs += 1
            begin[runs] = low[cell]
        highest = high[cell]
        wide = wide or highest - begin[runs] > WIDEST * tolerance
        run[cell] = runs
        sums[runs] += total[cell]
        counts[runs] += members[cell]
    runs += 1
    if not wide:
        for index in range(values.shape[0]):
            number[index] = run[number[index]]
        return number, sums[:runs] / counts[:runs]
    # Some chain is no one value: cut all that reach so far at even steps from their starts.
    first = np.zeros(runs + 1, np.int64)
    for index in range(cells):
        cell = order[index]
        last = math.floor((high[cell] - begin[run[cell]]) / (WIDEST * tolerance))
        first[run[cell] + 1] = last + 1
    for index in range(runs):
        first[index + 1] += first[index]
    sums, counts = np.zeros(first[runs]), np.zeros(first[runs])
    for index in range(values.shape[0]):
        of = run[number[index]]
        step = first[of] + math.floor((values[index] - begin[of]) / (WIDEST * tolerance))
        number[index] = step
        sums[step] += times[index] * values[index]
        counts[step] += times[index]
    rank = np.empty(first[runs], np.int64)
    kept = 0
    for step in range(first[runs]):
        rank[step] = kept
        if counts[step] > 0:
            sums[kept] = sums[step] / counts[step]
            kept += 1
    for index in range(values.shape[0]):
        number[index] = rank[number[index]]
    return number, sums[:kept].copy()


@compiled
def number_colours(colours, number):
    """Write numbers of colours (M,), in the order of their first ones; return how many."""
    table, shift = _hash_table(colours.shape[0])
    mask = np.uint64(table.shape[0] - 1)
    kept = np.empty(colours.shape[0], np.uint64)
    count = 0
    for index in range(colours.shape[0]):
        colour = colours[index]
        slot = colour >> shift
        found = table[slot]
        while found >= 0 and kept[np.uint32(found)] != colour:
            slot = (slot + _1) & mask
            found = table[slot]
        if found < 0:
            found = count
            table[slot] = found
            kept[count] = colour
            count += 1
        number[index] = found
    return count
