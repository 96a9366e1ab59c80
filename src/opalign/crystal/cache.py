"""Graphs of a table on disk, keyed by the content of all its structures and of the settings.

The key has nothing to do with names: another cutoff, a moved atom or a later format of the file
meets another key, so an old graph is never taken for a new one. One file holds all graphs of a
table (:mod:`opalign.crystal.packed`): one file each takes longer to open than a graph to build.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from opalign.crystal.many import build_graphs, require_graphs
from opalign.crystal.packed import PackedGraphs, write_graphs
from opalign.crystal.settings import GraphSettings
from opalign.errors import StorageError

# Part of every key: raise it when the same structure and settings should give another graph, or
# when the arrays in a file change.
FORMAT_VERSION = 2

SUFFIX = ".graphs"


def cached_graphs(
    folder: str | os.PathLike[str],
    crystals: Iterable[tuple[ArrayLike, ArrayLike, ArrayLike]],
    settings: GraphSettings,
    *,
    labels: Sequence[str] | None = None,
    threads: int = 1,
) -> PackedGraphs:
    """Return one graph per crystal, from disk if they are there and whole, built otherwise.

    Any number of processes may do so in one folder at once, and it may be deleted at any time.
    Memory holds some hundred graphs, however many there are.

    Parameters
    ----------
    folder
        Made on the first write.
    crystals
        (lattice, cartesian, atomic numbers) of each, as
        :func:`opalign.crystal.many.build_graphs` takes them. They are gone through twice, for the
        key and for the graphs, so this must not be an iterator.
    settings, threads
        As of :func:`opalign.crystal.many.build_graphs`.
    labels
        What to call each crystal in an error; by default its number, from 1.

    Raises
    ------
    StructureError
        If a crystal cannot become a graph; a note says which. Nothing is written then.
    StorageError
        If the file cannot be written.
    """
    path = Path(folder) / f"{content_key(crystals, settings)}{SUFFIX}"
    if path.is_file():
        # A file that is not whole is replaced.
        with contextlib.suppress(StorageError):
            return PackedGraphs.open(path)
    outcomes = build_graphs(crystals, settings, threads=threads)
    write_graphs(path, require_graphs(outcomes, labels), settings)
    return PackedGraphs.open(path)


def content_key(
    crystals: Iterable[tuple[ArrayLike, ArrayLike, ArrayLike]], settings: GraphSettings
) -> str:
    """SHA-256 (hexadecimal) of crystals, in their order, and settings."""
    digest = hashlib.sha256(f"{FORMAT_VERSION} {settings.content_hash()}".encode())
    for crystal in crystals:
        for array, dtype in zip(crystal, ("<f8", "<f8", "<i8"), strict=True):
            plain = np.ascontiguousarray(array, dtype=dtype)
            digest.update(f"{plain.shape}".encode())
            digest.update(plain.tobytes())
    return digest.hexdigest()
