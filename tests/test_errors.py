import inspect
import pickle

import pytest

from opalign import errors

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.OpalignError)
]


def test_message_names_place_expectation_and_cure():
    error = errors.StructureError(
        "atoms 3 and 7 are 0.02 Å apart",
        where="MgO.cif",
        expected="atoms at least 0.5 Å apart",
        cure="remove the duplicate site",
    )
    assert str(error) == (
        "MgO.cif: atoms 3 and 7 are 0.02 Å apart\n"
        "  expected: atoms at least 0.5 Å apart\n"
        "  try: remove the duplicate site"
    )


def test_message_holds_only_what_is_known():
    assert str(errors.DatasetError("the table is empty")) == "the table is empty"
    assert str(errors.DatasetError("no", cure="yes")) == "no\n  try: yes"


@pytest.mark.parametrize("kind", KINDS)
def test_one_except_clause_catches_every_kind(kind):
    with pytest.raises(errors.OpalignError, match="problem"):
        raise kind("problem")


@pytest.mark.parametrize("kind", KINDS)
def test_error_crosses_a_process_boundary_whole(kind):
    error = kind("problem", where="row 3", expected="a number", cure="mend it")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert (copy.problem, copy.where, copy.expected, copy.cure) == (
        "problem",
        "row 3",
        "a number",
        "mend it",
    )
