"""Probes find what is in the features, and take no credit for the element."""

import numpy as np
import pytest

from opalign.errors import ConfigurationError, DatasetError
from opalign.explain.probes import probe


def sites(number=400, seed=0):
    generator = np.random.default_rng(seed)
    elements = generator.choice([12, 30, 22], size=number)
    formulas = [f"F{row // 4}" for row in range(number)]
    return generator, elements, formulas


def test_what_the_element_tells_is_no_gain():
    generator, elements, formulas = sites()
    features = np.hstack([(elements[:, None] == [12, 30, 22]), generator.normal(size=(400, 5))])
    found = probe(features, elements.tolist(), elements, formulas, "class")
    assert found.score == found.control == 1.0
    assert found.gain == 0.0
    assert found.chance == pytest.approx(1 / 3)


def test_what_only_the_features_know_is_a_gain():
    generator, elements, formulas = sites()
    coordination = generator.choice([4, 6], size=400)
    features = np.hstack([coordination[:, None] == 6, generator.normal(size=(400, 5))])
    found = probe(features, coordination.tolist(), elements, formulas, "class")
    assert found.score == 1.0
    assert found.control == pytest.approx(0.5, abs=0.1)
    assert found.gain > 5 * found.error


def test_numbers_by_their_coefficient_of_determination():
    generator, elements, formulas = sites()
    features = generator.normal(size=(400, 6))
    length = 2.0 + 0.2 * features[:, 0] + 0.1 * (elements == 30)
    found = probe(features, length.tolist(), elements, formulas, "number")
    # The probe cannot see the element: variance 0.04 of features, 0.01 · 2/9 of elements.
    assert found.score == pytest.approx(0.04 / (0.04 + 0.01 * 2 / 9), abs=0.02)
    assert found.control < 0.15
    assert found.chance == 0.0


def test_noise_is_no_better_than_chance():
    generator, elements, formulas = sites()
    target = generator.choice(["a", "b"], size=400)
    found = probe(generator.normal(size=(400, 30)), list(target), elements, formulas, "class")
    assert found.score == pytest.approx(0.5, abs=0.08)
    assert abs(found.gain) < 3 * found.error + 0.02


def test_formulas_never_stand_on_both_sides():
    # The feature is the formula's own number: it helps only if the formula was seen in training.
    generator, elements, _ = sites()
    formulas = [f"F{row // 40}" for row in range(400)]
    own = np.repeat(generator.permutation(np.arange(10) % 2), 40)
    features = np.repeat(np.eye(10), 40, axis=0)
    found = probe(features, own.tolist(), elements, formulas, "class")
    assert found.score <= 0.6


def test_rare_and_unknown_sites_are_left_out():
    generator, elements, formulas = sites()
    target = ["a", "b"] * 196 + [None] * 4 + ["rare"] * 4
    found = probe(generator.normal(size=(400, 3)), target, elements, formulas, "class")
    assert found.sites == 392
    assert found.chance == 0.5


def test_the_same_seed_gives_the_same_result():
    generator, elements, formulas = sites()
    features = generator.normal(size=(400, 4))
    target = (features[:, 0] + generator.normal(size=400)).tolist()
    first = probe(features, target, elements, formulas, "number", seed=3)
    assert first == probe(features, target, elements, formulas, "number", seed=3)


def test_what_cannot_be_probed_says_why():
    _, elements, formulas = sites()
    features = np.zeros((400, 2))
    with pytest.raises(DatasetError, match="the same everywhere"):
        probe(features, ["a"] * 400, elements, formulas, "class")
    with pytest.raises(DatasetError, match="known in 4 formulas only"):
        probe(features, ["a", "b"] * 8 + [None] * 384, elements, formulas, "class")
    with pytest.raises(ConfigurationError, match="kind 'rank'"):
        probe(features, ["a"] * 400, elements, formulas, "rank")
