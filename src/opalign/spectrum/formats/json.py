"""Opalign's JSON of spectra: exact, tensors included, several levels in one file.

Schema, version 1::

    {"format": "opalign spectra", "version": 1,
     "spectra": [{"material_id": "mp-1" | null, "level": "rpa", "provenance": "…" | null,
                  "broadening": {"shape": "none" | "gaussian" | "lorentzian", "width": eV},
                  "grid": {"start": eV, "stop": eV, "num": n},
                  "epsilon": {"mean": {"real": [n numbers], "imaginary": [n numbers]}}}],
     "structure": pymatgen's Structure.as_dict() | null,
     "metadata": {…}}

A tensor has the components ``xx yy zz xy yz xz`` in place of ``mean``. Widths are σ of a Gaussian,
half width at half maximum of a Lorentzian. Numbers have all their digits: reading gives back every
bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from opalign.errors import SpectrumError
from opalign.files import write_text
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.formats.columns import MAXIMUM_ROWS
from opalign.spectrum.formats.components import COMPONENTS, tensor_from_components
from opalign.spectrum.formats.result import ReadOptions, SpectrumFile
from opalign.spectrum.formats.sampling import sample
from opalign.spectrum.formats.source import read_text
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum

NAME = "Opalign JSON"
FORMAT = "opalign spectra"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Component(_Model):
    real: list[float]
    imaginary: list[float]


class _Spectrum(_Model):
    material_id: str | None = None
    level: str
    provenance: str | None = None
    broadening: Broadening
    grid: EnergyGrid
    epsilon: dict[str, _Component]


class _Document(_Model):
    format: Literal["opalign spectra"]
    version: Literal[1]
    spectra: list[_Spectrum]
    structure: dict[str, Any] | None = None
    metadata: dict[str, Any] = {}


def read(path: Path, options: ReadOptions) -> SpectrumFile:
    """Read a file that :func:`write` wrote.

    Raises
    ------
    SpectrumError
        Naming the key, if it is no such file or breaks the schema or the rules of optics.
    """
    where = str(path)
    document = _load(path)
    if not document.spectra:
        raise SpectrumError("holds no spectrum", where=where, expected="one or more")
    spectra = tuple(
        _spectrum(item, f"{where}, spectra.{number}", options)
        for number, item in enumerate(document.spectra)
    )
    found = SpectrumFile(path, NAME, spectra, _structure(document, where), document.metadata)
    if options.level is None:
        return found
    chosen = (found.spectrum(options.level),)
    return SpectrumFile(path, NAME, chosen, found.structure, found.metadata)


def write(
    spectra: Sequence[OpticalSpectrum],
    path: str | os.PathLike[str],
    structure: Any = None,
    metadata: dict[str, Any] | None = None,
) -> Path:
    """Write ``spectra`` of one material, scalar or tensor, atomically.

    ``structure`` is pymatgen's; ``metadata`` must be what JSON can hold.

    Raises
    ------
    StorageError
        If writing fails.
    """
    document = {
        "format": FORMAT,
        "version": 1,
        "spectra": [_plain(spectrum) for spectrum in spectra],
        "structure": None if structure is None else structure.as_dict(),
        "metadata": metadata or {},
    }
    return write_text(path, json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")


def _plain(spectrum: OpticalSpectrum) -> dict[str, Any]:
    epsilon = spectrum.epsilon
    parts = {"mean": epsilon}
    if spectrum.is_tensor:
        parts = {name: epsilon[:, row, column] for name, (row, column) in COMPONENTS.items()}
    return {
        "material_id": spectrum.material_id,
        "level": spectrum.level,
        "provenance": spectrum.provenance,
        "broadening": spectrum.broadening.model_dump(),
        "grid": spectrum.grid.model_dump(),
        "epsilon": {
            name: {"real": values.real.tolist(), "imaginary": values.imag.tolist()}
            for name, values in parts.items()
        },
    }


def _load(path: Path) -> _Document:
    text = read_text(path)
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
        return _Document.model_validate(content)
    except json.JSONDecodeError as error:
        raise SpectrumError(
            f"is no JSON: {error.msg}",
            where=f"{path}, line {error.lineno}, column {error.colno}",
            expected="a whole file as write_spectrum writes it",
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "document"
        raise SpectrumError(
            f"{key}: {first['msg']}"[:300], where=str(path), expected="the schema of version 1"
        ) from error
    except (ValueError, RecursionError, OverflowError) as error:
        raise SpectrumError(f"cannot be read: {error}"[:300], where=str(path)) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _spectrum(item: _Spectrum, where: str, options: ReadOptions) -> OpticalSpectrum:
    # What the header claims is compared before anything of that size is made.
    if not 2 <= item.grid.num <= MAXIMUM_ROWS:
        raise SpectrumError(
            f"the grid claims {item.grid.num} energies",
            where=where,
            expected=f"at most {MAXIMUM_ROWS}",
        )
    names = sorted(item.epsilon)
    if names not in (["mean"], sorted(COMPONENTS)):
        raise SpectrumError(
            f"epsilon has the components {', '.join(names)[:100]}",
            where=where,
            expected=f"mean, or {' '.join(COMPONENTS)}",
        )
    components = {}
    for name, part in item.epsilon.items():
        if not len(part.real) == len(part.imaginary) == item.grid.num:
            raise SpectrumError(
                f"{name} has {len(part.real)} real and {len(part.imaginary)} imaginary values",
                where=where,
                expected=f"{item.grid.num} of each, as the grid says",
            )
        values = np.empty(item.grid.num, dtype=complex)
        # Not real + 1j * imaginary, which loses the sign of zeros.
        values.real, values.imag = part.real, part.imaginary
        components[name] = values
    epsilon = components["mean"] if "mean" in components else tensor_from_components(components)
    grid, provenance = item.grid, item.provenance
    if options.step is not None:
        sampled = sample(grid.values, epsilon, where, step=options.step)
        grid, epsilon = sampled.grid, sampled.values
        provenance = ", ".join(part for part in (provenance, sampled.note) if part)
    try:
        return OpticalSpectrum(
            grid,
            epsilon,
            item.level,
            options.broadening or item.broadening,
            options.material_id or item.material_id,
            provenance,
        )
    except SpectrumError as error:
        raise SpectrumError(
            error.problem, where=where, expected=error.expected, cure=error.cure
        ) from error


def _structure(document: _Document, where: str) -> Any:
    if document.structure is None:
        return None
    from pymatgen.core.structure import Structure

    try:
        return Structure.from_dict(document.structure)
    except Exception as error:  # whatever pymatgen raises for a dict that means nothing
        raise SpectrumError(
            f"the structure cannot be read: {error}"[:300],
            where=where,
            expected="pymatgen's Structure.as_dict()",
        ) from error
