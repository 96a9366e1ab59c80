"""CSV files of one spectrum: columns with units in their names, below a commented header.

Header lines read ``# key = value`` with a JSON value. ε is written with all its digits and read
back exactly; the derived columns are for other programs and are not read.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from opalign.errors import ConfigurationError, SpectrumError
from opalign.files import write_text
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum

if TYPE_CHECKING:
    import pandas as pd

COMPONENTS = {"xx": (0, 0), "yy": (1, 1), "zz": (2, 2), "xy": (0, 1), "yz": (1, 2), "xz": (0, 2)}
UNITS = (
    "energy_eV in eV; epsilon, n, k, reflectivity (normal incidence) and loss without unit; "
    "absorption_per_cm in 1/cm"
)


def to_frame(spectrum: OpticalSpectrum) -> pd.DataFrame:
    """Return the columns described at :meth:`OpticalSpectrum.to_frame`."""
    import pandas as pd

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
    return pd.DataFrame(columns)


def write_csv(spectrum: OpticalSpectrum, path: str | os.PathLike[str]) -> Path:
    """Write ``spectrum`` to ``path``, atomically; StorageError if that fails."""
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
    table = to_frame(spectrum).to_csv(index=False, lineterminator="\n")
    return write_text(path, "\n".join(lines) + "\n" + table)


def read_csv(path: str | os.PathLike[str], level: str | None = None) -> OpticalSpectrum:
    """Read a spectrum from ``path``; ``level`` wins over the one in the header.

    Raises
    ------
    SpectrumError
        Naming the file, if it cannot be read, lacks columns or the level, or its energies are not
        evenly spaced, or if the spectrum itself is invalid.
    """
    import pandas as pd

    where = str(path)
    try:
        header = _read_header(Path(path))
        frame = pd.read_csv(path, comment="#", dtype=str)
        grid = _grid(header, frame, where)
        broadening = Broadening(**header.get("broadening", {}))
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise SpectrumError(f"could not be read: {error}", where=where) from error
    except (ConfigurationError, ValidationError, TypeError) as error:
        raise SpectrumError(
            f"the header or the energies make no sense: {error}",
            where=where,
            expected="evenly spaced energies and a header as OpticalSpectrum.to_csv writes it",
        ) from error
    level = level or header.get("level")
    if not level:
        raise SpectrumError(
            "the level of theory is not in the file",
            where=where,
            expected='a header line such as # level = "ipa"',
            cure="pass level to OpticalSpectrum.from_csv",
        )
    return OpticalSpectrum(
        grid,
        _epsilon(frame, where),
        level,
        broadening,
        header.get("material_id"),
        header.get("provenance"),
    )


def _read_header(path: Path) -> dict[str, Any]:
    header: dict[str, Any] = {}
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.startswith("#"):
                break
            key, separator, value = line[1:].partition("=")
            if not separator:
                continue
            try:
                header[key.strip()] = json.loads(value)
            except json.JSONDecodeError as error:
                raise SpectrumError(
                    f"{value.strip()!r} is not a JSON value",
                    where=f"{path}, line {number}",
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
    epsilon = np.empty((len(frame), 3, 3), dtype=complex)
    for name, (row, column) in COMPONENTS.items():
        component = _column(frame, f"epsilon_real_{name}", where) + 1j * _column(
            frame, f"epsilon_imaginary_{name}", where
        )
        epsilon[:, row, column] = epsilon[:, column, row] = component
    return epsilon
