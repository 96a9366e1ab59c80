"""Sentences say what the statistics say, and no more."""

import numpy as np

from opalign.explain.enrichment import Property, enrichments
from opalign.explain.sentences import group_sentences

FORMULAS = [f"F{row}" for row in range(40)]
LABELS = np.repeat([0, 1], 20)


def described(properties, labels=LABELS, **keywords):
    frame = enrichments(labels, FORMULAS, properties, **keywords)
    return frame, group_sentences(frame, labels, FORMULAS)


def flags(rows):
    values = np.zeros(40)
    values[list(rows)] = 1.0
    return values


def test_every_phrase_has_its_row_and_every_tested_row_passed():
    generator = np.random.default_rng(0)
    onset = Property(
        "onset_eV", "spectrum", 2 + 3 * LABELS + 0.1 * generator.normal(size=40), False
    )
    properties = [
        Property("V5+", "oxidation state", flags(range(18)), True),
        Property("tetrahedral CN_4", "coordination motif", 0.9 * (LABELS == 0) + 0.01, False),
        Property("O", "element", flags(range(20)), True, given=True),
        onset,
    ]
    frame, sentences = described(properties)
    texts = [sentence.text for sentence in sentences[0]]
    assert "O in 20 of 20 formulas (elsewhere 0 of 20)" in texts[0]
    assert "contains V5+ (18 of 20 formulas, elsewhere 0 of 20)" in texts[1]
    assert "more tetrahedral CN_4 (median 0.91, elsewhere 0.01)" in texts[1]
    assert "absorbs from lower energies on" in texts[2]
    for own in sentences.values():
        for sentence in own:
            rows = frame.loc[list(sentence.evidence)]
            if sentence.tested:
                assert rows["significant"].all()
                assert sentence.text.count("[q = ") == len(rows)
    assert not sentences[0][0].tested


def test_what_did_not_pass_is_not_said():
    values = np.random.default_rng(1).normal(size=40)
    properties = [
        Property("onset_eV", "spectrum", values, False),
        Property("V5+", "oxidation state", flags([1, 5, 25, 30]), True),
    ]
    _, sentences = described(properties)
    for own in sentences.values():
        assert own[-1].text == "Nothing that was tested sets it apart."
        assert not any("V5+" in sentence.text for sentence in own)


def test_a_group_too_small_for_tests_says_so():
    labels = np.array([0, 0] + [1] * 38)
    _, sentences = described([Property("onset_eV", "spectrum", np.arange(40.0), False)], labels)
    assert sentences[0][0].text == "2 materials: F0 and F1."
    assert sentences[0][-1].text == "It has too few formulas for any test."


def test_the_same_fact_is_said_once():
    same = flags(range(18))
    properties = [
        Property("P4/nmm", "space group", same, True),
        Property("ABC 129 2-2-2", "prototype", same, True),
    ]
    _, sentences = described(properties)
    assert sentences[0][1].text.count("[q = ") == 1


def test_polymorphs_are_counted_apart_from_formulas():
    frame = enrichments(LABELS, FORMULAS, [])
    formulas = ["TiO2", "TiO2", *FORMULAS[2:]]
    sentences = group_sentences(frame, LABELS, formulas)
    assert sentences[0][0].text.startswith("20 materials of 19 formulas")
