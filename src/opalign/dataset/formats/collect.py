"""Rows out of the entries of others: what cannot be used is skipped, and said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opalign.dataset.formats.json_entries import Entry
from opalign.errors import DatasetError

#: Makes a row out of an entry and its place; None to pass over it, DatasetError to skip it.
MakeRow = Callable[[Any, str], "dict[str, Any] | None"]
#: Called with the id of each material that has been read, to show how far it is.
Done = Callable[[str], None]


@dataclass
class Log:
    """How many rows there were, and name and reason of what was skipped."""

    count: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def nothing(self, sources: Iterable[Path], expected: str) -> DatasetError:
        """Return the error that sources without a single row are answered with."""
        why = f"the first was left out because: {self.skipped[0][1]}" if self.skipped else None
        return DatasetError(
            "gives no material that can be used",
            where=", ".join(map(str, sources)),
            expected=expected,
            cure=why,
        )


def usable_rows(
    entries: Iterable[Entry], make_row: MakeRow, log: Log, done: Done | None = None
) -> Iterator[dict[str, Any]]:
    """Rows of the entries that can be used, each id once; the rest goes to the log."""
    seen: dict[str, str] = {}
    for where, entry in entries:
        try:
            if isinstance(entry, DatasetError):
                raise entry
            row = make_row(entry, where)
            if row is None:
                continue
            material_id = row["material_id"]
            if material_id in seen:
                raise DatasetError(f"{material_id} stands in {seen[material_id]} already")
        except DatasetError as error:
            expected = f"; expected {error.expected}" if error.expected else ""
            log.skipped.append((where, error.problem + expected))
            continue
        seen[material_id] = where
        log.count += 1
        if done is not None:
            done(material_id)
        yield row
