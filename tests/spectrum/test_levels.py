import pytest

from opalign.spectrum.levels import (
    ENOUGH,
    NOT_ENOUGH,
    advice_class,
    advice_sentence,
    highest,
    needed_level,
    rungs,
)


def test_rungs_in_whatever_order_they_come():
    assert rungs(("rpa", "ipa")) == ("ipa", "rpa")
    assert rungs(("rpa",)) is None
    assert rungs(("pbe", "rpa")) is None


def test_a_level_beyond_the_ladder_counts_as_above():
    assert highest(("rpa", "ipa")) == "rpa"
    assert highest(("ipa", "bse", "rpa")) == "bse"


@pytest.mark.parametrize(
    ("similarity", "level", "words"),
    [
        (0.97, "ipa", "IPA will do: IPA and RPA differ by 3% of the area"),
        (ENOUGH, "ipa", "IPA will do"),
        (0.82, "rpa", "IPA shows the shape, RPA is needed for the heights"),
        (NOT_ENOUGH, "rpa", "IPA shows the shape"),
        (0.5, "rpa", "RPA is needed: IPA and RPA differ by 50% of the area"),
        (-0.3, "rpa", "RPA is needed: IPA and RPA differ by 130% of the area"),
    ],
)
def test_advice(similarity, level, words):
    assert needed_level(similarity, "ipa", "rpa") == level
    assert advice_sentence(similarity, "ipa", "rpa").startswith(words)


def test_classes_go_up_with_the_similarity():
    assert [advice_class(x) for x in (0.0, 0.8, 1.0)] == [0, 1, 2]
