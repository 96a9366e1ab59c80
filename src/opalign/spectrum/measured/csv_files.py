"""Measured n and k from CSV files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from opalign.errors import SpectrumError
from opalign.spectrum.measured.measurement import Measurement, Orientation, Samples
from opalign.spectrum.units import energy_from_wavelength

if TYPE_CHECKING:
    import pandas as pd

_WAVELENGTH_COLUMNS = {"wavelength_nm": 1.0, "wavelength_um": 1e3}
_INDEX_COLUMNS = ("n", "refractive_index")
_EXTINCTION_COLUMNS = ("k", "extinction_coefficient")


def read_measurement(
    path: str | os.PathLike[str],
    formula: str,
    spacegroup: int | None = None,
    *,
    extraordinary: str | os.PathLike[str] | None = None,
    orientation: Orientation = "mean",
    source: str | None = None,
) -> Measurement:
    """Read measured n and k from CSV, for an isotropic crystal or one orientation.

    Columns ``energy_eV``, ``wavelength_nm`` or ``wavelength_um``; ``n``; ``k`` if measured, its
    empty cells where not. Lines that begin with # are comments.

    Parameters
    ----------
    path
        The file; of the ordinary ray, if there are two.
    formula, spacegroup
        Of the crystal.
    extraordinary
        File of the extraordinary ray: ε is then the average (2·ε_o + ε_e)/3.
    orientation
        Of a single file.
    source
        By default the name of the file.

    Raises
    ------
    SpectrumError
        If a file cannot be read, or a column is missing or wrong.
    """
    paths = [Path(path)] + ([Path(extraordinary)] if extraordinary is not None else [])
    return Measurement(
        formula,
        spacegroup,
        tuple(_read_samples(one) for one in paths),
        (1.0,) if len(paths) == 1 else (2.0 / 3.0, 1.0 / 3.0),
        "mean" if len(paths) == 2 else orientation,
        source=source or ", ".join(one.name for one in paths),
    )


def _read_samples(path: Path) -> Samples:
    import pandas as pd

    try:
        table = pd.read_csv(path, comment="#", skipinitialspace=True)
        table.columns = [str(name).strip() for name in table.columns]
        energies = _energies(table, path)
        index = _column(table, _INDEX_COLUMNS, path)
        extinction = (
            _column(table, _EXTINCTION_COLUMNS, path)
            if set(_EXTINCTION_COLUMNS) & set(table.columns)
            else np.full(len(table), np.nan)
        )
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise SpectrumError(f"cannot be read: {error}", where=str(path)) from error
    except ValueError as error:
        raise SpectrumError(
            f"holds what is not a number: {error}", where=str(path), expected="numbers"
        ) from error
    try:
        return Samples.unordered(energies, index, extinction)
    except SpectrumError as error:
        raise SpectrumError(
            error.problem, where=str(path), expected=error.expected, cure=error.cure
        ) from error


def _energies(table: pd.DataFrame, path: Path) -> np.ndarray:
    if "energy_eV" in table.columns:
        return table["energy_eV"].to_numpy(dtype=float)
    for name, nanometres in _WAVELENGTH_COLUMNS.items():
        if name in table.columns:
            wavelength = table[name].to_numpy(dtype=float)
            if not (wavelength > 0.0).all():
                raise SpectrumError("a wavelength is not positive", where=str(path))
            return energy_from_wavelength(nanometres * wavelength)
    raise SpectrumError(
        f"has columns {', '.join(table.columns)}",
        where=str(path),
        expected="energy_eV, wavelength_nm or wavelength_um",
    )


def _column(table: pd.DataFrame, names: tuple[str, ...], path: Path) -> np.ndarray:
    for name in names:
        if name in table.columns:
            return table[name].to_numpy(dtype=float)
    raise SpectrumError(f"has no column {names[0]!r}", where=str(path))
