"""What has changed at the sources since a set was downloaded: told, and never taken in silence."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from opalign.dataset.download import Digests, RemoteFile
from opalign.dataset.lock import LOCK_NAME, Lock, StatedSource
from opalign.dataset.sources import Offer
from opalign.errors import DatasetError

#: Changed files that a message names.
SHOWN = 5


def require_unchanged(remotes: Iterable[RemoteFile], folder: Path, lock: Lock) -> None:
    """Hold what the sources offer against what was recorded, without reading a file.

    Raises
    ------
    DatasetError
        A file that was recorded has another size or MD5 now, or is not offered any more.
    """
    offered = {remote.name: remote for remote in remotes}
    changes = []
    for name, known in lock.files.items():
        remote = offered.get(name)
        if remote is None:
            now = "is not offered any more"
        elif _differs(remote, known.size, known.md5_of_source):
            now = _another(remote)
        else:
            continue
        changes.append((f"{name} {now}", f"{name}: {_described(known.size, known.md5_of_source)}"))
    if changes:
        raise _changed(folder, changes)


def require_offered(remote: RemoteFile, found: Digests, folder: Path) -> None:
    """Hold a file on the disk against what its source states of it; DatasetError if it differs."""
    if _differs(remote, found.size, found.md5):
        was = _described(found.size, found.md5)
        raise _changed(folder, [(f"{remote.name} {_another(remote)}", f"{remote.name}: {was}")])


def statement_to_record(offer: Offer, folder: Path, lock: Lock) -> StatedSource:
    """Choose what to record of a source: what it states now if it brings a file, else as it was.

    Raises
    ------
    DatasetError
        The source states another licence than before, of the same files.
    """
    now = offer.stated
    was = next((stated for stated in lock.sources if stated.url == now.url), now)
    if any(remote.name not in lock.files for remote in offer.files):
        return now
    if was.licence and now.licence and was.licence != now.licence:
        raise DatasetError(
            f"{now.url} states another licence now, of the same files: {now.licence}",
            where=str(folder),
            expected=f"{was.licence}, as when they were downloaded ({LOCK_NAME})",
            cure="read the source's page; --offline to go on with what was recorded, or empty the "
            f"list 'sources' in {LOCK_NAME} and fetch again to record what is stated now",
        )
    return was if was.licence else now


def _differs(remote: RemoteFile, size: int, md5: str | None) -> bool:
    """Whether a source states another size or MD5; what is not stated does not differ."""
    if remote.size is not None and remote.size != size:
        return True
    return bool(remote.md5 and md5 and remote.md5.lower() != md5.lower())


def _another(remote: RemoteFile) -> str:
    return f"is another now ({_described(remote.size, remote.md5)})"


def _described(size: int | None, md5: str | None) -> str:
    stated = [f"{size:,} bytes"] if size is not None else []
    return ", ".join(stated + ([f"MD5 {md5.lower()}"] if md5 else []))


def _changed(folder: Path, changes: list[tuple[str, str]]) -> DatasetError:
    """Return the error for changed files, each with what it is now and what it was."""
    more = f"; and {len(changes) - SHOWN:,} more" if len(changes) > SHOWN else ""
    now = "; ".join(now for now, _ in changes[:SHOWN]) + more
    was = "; ".join(was for _, was in changes[:SHOWN]) + more
    return DatasetError(
        f"the source has changed since the set was downloaded: {now}",
        where=str(folder),
        expected=f"{was}, as first downloaded ({LOCK_NAME})",
        cure="--offline to go on with what is here; --to another folder to have the new one beside "
        "it; or, to replace it, remove these files, what was unpacked of them, and their entries "
        f"in {LOCK_NAME}, and fetch again",
    )
