"""Enrichments: exact cases, one formula one observation, and no findings in noise."""

import numpy as np
import pytest
from scipy.stats import fisher_exact, mannwhitneyu

from opalign.errors import DatasetError
from opalign.explain.enrichment import Property, enrichments

FORMULAS = [f"F{row}" for row in range(40)]
LABELS = np.repeat([0, 1], 20)


def flag(name, present, **keywords):
    values = np.zeros(40)
    values[list(present)] = 1.0
    return Property(name, "test", values, True, **keywords)


def row_of(frame, group, name):
    found = frame[(frame["group"] == group) & (frame["property"] == name)]
    assert len(found) == 1
    return found.iloc[0]


def test_a_categorical_property_by_hand():
    row = row_of(enrichments(LABELS, FORMULAS, [flag("V5+", [0, 1, 2, 3, 4, 5, 30])]), 0, "V5+")
    assert row["inside"] == 0.3
    assert row["outside"] == 0.05
    assert (row["count_inside"], row["count_outside"]) == (6, 1)
    assert row["p_value"] == pytest.approx(fisher_exact([[6, 14], [1, 19]]).pvalue)
    assert row["effect"] == pytest.approx(np.log2(6.5 * 19.5 / (14.5 * 1.5)))


def test_a_number_by_hand():
    values = np.random.default_rng(0).normal(size=40) + LABELS
    found = enrichments(LABELS, FORMULAS, [Property("onset", "test", values, False)])
    row = row_of(found, 1, "onset")
    expected = mannwhitneyu(values[20:], values[:20])
    assert row["p_value"] == pytest.approx(expected.pvalue)
    assert row["effect"] == pytest.approx(2 * expected.statistic / 400 - 1)
    assert row["inside"] == pytest.approx(np.median(values[20:]))
    assert row_of(found, 0, "onset")["effect"] == pytest.approx(-row["effect"])


def test_polymorphs_are_one_observation():
    # Ten copies of one formula with the property are not evidence.
    formulas = ["A"] * 10 + [f"F{row}" for row in range(30)]
    labels = np.array([0] * 20 + [1] * 20)
    values = np.zeros(40)
    values[:10] = 1.0
    values[[25, 30]] = 1.0
    found = enrichments(labels, formulas, [Property("p", "test", values, True)])
    row = row_of(found, 0, "p")
    assert (row["formulas_inside"], row["count_inside"]) == (11, 1)
    assert row["p_value"] > 0.5


def test_a_formula_belongs_where_most_of_its_materials_are():
    formulas = ["A", "A", "A", *[f"F{row}" for row in range(9)]]
    labels = np.array([1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    values = np.array([1.0, 1.0, 0.0, 0, 0, 0, 1, 1, 1, 0, 0, 0])
    row = row_of(enrichments(labels, formulas, [Property("p", "t", values, True)]), 1, "p")
    assert row["formulas_inside"] == 6
    assert row["count_inside"] == 3


def test_p_values_are_corrected_over_all_tests():
    generator = np.random.default_rng(0)
    properties = [flag("real", range(20))]
    properties += [Property(f"n{i}", "t", generator.normal(size=40), False) for i in range(50)]
    found = enrichments(LABELS, FORMULAS, properties)
    assert (found["q_value"] >= found["p_value"] - 1e-15).all()
    assert set(found.loc[found["significant"], "property"]) == {"real"}
    ranked = np.sort(found["p_value"].to_numpy())
    smallest = (ranked * len(ranked) / np.arange(1, len(ranked) + 1)).min()
    assert found["q_value"].min() == pytest.approx(smallest)


def test_what_the_network_was_given_is_never_significant():
    found = enrichments(LABELS, FORMULAS, [flag("O", range(20), given=True)])
    assert set(found["basis"]) == {"given to the network"}
    assert not found["significant"].any()
    assert found["p_value"].isna().all()
    assert found["effect"].abs().min() > 5


def test_spectra_are_tested_out_of_fold_only():
    values = np.random.default_rng(0).normal(size=40) + 5 * LABELS
    onset = Property("onset", "spectrum", values, False, spectral=True)
    descriptive = enrichments(LABELS, FORMULAS, [onset])
    assert set(descriptive["basis"]) == {"trained on these spectra"}
    assert not descriptive["significant"].any()
    confirmed = enrichments(LABELS, FORMULAS, [onset], unseen_labels=LABELS)
    assert confirmed["significant"].all()
    # Groups that do not hold out of fold find nothing, however well the shown ones fit.
    mixed = np.tile([0, 1], 20)
    refuted = enrichments(LABELS, FORMULAS, [onset], unseen_labels=mixed)
    assert not refuted["significant"].any()
    with pytest.raises(DatasetError):
        enrichments(LABELS, FORMULAS, [onset], unseen_labels=mixed[:5])


def test_other_properties_keep_the_groups_that_are_shown():
    mixed = np.tile([0, 1], 20)
    found = enrichments(LABELS, FORMULAS, [flag("V5+", range(15))], unseen_labels=mixed)
    assert row_of(found, 0, "V5+")["inside"] == 0.75


def test_the_unknown_and_the_ungrouped_do_not_count():
    values = np.zeros(40)
    values[:20] = 1.0
    values[5:10] = np.nan
    labels = LABELS.copy()
    labels[0] = labels[39] = -1
    row = row_of(enrichments(labels, FORMULAS, [Property("p", "t", values, True)]), 0, "p")
    assert (row["formulas_inside"], row["formulas_outside"]) == (14, 19)


def test_small_groups_and_constant_properties_are_not_tested():
    labels = np.array([0, 0] + [1] * 38)
    assert enrichments(labels, FORMULAS, [flag("p", range(10))]).empty
    assert enrichments(LABELS, FORMULAS, [flag("p", range(40)), flag("q", [0, 1])]).empty
    assert enrichments(LABELS, FORMULAS, [Property("n", "t", np.ones(40), False)]).empty


@pytest.mark.slow
@pytest.mark.long
def test_groups_of_chance_are_rarely_called_significant():
    # At level 0.05 a family of tests errs in at most one of twenty permutations; seven or more of
    # fifty would have a chance of 1.2 % then.
    generator = np.random.default_rng(0)
    formulas = [f"F{row // 2}" for row in range(120)]
    labels = np.repeat(generator.integers(0, 6, size=60), 2)
    properties = [
        Property(f"c{i}", "t", np.repeat(generator.integers(0, 2, size=60), 2).astype(float), True)
        for i in range(10)
    ] + [Property(f"n{i}", "t", np.repeat(generator.normal(size=60), 2), False) for i in range(10)]
    findings = 0
    for _ in range(50):
        order = generator.permutation(60)
        permuted = labels.reshape(60, 2)[order].reshape(-1)
        findings += bool(enrichments(permuted, formulas, properties)["significant"].any())
    assert findings <= 6
