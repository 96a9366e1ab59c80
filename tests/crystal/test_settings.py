import pytest
from pydantic import ValidationError

from opalign.crystal.settings import GraphSettings

CHANGES = [
    {"kind": "radius"},
    {"neighbors": 13},
    {"cutoff": 5.1},
    {"shell_tolerance": 2e-3},
    {"angles": False},
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_setting_changes_the_hash(change):
    assert GraphSettings(**change).content_hash() != GraphSettings().content_hash()


def test_equal_settings_have_equal_hashes():
    assert GraphSettings(cutoff=5).content_hash() == GraphSettings(cutoff=5.0).content_hash()
    copy = GraphSettings.model_validate_json(GraphSettings(neighbors=30).model_dump_json())
    assert copy.content_hash() == GraphSettings(neighbors=30).content_hash()


@pytest.mark.parametrize(
    "wrong",
    [
        {"neighbors": 0},
        {"cutoff": 0.0},
        {"cutoff": float("nan")},
        {"shell_tolerance": -1.0},
        {"kind": "nearest"},
        {"neighbours": 12},
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        GraphSettings(**wrong)


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError):
        GraphSettings().cutoff = 6.0
