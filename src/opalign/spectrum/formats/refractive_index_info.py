"""YAML files of the refractiveindex.info database: tables of n and k, dispersion formulas 1 to 9.

n and k may come from different entries; the spectrum covers the energies that both have. Where k is
absent, as in formulas for the transparent range, it is taken as zero and noted. Wavelengths are in
vacuum and µm; tables are not evenly spaced in energy and are interpolated. The level is
``experiment`` unless Opalign wrote another into the comments.

Source: M. N. Polyanskiy, Sci. Data 11, 94 (2024).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from opalign.errors import SpectrumError
from opalign.files import write_text
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.formats.columns import NumberTable, number
from opalign.spectrum.formats.dispersion import dispersion_index
from opalign.spectrum.formats.optical_constants import (
    Curve,
    curve_of_formula,
    curve_of_table,
    energies_of_wavelengths,
    epsilon_of_constants,
)
from opalign.spectrum.formats.result import Draft, ReadOptions, SpectrumFile, assemble
from opalign.spectrum.formats.source import read_text
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.units import wavelength_from_energy

NAME = "refractiveindex.info"
LEVEL = "experiment"
NANOMETRES = 1000.0
"""Of a µm, the database's unit."""

MAXIMUM_DEPTH = 16

_OWN = re.compile(
    r"^Opalign: level (?P<level>.+?); (?P<shape>none|gaussian|lorentzian) (?P<width>[\d.e+-]+) eV$",
    re.MULTILINE,
)


def read(path: Path, options: ReadOptions) -> SpectrumFile:
    """Read one page of the database.

    Raises
    ------
    SpectrumError
        Naming entry and row, if it is no such page, has no linear n, or its numbers make no sense.
    """
    where = str(path)
    page = _load(path)
    index, extinction = _curves(page, where)
    if index is None:
        raise SpectrumError(
            "has no refractive index n", where=where, expected="'tabulated nk', 'n' or a formula"
        )
    notes = []
    if extinction is None:
        notes.append("k is not in the file and taken as zero")
    energies, epsilon, rounding = epsilon_of_constants(index, extinction, where, options.step)
    comments = _text(page.get("COMMENTS"))
    level, broadening = _own_words(comments)
    draft = Draft(level, energies, epsilon, broadening, "n and k", rounding)
    return assemble(
        path,
        NAME,
        [draft],
        options,
        source=_citation(page),
        material_id=_material(path, page),
        metadata={key.lower(): page[key] for key in page if key not in ("DATA",)},
        notes=notes,
    )


def write(spectrum: OpticalSpectrum, path: str | os.PathLike[str]) -> Path:
    """Write n and k of a scalar ``spectrum`` as a page with one table, atomically.

    Wavelengths in µm, increasing; an energy of zero has none and is left out. Level, broadening and
    provenance go into the comments, from which :func:`read` takes the first two back.

    Raises
    ------
    SpectrumError
        For a tensor.
    StorageError
        If writing fails.
    """
    n, k = spectrum.refractive_index, spectrum.extinction_coefficient
    rows = [
        f"{float(wavelength_from_energy(energy)) / NANOMETRES!r} {float(n[i])!r} {float(k[i])!r}"
        for i, energy in reversed(list(enumerate(spectrum.energies)))
        if energy > 0.0
    ]
    # The grid runs upwards in energy; the first of the reversed rows is the shortest wavelength.
    broadening = spectrum.broadening
    comments = [
        f"Opalign: level {spectrum.level}; {broadening.shape} {broadening.width!r} eV",
        f"Broadening: {broadening}. Complex refractive index n + ik from the dielectric function.",
    ]
    page: dict[str, Any] = {
        "REFERENCES": _Block(spectrum.provenance or "Written by Opalign."),
        "COMMENTS": _Block("\n".join(comments)),
        "DATA": [{"type": "tabulated nk", "data": _Block("\n".join(rows))}],
    }
    if spectrum.material_id:
        page["PROPERTIES"] = {"material_id": spectrum.material_id}
    text = yaml.dump(page, Dumper=_PageDumper, sort_keys=False, allow_unicode=True, width=10**6)
    return write_text(path, "# In the layout of the refractiveindex.info database\n" + text)


class _Block(str):
    """Text that is written with its lines as they are."""


class _PageDumper(yaml.SafeDumper):
    pass


_PageDumper.add_representer(
    _Block,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|"),
)


def _load(path: Path) -> Mapping[str, Any]:
    text = read_text(path)
    try:
        _check_events(text, str(path))
        page = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise SpectrumError(
            f"is no YAML: {error.problem}", where=f"{path}{line}", expected="a page of the database"
        ) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SpectrumError(f"is no YAML: {error}", where=str(path)) from error
    if not isinstance(page, dict) or not isinstance(page.get("DATA"), list):
        raise SpectrumError(
            "has no list named DATA", where=str(path), expected="a page of the database"
        )
    return page


def _check_events(text: str, where: str) -> None:
    """Refuse what grows without bound, before anything is built of it: aliases, deep nesting."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > MAXIMUM_DEPTH:
            found = (
                "elements are nested too deeply" if depth > MAXIMUM_DEPTH else "an alias is used"
            )
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise SpectrumError(
                f"is no page of the database: {found}",
                where=f"{where}, line {line}",
                expected="text and numbers",
            )


def _curves(page: Mapping[str, Any], where: str) -> tuple[Curve | None, Curve | None]:
    index: Curve | None = None
    extinction: Curve | None = None
    for position, entry in enumerate(page["DATA"], start=1):
        place = f"{where}, DATA entry {position}"
        kind = _text(entry.get("type")) if isinstance(entry, dict) else ""
        category, _, rest = kind.partition(" ")
        if category == "formula":
            index = index or _formula(entry, rest, place)
        elif kind in ("tabulated nk", "tabulated n", "tabulated k"):
            columns = _table(entry, len(rest) + 1, place)
            curves = dict(zip(rest, columns, strict=True))
            index = index or curves.get("n")
            extinction = extinction or curves.get("k")
        else:
            raise SpectrumError(
                f"data of type {kind[:40]!r} cannot be read",
                where=place,
                expected="tabulated nk, n or k, or formula 1 to 9",
            )
    return index, extinction


def _formula(entry: Mapping[str, Any], name: str, where: str) -> Curve:
    key = "wavelength_range" if "wavelength_range" in entry else "range"
    window = _numbers(entry.get(key), f"{where}, {key}")
    coefficients = _numbers(entry.get("coefficients"), f"{where}, coefficients")
    if len(window) != 2 or not 0.0 < window[0] < window[1]:
        raise SpectrumError(
            f"the range is {window[:3]}", where=where, expected="two increasing wavelengths in µm"
        )
    formula = int(name) if name.isdecimal() and len(name) < 4 else 0

    def evaluate(wavelength: np.ndarray) -> np.ndarray:
        return dispersion_index(formula, coefficients, wavelength, where)

    return curve_of_formula(window[0], window[1], evaluate)


def _table(entry: Mapping[str, Any], width: int, where: str) -> list[Curve]:
    table = NumberTable(width, where)
    lines = [line.split() for line in _text(entry.get("data")).split("\n")]
    for row, fields in enumerate((line for line in lines if line), start=1):
        table.append(fields, row)
    if len(table) < 2:
        raise SpectrumError(
            f"the table has {len(table)} rows", where=where, expected="two wavelengths or more"
        )
    values = table.values
    if not (values[:, 0] > 0.0).all():
        raise SpectrumError("a wavelength is not positive", where=where, expected="µm above zero")
    # Some tables of the database run downwards, some repeat a wavelength.
    wavelength, unique = np.unique(values[:, 0], return_index=True)
    if wavelength.size < 2:
        raise SpectrumError("has one wavelength", where=where, expected="two or more")
    energies = energies_of_wavelengths(wavelength, NANOMETRES)[::-1]
    return [curve_of_table(energies, column[unique][::-1]) for column in values.T[1:]]


def _numbers(value: Any, where: str) -> list[float]:
    numbers = []
    for text in _text(value).split()[:100]:
        try:
            numbers.append(number(text))
        except ValueError as error:
            raise SpectrumError(str(error), where=where) from error
    return numbers


def _own_words(comments: str) -> tuple[str, Broadening]:
    match = _OWN.search(comments)
    if not match:
        return LEVEL, Broadening()
    try:
        return match["level"], Broadening(match["shape"], float(match["width"]))
    except ValueError:
        return match["level"], Broadening()


def _material(path: Path, page: Mapping[str, Any]) -> str:
    properties = page.get("PROPERTIES")
    named = properties.get("material_id") if isinstance(properties, dict) else None
    if named:
        return _text(named)
    stem = path.name.split(".")[0]
    # In the database a page lies at MATERIAL/nk/PAGE.yml.
    return f"{path.parent.parent.name}/{stem}" if path.parent.name == "nk" else stem


def _citation(page: Mapping[str, Any]) -> str:
    plain = re.sub(r"<[^>]*>", "", _text(page.get("REFERENCES")))
    return " ".join(plain.split())


def _text(value: Any) -> str:
    """Return what stands in the page; YAML makes a number of a lone coefficient."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value)
