"""Files of spectra, one module a format; any of them by :func:`read_spectra`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opalign.lazy import lazy_names

if TYPE_CHECKING:
    from opalign.spectrum.formats.registry import (
        read_file,
        read_spectra,
        supported_formats,
        write_spectrum,
    )
    from opalign.spectrum.formats.result import SpectrumFile

_HOMES = {
    "SpectrumFile": "result",
    "read_file": "registry",
    "read_spectra": "registry",
    "supported_formats": "registry",
    "write_spectrum": "registry",
}

__all__ = ["SpectrumFile", "read_file", "read_spectra", "supported_formats", "write_spectrum"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
