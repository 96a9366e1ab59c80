"""Where trained models are found: by the name of a folder, or by its path."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from opalign.errors import CheckpointError

#: The model that predicts when none is named.
DEFAULT_MODEL = "optimate"

#: Folders of checkpoints, separated as in PATH; they come before those shipped with Opalign.
ENVIRONMENT_VARIABLE = "OPALIGN_CHECKPOINTS"

_MARK = "config.json"


def checkpoint_folders() -> list[Path]:
    """Folders in which models are looked for by name, the first one first.

    Those named by the environment variable ``OPALIGN_CHECKPOINTS``, then ``checkpoints`` of the
    repository, where Opalign runs from one.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE, "").split(os.pathsep)
    folders = [Path(name).expanduser() for name in named if name]
    folders.append(Path(__file__).resolve().parents[3] / "checkpoints")
    return [folder for folder in folders if folder.is_dir()]


def available_checkpoints() -> dict[str, Path]:
    """Models that can be named, name → folder; of two with one name the first one found counts."""
    found: dict[str, Path] = {}
    for folder in checkpoint_folders():
        for path in sorted(folder.iterdir()):
            if (path / _MARK).is_file():
                found.setdefault(path.name, path)
    return found


def resolve_checkpoint(model: str | os.PathLike[str] | None = None) -> Path:
    """Folder of the checkpoint with this name or path; of the default model if None.

    A name wins over a folder of the same name in the working directory; ``./name`` is a path.

    Raises
    ------
    CheckpointError
        If there is none; the message lists those found and the one probably meant.
    """
    text = os.fspath(model) if model is not None else DEFAULT_MODEL
    available = available_checkpoints()
    if text in available:
        return available[text]
    path = Path(text).expanduser()
    if os.path.isfile(path / _MARK):
        return path
    if os.path.exists(path):
        problem = "is a folder without" if path.is_dir() else "is a file, not a folder with"
        raise CheckpointError(
            f"{problem} {_MARK}, so it is no checkpoint",
            where=str(path),
            expected="the folder that a training run wrote as its checkpoint",
            cure=_cure(text, available),
        )
    raise CheckpointError(
        f"there is no model {text!r}, neither by that name nor at that path",
        expected=_expected(available),
        cure=_cure(text, available),
    )


def _expected(available: dict[str, Path]) -> str:
    if not available:
        return "the path of a checkpoint folder (no model is installed under a name)"
    return f"{', '.join(available)}, or the path of a checkpoint folder"


def _cure(text: str, available: dict[str, Path]) -> str:
    guess = difflib.get_close_matches(Path(text).name, available, n=1)
    if guess:
        return f"did you mean {guess[0]!r}?"
    return (
        f"set {ENVIRONMENT_VARIABLE} to the folder that holds your checkpoints, or train a model "
        "with `opalign train`"
    )
