"""Tables with a header of one line, as spreadsheets and instruments write them.

The first column is the photon energy (eV) or the vacuum wavelength (nm or µm), with its unit in its
name: ``energy_eV``, ``Energy (eV)``, ``wavelength_nm``, ``lambda [um]``. ``wl`` without unit is in
µm, as refractiveindex.info exports it, also with a second table of k below that of n. Further
columns are ``n`` and ``k``, or ``epsilon_real`` and ``epsilon_imaginary`` (also ``e1``, ``e2``).
Columns of other names are left alone. The level must be told by the caller.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from opalign.errors import SpectrumError
from opalign.spectrum.formats.columns import NumberTable, check_increasing
from opalign.spectrum.formats.lines import split_fields
from opalign.spectrum.formats.optical_constants import (
    Curve,
    curve_of_table,
    energies_of_wavelengths,
    epsilon_of_constants,
)
from opalign.spectrum.formats.result import Draft, ReadOptions, SpectrumFile, assemble
from opalign.spectrum.formats.source import read_text

NAME = "table of optical constants"
QUANTITIES = {
    "n": ("n", "refractiveindex", "index", "nreal"),
    "k": ("k", "kappa", "extinction", "extinctioncoefficient", "nimag"),
    "real": ("epsilonreal", "e1", "eps1", "epsilon1", "ε1", "reeps", "reepsilon", "epsreal"),
    "imaginary": (
        *("epsilonimaginary", "e2", "eps2", "epsilon2", "ε2", "imeps", "imepsilon", "epsimag"),
        "epsilonimag",
    ),
}
"""Names of columns, without blanks and signs."""

_AXIS = re.compile(
    r"^(?:(?P<energy>(?:photon)?energy|e|hv|hω)|(?P<wave>wavelength|lambda|λ|wl))(?P<unit>.*)$"
)
_ENERGY_UNITS = {"ev": 1.0, "mev": 1e-3}
_WAVE_UNITS = {"nm": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3, "micron": 1e3, "microns": 1e3}


def axis_unit(header: str) -> tuple[str, float] | None:
    """Return ("energy", eV per unit) or ("wavelength", nm per unit) of a column's name, if any."""
    plain = _plain(header)
    match = _AXIS.match(plain)
    if not match:
        return None
    if match["energy"]:
        factor = _ENERGY_UNITS.get(match["unit"])
        return None if factor is None else ("energy", factor)
    if plain == "wl":
        return "wavelength", _WAVE_UNITS["um"]
    factor = _WAVE_UNITS.get(match["unit"])
    return None if factor is None else ("wavelength", factor)


def read(path: Path, options: ReadOptions) -> SpectrumFile:
    """Read the table at ``path``.

    Raises
    ------
    SpectrumError
        Naming the line, if header or numbers cannot be used, or the level is not given.
    """
    sections = _sections(path)
    curves: dict[str, Curve] = {}
    for section in sections:
        for name, curve in section.curves().items():
            curves.setdefault(name, curve)
    where = str(path)
    notes = []
    if "real" in curves and "imaginary" in curves:
        energies, epsilon, rounding = _epsilon(curves["real"], curves["imaginary"])
        origin = "ε"
    elif "n" in curves:
        energies, epsilon, rounding = epsilon_of_constants(
            curves["n"], curves.get("k"), where, options.step
        )
        origin = "n and k"
        if "k" not in curves:
            notes.append("k is not in the file and taken as zero")
    else:
        raise SpectrumError(
            "there is no dielectric function",
            where=where,
            expected="columns named n and k, or epsilon_real and epsilon_imaginary",
            cure=f"the header is {', '.join(sections[0].names)[:200]}",
        )
    draft = Draft(None, energies, epsilon, origin=origin, energy_rounding=rounding)
    return assemble(
        path,
        NAME,
        [draft],
        options,
        source="table",
        material_id=path.name.split(".")[0],
        notes=notes,
    )


@dataclass(frozen=True)
class _Section:
    """One header line and the rows below it."""

    names: Sequence[str]
    axis: tuple[str, float]
    table: NumberTable

    def curves(self) -> dict[str, Curve]:
        kind, factor = self.axis
        values = self.table.values
        lines = np.array(self.table.lines)
        if len(values) > 1 and values[0, 0] > values[-1, 0]:
            values, lines = values[::-1], lines[::-1]
        check_increasing(values[:, 0], lines.tolist(), self.table.where, kind)
        rounding = self.table.energy_resolution * factor
        if kind == "energy":
            energies = values[:, 0] * factor
        else:
            if values[0, 0] <= 0.0:
                raise SpectrumError(
                    "a wavelength is not positive",
                    where=f"{self.table.where}, line {lines[0]}",
                    expected="wavelengths above zero",
                )
            energies = energies_of_wavelengths(values[:, 0], factor)[::-1]
            values = values[::-1]
            rounding = 0.0  # evenly spaced wavelengths make uneven energies
        found = {}
        for column, name in enumerate(self.names):
            quantity = next((q for q, names in QUANTITIES.items() if _plain(name) in names), None)
            if quantity and quantity not in found and column > 0:
                found[quantity] = curve_of_table(energies, values[:, column], rounding)
        return found


def _epsilon(real: Curve, imaginary: Curve) -> tuple[np.ndarray, np.ndarray, float]:
    energies = real.energies if real.energies is not None else np.empty(0)
    return energies, real.evaluate(energies) + 1j * imaginary.evaluate(energies), real.rounding


def _sections(path: Path) -> list[_Section]:
    sections: list[_Section] = []
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        stripped = text.strip()
        header = stripped.lstrip("#").strip()
        names = _header_fields(header)
        axis = axis_unit(names[0]) if names else None
        if axis and len(names) > 1:
            sections.append(_Section(names, axis, NumberTable(len(names), str(path))))
        elif stripped and not stripped.startswith("#"):
            if not sections:
                raise SpectrumError(
                    f"the first column is named {stripped[:40]!r}",
                    where=f"{path}, line {line}",
                    expected="a header such as 'energy_eV,n,k' or 'wavelength_nm,n,k', with unit",
                )
            sections[-1].table.append(split_fields(stripped), line)
    if not sections:
        raise SpectrumError(
            "there is no table", where=str(path), expected="a header and rows of numbers"
        )
    return sections


def _header_fields(header: str) -> list[str]:
    # "Wavelength (nm) n k": a unit belongs to the name before it.
    joined = re.sub(r"\s*([\[(][^\])]*[\])])", r"\1", header[:1000])
    return [name.strip().strip('"') for name in split_fields(joined)]


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-()\[\]/\"'.]", "", name).lower()
