"""Reports of explanations: one HTML file each that needs no network, and figures beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opalign.lazy import lazy_names

if TYPE_CHECKING:
    from opalign.explain.report.material import write_material_report
    from opalign.explain.report.write import write_report

_HOMES = {"write_material_report": "material", "write_report": "write"}

__all__ = ["write_material_report", "write_report"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
