"""Archives of others, unpacked so that nothing in them can do harm.

Names decide nothing but where below one new folder a plain file goes. Whatever else an archive can
hold (absolute names, ``..``, links, devices, pickles, members that grow without end) is refused or
left packed, and said.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from opalign.dataset.pickles import is_pickle_name, is_pickle_start
from opalign.errors import DatasetError, OpalignError, StorageError

CHUNK = 1 << 20
#: Bytes up to which any ratio is allowed: a few megabytes of zeros are no bomb.
SMALL = 64 << 20
LONGEST_NAME = 255
_ENCRYPTED = 0x1
_BOMB = "do not use this archive: it may be made to fill the disk"
_COMPRESSIONS: dict[bytes, Callable[..., IO[bytes]]] = {
    b"\x1f\x8b": cast("Callable[..., IO[bytes]]", gzip.open),
    b"BZh": cast("Callable[..., IO[bytes]]", bz2.open),
    b"\xfd7zXZ\x00": cast("Callable[..., IO[bytes]]", lzma.open),
}


@dataclass(frozen=True)
class UnpackLimits:
    """How much an archive may become: what the largest sets need, and no more.

    ``ratio`` bounds unpacked to packed bytes of the whole archive. Numbers written as text shrink
    3 to 20 times, and rows of zeros some more; a bomb starts at 1,000.
    """

    total: int = 400 << 30
    files: int = 1_000_000
    ratio: float = 200.0


@dataclass(frozen=True)
class Unpacked:
    """Folder written, number and bytes of the files in it, and what was left packed and why."""

    folder: Path
    files: int
    size: int
    left: tuple[tuple[str, str], ...] = ()


class _Member(NamedTuple):
    name: str
    kind: str
    open: Callable[[], IO[bytes] | None]


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a zip or tar archive, by its content."""
    try:
        with Path(path).open("rb") as plain:
            if plain.read(4) in (b"PK\x03\x04", b"PK\x05\x06"):
                return True
        with _decompressed(Path(path)) as stream, tarfile.open(fileobj=stream, mode="r|"):
            return True
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError):
        return False


def unpack(
    archive: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    limits: UnpackLimits | None = None,
) -> Unpacked:
    """Unpack a zip or tar archive (plain, gzip, bzip2 or xz) to a new folder, whole or not at all.

    Pickles, by name or by their first bytes, stay packed and are listed in the result.

    Raises
    ------
    DatasetError
        No archive, a damaged or encrypted one; a name that is absolute, leads out of the folder or
        stands there twice; a link or device; more bytes or files or a higher ratio than ``limits``.
    StorageError
        The disk is full, or the folder exists already or cannot be written.
    """
    archive, folder, limits = Path(archive), Path(folder), limits or UnpackLimits()
    if folder.exists():
        raise StorageError(
            "exists already", where=str(folder), cure="give a folder that does not exist yet"
        )
    temporary: Path | None = None
    try:
        packed = archive.stat().st_size
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        temporary.chmod(0o755)
        files, size, left = _extract(archive, temporary, packed, limits)
        temporary.replace(folder)
    except OpalignError:
        raise
    except _DAMAGE as error:
        raise DatasetError(
            f"is no zip or tar archive, or is damaged or cut off: {error}",
            where=str(archive),
            cure="remove it and fetch it again",
        ) from error
    except OSError as error:
        raise StorageError(
            f"could not be unpacked: {error.strerror or error}",
            where=str(archive),
            cure="free some space or choose another folder; nothing was left behind",
        ) from error
    finally:
        if temporary is not None and temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)
    return Unpacked(folder, files, size, tuple(left))


# BadGzipFile is an OSError; RuntimeError and NotImplementedError are zipfile's for methods of
# compression and encryption that it does not know.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,
)


def _extract(
    archive: Path, into: Path, packed: int, limits: UnpackLimits
) -> tuple[int, int, list[tuple[str, str]]]:
    seen: set[str] = set()
    left: list[tuple[str, str]] = []
    written = 0

    def count(block: bytes) -> None:
        """Count what comes out, not what the archive claims."""
        nonlocal written
        written += len(block)
        if written > limits.total:
            size = f"{limits.total / 2**30:.3g} GiB"
            raise DatasetError(f"holds more than {size}", where=str(archive), cure=_BOMB)
        if written > SMALL and written > limits.ratio * packed:
            raise DatasetError(
                f"grows more than {limits.ratio:g} times when unpacked",
                where=str(archive),
                cure=_BOMB,
            )

    with _members(archive, count) as members:
        for member in members:
            where = f"{archive}, member {member.name!r}"
            parts = safe_parts(member.name, where)
            if member.kind == "folder":
                continue
            if member.kind != "file":
                raise DatasetError(
                    f"is a {member.kind}, not a file",
                    where=where,
                    cure="do not use this archive; data sets hold plain files",
                )
            # Some file systems take two spellings of a name for one.
            key = unicodedata.normalize("NFC", "/".join(parts)).casefold()
            if key in seen:
                raise DatasetError(
                    "stands in the archive twice", where=where, cure="do not use this archive"
                )
            seen.add(key)
            if len(seen) > limits.files:
                raise DatasetError(
                    f"holds more than {limits.files:,} files", where=str(archive), cure=_BOMB
                )
            reason = _write_member(member, into.joinpath(*parts), count)
            if reason:
                left.append((member.name, reason))
    return len(seen) - len(left), written, left


def _write_member(member: _Member, target: Path, count: Callable[[bytes], None]) -> str | None:
    """Write one file; return the reason if it stays packed."""
    if is_pickle_name(target.name):
        return "a pickle by its name: reading one can run code"
    content = member.open()
    if content is None:
        return "has no content"
    with content:
        block = content.read(CHUNK)
        if is_pickle_start(block):
            return "a pickle by its first bytes: reading one can run code"
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            while block:
                count(block)
                out.write(block)
                block = content.read(CHUNK)
    return None


def safe_parts(name: str, where: str) -> tuple[str, ...]:
    """Split the name of a member into folders and file; DatasetError unless it stays inside."""
    parts = tuple(part for part in PurePosixPath(name).parts if part != ".")
    broken = (
        name.startswith("/")
        or ".." in parts
        # A backslash or a colon means a folder or a drive on Windows.
        or any(character in name for character in "\\:")
        or any(unicodedata.category(character) in {"Cc", "Cf", "Cs"} for character in name)
        or any(len(part.encode(errors="replace")) > LONGEST_NAME for part in parts)
    )
    if broken:
        raise DatasetError(
            "has a name that leads out of the folder or is no plain name",
            where=where,
            expected="names of files below the archive's own folder",
            cure="do not use this archive",
        )
    return parts


@contextmanager
def _members(archive: Path, count: Callable[[bytes], None]) -> Iterator[Iterator[_Member]]:
    with archive.open("rb") as stream:
        zipped = stream.read(2) == b"PK"
    if zipped:
        with zipfile.ZipFile(archive) as opened:
            yield _zip_members(opened)
        return
    with _decompressed(archive) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as tarred:
            yield _tar_members(tarred)
        # The checksum of the compressed stream stands at its end, behind the archive's own.
        while block := stream.read(CHUNK):
            count(block)


@contextmanager
def _decompressed(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as plain:
        start = plain.read(6)
    opener = next((o for magic, o in _COMPRESSIONS.items() if start.startswith(magic)), None)
    with opener(path, "rb") if opener else path.open("rb") as stream:
        yield stream


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        mode = stat.S_IFMT(info.external_attr >> 16)
        if info.flag_bits & _ENCRYPTED:
            raise ValueError(f"{info.filename} is encrypted")
        kind = "folder" if info.is_dir() else "file"
        if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "link" if mode == stat.S_IFLNK else "device"
        yield _Member(info.filename, kind, partial(archive.open, info))


def _tar_members(archive: tarfile.TarFile) -> Iterator[_Member]:
    for info in archive:
        kind = "folder" if info.isdir() else "file" if info.isfile() else "device"
        if info.issym() or info.islnk():
            kind = "link"
        yield _Member(info.name, kind, partial(archive.extractfile, info))
