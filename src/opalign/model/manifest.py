"""``config.json`` of a checkpoint: what it is, and the size and hash of every file beside it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import opalign
from opalign.errors import CheckpointError
from opalign.files import sha256
from opalign.model.config import ModelConfig
from opalign.model.ensemble import MOST_MEMBERS

#: The newest format that is read. A checkpoint is written in the oldest that can hold it, so that
#: older versions of Opalign read all they can: 2 came with ensembles and calibrations.
FORMAT_VERSION: Final = 2
CONFIG, WEIGHTS, REFERENCE = "config.json", "model.safetensors", "reference.parquet"
METRICS, SPLITS, CARD = "metrics.json", "splits.json", "README.md"
CALIBRATION = "calibration.json"
#: Folder inside a checkpoint that holds another one: a model that advises on levels of theory.
ADVICE = "advice"
REQUIRED = (WEIGHTS, METRICS, SPLITS, CARD)

_MEBIBYTE = 1 << 20
#: Bytes beyond which a file cannot be what it claims to be. The largest networks of the field have
#: some ten million weights; a split of a million ids takes some 20 MiB.
LARGEST = {
    CONFIG: 4 * _MEBIBYTE,
    WEIGHTS: 2048 * _MEBIBYTE,
    METRICS: 64 * _MEBIBYTE,
    SPLITS: 256 * _MEBIBYTE,
    REFERENCE: 2048 * _MEBIBYTE,
    CARD: 4 * _MEBIBYTE,
    CALIBRATION: 4 * _MEBIBYTE,
}


class FileRecord(BaseModel):
    """Size in bytes and hexadecimal SHA-256 of one file."""

    model_config = ConfigDict(extra="forbid")

    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """Content of ``config.json``, but for its own checksum."""

    model_config = ConfigDict(extra="forbid")

    format_version: Literal[1, 2] = FORMAT_VERSION
    opalign_version: str = opalign.__version__
    members: int | None = Field(None, ge=1, le=MOST_MEMBERS, strict=True)
    """Networks of an ensemble; None for a single network."""
    dtype: Literal["float32", "float64"]
    elements: tuple[int, ...] = Field(min_length=1)
    model: ModelConfig
    training: dict[str, Any]
    files: dict[str, FileRecord]

    @model_validator(mode="after")
    def _format_holds_it(self) -> Manifest:
        if self.format_version == 1 and self.needed_version > 1:
            raise ValueError("format 1 knows neither ensembles nor calibrations")
        return self

    @property
    def needed_version(self) -> int:
        """The oldest format that can hold this."""
        return 2 if self.members is not None or CALIBRATION in self.files else 1

    @property
    def identifier(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of network and weights: of what predicts."""
        # Without defaults, so that a setting added later does not rename the models of before.
        network = self.model.model_dump(mode="json", exclude_defaults=True)
        return _digest([network, self.files[WEIGHTS].sha256])[:12]


def record_files(folder: Path) -> dict[str, FileRecord]:
    """Size and hash of every file in a folder."""
    return {
        path.name: FileRecord(size=path.stat().st_size, sha256=sha256(path))
        for path in sorted(folder.iterdir())
        if path.is_file()
    }


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``config.json`` with a checksum over its own content."""
    content = plain(manifest.model_dump(mode="json"), CONFIG)
    content["format_version"] = manifest.needed_version
    if manifest.members is None:
        del content["members"]
    content["checksum"] = _digest(content)
    write_json(folder / CONFIG, content)


def read_manifest(folder: Path) -> Manifest:
    """Read ``config.json`` and check every file it names; nothing else is read before that.

    Raises
    ------
    CheckpointError
        If a file is missing, larger than it may be, or not the one that was written, or if the
        format is newer or the configuration does not validate.
    """
    path = folder / CONFIG
    check_size(path)
    content = read_json(path)
    version = content.get("format_version")
    if type(version) is not int or version < 1:
        raise CheckpointError(
            f"format_version is {version!r}", where=str(path), expected="a whole number from 1 on"
        )
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"this checkpoint has format {version}, written by Opalign "
            f"{content.get('opalign_version', '(unknown)')}",
            where=str(path),
            expected=f"format {FORMAT_VERSION} or older",
            cure="install a newer version of Opalign",
        )
    checksum = content.pop("checksum", None)
    if checksum != _digest(content):
        raise _changed(path, "its content does not have the checksum it was written with")
    try:
        manifest = Manifest.model_validate(content)
    except (ValidationError, RecursionError) as error:
        raise CheckpointError(
            f"the configuration does not validate: {_first_error(error)}",
            where=str(path),
            cure="copy the checkpoint again, or install the version of Opalign that wrote it",
        ) from error
    for name in REQUIRED:
        if name not in manifest.files:
            raise CheckpointError(f"{name} is not among the files it names", where=str(path))
    for name, record in manifest.files.items():
        if name not in LARGEST or name == CONFIG:
            raise CheckpointError(
                f"it names a file {name!r} that has no place in a checkpoint",
                where=str(path),
                expected=", ".join([*REQUIRED, REFERENCE, CALIBRATION]),
            )
        _check_file(folder / name, record)
    return manifest


def check_size(path: Path) -> int:
    """Size of a file in bytes; raises CheckpointError if it is missing or absurdly large."""
    if not path.is_file():
        raise CheckpointError(
            "the file is missing",
            where=str(path),
            expected=f"a checkpoint: {CONFIG}, {', '.join(REQUIRED)}",
            cure="copy the whole folder",
        )
    size, largest = path.stat().st_size, LARGEST[path.name]
    if size > largest:
        raise CheckpointError(
            f"the file has {size} bytes", where=str(path), expected=f"at most {largest}"
        )
    return size


def _check_file(path: Path, record: FileRecord) -> None:
    size = check_size(path)
    if size != record.size:
        raise _changed(path, f"it has {size} bytes and was written with {record.size}")
    if sha256(path) != record.sha256:
        raise _changed(path, "its SHA-256 is not the one it was written with")


def _changed(path: Path, how: str) -> CheckpointError:
    return CheckpointError(
        f"the file has changed since it was written: {how}",
        where=str(path),
        cure="copy the checkpoint again from where it came",
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises CheckpointError if the file holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise CheckpointError(f"the file cannot be read: {error}", where=str(path)) from error
    if not isinstance(content, dict):
        raise CheckpointError("the file holds no JSON object", where=str(path))
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping of plain values as JSON."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def plain(value: Any, where: str) -> Any:
    """``value`` in types of JSON: NumPy and torch numbers become Python's, NaN and ∞ become null.

    Raises
    ------
    CheckpointError
        If something else is in it.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{where}: {key}") for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item, where) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    raise CheckpointError(
        f"a {type(value).__name__} cannot be kept in a checkpoint",
        where=where,
        expected="numbers, texts, lists and mappings",
    )


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _first_error(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)
