"""What a network is told about an element: fixed vectors, one row per atomic number.

Nothing beyond the periodic table enters: no charge, oxidation state or electronic configuration of
the crystal. Row 0 is unused, so that a table is indexed by the atomic number itself.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Literal

import numpy as np
from ase.data import atomic_numbers

ElementTable = Literal[
    "cgcnn", "cgcnn_group_period", "group_period", "main_group_period", "one_hot", "cgcnn_one_hot"
]

#: Largest atomic number of the CGCNN table (fermium).
MAX_ATOMIC_NUMBER = 100
_NOBLE_GASES = (0, 2, 10, 18, 36, 54, 86, 118)
_MAIN_GROUPS = (1, 2, 13, 14, 15, 16, 17, 18)


def period_and_group(atomic_number: int) -> tuple[int, int]:
    """Period (1–7) and group (1–18; 0 for the fourteen f-block elements after La and Ac)."""
    period = next(p for p in range(1, 8) if atomic_number <= _NOBLE_GASES[p])
    place = atomic_number - _NOBLE_GASES[period - 1]
    length = _NOBLE_GASES[period] - _NOBLE_GASES[period - 1]
    if place <= 2 and atomic_number != 2:
        return period, place
    from_end = length - place
    if length == 32 and place > 3 and from_end > 14:
        return period, 0
    if length == 32 and place == 3:
        return period, 3
    return period, 18 - from_end


@lru_cache
def _cgcnn() -> np.ndarray:
    content = json.loads(resources.files("opalign.model").joinpath("element_bins.json").read_text())
    table = np.zeros((MAX_ATOMIC_NUMBER + 1, content["size"]))
    for symbol, bins in content["bins"].items():
        table[atomic_numbers[symbol], bins] = 1.0
    return table


@lru_cache
def _group_period(main_groups_only: bool) -> np.ndarray:
    groups = _MAIN_GROUPS if main_groups_only else tuple(range(19))
    periods = 5 if main_groups_only else 7
    table = np.zeros((MAX_ATOMIC_NUMBER + 1, len(groups) + periods))
    for number in range(1, MAX_ATOMIC_NUMBER + 1):
        period, group = period_and_group(number)
        # The published main-group layout knows five periods; elements outside it stay zero rows
        # and are refused before they reach a network (see `supported_elements`).
        if group in groups and period <= periods:
            table[number, groups.index(group)] = 1.0
            table[number, len(groups) + period - 1] = 1.0
    return table


def element_table(kind: ElementTable) -> np.ndarray:
    """Return the element vectors, shape (101, size), float64, read-only use.

    ``cgcnn``
        92 one-hot bins of CGCNN, as ALIGNN uses them.
    ``cgcnn_group_period``
        Both, 118 entries: CGCNN's bins alone give La and Ce (and some heavier f elements) one and
        the same vector.
    ``group_period``
        One-hot group (18, and one for the f block) and period (7): 26 entries.
    ``main_group_period``
        One-hot main group (8) and period (5): 13 entries, the published OPTIMATE layout.
    ``one_hot``
        One entry an element, 100 in all: the first layer of a network is then a learned embedding,
        which says nothing of an element that was never trained on.
    ``cgcnn_one_hot``
        CGCNN's bins, and that.
    """
    if kind == "cgcnn":
        return _cgcnn()
    if kind == "cgcnn_group_period":
        return np.hstack([_cgcnn(), _group_period(main_groups_only=False)])
    if kind in ("one_hot", "cgcnn_one_hot"):
        own = np.eye(MAX_ATOMIC_NUMBER + 1)[:, 1:]
        return own if kind == "one_hot" else np.hstack([_cgcnn(), own])
    return _group_period(kind == "main_group_period")


def supported_elements(kind: ElementTable) -> frozenset[int]:
    """Atomic numbers that a table can describe."""
    table = element_table(kind)
    return frozenset(int(number) for number in np.flatnonzero(table.any(axis=1)))
