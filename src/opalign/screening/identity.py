"""Whether an input is still the one that a folder of results was begun with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from opalign.errors import StorageError

#: Files up to this many are told by content, more of them by what the file system says.
MOST_READ = 64
#: Bytes of a file that are read from either end; a file of up to 64 times that is read whole.
END = 1 << 20
WHOLE = 64 * END


class InputIdentity(BaseModel):
    """What an input is recognised by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    files: int
    bytes: int
    told_by: str
    """In words: what the digest is made of."""
    digest: str

    def difference(self, other: InputIdentity) -> str | None:
        """Return in words how this input differs from an ``other`` one, None if it is the same."""
        if self.kind != other.kind:
            return f"it was {other.kind}, and is {self.kind}"
        if self.files != other.files:
            return f"it had {other.files} files, and has {self.files}"
        if self.bytes != other.bytes:
            return f"it had {other.bytes} bytes, and has {self.bytes}"
        if self.digest != other.digest:
            return f"the {self.told_by} differs, though the size is the same"
        return None


def identify(kind: str, files: Sequence[Path], base: Path) -> InputIdentity:
    """Return the identity of an input of these ``files``, whose names count relative to ``base``.

    Few files are told by size and content: whole up to 64 MiB, of larger ones the first and last
    MiB, where Parquet keeps its table of contents. Copying them or touching them changes nothing.
    Many files are told by names, sizes and times of change.
    """
    digest = hashlib.sha256()
    total = 0
    few = len(files) <= MOST_READ
    told_by = "SHA-256 of the content" if few else "list of names, sizes and times of change"
    try:
        for path in files:
            state = path.stat()
            total += state.st_size
            name = path.relative_to(base).as_posix() if path != base else ""
            digest.update(f"{name}\0{state.st_size}\0".encode())
            if not few:
                digest.update(f"{state.st_mtime_ns}\0".encode())
                continue
            with path.open("rb") as stream:
                if state.st_size > WHOLE:
                    told_by = "SHA-256 of the first and last MiB"
                    digest.update(stream.read(END))
                    stream.seek(-END, 2)
                while block := stream.read(END):
                    digest.update(block)
    except OSError as error:
        raise StorageError(
            f"cannot be read: {error.strerror or error}", where=error.filename or str(base)
        ) from error
    return InputIdentity(
        kind=kind, files=len(files), bytes=total, told_by=told_by, digest=digest.hexdigest()
    )
