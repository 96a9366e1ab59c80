"""Graphs on disk, keyed by the content of structure and settings.

The key has nothing to do with names: another cutoff, a moved atom or a later format of the file
meets another key, so an old graph is never taken for a new one.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opalign.crystal.graph import CrystalGraph, build_graph_from_arrays, structure_arrays
from opalign.crystal.settings import GraphSettings
from opalign.files import atomic_path

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

# Part of every key: raise it when the same structure and settings should give another graph, or
# when the arrays in a file change.
FORMAT_VERSION = 1


class GraphCache:
    """A folder of graphs; any number of processes may read and write it at once.

    Parameters
    ----------
    folder
        Made on the first write. May be deleted at any time: graphs are built again when needed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def get(self, structure: Structure, settings: GraphSettings) -> CrystalGraph:
        """Return the graph of a structure, from disk if it is there and whole, built otherwise.

        Raises
        ------
        StructureError
            If the structure cannot become a graph.
        StorageError
            If the graph cannot be written.
        """
        return self.get_from_arrays(*structure_arrays(structure), settings)

    def get_from_arrays(
        self,
        lattice: NDArray[np.float64],
        cartesian: NDArray[np.float64],
        atomic_numbers: NDArray[np.int64],
        settings: GraphSettings,
    ) -> CrystalGraph:
        """Do as :meth:`get`, for the arguments of ``build_graph_from_arrays``."""
        path = self.path_of(lattice, cartesian, atomic_numbers, settings)
        graph = _read(path)
        if graph is None:
            graph = build_graph_from_arrays(lattice, cartesian, atomic_numbers, settings)
            with atomic_path(path) as temporary:
                _write(temporary, graph)
        return graph

    def path_of(
        self,
        lattice: NDArray[np.float64],
        cartesian: NDArray[np.float64],
        atomic_numbers: NDArray[np.int64],
        settings: GraphSettings,
    ) -> Path:
        """File in which the graph of this content is or will be."""
        digest = hashlib.sha256(f"{FORMAT_VERSION} {settings.content_hash()}".encode())
        for array, dtype in ((lattice, "<f8"), (cartesian, "<f8"), (atomic_numbers, "<i8")):
            plain = np.ascontiguousarray(array, dtype=dtype)
            digest.update(f"{plain.shape}".encode())
            digest.update(plain.tobytes())
        key = digest.hexdigest()
        # Subfolders keep a cache of a million graphs usable for the file system.
        return self.folder / key[:2] / f"{key}.graph"


def _write(path: Path, graph: CrystalGraph) -> None:
    from safetensors.numpy import save

    content = save(
        {
            "atomic_numbers": graph.atomic_numbers,
            "bond_index": graph.bond_index,
            "bond_image": graph.bond_image,
            "bond_vector": graph.bond_vector,
            "volume": np.array(graph.volume),
            "has_angles": np.array(graph.has_angles),
        }
    )
    # With a checksum, for the format itself notices a cut but not a flipped bit.
    path.write_bytes(hashlib.sha256(content).digest() + content)


def _read(path: Path) -> CrystalGraph | None:
    """Graph in a file, or None if there is none or the file is not whole."""
    from safetensors.numpy import load

    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, content = content[:32], content[32:]
    if hashlib.sha256(content).digest() != digest:
        return None
    arrays = load(content)
    return CrystalGraph(
        atomic_numbers=arrays["atomic_numbers"],
        bond_index=arrays["bond_index"],
        bond_image=arrays["bond_image"],
        bond_vector=arrays["bond_vector"],
        volume=float(arrays["volume"]),
        has_angles=bool(arrays["has_angles"]),
    )
