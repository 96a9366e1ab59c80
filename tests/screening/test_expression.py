import ast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opalign.errors import ConfigurationError, OpalignError
from opalign.screening.expression import DEEPEST, LONGEST, parse_condition

VALUES = {
    "onset_eV": np.array([0.5, 1.6, 2.5, np.nan, 4.0]),
    "static_dielectric": np.array([12.0, 7.0, 8.0, 3.0, 2.5]),
    "absorption_2.5eV_per_cm": np.array([1e5, 1e3, 0.0, 2.0, np.nan]),
}


def holds(text):
    return parse_condition(text).holds(VALUES).tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("onset_eV > 1.5 and static_dielectric < 8", [False, True, False, False, True]),
        ("onset_eV>=2.5 or static_dielectric==7", [False, True, True, False, True]),
        ("1 < onset_eV <= 2.5", [False, True, True, False, False]),
        ("not onset_eV > 2", [True, True, False, False, False]),
        ("-onset_eV + 2 * static_dielectric / 4 - 1 > 0", [True, True, True, False, False]),
        ("2 * (onset_eV - 1) > .5e0", [False, True, True, False, True]),
        ("absorption_2.5eV_per_cm < 1e4", [False, True, True, True, False]),
        ("onset_eV < 1 or onset_eV > 2 and static_dielectric > 5", [True, False, True, 0, 0]),
        ("(onset_eV < 1 or onset_eV > 2) and static_dielectric > 5", [True, False, True, 0, 0]),
        ("not (onset_eV < 1 or not static_dielectric != 7)", [False, False, True, False, True]),
        ("onset_eV - 1 - 1 > 0", [False, False, True, False, True]),
        ("8 / 2 / 2 < onset_eV", [False, False, True, False, True]),
        ("onset_eV / 0 > 1", [True, True, True, False, True]),
    ],
)
def test_conditions(text, expected):
    assert holds(text) == [bool(one) for one in expected]


def test_what_does_not_exist_is_neither_true_nor_false():
    # Row 3 has no onset: neither the condition nor its opposite lets it pass …
    assert not holds("onset_eV > 2")[3]
    assert not holds("not onset_eV > 2")[3]
    assert not holds("onset_eV != onset_eV")[3]
    # … unless the rest decides.
    assert holds("onset_eV > 2 or static_dielectric < 4")[3]
    assert holds("not (onset_eV > 2 and static_dielectric > 4)")[3]


def test_names_come_in_order_and_once():
    condition = parse_condition("b > 1 and a < b and refractive_index_589nm > 2")
    assert condition.names == ("b", "a", "refractive_index_589nm")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "ends too early"),
        ("onset_eV", "number and no condition"),
        ("onset_eV >", "ends too early"),
        ("onset_eV > 1 and", "ends too early"),
        ("onset_eV > 1 static_dielectric < 8", "after the end"),
        ("(onset_eV > 1", "not closed"),
        ("onset_eV > 1)", "after the end"),
        ("onset_eV = 1", "'= 1' is not understood"),
        ("onset_eV > 1 and 3", "comparison is missing after 'and'"),
        ("3 or onset_eV > 1", "comparison is missing before 'or'"),
        ("not onset_eV", "comparison is missing after 'not'"),
        ("(onset_eV > 1) > 2", "compares numbers"),
        ("(onset_eV > 1) + 2 > 1", "joins numbers"),
        ("-(onset_eV > 1)", "stands before a condition"),
        ("1 < 2", "speaks of no quantity"),
        ("onset_eV > 1.5eV", "not understood"),
        ("__import__('os').system('x') > 1", "not understood"),
        ("onset_eV > and", "stands where"),
        ("a; b > 1", "not understood"),
        ("lambda: 1 > 0", "not understood"),
        ("a[0] > 1", "not understood"),
        ("a ** 2 > 1", "stands where"),
    ],
)
def test_what_makes_no_sense_is_pointed_at(text, problem):
    with pytest.raises(ConfigurationError, match="condition") as caught:
        parse_condition(text)
    assert problem in caught.value.problem
    # The mark stands within the text, or just behind its end.
    line, mark = caught.value.problem.splitlines()[-2:]
    assert len(mark) <= len(line) + 1


@pytest.mark.parametrize("piece", ["(", "-", "not "])
def test_no_nesting_is_deep_enough_to_harm(piece):
    inner = "a > 1" if piece != "-" else "a"
    close = ")" if piece == "(" else ""
    tail = " > 1" if piece == "-" else ""
    fine = piece * DEEPEST + inner + close * DEEPEST + tail
    parse_condition(fine)
    with pytest.raises(ConfigurationError, match="nested"):
        parse_condition(piece + fine[: -len(tail) or None] + close + tail)
    with pytest.raises(ConfigurationError, match="characters"):
        parse_condition(piece * (LONGEST + 1))


NUMBERS = st.one_of(
    st.sampled_from(["a", "b"]), st.integers(0, 9).map(str), st.sampled_from(["0.5", "2.5"])
)
SUMS = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, st.sampled_from("+-*"), NUMBERS).map(" ".join),
        inner.map(lambda one: f"-{one}"),
    ),
    max_leaves=6,
)
COMPARISONS = st.tuples(SUMS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), SUMS).map(
    " ".join
)
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({' '.join(t)})"),
        inner.map(lambda one: f"not {one}"),
    ),
    max_leaves=5,
)


@settings(deadline=None)
@given(CONDITIONS, st.integers(-5, 5), st.integers(-5, 5))
def test_the_grammar_means_what_python_means(text, a, b):
    names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    if not names:
        return
    expected = eval(text, {"__builtins__": {}}, {"a": a, "b": b})
    found = parse_condition(text).holds({"a": np.array([a]), "b": np.array([b])})
    assert found.tolist() == [bool(expected)]


@settings(deadline=None)
@given(st.text(alphabet="ab12.<>=!+-*/() andortx_'\n\"[];:,", max_size=40))
def test_any_text_is_read_or_refused_in_words(text):
    try:
        condition = parse_condition(text)
    except OpalignError:
        return
    values = {name: np.array([1.0, np.nan]) for name in condition.names}
    assert condition.holds(values).shape == (2,)
