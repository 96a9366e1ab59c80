"""What an import or export did: the table, what was left out and why, what was changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TransferReport:
    """Outcome of an import or export.

    Attributes
    ----------
    path
        The table or folder written.
    rows
        Number of materials in it.
    skipped
        Name and reason of each material that was left out.
    notes
        What was changed on the way, such as rounded-off negative values set to zero.
    """

    path: Path
    rows: int
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
