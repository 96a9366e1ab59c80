"""Structures that benchmarks run on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from pymatgen.core import Lattice, Structure

SEED = 7


def sample_structures(path: Path, count: int) -> list[Structure]:
    """Draw ``count`` structures from a table, the same ones each time."""
    table = pq.read_table(path, columns=["lattice", "species", "frac_coords"])
    chosen = np.random.default_rng(SEED).choice(table.num_rows, size=count, replace=False)
    return [
        Structure(
            Lattice(np.reshape(row["lattice"], (3, 3))),
            row["species"],
            np.reshape(row["frac_coords"], (-1, 3)),
            to_unit_cell=True,
        )
        for row in table.take(np.sort(chosen)).to_pylist()
    ]
