"""Opening files of unknown origin: gzip or plain, within limits, with errors that name the place.

Nothing here trusts what a file says about itself. Compressed data are expanded piece by piece, and
reading stops where a small file grows out of all proportion, as a decompression bomb does.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from opalign.errors import SpectrumError

MAXIMUM_STREAM = 16 * 1024**3
"""Bytes, uncompressed, up to which a file is read piece by piece."""

MAXIMUM_TEXT = 128 * 1024**2
"""Bytes, uncompressed, up to which a file is read whole."""

MAXIMUM_LINE = 1024**2
"""Bytes of the longest line of a file that is read line by line."""

MAXIMUM_RATIO = 250
"""Times a file may grow on decompression; outputs of first-principles codes grow 5 to 40 times."""

HARMLESS_SIZE = 32 * 1024**2
"""Bytes up to which a file may grow whatever the ratio: short files of zeros are no threat."""

GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
PIECE = 1024**2


class _Guarded(io.RawIOBase):
    """A binary stream that counts what it hands out and stops at a limit.

    Parameters
    ----------
    stream
        Where the (expanded) bytes come from.
    where
        Name of the file, for messages.
    limit
        Largest number of bytes to hand out.
    stored
        Size of the file on disk if it is compressed, otherwise None.
    """

    def __init__(self, stream: BinaryIO, where: str, limit: int, stored: int | None) -> None:
        self._stream = stream
        self._where = where
        self._limit = limit
        self._stored = stored
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        try:
            piece = self._stream.read(len(view))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise SpectrumError(
                f"the compressed file is cut off or damaged after {self._count} bytes of content",
                where=self._where,
                expected="a whole gzip file",
                cure="copy or compress it anew",
            ) from error
        except OSError as error:
            raise SpectrumError(f"could not be read: {error}", where=self._where) from error
        view[: len(piece)] = piece
        self._count += len(piece)
        self._check()
        return len(piece)

    def _check(self) -> None:
        if self._count > self._limit:
            raise SpectrumError(
                f"holds more than {self._limit / 1024**2:.0f} MB",
                where=self._where,
                expected="a file of one calculation or one table",
            )
        if self._stored is None or self._count <= HARMLESS_SIZE:
            return
        if self._count > MAXIMUM_RATIO * self._stored:
            raise SpectrumError(
                f"grows from {self._stored} bytes to over {self._count / 1024**2:.0f} MB on "
                "decompression, as a decompression bomb does",
                where=self._where,
                expected=f"a file that grows at most {MAXIMUM_RATIO} times",
                cure="if you trust the file, unpack it with gunzip first",
            )


@contextlib.contextmanager
def open_bytes(path: Path, limit: int = MAXIMUM_STREAM) -> Iterator[io.BufferedReader]:
    """Open ``path``, compressed with gzip or not whatever its name, as a guarded binary stream.

    Raises
    ------
    SpectrumError
        If the file does not exist or cannot be read, and on reading if it is damaged, larger than
        ``limit`` bytes, or a decompression bomb.
    """
    with contextlib.ExitStack() as stack:
        try:
            stored = os.stat(path).st_size
            stream: BinaryIO = stack.enter_context(path.open("rb"))
            compressed = stream.read(2) == GZIP_MAGIC
            stream.seek(0)
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            reason = getattr(error, "strerror", None) or error
            raise SpectrumError(f"could not be read: {reason}", where=str(path)) from error
        if compressed:
            stream = cast(BinaryIO, stack.enter_context(gzip.open(stream)))
        guarded = _Guarded(stream, str(path), limit, stored if compressed else None)
        yield stack.enter_context(io.BufferedReader(guarded, PIECE))


def read_head(path: Path, size: int = 16 * 1024) -> str:
    """Return the first ``size`` bytes as text, without complaint about their encoding.

    Raises
    ------
    SpectrumError
        If the file cannot be opened or is empty.
    """
    with open_bytes(path) as stream:
        head = stream.read(size)
    if not head.strip():
        raise SpectrumError("is empty", where=str(path), expected="an optical spectrum")
    return head.decode("latin-1")


def read_text(path: Path) -> str:
    """Return a whole file as text, UTF-8 with or without byte order mark, with plain newlines.

    Raises
    ------
    SpectrumError
        If it cannot be opened, is empty, too large, of another encoding or no text at all; the
        message names the line.
    """
    with open_bytes(path, MAXIMUM_TEXT) as stream:
        content = stream.read()
    where = str(path)
    if not content.strip():
        raise SpectrumError("is empty", where=where, expected="an optical spectrum")
    encoding = BYTE_ORDER_MARKS.get(content[:2])
    if encoding:
        raise SpectrumError(
            f"is encoded in {encoding}", where=where, expected="UTF-8", cure="save it as UTF-8"
        )
    zero = content.find(b"\0")
    if zero >= 0:
        line = content.count(b"\n", 0, zero) + 1
        raise SpectrumError("is no text file", where=f"{where}, line {line}", expected="text")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SpectrumError(
            f"byte 0x{content[error.start]:02x} is not UTF-8",
            where=f"{where}, line {line}",
            expected="text encoded in UTF-8",
            cure="save the file as UTF-8",
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def iterate_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line with its end) of a large file, in constant memory.

    Bytes are taken as Latin-1, since titles in such files may hold anything.

    Raises
    ------
    SpectrumError
        If the file cannot be read, a line has no end, or it is no text.
    """
    with open_bytes(path) as stream:
        number = 0
        while line := stream.readline(MAXIMUM_LINE):
            number += 1
            if b"\0" in line or (len(line) == MAXIMUM_LINE and not line.endswith(b"\n")):
                raise SpectrumError(
                    "is no text file", where=f"{path}, line {number}", expected="lines of text"
                )
            yield number, line.decode("latin-1")
