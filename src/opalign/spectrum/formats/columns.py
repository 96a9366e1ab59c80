"""Columns of numbers, as Fortran and spreadsheets write them."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable, Sequence

import numpy as np

from opalign.errors import SpectrumError

MAXIMUM_ROWS = 200_000
"""Rows of one table; far beyond any spectrum, and small enough to hold."""

_EXPONENT_WITHOUT_LETTER = re.compile(r"^([+-]?\d*\.\d*)([+-]\d+)$")


def number(text: str) -> float:
    """Return the finite number that ``text`` stands for.

    Besides what Python knows, Fortran's ``1.0D-5`` and ``0.123-104`` (an exponent of three digits
    pushes the letter out).

    Raises
    ------
    ValueError
        Saying what it is instead: overflow, not a number, or no number at all.
    """
    try:
        value = float(text)
    except ValueError:
        value = _fortran_number(text)
    if "_" in text:
        raise ValueError(f"{_shortened(text)} is not a number")
    if not math.isfinite(value):
        raise ValueError(f"{_shortened(text)} is not a finite number")
    return value


def _fortran_number(text: str) -> float:
    stripped = text.strip()
    if stripped and set(stripped) <= set("*+-"):
        raise ValueError(f"{_shortened(text)} stands for a number too large for its column")
    repaired = _EXPONENT_WITHOUT_LETTER.sub(r"\1E\2", stripped)
    repaired = re.sub("[dD]", "E", repaired)
    try:
        return float(repaired)
    except ValueError:
        raise ValueError(f"{_shortened(text)} is not a number") from None


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "…")


def resolution(fields: Iterable[str]) -> float:
    """Return half a unit of the last digit of the coarsest of ``fields``, by how they are written.

    >>> resolution(["0.0104", "12.5000"])
    5e-05
    """
    coarsest = 0.0
    for field in fields:
        mantissa, _, exponent = field.upper().replace("D", "E").partition("E")
        decimals = len(mantissa.partition(".")[2])
        try:
            coarsest = max(coarsest, 0.5 * 10.0 ** (int(exponent or 0) - decimals))
        except (ValueError, OverflowError):
            continue
    return coarsest


class NumberTable:
    """Rows of ``width`` numbers, filled one by one; each knows its line in the file.

    ``where`` names the file in messages.
    """

    def __init__(self, width: int, where: str) -> None:
        self.width = width
        self.where = where
        self.lines = array("q")
        self._values = array("d")
        self._first_fields: list[str] = []

    def __len__(self) -> int:
        return len(self.lines)

    def append(self, fields: Sequence[str], line: int) -> None:
        """Add the row of ``line``.

        Raises
        ------
        SpectrumError
            Naming line and column, if a field is not a finite number, the row has another width, or
            there are too many rows.
        """
        if len(fields) != self.width:
            raise SpectrumError(
                f"the row has {len(fields)} columns",
                where=f"{self.where}, line {line}",
                expected=f"{self.width} numbers",
                cure="if the file was cut off there, write it anew",
            )
        if len(self.lines) >= MAXIMUM_ROWS:
            raise SpectrumError(
                f"a table has more than {MAXIMUM_ROWS} rows",
                where=f"{self.where}, line {line}",
                expected="one spectrum",
            )
        for column, field in enumerate(fields, start=1):
            try:
                self._values.append(number(field))
            except ValueError as error:
                raise SpectrumError(
                    str(error), where=f"{self.where}, line {line}, column {column}"
                ) from error
        self.lines.append(line)
        if len(self._first_fields) < 2000:
            self._first_fields.append(fields[0])

    @property
    def values(self) -> np.ndarray:
        """The numbers, (rows, width) float64."""
        return np.array(self._values, dtype=float).reshape(len(self), self.width)

    @property
    def energy_resolution(self) -> float:
        """Half a unit of the last digit of the first column."""
        return resolution(self._first_fields)

    def increasing(self, name: str = "energy") -> None:
        """Check that the first column increases from row to row.

        Raises
        ------
        SpectrumError
            Naming the line at which it does not, or if there are fewer than two rows.
        """
        check_increasing(self.values[:, 0], self.lines, self.where, name)


def check_increasing(values: np.ndarray, lines: Sequence[int], where: str, name: str) -> None:
    """Raise :class:`SpectrumError` unless ``values`` (m,) increase; ``lines`` (m,) are theirs."""
    if len(values) < 2:
        raise SpectrumError(
            f"there are {len(values)} rows of numbers", where=where, expected="two or more"
        )
    falls = np.flatnonzero(np.diff(values) <= 0.0)
    if falls.size:
        place = int(falls[0]) + 1
        raise SpectrumError(
            f"the {name} does not increase: {values[place]:g} follows {values[place - 1]:g}",
            where=f"{where}, line {lines[place]}",
            expected=f"each {name} once, in increasing order",
            cure="if two tables stand in one file, keep one; otherwise sort the rows",
        )
