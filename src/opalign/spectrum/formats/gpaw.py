"""GPAW's CSV files of ``DielectricFunction.get_dielectric_function`` and of its BSE class.

Columns without names: ħω in eV, Re and Im of ε without local fields (``ipa``), Re and Im with them
(``rpa``, unless the caller names the kernel). A BSE file has three, ħω, Re and Im (``bse``).

A file holds one direction. Where its name ends in x, y or z, as in ``df_x.csv``, and the two others
stand beside it, the three are read into the diagonal of a tensor.

Frequencies on GPAW's default mesh are not evenly spaced and are interpolated. η is not in the file:
GPAW's default of 0.2 eV is assumed and noted unless the caller tells.

Source: gpaw/response/df.py and bse.py of GPAW 26.7.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from opalign.errors import SpectrumError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.formats.columns import NumberTable
from opalign.spectrum.formats.lines import read_table
from opalign.spectrum.formats.result import Draft, ReadOptions, SpectrumFile, assemble

NAME = "GPAW"
DEFAULT_ETA = 0.2
LEVELS = {5: ("ipa", "rpa"), 3: ("bse",)}
"""Levels of the pairs of columns, by the number of columns."""

_DIRECTION = re.compile(r"^(|.*[^a-zA-Z])([xyz])$")
_OTHER_RESPONSE = re.compile(r"eels|pol|chi|susc", re.IGNORECASE)


def read(path: Path, options: ReadOptions) -> SpectrumFile:
    """Read the file at ``path``, and those of the other directions beside it.

    Raises
    ------
    SpectrumError
        If it has other columns, or another response function by its name, or the directions do not
        fit together.
    """
    files, note = _files(path)
    tables = {direction: _table(file) for direction, file in files.items()}
    first = next(iter(tables.values()))
    for direction, table in tables.items():
        same_width = table.width == first.width
        if not same_width or not np.array_equal(table.values[:, 0], first.values[:, 0]):
            raise SpectrumError(
                f"its columns or frequencies are not those of {path.name}",
                where=str(files[direction]),
                expected="three files of one calculation",
                cure="move files of other calculations away",
            )
    width, notes = _broadening(options)
    drafts = [
        Draft(
            level,
            first.values[:, 0],
            _epsilon([table.values[:, 2 * pair + 1 : 2 * pair + 3] for table in tables.values()]),
            width,
            "with local fields" if level == "rpa" else "",
            first.energy_resolution,
            # ε is written with six decimals whatever its size.
            5e-7,
        )
        for pair, level in enumerate(LEVELS[first.width])
    ]
    metadata = {"files": [str(file) for file in files.values()], "directions": "".join(files)}
    return assemble(
        path, NAME, drafts, options, source="GPAW", metadata=metadata, notes=[*note, *notes]
    )


def _files(path: Path) -> tuple[dict[str, Path], list[str]]:
    """Return direction → file, and a note where a tensor could not be made."""
    suffix = "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:])
    stem = path.name.removesuffix(suffix)
    match = _DIRECTION.match(stem)
    if not match:
        return {"": path}, ["one direction, which the file does not name"]
    siblings = {axis: path.with_name(f"{match[1]}{axis}{suffix}") for axis in "xyz"}
    absent = [file.name for file in siblings.values() if not file.is_file()]
    if absent:
        reason = f"{' and '.join(absent)} for a tensor not found"
        return {match[2]: path}, [f"direction {match[2]} alone: {reason}"]
    return siblings, []


def _table(path: Path) -> NumberTable:
    if _OTHER_RESPONSE.search(path.stem):
        raise SpectrumError(
            "is a loss function, polarisability or susceptibility by its name",
            where=str(path),
            expected="a dielectric function, such as df.csv",
            cure="rename the file if it is one",
        )
    table = read_table(path).table
    if table.width not in LEVELS:
        raise SpectrumError(
            f"the table has {table.width} columns",
            where=str(path),
            expected="5 as of get_dielectric_function, or 3 of a BSE calculation",
        )
    return table


def _epsilon(columns: list[np.ndarray]) -> np.ndarray:
    """Return ε (n,) of one direction or the diagonal tensor (n, 3, 3) of three."""
    values = [real_and_imaginary @ np.array([1.0, 1j]) for real_and_imaginary in columns]
    if len(values) == 1:
        return values[0]
    return np.stack(values, axis=-1)[:, :, None] * np.eye(3)


def _broadening(options: ReadOptions) -> tuple[Broadening, list[str]]:
    if options.broadening is not None:
        return options.broadening, []
    return Broadening("lorentzian", DEFAULT_ETA), [
        f"η is not in the file: GPAW's default, a Lorentzian of {DEFAULT_ETA} eV, is assumed; pass "
        "broadening if it was another"
    ]
