"""CSV files of one spectrum: columns with units in their names, below a commented header.

Header lines read ``# key = value`` with a JSON value. ε is written with all its digits and read
back exactly; the derived columns are for other programs and are not read.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from opalign.errors import ConfigurationError, SpectrumError
from opalign.files import write_text
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.formats.columns import MAXIMUM_ROWS
from opalign.spectrum.formats.components import COMPONENTS, tensor_from_components
from opalign.spectrum.formats.result import ReadOptions, SpectrumFile, level_unknown
from opalign.spectrum.formats.sampling import sample
from opalign.spectrum.formats.source import read_text
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum

if TYPE_CHECKING:
    import pandas as pd

NAME = "Opalign CSV"
UNITS = (
    "energy_eV in eV; epsilon, n, k, reflectivity (normal incidence) and loss without unit; "
    "absorption_per_cm in 1/cm"
)


def to_frame(spectrum: OpticalSpectrum) -> pd.DataFrame:
    """Return the columns described at :meth:`OpticalSpectrum.to_frame`."""
    import pandas as pd

    return pd.DataFrame(_columns(spectrum))


def _columns(spectrum: OpticalSpectrum) -> dict[str, np.ndarray]:
    columns = {"energy_eV": spectrum.energies}
    if spectrum.is_tensor:
        for name, (row, column) in COMPONENTS.items():
            component = spectrum.epsilon[:, row, column]
            columns[f"epsilon_real_{name}"] = component.real
            columns[f"epsilon_imaginary_{name}"] = component.imag
    else:
        columns |= {
            "epsilon_real": spectrum.epsilon_real,
            "epsilon_imaginary": spectrum.epsilon_imaginary,
            "n": spectrum.refractive_index,
            "k": spectrum.extinction_coefficient,
            "absorption_per_cm": spectrum.absorption_coefficient,
            "reflectivity": spectrum.reflectivity,
            "loss": spectrum.loss_function,
        }
    return columns


def write_csv(
    spectrum: OpticalSpectrum,
    path: str | os.PathLike[str],
    more: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write ``spectrum`` to ``path``, atomically; StorageError if that fails.

    ``more`` are further columns, (n,) each, for other programs: they are not read back.
    """
    header = {
        "material_id": spectrum.material_id,
        "level": spectrum.level,
        "broadening": spectrum.broadening.model_dump(),
        "grid": spectrum.grid.model_dump(),
        "provenance": spectrum.provenance,
        "units": UNITS,
    }
    lines = ["# Optical spectrum, written by Opalign"]
    lines += [f"# {key} = {json.dumps(value)}" for key, value in header.items()]
    columns = _columns(spectrum) | dict(more or {})
    lines.append(",".join(columns))
    # Not by pandas, whose import takes longer than a prediction; every digit, as there.
    texts = [map(_text, np.asarray(values, dtype=float).tolist()) for values in columns.values()]
    lines += map(",".join, zip(*texts, strict=True))
    return write_text(path, "\n".join(lines) + "\n")


def _text(value: float) -> str:
    return "" if value != value else repr(value)


def read(path: Path, options: ReadOptions) -> SpectrumFile:
    """Read a file for :func:`~opalign.spectrum.formats.read_file`; errors as :func:`read_csv`.

    Raises
    ------
    SpectrumError
        Also if the header tells another level than the caller asks for.
    """
    where = str(path)
    header, frame = _load(path)
    level = header.get("level")
    if level and options.level not in (None, level):
        raise SpectrumError(
            f"there is no spectrum of level {options.level!r}", where=where, expected=repr(level)
        )
    spectrum = _spectrum(header, frame, options.level or level, where)
    if options.broadening is not None or options.material_id is not None:
        spectrum = replace(
            spectrum,
            broadening=options.broadening or spectrum.broadening,
            material_id=options.material_id or spectrum.material_id,
        )
    if options.step is not None:
        sampled = sample(spectrum.energies, spectrum.epsilon, where, step=options.step)
        provenance = ", ".join(part for part in (spectrum.provenance, sampled.note) if part)
        spectrum = replace(
            spectrum, grid=sampled.grid, epsilon=sampled.values, provenance=provenance
        )
    return SpectrumFile(path, NAME, (spectrum,))


def read_csv(path: str | os.PathLike[str], level: str | None = None) -> OpticalSpectrum:
    """Read a spectrum from ``path``; ``level`` wins over the one in the header.

    Raises
    ------
    SpectrumError
        Naming the file, if it cannot be read, lacks columns or the level, or its energies are not
        evenly spaced, or if the spectrum itself is invalid.
    """
    header, frame = _load(Path(path))
    return _spectrum(header, frame, level or header.get("level"), str(path))


def _load(path: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    import pandas as pd

    text = read_text(path)
    header = _read_header(text, str(path))
    try:
        # Without the header, in which a "#" may stand in quotes.
        frame = pd.read_csv(io.StringIO(text), comment="#", dtype=str, nrows=MAXIMUM_ROWS + 1)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise SpectrumError(f"could not be read: {error}", where=str(path)) from error
    if len(frame) > MAXIMUM_ROWS:
        raise SpectrumError(
            f"has more than {MAXIMUM_ROWS} rows", where=str(path), expected="one spectrum"
        )
    return header, frame


def _spectrum(
    header: dict[str, Any], frame: pd.DataFrame, level: Any, where: str
) -> OpticalSpectrum:
    try:
        grid = _grid(header, frame, where)
        broadening = Broadening(**header.get("broadening", {}))
    except (ConfigurationError, ValidationError, TypeError) as error:
        raise SpectrumError(
            f"the header or the energies make no sense: {error}",
            where=where,
            expected="evenly spaced energies and a header as OpticalSpectrum.to_csv writes it",
        ) from error
    if not level:
        raise level_unknown(where)
    texts = {key: header.get(key) for key in ("material_id", "provenance")} | {"level": level}
    for key, value in texts.items():
        if not isinstance(value, str | None):
            raise SpectrumError(f"{key} is {value!r}"[:200], where=where, expected="text in quotes")
    return OpticalSpectrum(
        grid, _epsilon(frame, where), level, broadening, texts["material_id"], texts["provenance"]
    )


def _read_header(text: str, where: str) -> dict[str, Any]:
    header: dict[str, Any] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.startswith("#"):
            break
        key, separator, value = line[1:].partition("=")
        if not separator:
            continue
        try:
            header[key.strip()] = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise SpectrumError(
                f"{value.strip()[:200]!r} is not a JSON value",
                where=f"{where}, line {number}",
                expected='text in quotes, such as # level = "ipa"',
            ) from error
    return header


def _column(frame: pd.DataFrame, name: str, where: str) -> np.ndarray:
    if name not in frame:
        raise SpectrumError(
            f"column {name} is missing",
            where=where,
            expected="energy_eV, epsilon_real, epsilon_imaginary, or the six components of each",
            cure=f"the file has {', '.join(map(str, frame.columns))}",
        )
    try:
        # float() gives back every digit, which the parser of some pandas versions does not.
        return np.array([float(value) for value in frame[name]])
    except ValueError as error:
        raise SpectrumError(
            f"column {name} holds something else than numbers: {error}", where=where
        ) from error


def _grid(header: dict[str, Any], frame: pd.DataFrame, where: str) -> EnergyGrid:
    measured = EnergyGrid.from_values(_column(frame, "energy_eV", where))
    if "grid" not in header:
        return measured
    grid = EnergyGrid(**header["grid"])
    close = (grid.num == measured.num) and np.allclose(grid.values, measured.values, atol=1e-6)
    # A file that was cut or edited after it was written is read by what it holds.
    return grid if close else measured


def _epsilon(frame: pd.DataFrame, where: str) -> np.ndarray:
    if "epsilon_real_xx" not in frame:
        real = _column(frame, "epsilon_real", where)
        return real + 1j * _column(frame, "epsilon_imaginary", where)
    return tensor_from_components(
        {
            name: _column(frame, f"epsilon_real_{name}", where)
            + 1j * _column(frame, f"epsilon_imaginary_{name}", where)
            for name in COMPONENTS
        }
    )
