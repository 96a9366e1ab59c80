"""Tables of numbers in text, between comments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from opalign.errors import SpectrumError
from opalign.spectrum.formats.columns import NumberTable
from opalign.spectrum.formats.source import read_text

_COMMA = re.compile(r"[ \t]*[,;\t][ \t]*")


@dataclass(frozen=True)
class TextTable:
    """A table and the comments around it, each without its sign and surrounding blanks."""

    table: NumberTable
    comments: tuple[str, ...]


def read_table(path: Path) -> TextTable:
    """Read the only table of a text file; lines that start with ``#`` are comments.

    Columns are separated by blanks, or by commas, semicolons or tabs.

    Raises
    ------
    SpectrumError
        Naming the line, if a row is not numbers or of another width than the first, the first
        column does not increase, or there is no table.
    """
    comments: list[str] = []
    table: NumberTable | None = None
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        stripped = text.strip()
        if stripped.startswith("#"):
            comments.append(stripped.lstrip("#").strip())
        elif stripped:
            fields = split_fields(stripped)
            if table is None:
                table = NumberTable(len(fields), str(path))
            table.append(fields, line)
    if table is None:
        raise SpectrumError("there is no table", where=str(path), expected="rows of numbers")
    table.increasing()
    return TextTable(table, tuple(comments))


def split_fields(text: str) -> list[str]:
    """Return the fields of a row, separated by commas, semicolons or tabs, otherwise by blanks."""
    return _COMMA.split(text) if _COMMA.search(text) else text.split()
