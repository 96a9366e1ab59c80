"""Computed and predicted spectra held against measured n and k, and against measured ε₁(0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opalign.lazy import lazy_names

if TYPE_CHECKING:
    from opalign.spectrum.experiment.comparison import Comparison, Crystal, compare, table_rows
    from opalign.spectrum.experiment.scoring import Score, score
    from opalign.spectrum.experiment.statics import compare_statics, static_rows

_HOMES = {
    "Comparison": "comparison",
    "Crystal": "comparison",
    "Score": "scoring",
    "compare": "comparison",
    "compare_statics": "statics",
    "score": "scoring",
    "static_rows": "statics",
    "table_rows": "comparison",
}

__all__ = [
    "Comparison",
    "Crystal",
    "Score",
    "compare",
    "compare_statics",
    "score",
    "static_rows",
    "table_rows",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
