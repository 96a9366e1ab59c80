import shutil

import pytest

from opalign.errors import CheckpointError
from opalign.prediction import models
from opalign.prediction.models import available_checkpoints, resolve_checkpoint


@pytest.fixture
def two_folders(tmp_path, monkeypatch):
    """Two folders of checkpoints, the first of which wins where both know a name."""
    for folder, names in {"a": ("alignn", "both"), "b": ("optimate", "both")}.items():
        for name in names:
            (tmp_path / folder / name).mkdir(parents=True)
            (tmp_path / folder / name / "config.json").write_text("{}")
        (tmp_path / folder / "no_checkpoint").mkdir()
    monkeypatch.setattr(models, "checkpoint_folders", lambda: [tmp_path / "a", tmp_path / "b"])
    return tmp_path


def test_names_are_found_in_order(two_folders):
    assert available_checkpoints() == {
        "alignn": two_folders / "a" / "alignn",
        "both": two_folders / "a" / "both",
        "optimate": two_folders / "b" / "optimate",
    }
    assert resolve_checkpoint("optimate") == two_folders / "b" / "optimate"


def test_default_model(two_folders):
    assert resolve_checkpoint() == two_folders / "b" / "optimate"


def test_a_path_needs_no_name(two_folders, tmp_path):
    shutil.copytree(two_folders / "a" / "alignn", tmp_path / "mine" / "best")
    assert resolve_checkpoint(tmp_path / "mine" / "best") == tmp_path / "mine" / "best"


def test_a_name_wins_over_a_folder_here(two_folders, tmp_path, monkeypatch):
    (tmp_path / "alignn").mkdir()
    (tmp_path / "alignn" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert resolve_checkpoint("alignn") == two_folders / "a" / "alignn"
    assert resolve_checkpoint("./alignn").resolve() == tmp_path / "alignn"


def test_a_wrong_name_is_told_the_right_ones(two_folders):
    with pytest.raises(CheckpointError, match="there is no model 'aligm'") as caught:
        resolve_checkpoint("aligm")
    assert caught.value.expected.startswith("alignn, both, optimate")
    assert caught.value.cure == "did you mean 'alignn'?"


def test_a_folder_without_checkpoint_is_told_so(two_folders, tmp_path):
    with pytest.raises(CheckpointError, match=r"without config.json"):
        resolve_checkpoint(tmp_path / "a" / "no_checkpoint")
    (tmp_path / "weights.pt").touch()
    with pytest.raises(CheckpointError, match="is a file, not a folder"):
        resolve_checkpoint(tmp_path / "weights.pt")


def test_the_environment_names_folders(two_folders, tmp_path, monkeypatch):
    monkeypatch.undo()
    separated = models.os.pathsep.join([str(tmp_path / "b"), str(tmp_path / "absent")])
    monkeypatch.setenv("OPALIGN_CHECKPOINTS", separated)
    assert resolve_checkpoint("optimate") == tmp_path / "b" / "optimate"
    monkeypatch.delenv("OPALIGN_CHECKPOINTS")
    assert tmp_path / "b" not in models.checkpoint_folders()
