import warnings

import numpy as np
import pytest

from opalign.model.elements import (
    MAX_ATOMIC_NUMBER,
    element_table,
    period_and_group,
    supported_elements,
)

F_BLOCK = {*range(58, 72), *range(90, 101)}


@pytest.mark.parametrize("number", range(1, 101))
def test_period_and_group_are_those_of_pymatgen(number):
    from pymatgen.core import Element

    element = Element.from_Z(number)
    period, group = period_and_group(number)
    assert period == element.row
    # pymatgen puts the f block into group 3; here it has a place of its own.
    assert group == (0 if number in F_BLOCK else element.group)


@pytest.mark.parametrize(
    ("number", "place"), [(103, (7, 0)), (104, (7, 4)), (117, (7, 17)), (118, (7, 18))]
)
def test_heaviest_elements(number, place):
    assert period_and_group(number) == place


@pytest.mark.parametrize(
    ("kind", "size"), [("cgcnn", 92), ("group_period", 26), ("main_group_period", 13)]
)
def test_tables_are_one_hot_bins(kind, size):
    table = element_table(kind)
    assert table.shape == (MAX_ATOMIC_NUMBER + 1, size)
    assert not table[0].any()
    assert set(np.unique(table)) == {0.0, 1.0}
    if kind != "cgcnn":
        assert set(table.sum(axis=1)[list(supported_elements(kind))]) == {2.0}


@pytest.mark.parametrize("kind", ["cgcnn", "cgcnn_group_period", "group_period"])
def test_general_tables_know_every_element(kind):
    assert supported_elements(kind) == set(range(1, 101))


def test_cgcnn_tells_apart_all_elements_but_some_of_the_f_block():
    rows = [number for number in range(1, 84) if number not in F_BLOCK]
    assert len(np.unique(element_table("cgcnn")[rows], axis=0)) == len(rows)


def test_published_layout():
    from pymatgen.core import Element

    supported = supported_elements("main_group_period")
    expected = {
        number
        for number in range(1, 101)
        if Element.from_Z(number).row <= 5
        and Element.from_Z(number).group in (1, 2, *range(13, 19))
    }
    assert supported == expected
    table = element_table("main_group_period")
    # Oxygen: sixth main group, second period. Iodine: seventh, fifth.
    assert np.flatnonzero(table[8]).tolist() == [5, 9]
    assert np.flatnonzero(table[53]).tolist() == [6, 12]
    assert not table[26].any()


def test_no_warnings_on_the_way():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in ("cgcnn", "group_period", "main_group_period"):
            element_table(kind)


def test_lanthanum_and_cerium_differ_only_where_the_group_is_told():
    lanthanum, cerium = 57, 58
    assert (element_table("cgcnn")[lanthanum] == element_table("cgcnn")[cerium]).all()
    both = element_table("cgcnn_group_period")
    assert both.shape == (101, 118)
    assert (both[lanthanum] != both[cerium]).any()
    assert (both[:, :92] == element_table("cgcnn")).all()
