"""Fetch a public set: ask its sources, download what is missing, check, unpack, make a table."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import requests

from opalign.dataset.catalog import CatalogueEntry
from opalign.dataset.changes import require_offered, require_unchanged, statement_to_record
from opalign.dataset.download import Progress, RemoteFile, digests, download
from opalign.dataset.formats.alignn_folder import CSV_NAME
from opalign.dataset.formats.collect import Done
from opalign.dataset.formats.report import TransferReport
from opalign.dataset.lock import Lock, LockedFile
from opalign.dataset.sources import Offer, Servers, look_up
from opalign.dataset.unpack import is_archive, unpack
from opalign.dataset.web import Retries, new_session
from opalign.errors import DatasetError, StorageError

#: Below the set's folder: what its archives hold.
UNPACKED = "unpacked"
#: Digits of an archive's SHA-256 that name the folder of what it holds.
DIGITS = 16
#: Tries to ask a source what it offers.
LOOK_UPS = 3
_POINTER = b"version https://git-lfs"

#: Called when work on a file begins, with what is done and its name; returns what is told its size.
Watch = Callable[[str, str], Progress]


@dataclass(frozen=True)
class Fetched:
    """A set on the disk.

    ``files`` are those of its sources; ``data`` the folders and files for its reader;
    ``downloaded`` the names of those that were not there before; ``left`` what was not taken, and
    why.
    """

    folder: Path
    lock: Lock
    files: tuple[Path, ...]
    data: tuple[Path, ...]
    downloaded: tuple[str, ...] = ()
    left: tuple[tuple[str, str], ...] = ()


def fetch(
    entry: CatalogueEntry,
    folder: str | os.PathLike[str],
    *,
    servers: Servers | None = None,
    retries: Retries | None = None,
    watch: Watch | None = None,
    offline: bool = False,
) -> Fetched:
    """Bring a set into ``folder``, which from then on is checked and completed by the same call.

    What was downloaded before is held against the checksums recorded then, and not downloaded
    again. What the sources state is recorded together with the files that are of it.
    ``offline`` asks no server: all files have to be there.

    Raises
    ------
    DatasetError
        A server cannot be reached or refuses; a file is not what its source or the lock file says,
        or what a source offers, or its licence, is not what was recorded; an archive is not safe to
        unpack; the sources offer nothing that may be read.
    StorageError
        The disk is full or the folder cannot be written.
    """
    folder = Path(folder)
    lock = Lock.read(folder, entry.name)
    plan, left = retries or Retries(), []
    watch = watch or _unwatched
    fresh: list[str] = []
    with new_session() as session:
        if offline:
            names = list(lock.files)
        else:
            # Whoever is offline should not wait for long to be told.
            few = replace(plan, attempts=min(plan.attempts, LOOK_UPS))
            offers = [look_up(s, servers or Servers(), session, few) for s in entry.sources]
            left += [refused for offer in offers for refused in offer.refused]
            remotes, recorded = _distinct(offers, entry), lock
            require_unchanged(remotes, folder, lock)
            stated = tuple(statement_to_record(offer, folder, lock) for offer in offers)
            fresh += [r.name for r in remotes if not (folder / r.name).exists()]
            # Those that are recorded come first: only once all of them are what the sources offer
            # now does what the sources state now hold for the whole set.
            for remote in (r for r in remotes if r.name in recorded.files):
                lock = _bring(remote, folder, lock, session, plan, watch)
            lock = lock.model_copy(update={"sources": stated})
            for remote in (r for r in remotes if r.name not in recorded.files):
                lock = _bring(remote, folder, lock, session, plan, watch)
            names = [remote.name for remote in remotes]
            if names and lock != recorded:
                # In their order, which is that of the rows of a table, offline too.
                lock = lock.model_copy(update={"files": {n: lock.files[n] for n in names}})
                lock.write(folder)
        if not names:
            raise DatasetError(
                "has no file that Opalign reads" if not offline else "was not fetched yet",
                where=entry.name if not offline else str(folder),
                expected=None if not left else "; ".join(f"not {n}: {why}" for n, why in left),
                cure="see `opalign dataset catalog` for sets that are published as JSON or text"
                if not offline
                else "fetch it with a connection first",
            )
        if offline:
            for name in names:
                _require(folder / name)
                watch("checking", name)
                lock.check(folder, name)
    data: list[Path] = []
    for name in names:
        if not is_archive(folder / name):
            data.append(folder / name)
            continue
        into, packed = _unpacked(folder / name, lock.files[name].sha256, watch)
        left += packed
        data.append(into)
    return Fetched(
        folder, lock, tuple(folder / n for n in names), tuple(data), tuple(fresh), tuple(left)
    )


def _distinct(offers: Iterable[Offer], entry: CatalogueEntry) -> list[RemoteFile]:
    files = [remote for offer in offers for remote in offer.files]
    if len({remote.name for remote in files}) != len(files):
        raise DatasetError("two sources offer a file of the same name", where=entry.name)
    return files


def _bring(
    remote: RemoteFile,
    folder: Path,
    lock: Lock,
    session: requests.Session,
    retries: Retries,
    watch: Watch,
) -> Lock:
    """See that one file is there and as recorded; return the lock that records it."""
    target, known = folder / remote.name, lock.files.get(remote.name)
    if target.exists():
        watch("checking", remote.name)
        if known is not None:
            # Where no MD5 was stated when it was downloaded, this is the first to compare.
            require_offered(remote, lock.check(folder, remote.name), folder)
            return lock
        found = digests(target)
        if remote.md5 is None or found.md5 != remote.md5.lower():
            raise DatasetError(
                "is there, but was not downloaded by Opalign, and nothing says that it is whole",
                where=str(target),
                cure="move it away and fetch again",
            )
    else:
        found = download(
            remote,
            target,
            session=session,
            progress=watch("downloading", remote.name),
            retries=retries,
            sha256=None if known is None else known.sha256,
        )
    if known is None:
        known = LockedFile(
            url=remote.url,
            size=found.size,
            sha256=found.sha256,
            md5_of_source=remote.md5,
            retrieved=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        lock = lock.with_file(remote.name, known)
        # At once: what is downloaded after this may be stopped.
        lock.write(folder)
    return lock


def _unpacked(archive: Path, sha256: str, watch: Watch) -> tuple[Path, tuple[tuple[str, str], ...]]:
    """See that an archive is unpacked; return the folder, and what was left packed if it was new.

    The folder is named after the archive's SHA-256, and is the only one in the folder of its name:
    what an older archive of that name held goes once the new one is whole.
    """
    place = archive.parent / UNPACKED / archive.name
    into = place / sha256[:DIGITS]
    if into.is_dir():
        return into, ()
    watch("unpacking", archive.name)
    beside = place.with_name(f".{archive.name}.new")
    try:
        # What a run that was killed has left.
        _remove(beside)
        left = unpack(archive, beside / into.name).left
        _remove(place)
        beside.replace(place)
    except OSError as error:
        raise StorageError(
            f"could not be replaced: {error.strerror or error}",
            where=str(place),
            cure="check the right to write there, or remove it, and fetch again",
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return into, left


def _remove(path: Path) -> None:
    """Remove a folder with all that is in it, or a file; nothing if there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def make_table(
    entry: CatalogueEntry,
    fetched: Fetched,
    out: str | os.PathLike[str],
    done: Done | None = None,
) -> TransferReport:
    """Read a fetched set into a spectra table, with the licence and citation that are known.

    ``done`` is called with the id of each material read from JSON or HDF5.
    """
    stated = fetched.lock.sources
    licence = entry.licence or "; ".join(dict.fromkeys(s.licence for s in stated if s.licence))
    citation = entry.citation or "; ".join(dict.fromkeys(s.citation for s in stated if s.citation))
    source = "; ".join(source.url for source in entry.sources)
    if entry.reader == "optimate":
        from opalign.dataset.formats.optimate import import_optimate

        return import_optimate(
            fetched.data,
            out,
            levels=entry.levels,
            width=entry.width,
            excluded=entry.excluded,
            licence=licence,
            source=source,
            citation=citation,
            done=done,
        )
    if entry.reader == "optimetal":
        from opalign.dataset.formats.optimetal import import_optimetal

        return import_optimetal(
            fetched.data, out, licence=licence, source=source, citation=citation, done=done
        )
    place = _below(fetched.data[0], entry.folder)
    if entry.reader == "oxi_diel_db":
        from opalign.dataset.formats.oxi_diel_db import import_oxi_diel_db

        return import_oxi_diel_db(place, out, done=done)
    from opalign.dataset.formats.alignn import import_alignn
    from opalign.spectrum.grid import EnergyGrid
    from opalign.spectrum.units import LOG_ABSORPTION_FLOOR

    _refuse_pointer(place / CSV_NAME)
    return import_alignn(
        place,
        out,
        target="log_absorption",
        level=entry.levels[0],
        grid=EnergyGrid(start=0.0, stop=15.0, num=1501),
        floor=LOG_ABSORPTION_FLOOR,
        structure_format="poscar",
        licence=licence,
        source=source,
        citation=citation,
    )


def _refuse_pointer(path: Path) -> None:
    """Raise DatasetError where an archive holds Git LFS's stand-in for a large file."""
    if path.is_file():
        with path.open("rb") as stream:
            if stream.read(len(_POINTER)) == _POINTER:
                raise DatasetError(
                    "is not the file itself, but what Git LFS keeps in its place",
                    where=str(path),
                    cure="clone the repository with git-lfs, then `opalign dataset import`",
                )


def _below(folder: Path, place: str) -> Path:
    """Find a folder inside an unpacked archive, which may have one folder around everything."""
    inside = [path for path in folder.iterdir() if path.is_dir()]
    for start in (folder, *inside):
        if (start / place).is_dir():
            return start / place
    raise DatasetError(
        f"holds no folder {place!r}",
        where=str(folder),
        cure="the layout of the repository is another than expected: remove the folder and fetch "
        "again",
    )


def _require(path: Path) -> None:
    if not path.is_file():
        raise DatasetError("is missing", where=str(path), cure="fetch it with a connection first")


def _unwatched(action: str, name: str) -> Progress:
    return lambda done, whole: None
