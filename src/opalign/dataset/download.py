"""One file from the web: resumed where it was cut off, checked, and there only once it is whole.

While it is under way the content stands beside the target in ``.NAME.part``, and what the server
said of it (to resume only what has not changed since) in ``.NAME.part.json``.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests

from opalign.dataset.pickles import is_pickle_start
from opalign.dataset.web import BROKEN, BusyError, Retries, get, unreachable
from opalign.errors import DatasetError, StorageError
from opalign.files import write_text

#: Bytes read at a time; a connection that breaks off loses less than this.
CHUNK = 1 << 16
#: Called with the bytes there and the size of the whole file, None where it is not known.
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class RemoteFile:
    """A file as its source describes it; ``size`` (bytes) and ``md5`` where that is stated."""

    name: str
    url: str
    size: int | None = None
    md5: str | None = None


@dataclass(frozen=True)
class Digests:
    """Size (bytes) and checksums of a file."""

    size: int
    sha256: str
    md5: str


def digests(path: Path) -> Digests:
    """Size, SHA-256 and MD5 of a file, in one pass."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    size = 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            sha256.update(block)
            md5.update(block)
            size += len(block)
    return Digests(size, sha256.hexdigest(), md5.hexdigest())


def download(
    remote: RemoteFile,
    target: str | os.PathLike[str],
    *,
    session: requests.Session,
    progress: Progress | None = None,
    retries: Retries | None = None,
    sha256: str | None = None,
) -> Digests:
    """Download a file to ``target``; return its size and checksums.

    A download that was cut off, in this process or before, goes on where it stopped if the server
    allows it and its file is still the same (``Range`` with ``If-Range``), otherwise from the
    start. ``sha256`` is what the file had to when it was first downloaded.

    Raises
    ------
    DatasetError
        No connection, or no answer but errors after all retries; the file is gone or may not be
        read; it is a web page or a pickle, or has another size or checksum than it should.
    StorageError
        The disk is full or the folder cannot be written; what is there is kept for resuming.
    """
    target = Path(target)
    transfer = _Transfer(remote, target, progress or _silent)
    plan = retries or Retries()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _run(transfer, session, plan)
        return _finish(transfer, sha256)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StorageError(
            f"could not be written: {error.strerror or error}",
            where=str(target),
            cure=("free some space" if full else "check the folder and the right to write there")
            + ", then fetch again: what was downloaded is kept and goes on from there",
        ) from error


class _InterruptedError(Exception):
    """The connection broke off; what came before is kept."""


class _Transfer:
    """What is on the disk of one download, and what the server has said of it."""

    def __init__(self, remote: RemoteFile, target: Path, progress: Progress) -> None:
        self.remote = remote
        self.target = target
        self.progress = progress
        self.part = target.with_name(f".{target.name}.part")
        self.notes = target.with_name(f".{target.name}.part.json")
        self.size = remote.size
        self.validator: str | None = None
        self.have = self._resumable()

    def _resumable(self) -> int:
        """Bytes of an earlier try that may be kept: of the same URL, and recognisable again."""
        try:
            known = json.loads(self.notes.read_text(encoding="utf-8"))
            same = known.get("url") == self.remote.url and known.get("size") == self.remote.size
            self.validator = known.get("validator")
            if same and (self.validator or self.remote.md5):
                return self.part.stat().st_size
        except (OSError, ValueError, AttributeError):
            pass
        self.validator = None
        return 0

    def begin(self, answer: requests.Response) -> None:
        """Note size and validator from the headers of a whole answer, and start the part anew."""
        self.have = 0
        length = answer.headers.get("Content-Length", "")
        # Length and validator of a body that was compressed on the way are not those of the file.
        plain = answer.headers.get("Content-Encoding", "identity") == "identity"
        announced = int(length) if plain and length.isdigit() else None
        if self.remote.size is not None and announced not in (None, self.remote.size):
            raise _mismatch(self.target, f"{announced:,} bytes", f"{self.remote.size:,} bytes")
        self.size = announced if self.remote.size is None else self.remote.size
        etag = answer.headers.get("ETag", "")
        # Only a strong validator promises the same bytes.
        strong = etag if etag and not etag.startswith("W/") else None
        self.validator = (strong or answer.headers.get("Last-Modified")) if plain else None
        notes = {"url": self.remote.url, "size": self.remote.size, "validator": self.validator}
        write_text(self.notes, json.dumps(notes))
        self.part.write_bytes(b"")

    def discard(self) -> None:
        """Remove what is there of the file."""
        self.part.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)
        self.have, self.validator = 0, None


def _run(transfer: _Transfer, session: requests.Session, plan: Retries) -> None:
    """Try until the file is whole; a try that brought something forward does not count."""
    attempt = 0
    while transfer.have == 0 or transfer.have != transfer.size:
        before, asked = transfer.have, None
        try:
            _once(transfer, session)
            return
        except BusyError as busy:
            reason: Exception = busy
            asked = busy.wait
        except (_InterruptedError, *BROKEN) as error:
            reason = error
        attempt = 1 if transfer.have > before else attempt + 1
        if attempt >= plan.attempts:
            raise unreachable(transfer.remote.url, reason) from reason
        plan.wait(attempt, asked)


def _once(transfer: _Transfer, session: requests.Session) -> None:
    """Ask for the file, or for what is missing of it, and return once it has come to its end."""
    headers = {}
    if not (transfer.validator or transfer.remote.md5):
        # Nothing would show that the file has changed since: from the start.
        transfer.have = 0
    if transfer.have:
        headers["Range"] = f"bytes={transfer.have}-"
        if transfer.validator:
            headers["If-Range"] = transfer.validator
    url = transfer.remote.url
    with get(session, url, headers) as answer:
        if answer.status_code == 416 or (
            answer.status_code == 206 and not (transfer.have and _continues(answer, transfer))
        ):
            transfer.discard()
            raise _InterruptedError("the server could not go on where the download stopped")
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            raise DatasetError(
                "the server sends a web page instead of the file",
                where=url,
                cure="open the address in a browser: it may ask to log in or to wait",
            )
        if answer.status_code == 200:
            transfer.begin(answer)
        _check_space(transfer)
        _copy(answer, transfer)


def _copy(answer: requests.Response, transfer: _Transfer) -> None:
    with transfer.part.open("ab") as out:
        for block in answer.iter_content(CHUNK):
            if transfer.have == 0 and is_pickle_start(block):
                transfer.discard()
                raise DatasetError(
                    "is a pickle, by its first bytes",
                    where=transfer.remote.url,
                    cure="ask the authors for another format; Opalign reads no pickles",
                )
            out.write(block)
            transfer.have += len(block)
            if transfer.size is not None and transfer.have > transfer.size:
                wanted = f"{transfer.size:,} bytes"
                transfer.discard()
                raise _mismatch(transfer.target, "more bytes", wanted)
            transfer.progress(transfer.have, transfer.size)
    if transfer.size is not None and transfer.have < transfer.size:
        raise _InterruptedError("the connection broke off")


def _continues(answer: requests.Response, transfer: _Transfer) -> bool:
    """Whether a partial answer begins where the part ends and belongs to a file of its size."""
    span, _, whole = answer.headers.get("Content-Range", "").partition("/")
    unit, _, place = span.partition(" ")
    start = place.partition("-")[0]
    if unit != "bytes" or not start.isdigit() or int(start) != transfer.have:
        return False
    if whole.isdigit():
        if transfer.size is not None and int(whole) != transfer.size:
            return False
        transfer.size = int(whole)
    return True


def _check_space(transfer: _Transfer) -> None:
    if transfer.size is None:
        return
    missing = transfer.size - transfer.have
    free = shutil.disk_usage(transfer.part.parent).free
    if missing > free:
        raise OSError(
            errno.ENOSPC, f"{missing / 2**30:.3g} GiB to come, {free / 2**30:.3g} GiB free"
        )


def _finish(transfer: _Transfer, sha256: str | None) -> Digests:
    found = digests(transfer.part)
    wanted = transfer.remote
    problem = None
    if wanted.size is not None and found.size != wanted.size:
        problem = (f"{found.size:,} bytes", f"{wanted.size:,} bytes")
    elif wanted.md5 is not None and found.md5 != wanted.md5.lower():
        problem = (f"MD5 {found.md5}", f"MD5 {wanted.md5.lower()}, as the source states")
    elif sha256 is not None and found.sha256 != sha256:
        problem = (f"SHA-256 {found.sha256}", f"SHA-256 {sha256}, as first downloaded")
    if problem is not None:
        transfer.discard()
        raise _mismatch(transfer.target, *problem)
    with transfer.part.open("rb+") as stream:
        os.fsync(stream.fileno())
    transfer.part.replace(transfer.target)
    transfer.notes.unlink(missing_ok=True)
    return found


def _mismatch(target: Path, found: str, wanted: str) -> DatasetError:
    return DatasetError(
        f"what came is not the file that was expected: {found}",
        where=str(target),
        expected=wanted,
        cure="fetch again; if it stays so, the file was changed at its source: compare with its "
        "page, and remove its entry in the lock file to accept the new one",
    )


def _silent(done: int, whole: int | None) -> None:
    """Show nothing."""
