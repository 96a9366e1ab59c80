"""Which formats there are, by content and by name; reading and writing any of them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from opalign.errors import SpectrumError
from opalign.spectrum.formats.result import ReadOptions, SpectrumFile
from opalign.spectrum.formats.source import read_head

if TYPE_CHECKING:
    from opalign.spectrum.broadening import Broadening
    from opalign.spectrum.optical import OpticalSpectrum


@dataclass(frozen=True)
class Format:
    """One format of files.

    Parameters
    ----------
    name
        What messages call it.
    module
        Module of this package whose ``read(path, options)`` reads it, imported on first use.
    content
        Regular expression for the beginning of such a file.
    file_name
        Regular expression for its name without ``.gz``, for files that are damaged or say nothing.
    example
        What such a file is called.
    """

    name: str
    module: str
    content: str
    file_name: str
    example: str

    def has_content(self, head: str) -> bool:
        """Tell whether the beginning of a file is this format's."""
        return bool(self.content) and re.search(self.content, head, re.MULTILINE) is not None

    def has_name(self, name: str) -> bool:
        """Tell whether a file name is this format's."""
        return bool(self.file_name) and re.search(self.file_name, name) is not None


_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"

FORMATS = (
    Format("Opalign JSON", "json", r'\A\s*\{\s*"format"\s*:\s*"opalign', r"\.json$", "*.json"),
    Format("VASP", "vasprun", r"<modeling>", r"vasprun.*\.xml", "vasprun.xml"),
    Format("VASP", "outcar", r"\A\s*vasp\.\d", r"^OUTCAR", "OUTCAR"),
    Format(
        "Yambo",
        "yambo",
        r"^#.*(?:EPS[`'o0]?\s*[-/]\s*(?:Im|Re)|(?:Im|Re)\(eps)",
        r"^o[-.].*eps",
        "o-*.eps*",
    ),
    Format(
        "Quantum ESPRESSO epsilon.x",
        "espresso",
        r"\A\s*#\s*energy grid \[eV\]",
        r"^(?:eps[ri]|eels|ieps)(?:_.*)?\.dat$|^eps[xyz][xyz]\.dat$",
        "epsr_*.dat with epsi_*.dat, or epsxx.dat …",
    ),
    Format(
        "Opalign CSV",
        "csv",
        r"\A# Optical spectrum, written by Opalign|^energy_eV,epsilon_real",
        "",
        "*.csv with energy_eV, epsilon_real, epsilon_imaginary",
    ),
    Format(
        "refractiveindex.info",
        "refractive_index_info",
        r"^DATA\s*:",
        r"\.ya?ml$",
        "*.yml",
    ),
    Format(
        "GPAW",
        "gpaw",
        rf"\A\s*{_NUMBER}(?:\s*,\s*{_NUMBER}){{2,4}}\s*$",
        r"^df.*\.csv$",
        "df*.csv of get_dielectric_function",
    ),
    Format(
        "table of n, k or ε",
        "table",
        r"(?i)^#?\s*\"?(?:photon\s*energy|energy|e|wavelength|lambda|wl).*[,;\t ].*"
        r"\b(?:n|k|e1|e2|eps|epsilon)",
        r"\.(?:csv|tsv)$",
        "*.csv with energy_eV or wavelength_nm, n and k",
    ),
)
"""In the order in which their marks are looked for."""

WRITERS = {".csv": "Opalign CSV", ".json": "Opalign JSON", ".yml": "refractiveindex.info"}
"""Suffix → format that :func:`write_spectrum` writes; ``.yaml`` is ``.yml``."""


def supported_formats() -> list[str]:
    """Return what can be read, one line a format."""
    return [f"{entry.name} ({entry.example})" for entry in FORMATS]


def recognise(path: str | os.PathLike[str]) -> Format:
    """Return the format of the file at ``path``, by its content and then by its name.

    Raises
    ------
    SpectrumError
        If it cannot be read, is empty, or of no known format; the message lists those there are.
    """
    path = Path(path)
    if path.is_dir():
        raise SpectrumError("is a folder", where=str(path), expected="a file")
    # As Latin-1, a byte order mark of UTF-8 is three characters.
    head = read_head(path).removeprefix("ï»¿").replace("\r\n", "\n")
    name = path.name.removesuffix(".gz")
    found = next((entry for entry in FORMATS if entry.has_content(head)), None)
    found = found or next((entry for entry in FORMATS if entry.has_name(name)), None)
    if found is None:
        raise SpectrumError(
            "is of no known format",
            where=str(path),
            expected="one of these: " + "; ".join(supported_formats()),
            cure="write energy, n and k into a CSV file, with the names of the columns on top",
        )
    return found


def read_file(
    path: str | os.PathLike[str],
    *,
    level: str | None = None,
    broadening: Broadening | None = None,
    material_id: str | None = None,
    step: float | None = None,
) -> SpectrumFile:
    """Read all that a file tells: spectra, structure, settings, and notes of what was done.

    Parameters
    ----------
    path
        File of one of :func:`supported_formats`, compressed with gzip or not. For formats that
        spread over several files, any of them.
    level
        Which level of theory to return, where the file tells them; otherwise what it is. A level
        that the file does not hold is refused, so that none is ever relabelled.
    broadening
        What the spectra contain, for files that do not tell. It wins over what they tell.
    material_id
        Wins over what the file tells.
    step
        Step in eV to interpolate to. Without it, evenly spaced energies stay as they are, and
        others are interpolated at their finest spacing, but at no more than 4,001 points.

    Raises
    ------
    SpectrumError
        And nothing else, whatever the file holds: naming file and place, if it is unknown, damaged,
        hostile or breaks the rules of optics.
    """
    path = Path(path)
    module = import_module(f"{__package__}.{recognise(path).module}")
    options = ReadOptions(level, broadening, material_id, step)
    found: SpectrumFile = module.read(path, options)
    return found


def read_spectra(
    path: str | os.PathLike[str],
    *,
    level: str | None = None,
    broadening: Broadening | None = None,
    material_id: str | None = None,
    step: float | None = None,
) -> list[OpticalSpectrum]:
    """Return the spectra of a file; parameters and errors are those of :func:`read_file`."""
    found = read_file(path, level=level, broadening=broadening, material_id=material_id, step=step)
    return list(found.spectra)


def write_spectrum(
    spectrum: OpticalSpectrum | Sequence[OpticalSpectrum] | SpectrumFile,
    path: str | os.PathLike[str],
) -> Path:
    """Write a spectrum in the format that the suffix of ``path`` names, atomically.

    ``.csv`` and ``.json`` give back every bit and hold tensors; ``.json`` also holds several
    spectra, a structure and metadata. ``.yml`` holds n and k of a scalar spectrum, in the layout of
    refractiveindex.info.

    Raises
    ------
    SpectrumError
        If the suffix is unknown, or the format cannot hold what is given.
    StorageError
        If writing fails.
    """
    from opalign.spectrum.optical import OpticalSpectrum

    suffix = Path(path).suffix.lower().replace(".yaml", ".yml")
    if suffix not in WRITERS:
        raise SpectrumError(
            f"the suffix {suffix!r} names no format",
            where=str(path),
            expected=", ".join(f"{key} ({name})" for key, name in WRITERS.items()),
        )
    content: SpectrumFile | None = None
    if isinstance(spectrum, SpectrumFile):
        content, spectra = spectrum, list(spectrum.spectra)
    else:
        spectra = [spectrum] if isinstance(spectrum, OpticalSpectrum) else list(spectrum)
    if suffix == ".json":
        from opalign.spectrum.formats.json import write

        if content is None:
            return write(spectra, path)
        return write(spectra, path, content.structure, dict(content.metadata))
    if len(spectra) != 1:
        raise SpectrumError(
            f"{len(spectra)} spectra do not fit into {WRITERS[suffix]}",
            where=str(path),
            expected="one",
            cure="write .json, or one file a spectrum",
        )
    if suffix == ".csv":
        from opalign.spectrum.formats.csv import write_csv

        return write_csv(spectra[0], path)
    from opalign.spectrum.formats.refractive_index_info import write as write_page

    return write_page(spectra[0], path)
