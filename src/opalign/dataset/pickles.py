"""Pickles, recognised without being read: reading one can run whatever code is in it."""

from __future__ import annotations

from pathlib import Path, PurePath

from opalign.errors import DatasetError

#: What Python's own pickles, pandas, joblib and torch are saved as.
PICKLE_SUFFIXES = frozenset(
    {
        *(".pickle", ".pkl", ".pckl", ".pcl", ".p", ".dill", ".cloudpickle"),
        *(".joblib", ".pt", ".pth", ".ckpt"),
    }
)
_COMPRESSED = frozenset({".gz", ".bz2", ".xz", ".zst", ".zip"})


def is_pickle_name(name: str) -> bool:
    """Whether a file's name says that it is a pickle, compressed or not."""
    suffixes = [suffix.lower() for suffix in PurePath(name).suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in PICKLE_SUFFIXES


def is_pickle_start(start: bytes) -> bool:
    """Whether a file begins as pickles do: PROTO (0x80) and a protocol of 2 to 5."""
    return len(start) > 1 and start[0] == 0x80 and 2 <= start[1] <= 5


def refuse_pickle(path: Path) -> None:
    """Raise DatasetError if a file is a pickle by its name or its first bytes."""
    with path.open("rb") as stream:
        by_content = is_pickle_start(stream.read(2))
    if by_content or is_pickle_name(path.name):
        raise DatasetError(
            "is a pickle" + (", by its first bytes" if by_content else ", by its name"),
            where=str(path),
            expected="JSON, HDF5 or text: a pickle can run code when it is read",
            cure="ask the authors for another format; Opalign reads no pickles",
        )
