"""What was downloaded, kept beside it: checksums recorded the first time and checked ever after."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opalign.dataset.download import Digests, digests
from opalign.errors import DatasetError
from opalign.files import write_text

LOCK_NAME = "opalign-lock.json"
LOCK_VERSION = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LockedFile(_Frozen):
    """One file as it was first downloaded; ``retrieved`` is the UTC time of it."""

    url: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    md5_of_source: str | None = None
    retrieved: str


class StatedSource(_Frozen):
    """What a source says of itself when it is asked; None where it says nothing."""

    url: str
    title: str | None = None
    version: str | None = None
    licence: str | None = None
    citation: str | None = None


class Lock(_Frozen):
    """Everything recorded of one set: what its sources state, and its files by name."""

    version: int = LOCK_VERSION
    name: str
    sources: tuple[StatedSource, ...] = ()
    files: dict[str, LockedFile] = {}

    @classmethod
    def read(cls, folder: Path, name: str) -> Lock:
        """Read the lock file of a folder; a new, empty lock if there is none yet."""
        path = folder / LOCK_NAME
        if not path.exists():
            return cls(name=name)
        try:
            lock = cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise DatasetError(
                f"cannot be read: {error}",
                where=str(path),
                cure="restore it; without it nothing tells whether the files are still the same",
            ) from error
        if lock.version > LOCK_VERSION:
            raise DatasetError(
                f"has version {lock.version}", where=str(path), cure="update opalign"
            )
        if lock.name != name:
            raise DatasetError(
                f"belongs to the set {lock.name!r}, not to {name!r}",
                where=str(path),
                cure="give each set a folder of its own",
            )
        return lock

    def write(self, folder: Path) -> Path:
        """Write the lock file into a folder."""
        return write_text(folder / LOCK_NAME, self.model_dump_json(indent=1) + "\n")

    def with_file(self, name: str, locked: LockedFile) -> Lock:
        """Return the same with one file recorded."""
        return self.model_copy(update={"files": {**self.files, name: locked}})

    def check(self, folder: Path, name: str) -> Digests:
        """Hold a file on the disk against what was recorded of it; DatasetError if it differs."""
        locked, found = self.files[name], digests(folder / name)
        if (found.size, found.sha256) != (locked.size, locked.sha256):
            raise DatasetError(
                f"has changed since it was downloaded ({found.size:,} bytes, SHA-256 "
                f"{found.sha256})",
                where=str(folder / name),
                expected=f"{locked.size:,} bytes, SHA-256 {locked.sha256} ({LOCK_NAME})",
                cure="remove the file and fetch it again",
            )
        return found
