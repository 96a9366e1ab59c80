"""The folder of a screening: what it was begun with, what is finished, who is at work in it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from opalign.errors import ConfigurationError, StorageError
from opalign.files import write_text
from opalign.screening.config import RANKING_KEYS, ScreenConfig
from opalign.screening.identity import InputIdentity
from opalign.training.config_file import read_mapping, validated, write_config

CONFIG_FILE = "screen.yaml"
STATE_FILE = "state.json"
PROGRESS_FILE = "progress.json"
SUMMARY_FILE = "summary.json"
LOG_FILE = "workers.log"
_LOCK_FILE = "lock"

#: Keys that the identities of input and model stand for, wherever those lie now.
_IDENTIFIED = ("input", "model")


class Origin(BaseModel):
    """Input and model that a folder was begun with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: InputIdentity
    model: str
    """Identifier of the checkpoint."""


@dataclass(frozen=True)
class ScreenFolder:
    """A folder that has been held against configuration, input and model."""

    path: Path
    key: str
    """Stands in every part that belongs to this screening."""


def open_folder(path: Path, config: ScreenConfig, origin: Origin) -> ScreenFolder:
    """Begin a folder, or take up one that was begun with the same configuration, input and model.

    Raises
    ------
    ConfigurationError
        If it was begun with others; the message says what differs.
    StorageError
        If it cannot be written to.
    """
    config_path, state_path = path / CONFIG_FILE, path / STATE_FILE
    if config_path.exists() and state_path.exists():
        before = validated(
            ScreenConfig,
            read_mapping(config_path, "input, model, where"),
            str(config_path),
            "screening",
        )
        _require_same(path, config, before)
        _require_same_origin(path, origin, _read_origin(state_path))
    write_config(config_path, config)
    write_text(state_path, origin.model_dump_json(indent=1) + "\n")
    return ScreenFolder(path, _key(config, origin))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the folder, so that two commands do not work in it at once; a killed one lets go."""
    try:
        import fcntl
    except ImportError:  # Windows has no such locks; parts appear whole there as well.
        yield
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        stream = (path / _LOCK_FILE).open("w")
    except OSError as error:
        raise StorageError(
            f"cannot be written to: {error.strerror or error}",
            where=str(path),
            cure="choose another folder",
        ) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(
                "another command is at work in this folder",
                where=str(path),
                cure="wait for it, or choose another folder",
            ) from error
        yield


def _require_same(path: Path, config: ScreenConfig, before: ScreenConfig) -> None:
    now, then = _deciding(config), _deciding(before)
    differing = [name for name in now if now[name] != then[name]]
    if differing:
        lines = [f"{name}: was {then[name]!r}, is {now[name]!r}" for name in differing]
        raise ConfigurationError(
            "was begun with another configuration:\n    " + "\n    ".join(lines),
            where=str(path),
            expected="the same options, so that all rows are made alike",
            cure="choose another folder, or repeat the earlier command; "
            f"only {', '.join(RANKING_KEYS)} may change",
        )


def _require_same_origin(path: Path, origin: Origin, before: Origin) -> None:
    if difference := origin.input.difference(before.input):
        raise ConfigurationError(
            f"the input is not the one that this folder was begun with: {difference}",
            where=str(path),
            cure="choose another folder for the changed input",
        )
    if origin.model != before.model:
        raise ConfigurationError(
            f"the model is not the one that this folder was begun with: it was {before.model}, "
            f"and is {origin.model}",
            where=str(path),
            cure="choose another folder, or the earlier model",
        )


def _read_origin(path: Path) -> Origin:
    try:
        return Origin.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            "cannot be read, so that nothing tells which input its parts come from",
            where=str(path),
            cure="choose another folder",
        ) from error


def _deciding(config: ScreenConfig) -> dict[str, Any]:
    content = config.model_dump(mode="json")
    return {name: content[name] for name in content if name not in (*RANKING_KEYS, *_IDENTIFIED)}


def _key(config: ScreenConfig, origin: Origin) -> str:
    content = [_deciding(config), origin.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
