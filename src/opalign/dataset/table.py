"""SpectraTable: a Parquet file of structures and spectra, read as it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import DTypeLike, NDArray

from opalign.dataset.checks import Problem, find_problems
from opalign.dataset.columns import list_values, open_parquet
from opalign.dataset.formula import reduced_formula
from opalign.dataset.schema import LevelInfo, TableSchema, declared_schema
from opalign.dataset.spectra import SpectraReader
from opalign.dataset.write import concatenate, write_table
from opalign.errors import DatasetError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.units import LOG_ABSORPTION_FLOOR

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

    from opalign.spectrum.optical import OpticalSpectrum

__all__ = ["SpectraTable", "StructureArrays", "concatenate", "write_table"]

PROBLEMS_SHOWN = 10


class StructureArrays(NamedTuple):
    """A structure as plain arrays, for building graphs without pymatgen objects."""

    lattice: NDArray[np.float64]
    """(3, 3), Å, row vectors."""
    atomic_numbers: NDArray[np.int64]
    """(N,)"""
    frac_coords: NDArray[np.float64]
    """(N, 3)"""


class SpectraTable:
    """Structures and spectra of many materials, in one Parquet file of declared schema.

    :meth:`open` reads the footer alone. Columns are read when they are asked for; those of the
    structures and scalars are kept, those of the spectra are streamed. No file stays open, so a
    table can be handed to worker processes. Rows count from 0.
    """

    def __init__(
        self,
        path: Path,
        schema: TableSchema,
        num_rows: int,
        names: frozenset[str],
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self.path = path
        self.schema = schema
        self._names = names
        self._num_rows = num_rows
        self._rows = np.arange(num_rows) if rows is None else rows
        self._kept: dict[str, pa.Array] = {}
        self._ids: list[str] | None = None
        self._formulas: list[str] | None = None
        self._spectra = SpectraReader(path, schema, self._rows)

    @classmethod
    def open(cls, path: str | PathLike[str]) -> SpectraTable:
        """Open a table; reads no column.

        Raises
        ------
        DatasetError
            The file is absent, empty, cut off or no Parquet; it has no schema of Opalign's, or one
            of a newer version; a column is missing or of the wrong type.
        """
        path = Path(path)
        with open_parquet(path) as file:
            schema = declared_schema(file.schema_arrow, str(path))
            return cls(path, schema, file.metadata.num_rows, frozenset(file.schema_arrow.names))

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        levels = ", ".join(self.levels) or "none"
        return f"SpectraTable({str(self.path)!r}, {len(self)} rows, levels: {levels})"

    @property
    def grid(self) -> EnergyGrid:
        """Energy grid of all spectra; DatasetError if the table holds scalars alone."""
        if self.schema.grid is None:
            raise DatasetError(
                "holds scalars only, no spectra, and so has no energy grid",
                where=str(self.path),
                cure="use a table with spectra",
            )
        return self.schema.grid

    @property
    def levels(self) -> Mapping[str, LevelInfo]:
        """Levels of theory by name."""
        return self.schema.levels

    @property
    def licence(self) -> str:
        """Licence under which the table may be used."""
        return self.schema.licence

    @property
    def source(self) -> str:
        """Where the data come from."""
        return self.schema.source

    @property
    def citation(self) -> str:
        """What to cite."""
        return self.schema.citation

    @property
    def ids(self) -> list[str]:
        """Material ids, in the order of the rows."""
        if self._ids is None:
            self._ids = self._column("material_id").to_pylist()
        return list(self._ids)

    @property
    def formulas(self) -> list[str]:
        """Reduced formulas, canonical (pymatgen), in the order of the rows."""
        if self._formulas is None:
            self._formulas = [reduced_formula(text) for text in self._column("formula").to_pylist()]
        return list(self._formulas)

    def arrays(self, index: int) -> StructureArrays:
        """Lattice, atomic numbers and fractional coordinates of one row."""
        from ase.data import atomic_numbers

        index = self._checked(index)
        symbols = self._column("species")[index].as_py()
        lattice = list_values(self._column("lattice").slice(index, 1))
        positions = list_values(self._column("frac_coords").slice(index, 1))
        try:
            numbers = np.array([atomic_numbers[s] for s in symbols], dtype=np.int64)
            return StructureArrays(
                lattice.reshape(3, 3), numbers, positions.reshape(len(symbols), 3)
            )
        except (TypeError, ValueError, KeyError) as error:
            raise DatasetError(
                f"row {self._rows[index]} ({self.ids[index]}): lattice, species and frac_coords "
                "do not make a structure",
                where=str(self.path),
                cure="`opalign dataset check` lists what is wrong with each row",
            ) from error

    def structure(self, index: int) -> Structure:
        """Structure of one row."""
        from pymatgen.core.lattice import Lattice
        from pymatgen.core.structure import Structure

        lattice, numbers, positions = self.arrays(index)
        return Structure(Lattice(lattice), numbers.tolist(), positions)

    def structures(self) -> Iterator[Structure]:
        """Structures of all rows, in their order."""
        return (self.structure(index) for index in range(len(self)))

    def spectrum(self, index: int, level: str) -> OpticalSpectrum:
        """Spectrum of one row: the tensor where xx, yy, zz are there, otherwise the average.

        Where the table has no Re ε it comes from Kramers–Kronig; where it has log₁₀ α alone, ε
        comes from α, taken as zero where it stands at the floor.
        """
        index = self._checked(index)
        return self._spectra.spectrum(index, level, self.ids[index], self.provenance(index))

    def provenance(self, index: int) -> str | None:
        """Text that tells where a row comes from; None where the table has none."""
        index = self._checked(index)
        if "provenance" not in self._names:
            return None
        text: str | None = self._column("provenance")[index].as_py()
        return text

    def isotropic_imaginary(
        self, level: str, broadening: Broadening | None = None, dtype: DTypeLike = np.float64
    ) -> NDArray[np.floating]:
        """Im ε̄ = trace/3 of all rows, (rows, n).

        ``broadening`` is applied on top of what the stored spectra already have.
        """
        return self._spectra.isotropic(level, "im", broadening, dtype)

    def isotropic_real(
        self, level: str, broadening: Broadening | None = None, dtype: DTypeLike = np.float64
    ) -> NDArray[np.floating]:
        """Re ε̄ = trace/3 of all rows, (rows, n); by Kramers–Kronig where it is not stored."""
        return self._spectra.isotropic(level, "re", broadening, dtype)

    def log_absorption(
        self,
        level: str,
        broadening: Broadening | None = None,
        floor: float = LOG_ABSORPTION_FLOOR,
        dtype: DTypeLike = np.float64,
    ) -> NDArray[np.floating]:
        """log₁₀(α / cm⁻¹) of the isotropic average of all rows, (rows, n), floored."""
        return self._spectra.log_absorption(level, broadening, floor, dtype)

    def scalar(self, name: str) -> NDArray[np.float64]:
        """Return a scalar of all rows, (rows,), in its declared unit; NaN where it is null."""
        if name not in self.schema.scalars:
            raise DatasetError(
                f"has no scalar {name!r}",
                where=str(self.path),
                expected=", ".join(self.schema.scalars) or "a table with scalars",
            )
        column = pc.cast(self._column(name), pa.float64())
        return np.array(column.to_numpy(zero_copy_only=False), dtype=np.float64)

    def list_value(self, index: int, name: str) -> list[Any] | None:
        """Return a list carried along for one row, None where it is null."""
        if name not in self.schema.lists:
            raise DatasetError(
                f"carries no list {name!r}",
                where=str(self.path),
                expected=", ".join(self.schema.lists) or "a table with lists",
            )
        value: list[Any] | None = self._column(name)[self._checked(index)].as_py()
        return value

    def select(self, ids: Iterable[str]) -> SpectraTable:
        """Return the rows of these ids, in the order given; a view, nothing is copied.

        Raises
        ------
        DatasetError
            An id is not in the table, or asked for twice.
        """
        wanted = list(ids)
        place = {material_id: row for row, material_id in enumerate(self.ids)}
        missing = [material_id for material_id in wanted if material_id not in place]
        if missing or len(set(wanted)) < len(wanted):
            raise DatasetError(
                f"{len(missing)} of the ids are not in the table, the first is {missing[0]!r}"
                if missing
                else "an id was asked for twice",
                where=str(self.path),
                cure="choose among the table's ids; does the split belong to this table?",
            )
        rows = self._rows[[place[material_id] for material_id in wanted]].astype(np.int64)
        return SpectraTable(self.path, self.schema, self._num_rows, self._names, rows)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows as write_table takes them, streamed in their order."""
        names = [name for name in self._file_columns() if name in self._names]
        for index in range(len(self)):
            yield self._spectra.row(index, names)

    def problems(self) -> Iterator[Problem]:
        """Everything wrong with the rows, streamed in the order of the file."""
        seen: dict[str, int] = {}
        for positions, batch in self._spectra.batches(self._file_columns(provenance=False)):
            yield from find_problems(batch, self.schema, self._rows[positions], seen)

    def validate(self) -> None:
        """Read all rows, in bounded memory, and raise DatasetError if one breaks the schema.

        Held against the schema: unique ids, formulas that fit the species, 9 numbers of lattice, 3
        coordinates an atom, as many values as the grid has, no NaN, no infinity, and Im ε ≥ 0 but
        for rounding.
        """
        problems = self.problems()
        shown = [str(problem) for problem in islice(problems, PROBLEMS_SHOWN)]
        if not shown:
            return
        more = sum(1 for _ in problems)
        if more:
            shown.append(f"… and {more} more")
        raise DatasetError(
            "breaks its schema:\n    " + "\n    ".join(shown),
            where=str(self.path),
            cure="correct or leave out these rows, then write the table anew",
        )

    def _file_columns(self, provenance: bool = True) -> list[str]:
        names = ["material_id", "formula", "lattice", "species", "frac_coords"]
        names += [*self.schema.spectrum_columns(), *self.schema.scalars, *self.schema.lists]
        return [*names, "provenance"] if provenance else names

    def _column(self, name: str) -> pa.Array:
        """Return a column of structures or scalars in the order of the rows; it is kept."""
        if name not in self._kept:
            with open_parquet(self.path) as file:
                column = file.read(columns=[name]).column(0).combine_chunks()
            self._kept[name] = column.take(pa.array(self._rows))
        return self._kept[name]

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of a table of {len(self)} rows")
        return index % len(self)
