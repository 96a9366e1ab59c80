"""Entries of JSON files of any size, one at a time in bounded memory.

A file holds one entry, a list of entries, ``{"entries": […]}``, or entries by name. One broken
entry spoils itself alone: it is handed on as an error, and the next one is read. (A strict
streaming parser stops at the first NaN, which Python writes and JSON does not know.)
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from opalign.dataset.pickles import refuse_pickle
from opalign.errors import DatasetError

CHUNK = 1 << 20
#: Characters of one entry; those of the sets known here have below a million.
LONGEST_ENTRY = 64 << 20
JSON_SUFFIXES = (".json", ".json.gz")

_MARK = re.compile(r'["\[\]{}]')
_STRING_MARK = re.compile(r'["\\]')
_SCALAR_END = re.compile(r"[\s,\]}:]")
_SPACE = re.compile(r"\s*")
#: First keys of an entry by itself, as opposed to a name that an entry goes by.
_ENTRY_KEYS = frozenset({"structure", "data", "parameters", "mat_id", "mp_id", "energy"})

#: Where it stands (file, and place in it), and the entry or what is wrong with it.
Entry = tuple[str, Any]


def json_files(sources: Iterable[Path]) -> list[Path]:
    """All JSON files among and below some files and folders, sorted; DatasetError for a pickle."""
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            inside = sorted(path for path in source.rglob("*") if path.is_file())
            found += [path for path in inside if path.name.lower().endswith(JSON_SUFFIXES)]
        elif not source.is_file():
            raise DatasetError("is missing", where=str(source), cure="check the path")
        else:
            refuse_pickle(source)
            if source.name.lower().endswith(JSON_SUFFIXES):
                found.append(source)
    return found


def iterate_entries(path: Path, longest: int = LONGEST_ENTRY) -> Iterator[Entry]:
    """Entries of one JSON file, plain or gzip, in their order; broken ones as DatasetError."""
    try:
        packed = path.name.lower().endswith(".gz")
        with (gzip.open if packed else open)(path, "rt", encoding="utf-8") as stream:
            for place, text in _texts(_Scanner(stream, longest)):
                where = f"{path}, {place}" if place else str(path)
                yield where, parse(text, where)
    except _ScanError as error:
        yield str(path), DatasetError(str(error), where=str(path), cure="fetch the file again")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        yield str(path), DatasetError(f"cannot be read: {error}", where=str(path))


def parse(text: str, where: str) -> Any:
    """Parse one JSON value; a DatasetError, returned, if it is none. NaN and Infinity are read."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "is nested too deeply" if isinstance(error, RecursionError) else str(error)
        return DatasetError(f"is no JSON: {reason}", where=where)


class _ScanError(Exception):
    """The file is no JSON as a whole, or ends too early: nothing after this can be found."""


class _Scanner:
    """Finds where JSON values end, without parsing them."""

    def __init__(self, stream: IO[str], longest: int) -> None:
        self.stream = stream
        self.longest = longest
        self.buffer = ""
        self.at = 0

    def peek(self) -> str:
        """Return the next character that is no space, "" at the end; it stays the next."""
        while True:
            match = _SPACE.match(self.buffer, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if not self._fill():
                return ""

    def take(self, wanted: str) -> str:
        """Pass over the next character, which must be one of ``wanted``."""
        found = self.peek()
        if not found or found not in wanted:
            raise _ScanError(
                f"is no JSON, or is cut off: {' or '.join(wanted)} is missing"
                + (f" before {self.buffer[self.at : self.at + 20]!r}" if found else " at the end")
            )
        self.at += 1
        return found

    def value(self) -> str:
        """Text of the next value, whatever it is."""
        first = self.peek()
        start = self._trim()
        if first and first not in '"[{':
            end = self._find(_SCALAR_END, start, at_end=True)
        else:
            end = self._string_end(start + 1) if first == '"' else self._close(start)
        if end - start > self.longest:
            raise self._too_long()
        self.at = end
        return self.buffer[start:end]

    def _close(self, start: int) -> int:
        depth, at = 0, start
        while True:
            at = self._find(_MARK, at) + 1
            mark = self.buffer[at - 1]
            if mark == '"':
                at = self._string_end(at)
                continue
            depth += 1 if mark in "[{" else -1
            if depth == 0:
                return at

    def _string_end(self, at: int) -> int:
        while True:
            at = self._find(_STRING_MARK, at)
            if self.buffer[at] == '"':
                return at + 1
            at += 2

    def _find(self, pattern: re.Pattern[str], at: int, at_end: bool = False) -> int:
        while not (match := pattern.search(self.buffer, at)):
            at = max(at, len(self.buffer))
            if len(self.buffer) - self.at > self.longest:
                raise self._too_long()
            if not self._fill():
                if at_end:
                    return len(self.buffer)
                raise _ScanError("ends in the middle of an entry")
        return match.start()

    def _trim(self) -> int:
        """Drop what has been read, now and then; return where the next character stands."""
        if self.at > CHUNK:
            self.buffer, self.at = self.buffer[self.at :], 0
        return self.at

    def _too_long(self) -> _ScanError:
        return _ScanError(f"holds an entry of more than {self.longest:,} characters")

    def _fill(self) -> bool:
        more = self.stream.read(CHUNK)
        self.buffer += more
        return bool(more)


def _texts(scanner: _Scanner) -> Iterator[tuple[str, str]]:
    first = scanner.peek()
    if first == "[":
        yield from _list(scanner)
    elif first == "{":
        yield from _object(scanner)
    else:
        raise _ScanError("is empty" if not first else "holds neither a JSON object nor a list")
    if scanner.peek():
        raise _ScanError("goes on after its JSON has ended")


def _list(scanner: _Scanner) -> Iterator[tuple[str, str]]:
    scanner.take("[")
    number = 0
    if scanner.peek() == "]":
        scanner.take("]")
        return
    while True:
        yield f"entry {number}", scanner.value()
        number += 1
        if scanner.take(",]") == "]":
            return


def _object(scanner: _Scanner) -> Iterator[tuple[str, str]]:
    """Yield the object as one entry, its ``entries``, or its values, whichever its keys say."""
    scanner.take("{")
    if scanner.peek() == "}":
        scanner.take("}")
        return
    members: list[str] = []
    size = 0
    single: bool | None = None
    while True:
        key_text = scanner.value()
        key = parse(key_text, "key")
        if not isinstance(key, str):
            raise _ScanError(f"is no JSON: {key_text[:20]!r} stands where a key should")
        scanner.take(":")
        if single is None:
            single = key.startswith("@") or key in _ENTRY_KEYS
        if not single and key == "entries" and scanner.peek() == "[":
            yield from _list(scanner)
        else:
            text = scanner.value()
            if not single:
                yield repr(key), text
            else:
                members.append(f"{key_text}:{text}")
                size += len(members[-1])
                if size > scanner.longest:
                    raise _ScanError(f"is an entry of more than {scanner.longest:,} characters")
        if scanner.take(",}") == "}":
            break
    if single:
        yield "", "{" + ",".join(members) + "}"
