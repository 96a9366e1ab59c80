"""GPAW as an engine: relaxation, ground state, bands, response; open, by pip, on one core."""

from __future__ import annotations

from opalign.firstprinciples.gpaw_settings import GpawSettings

__all__ = ["GpawSettings"]
