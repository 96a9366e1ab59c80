"""Writing files so that a crash, a full disk or a second process never leaves a half file.

And reading JSON that may be anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from opalign.errors import StorageError


@contextlib.contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``target`` and move it there once the block has succeeded.

    The temporary file is empty and carries the suffix of ``target``, because many writers choose
    their format by it; folders on the way are made. The file is flushed to disk before the move.
    If the block raises, the temporary file is removed and what stood at ``target`` before is
    untouched. ``OSError`` (full disk, missing right) becomes
    :class:`~opalign.errors.StorageError`.
    """
    target = Path(target)
    if not target.name:
        raise StorageError(
            "names a folder, not a file", where=str(target), cure="add the name of the file"
        )
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.stem[:40]}-{uuid.uuid4().hex}{target.suffix}")
        temporary.touch(exist_ok=False)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(target)
    except OSError as error:
        raise StorageError(
            f"could not be written: {error.strerror or error}",
            where=str(target),
            cure="free some space or choose another folder; what was there before is untouched",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_atomically(target: str | os.PathLike[str], write: Callable[[Path], object]) -> Path:
    """Call ``write`` with a temporary path and move the result to ``target``; return ``target``."""
    with atomic_path(target) as temporary:
        write(temporary)
    return Path(target)


def write_text(target: str | os.PathLike[str], text: str) -> Path:
    """Write ``text`` as UTF-8, atomically."""
    return write_atomically(target, lambda path: path.write_text(text, encoding="utf-8"))


def read_json(path: str | os.PathLike[str], largest: int) -> Any:
    """Read JSON of at most ``largest`` bytes from somebody else.

    ``ValueError`` for a larger file and for what is no JSON, ``OSError`` for what cannot be read.
    """
    path = Path(path)
    if (size := path.stat().st_size) > largest:
        raise ValueError(f"{size} bytes")
    return json.loads(path.read_text(encoding="utf-8"))


def sha256(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
