"""XML read piece by piece, from files that may be hostile.

Only the standard library's expat is used. A document type declaration is refused as such, since it
alone can define entities (the "billion laughs") or refer to other files; nesting, texts and tags
have limits, so that memory stays bounded whatever the size of the file.
"""

from __future__ import annotations

from pathlib import Path
from xml.parsers import expat

from opalign.errors import SpectrumError
from opalign.spectrum.formats.source import PIECE, open_bytes

MAXIMUM_DEPTH = 64
MAXIMUM_TOKEN = 16 * 1024**2
"""Bytes that a tag may be long."""
MAXIMUM_ELEMENT_TEXT = 64 * 1024
"""Characters of text in one element."""


class ElementHandler:
    """What a reader does at each element; to be subclassed.

    ``path`` holds the names of the open elements, from the root; ``line`` is that of the tag.
    Elements named in ``skipped`` are passed over with all they hold.
    """

    skipped: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.path: list[str] = []
        self.line = 0

    def start(self, attributes: dict[str, str]) -> None:
        """Do what is to be done as ``path[-1]`` opens."""

    def end(self, text: str) -> None:
        """Do what is to be done as ``path[-1]`` closes; ``text`` is that since the last tag."""


def parse_xml(path: Path, handler: ElementHandler) -> None:
    """Stream the file at ``path``, compressed or not, through ``handler``.

    Raises
    ------
    SpectrumError
        Naming file, line and column, if it is not well-formed, cut off, declares a document type,
        or breaks a limit; and whatever ``handler`` raises.
    """
    reader = _Reader(path, handler)
    try:
        with open_bytes(path) as stream:
            fed = 0
            while piece := stream.read(PIECE):
                fed += len(piece)
                reader.parser.Parse(piece, False)
                if fed - reader.parser.CurrentByteIndex > MAXIMUM_TOKEN:
                    raise reader.refusal("a tag does not end", "tags of ordinary length")
            reader.parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise SpectrumError(
            f"is not well-formed XML: {expat.ErrorString(error.code)}",
            where=f"{path}, line {error.lineno}, column {error.offset + 1}",
            expected="a whole XML file",
            cure="if the calculation was stopped or the file was cut off, write or copy it anew",
        ) from error
    except (ValueError, LookupError) as error:
        # An encoding that Python does not know, or one of several bytes that expat cannot use.
        raise SpectrumError(
            f"cannot be read as XML: {error}", where=str(path), expected="UTF-8 or ISO-8859-1"
        ) from error


class _Reader:
    def __init__(self, path: Path, handler: ElementHandler) -> None:
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.EntityDeclHandler = self._doctype
        self.parser.ExternalEntityRefHandler = self._external
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self._path = path
        self._handler = handler
        self._text: list[str] = []
        self._length = 0
        self._skipped_depth = 0

    def refusal(self, problem: str, expected: str) -> SpectrumError:
        line, column = self.parser.CurrentLineNumber, self.parser.CurrentColumnNumber + 1
        return SpectrumError(
            problem, where=f"{self._path}, line {line}, column {column}", expected=expected
        )

    def _doctype(self, *_: object) -> None:
        raise self.refusal(
            "a document type or entity is declared, which could expand without bound or name "
            "other files",
            "plain XML, as first-principles codes write it",
        )

    def _external(self, *_: object) -> int:
        raise self.refusal("an external entity is referred to", "a file that stands alone")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        handler = self._handler
        if name in handler.skipped:
            self._skipped_depth = 1
            self.parser.StartElementHandler = self._start_skipped
            self.parser.EndElementHandler = self._end_skipped
            self.parser.CharacterDataHandler = None
            return
        handler.path.append(name)
        self._check_depth(len(handler.path))
        self._text.clear()
        self._length = 0
        handler.line = self.parser.CurrentLineNumber
        handler.start(attributes)

    def _start_skipped(self, _name: str, _attributes: dict[str, str]) -> None:
        self._skipped_depth += 1
        self._check_depth(self._skipped_depth)

    def _end_skipped(self, _name: str) -> None:
        self._skipped_depth -= 1
        if not self._skipped_depth:
            self.parser.StartElementHandler = self._start
            self.parser.EndElementHandler = self._end
            self.parser.CharacterDataHandler = self._characters

    def _check_depth(self, depth: int) -> None:
        if depth > MAXIMUM_DEPTH:
            raise self.refusal("elements are nested too deeply", f"at most {MAXIMUM_DEPTH} levels")

    def _end(self, _: str) -> None:
        handler = self._handler
        handler.line = self.parser.CurrentLineNumber
        handler.end("".join(self._text))
        handler.path.pop()
        self._text.clear()
        self._length = 0

    def _characters(self, text: str) -> None:
        self._length += len(text)
        if self._length > MAXIMUM_ELEMENT_TEXT:
            raise self.refusal("an element holds too long a text", "rows of numbers")
        self._text.append(text)
