"""Spectra out of a table: streamed for all rows, one row group at a time for single rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray

from opalign.dataset.absorption import epsilon_from_log_absorption
from opalign.dataset.columns import list_lengths, list_matrix, open_parquet
from opalign.dataset.schema import DIAGONAL, LevelInfo, Part, TableSchema, spectrum_column
from opalign.errors import DatasetError
from opalign.spectrum.broadening import Broadening, broaden
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import real_from_imaginary
from opalign.spectrum.optical import OpticalSpectrum

BATCH_ROWS = 1024
_AXES = {"xx": (0, 0), "yy": (1, 1), "zz": (2, 2), "xy": (0, 1), "yz": (1, 2), "xz": (0, 2)}


class SpectraReader:
    """Spectra of chosen rows of one file; ``rows`` (m,) are their numbers in the file, distinct."""

    def __init__(self, path: Path, schema: TableSchema, rows: NDArray[np.int64]) -> None:
        self.path = path
        self.schema = schema
        self.rows = rows
        # The row group read last: neighbouring rows are asked for one after the other.
        self._group: tuple[int, tuple[str, ...], pa.Table] | None = None
        self._bounds: NDArray[np.int64] | None = None

    def batches(self, columns: list[str]) -> Iterator[tuple[NDArray[np.int64], pa.RecordBatch]]:
        """Stream columns of the chosen rows in the order of the file, in bounded memory.

        Yields the positions of the rows among the chosen ones, (b,), and a batch of b rows.
        """
        with open_parquet(self.path) as file:
            bounds = _group_bounds(file.metadata)
            position = np.full(bounds[-1], -1, dtype=np.int64)
            position[self.rows] = np.arange(len(self.rows))
            groups = [
                group
                for group in range(len(bounds) - 1)
                if (position[bounds[group] : bounds[group + 1]] >= 0).any()
            ]
            if not groups:
                return
            position = np.concatenate([position[bounds[g] : bounds[g + 1]] for g in groups])
            first = 0
            for batch in file.iter_batches(BATCH_ROWS, row_groups=groups, columns=columns):
                here = position[first : first + len(batch)]
                first += len(batch)
                chosen = np.flatnonzero(here >= 0)
                if len(chosen) == len(batch):
                    yield here, batch
                elif len(chosen):
                    yield here[chosen], batch.take(pa.array(chosen))

    def isotropic(
        self,
        level: str,
        part: Literal["re", "im"],
        broadening: Broadening | None,
        dtype: DTypeLike,
    ) -> NDArray[np.floating]:
        """Real or imaginary part of trace/3 of all chosen rows, (rows, n)."""
        info, grid = self.level(level), self.grid()
        result = np.empty((len(self.rows), grid.num), dtype=dtype)
        stored = part in info.parts
        source: Part = "logalpha" if info.quantity == "log_absorption" else part if stored else "im"
        for positions, values in self._averages(level, info, source):
            if source == "logalpha":
                epsilon = epsilon_from_log_absorption(values, grid, info.floor)
                values = epsilon.real if part == "re" else epsilon.imag
            elif not stored:
                values = np.asarray(real_from_imaginary(values, grid, beyond="cubic"))
            if broadening is not None:
                # ε₁ is even and ε₂ odd in E; each is continued through zero accordingly.
                values = broaden(values, grid, broadening, "even" if part == "re" else "odd")
            result[positions] = values
        return result

    def log_absorption(
        self, level: str, broadening: Broadening | None, floor: float, dtype: DTypeLike
    ) -> NDArray[np.floating]:
        """log₁₀(α / cm⁻¹) of trace/3 of all chosen rows, (rows, n), not below ``floor``."""
        info, grid = self.level(level), self.grid()
        result = np.empty((len(self.rows), grid.num), dtype=dtype)
        if info.quantity == "log_absorption" and broadening is None:
            for positions, values in self._averages(level, info, "logalpha"):
                result[positions] = np.maximum(values, floor)
            return result
        imaginary = self.isotropic(level, "im", broadening, np.float64)
        real = self.isotropic(level, "re", broadening, np.float64)
        for position, epsilon in enumerate(zip(real, imaginary, strict=True)):
            spectrum = OpticalSpectrum(grid, epsilon[0] + 1j * epsilon[1], level)
            result[position] = spectrum.log_absorption(floor)
        return result

    def spectrum(
        self, index: int, level: str, material_id: str, provenance: str | None
    ) -> OpticalSpectrum:
        """Spectrum of one of the chosen rows."""
        info, grid = self.level(level), self.grid()
        columns = [
            spectrum_column(level, part, component)
            for part in info.parts
            for component in info.components
        ]
        batch = self._row(index, columns)
        values = dict(
            zip(columns, (self._matrix(batch, c, grid.num)[0] for c in columns), strict=True)
        )
        if info.quantity == "log_absorption":
            (logarithm,) = values.values()
            epsilon = epsilon_from_log_absorption(logarithm, grid, info.floor)
            return OpticalSpectrum(grid, epsilon, level, info.broadening, material_id, provenance)
        components: dict[str, NDArray[np.complex128]] = {}
        for component in info.components:
            imaginary = values[spectrum_column(level, "im", component)]
            if info.has_real:
                real = values[spectrum_column(level, "re", component)]
            else:
                real = np.asarray(real_from_imaginary(imaginary, grid, beyond="cubic"))
                # Kramers–Kronig gives 1 for vacuum, which off the diagonal is 0.
                real = real if component in (*DIAGONAL, "mean") else real - 1.0
            components[component] = real + 1j * imaginary
        return OpticalSpectrum(
            grid,
            components["mean"] if "mean" in components else _tensor(components, grid.num),
            level,
            info.broadening,
            material_id,
            provenance,
        )

    def row(self, index: int, columns: list[str]) -> dict[str, Any]:
        """Columns of one of the chosen rows, lists as arrays."""
        batch = self._row(index, columns)
        return {name: _plain(batch.column(name).combine_chunks()) for name in columns}

    def level(self, name: str) -> LevelInfo:
        """Return the level of this name; DatasetError lists the levels there are."""
        if name not in self.schema.levels:
            raise DatasetError(
                f"has no level {name!r}",
                where=str(self.path),
                expected=", ".join(self.schema.levels) or "a table with spectra",
            )
        return self.schema.levels[name]

    def grid(self) -> EnergyGrid:
        """Energy grid of the spectra."""
        if self.schema.grid is None:
            raise DatasetError("holds no spectra", where=str(self.path))
        return self.schema.grid

    def _averages(
        self, level: str, info: LevelInfo, part: Part
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Average over Cartesian axes of one stored part, (b, n), with the rows' positions."""
        axes = ["mean"] if "mean" in info.components else list(DIAGONAL)
        columns = [spectrum_column(level, part, axis) for axis in axes]
        for positions, batch in self.batches(columns):
            total = np.zeros((len(batch), self.grid().num))
            for name in columns:
                total += self._matrix(batch, name, self.grid().num, positions)
            yield positions, total / len(columns)

    def _matrix(
        self,
        batch: pa.RecordBatch | pa.Table,
        name: str,
        width: int,
        positions: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        column = batch.column(name)
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        matrix = list_matrix(column, width)
        if matrix is None:
            wrong = int(np.flatnonzero(list_lengths(column) != width)[0])
            row = "" if positions is None else f" of row {self.rows[positions[wrong]]}"
            raise DatasetError(
                f"column {name!r}{row} has not the {width} values of the grid",
                where=str(self.path),
                cure="`opalign dataset check` lists what is wrong with each row",
            )
        return matrix

    def _row(self, index: int, columns: list[str]) -> pa.Table:
        row = int(self.rows[index])
        wanted = tuple(columns)
        if self._bounds is None:
            with open_parquet(self.path) as file:
                self._bounds = _group_bounds(file.metadata)
        group = int(np.searchsorted(self._bounds, row, side="right")) - 1
        if self._group is None or self._group[:2] != (group, wanted):
            with open_parquet(self.path) as file:
                self._group = (group, wanted, file.read_row_group(group, columns=columns))
        return self._group[2].slice(row - int(self._bounds[group]), 1)


def _group_bounds(metadata: Any) -> NDArray[np.int64]:
    """First row of each row group, and the number of rows, (groups + 1,)."""
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)


def _tensor(components: dict[str, NDArray[np.complex128]], num: int) -> NDArray[np.complex128]:
    tensor = np.zeros((num, 3, 3), dtype=np.complex128)
    for component, values in components.items():
        a, b = _AXES[component]
        tensor[:, a, b] = tensor[:, b, a] = values
    return tensor


def _plain(column: pa.Array) -> Any:
    """Return the one value of a column: numbers of a list as an array, else as Python has it."""
    value = column[0]
    if isinstance(value, pa.ListScalar) and value.is_valid and len(value.values):
        return value.values.to_numpy(zero_copy_only=False)
    return value.as_py()
