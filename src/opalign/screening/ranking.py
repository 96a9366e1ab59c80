"""The best rows of finished parts, alike or as different from one another as asked."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from opalign.errors import DatasetError
from opalign.files import write_text
from opalign.screening.config import ScreenConfig
from opalign.screening.results import FEATURES

TOP_FILE = "top.csv"
_ELEMENTS = 119


class BestRows:
    """The best rows seen so far, never more than ``size``.

    Rows that are not ok, or have no value, do not count. Of equal values the earlier row wins, so
    that the order in which parts come does not matter.
    """

    def __init__(self, name: str, size: int, descending: bool) -> None:
        self.name, self.size, self.descending = name, size, descending
        self.table: pa.Table | None = None

    def add(self, table: pa.Table) -> None:
        """Take in the rows of a part."""
        fine = pc.and_(pc.equal(table.column("status"), "ok"), pc.is_valid(table.column(self.name)))
        table = table.filter(fine)
        if self.table is not None:
            table = pa.concat_tables([self.table, table])
        order = "descending" if self.descending else "ascending"
        best = pc.sort_indices(table, sort_keys=[(self.name, order), ("row", "ascending")])
        self.table = table.take(best[: self.size]).combine_chunks()


def rank(paths: Iterable[Path], config: ScreenConfig, quantities: Iterable[str]) -> pa.Table:
    """Return the best rows of the parts at ``paths``, the best first, at most ``config.top``.

    Reads one part after the other and keeps no more than the candidates.

    Raises
    ------
    DatasetError
        If a part cannot be read.
    """
    if config.rank_by is None:
        raise ValueError("a ranking needs a quantity")
    columns = ["row", "material_id", "formula", "num_sites", "status", *quantities]
    if config.diversity == "features":
        columns.append(FEATURES)
    best = BestRows(config.rank_by, config.pool_size, config.descending)
    for table in _tables(paths, columns):
        best.add(table)
    if best.table is None or config.diversity == "none":
        return best.table if best.table is not None else pa.table({name: [] for name in columns})
    chosen = diverse(_descriptors(best.table, config), config.top, config.diversity_weight)
    return best.table.take(pa.array(chosen))


def diverse(
    distances_from: Callable[[int], NDArray[np.float64]], count: int, weight: float
) -> list[int]:
    """Choose ``count`` of candidates that are good and unlike one another, one after the other.

    The first is the best; each further one has the greatest

        (1 − weight) · merit + weight · (distance from the nearest chosen one),

    with merit falling evenly from 1 for the best candidate to 0 for the last, and distances in
    units of the greatest from the best candidate. This is maximal marginal relevance: J. Carbonell,
    J. Goldstein, Proc. SIGIR 1998, p. 335, with distance in place of dissimilarity; at a weight of
    1 it is the farthest-point traversal of T. F. Gonzalez, Theor. Comput. Sci. 38, 293 (1985), at 0
    the ranking itself.

    Parameters
    ----------
    distances_from
        Candidate → its distances (m,) from all m candidates, which come best first.
    """
    nearest = distances_from(0)
    number = len(nearest)
    scale = float(nearest.max()) or 1.0
    merit = np.linspace(1.0, 0.0, number) if number > 1 else np.ones(1)
    chosen = [0]
    while len(chosen) < min(count, number):
        value = (1.0 - weight) * merit + weight * nearest / scale
        value[chosen] = -np.inf
        chosen.append(int(value.argmax()))
        nearest = np.minimum(nearest, distances_from(chosen[-1]))
    return chosen


def write_top(path: Path, table: pa.Table) -> Path:
    """Write the chosen rows as CSV, with their place in front."""
    names = [name for name in table.column_names if name not in {"status", FEATURES}]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["place", *names])
    for place, row in enumerate(table.select(names).to_pylist(), start=1):
        writer.writerow([place, *(_text(row[name]) for name in names)])
    return write_text(path, text.getvalue())


def _tables(paths: Iterable[Path], columns: list[str]) -> Iterator[pa.Table]:
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                yield file.read(columns=columns).select(columns)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise DatasetError(
                f"cannot be read: {error}",
                where=str(path),
                cure="delete this part; the same command makes it anew",
            ) from error


def _descriptors(table: pa.Table, config: ScreenConfig) -> Callable[[int], NDArray[np.float64]]:
    """Return the function candidate → distances from all candidates."""
    if config.diversity == "features":
        column = table.column(FEATURES).combine_chunks()
        matrix = column.flatten().to_numpy().reshape(len(table), -1).astype(np.float64)
        return lambda k: np.sqrt(((matrix - matrix[k]) ** 2).sum(axis=1))
    shares = np.array([_shares(text) for text in table.column("formula").to_pylist()])
    # Half the sum of differences: the share of atoms that would have to be exchanged.
    return lambda k: 0.5 * np.abs(shares - shares[k]).sum(axis=1)


def _shares(formula: str) -> NDArray[np.float64]:
    """Atomic fractions by atomic number."""
    from pymatgen.core.composition import Composition

    found = np.zeros(_ELEMENTS)
    for element, share in Composition(formula).fractional_composition.items():
        found[element.Z] = share
    return found


def _text(value: Any) -> str:
    """Six digits of a number, more than any level of theory has; empty where there is none."""
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
