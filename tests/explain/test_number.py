"""Criteria for the number of groups find planted numbers, and say what they looked at."""

import numpy as np
import pytest

from opalign.errors import ConfigurationError
from opalign.explain.groups import ward_linkage
from opalign.explain.number import choose_number, group_materials, numbers_to_try
from opalign.explain.stability import agreement, bootstrap_stability, draw_formulas


def planted(number, seed=0, each=15, apart=12.0):
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(number, 8)) * apart
    truth = np.repeat(np.arange(number), each)
    matrix = centres[truth] + generator.normal(size=(len(truth), 8))
    return matrix, truth, [f"F{row // 2}" for row in range(len(truth))]


@pytest.mark.parametrize("criterion", ["silhouette", "gap", "stability"])
@pytest.mark.parametrize("number", [3, 5])
def test_the_planted_number_is_found(criterion, number):
    matrix, truth, formulas = planted(number)
    ids = [str(row) for row in range(len(truth))]
    found = group_materials(ids, formulas, matrix, criterion=criterion)
    assert found.number == number
    assert agreement(found.labels, truth) == 1.0
    assert found.chosen_by == criterion
    assert len(found.criterion["numbers"]) == len(found.criterion["values"])
    assert found.criterion["rule"]


def test_the_gap_finds_no_groups_in_noise():
    matrix = np.random.default_rng(1).uniform(size=(80, 5))
    number, _ = choose_number(ward_linkage(matrix), matrix, ["A"] * 80, "gap")
    assert number == 2


def test_the_rule_of_the_study():
    matrix = np.random.default_rng(0).normal(size=(559, 4))
    number, found = choose_number(ward_linkage(matrix), matrix, ["A"] * 559, "study")
    assert number == 20
    assert "96" in found["rule"]


def test_a_number_of_ones_own_wins():
    matrix, truth, formulas = planted(3)
    ids = [str(row) for row in range(len(truth))]
    assert group_materials(ids, formulas, matrix, number=7).number == 7
    assert group_materials(ids, formulas, matrix, distance=1e9).number == 1


def test_an_unknown_criterion_lists_those_there_are():
    matrix, _, formulas = planted(3)
    with pytest.raises(ConfigurationError, match="silhouette, gap, stability, study"):
        choose_number(ward_linkage(matrix), matrix, formulas, "elbow")


def test_two_materials_can_be_grouped():
    found = group_materials(["a", "b"], ["A", "B"], np.array([[0.0], [1.0]]))
    assert found.number == 2


def test_numbers_to_try_grow_and_stay_below_the_materials():
    for materials in (2, 3, 10, 71, 2681):
        numbers = numbers_to_try(materials)
        assert numbers == sorted(set(numbers))
        assert numbers[-1] <= max(materials - 1, 2)
        assert len(numbers) <= 25


def test_a_draw_keeps_polymorphs_together():
    formulas = ["A", "A", "B", "C", "C", "C", "D", "E"]
    generator = np.random.default_rng(0)
    for _ in range(20):
        rows = draw_formulas(formulas, 0.6, generator)
        drawn = {formulas[row] for row in rows}
        assert len(drawn) == 3
        assert len(rows) == sum(name in drawn for name in formulas)


def test_planted_groups_are_stable_and_noise_is_not():
    matrix, truth, formulas = planted(4)
    values, errors = bootstrap_stability({4: truth}, matrix, formulas)
    assert values[0] == 1.0
    assert errors[0] == 0.0
    noise = np.random.default_rng(3).normal(size=(60, 8))
    from opalign.explain.groups import cut

    labels = cut(ward_linkage(noise), number=8)
    values, errors = bootstrap_stability({8: labels}, noise, [str(row) for row in range(60)])
    assert values[0] < 0.6
    assert errors[0] > 0.0
