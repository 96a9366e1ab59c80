"""Candidates: structures that may be worth a computation, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure


@dataclass(frozen=True)
class Candidate:
    """A structure that may be computed."""

    identifier: str
    structure: Structure
    source: str
    """Where the structure comes from: a file, a database, the prototype generator."""
    notes: str = ""
