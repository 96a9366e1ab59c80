"""Yambo's ``o-*.eps*``: one direction, the level of the run and independent particles beside it.

Headers of the columns differ between versions: ``EPS/Im[2]`` (3), ``EPS-Im[2]`` (4), ``Im(eps)``
(5). ``EPSo`` or ``eps_o`` are independent particles (``ipa``; of quasi-particle energies if the run
used them), and ``EPS``` is the last Haydock iteration but one, which is not read. The level of the
other columns is in the file's name: ``_ip``, ``_rpa_``, ``_alda_``, ``_lrc_``, ``_bse``.

Yambo's damping η stands in ω + iη: a Lorentzian of that half width at half maximum. Where neither
the header nor the caller tells it, Yambo's default of 0.1 eV is assumed and noted.

Source: the Yambo wiki, https://wiki.yambo-code.eu, and output files of its tutorials.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opalign.errors import SpectrumError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.formats.columns import number
from opalign.spectrum.formats.lines import TextTable, read_table
from opalign.spectrum.formats.result import Draft, ReadOptions, SpectrumFile, assemble

NAME = "Yambo"
DEFAULT_DAMPING = 0.1
UNITS = {"ev": 1.0, "mev": 1e-3, "ha": 27.211386245988, "ry": 13.605693122994}
"""Units of energy in eV (CODATA 2018)."""

_COLUMN = re.compile(
    r"EPS(?P<old>[o0`']?)\s*[-/]\s*(?P<oldpart>Im|Re)|"
    r"(?P<part>Im|Re)\s*\(\s*eps(?P<new>_?[o0]|[`'])?\s*\)",
    re.IGNORECASE,
)
_UNIT = re.compile(r"^\s*E\s*(?:\[\d+\])?\s*[/\[(]?\s*([a-z]+)", re.IGNORECASE)
_NAME = re.compile(r"^o[-.](?:(?P<job>.*)\.)?eps(?:_q(?P<q>\d+))?(?:_(?P<method>.*))?$")
_RANGE = re.compile(
    r"DmRnge\w*[^\d|]*?([\d.]+(?:E[+-]?\d+)?)\s*\|\s*([\d.]+(?:E[+-]?\d+)?)\s*\|\s*([a-z]*)", re.I
)
_DAMPING = re.compile(r"damping[^\d\n]*?([\d.]+(?:E[+-]?\d+)?)\s*(?:\[?([a-z]+))?", re.IGNORECASE)
_VERSION = re.compile(r"Version\s+(\d[\w.]*(?: Revision \d+)?)", re.IGNORECASE)
_DIRECTION = re.compile(r"Absorption\s*@\s*(.*)", re.IGNORECASE)
_NUMBERS = re.compile(r"[-+]?\d+\.\d*(?:E[-+]?\d+)?", re.IGNORECASE)
_METHODS = (
    ("alda", "tddft alda"),
    ("lrc", "tddft lrc"),
    ("bse", "bse"),
    ("rpa", "rpa"),
    ("ip", "ipa"),
)


def read(path: Path, options: ReadOptions) -> SpectrumFile:
    """Read an ``o-*.eps*`` file.

    Raises
    ------
    SpectrumError
        If it is no such file, or of a finite momentum, or its numbers make no sense.
    """
    content = read_table(path)
    name = _NAME.match(path.name.removesuffix(".gz"))
    if name and name["q"] not in (None, "1"):
        raise SpectrumError(
            f"is the response at momentum number {name['q']}",
            where=str(path),
            expected="the optical limit, momentum number 1",
        )
    method = (name["method"] or "").lower() if name else ""
    unit, columns = _columns(path, content)
    width, notes = _damping(content.comments, options)
    values = content.table.values
    drafts: list[Draft] = []
    for kind, level in (("", _level(method)), ("o", "ipa")):
        if (kind, "re") not in columns or (kind, "im") not in columns:
            continue
        if kind and drafts and drafts[0].level == level:
            continue
        if kind and method.endswith("alda_bse"):
            notes.append("independent particles left out: Yambo does not compute them in such runs")
            continue
        real, imaginary = (values[:, columns[kind, part]] for part in ("re", "im"))
        drafts.append(
            Draft(
                level,
                values[:, 0] * unit,
                real + 1j * imaginary,
                width,
                "columns EPSo" if kind else "columns EPS",
                content.table.energy_resolution * unit,
                content.table.energy_resolution,
            )
        )
    metadata = _metadata(content.comments)
    return assemble(
        path,
        NAME,
        drafts,
        options,
        source=f"Yambo {metadata.get('version', '')}".strip(),
        material_id=(name["job"] if name else None) or None,
        metadata=metadata,
        notes=notes,
    )


def _level(method: str) -> str | None:
    parts = method.split("_")
    return next((level for word, level in _METHODS if word in parts), None)


def _columns(path: Path, content: TextTable) -> tuple[float, dict[tuple[str, str], int]]:
    """Return the unit of energy in eV and (kind, part) → column; kind is "", "o" or "`"."""
    for comment in content.comments:
        found = list(_COLUMN.finditer(comment))
        if len(found) < 2:
            continue
        if len(found) + 1 != content.table.width:
            raise SpectrumError(
                f"the header names {len(found) + 1} columns and the rows have "
                f"{content.table.width}",
                where=str(path),
                expected="a name for each column",
            )
        columns: dict[tuple[str, str], int] = {}
        for column, match in enumerate(found, start=1):
            kind = (match["old"] or match["new"] or "").lower().strip("_").replace("0", "o")
            part = (match["oldpart"] or match["part"]).lower()
            columns.setdefault((kind, part), column)
        if ("", "re") in columns and ("", "im") in columns:
            return _unit(path, comment), columns
    raise SpectrumError(
        "the columns have no names",
        where=str(path),
        expected="a header with EPS-Im and EPS-Re, or Im(eps) and Re(eps)",
        cure="keep the comments that Yambo wrote above the numbers",
    )


def _unit(path: Path, comment: str) -> float:
    # "E[1] [eV]", "E/ev[1]", "E [eV]"
    match = _UNIT.match(re.sub(r"^\s*E\s*\[\d+\]", "E", comment, flags=re.IGNORECASE))
    unit = UNITS.get(match[1].lower()) if match else None
    if unit is None:
        raise SpectrumError(
            f"the unit of energy is unknown in {comment[:60]!r}",
            where=str(path),
            expected="E/ev or E [eV]",
        )
    return unit


def _damping(comments: Sequence[str], options: ReadOptions) -> tuple[Broadening, list[str]]:
    text = "\n".join(comments)
    match = _RANGE.search(text)
    if match:
        factor = UNITS.get(match[3].lower(), 1.0)
        lower, upper = (_positive(match[group]) * factor for group in (1, 2))
        if lower == upper or lower * upper == 0.0:
            return _lorentzian(max(lower, upper)), []
        notes = [f"damping rises from {lower:g} to {upper:g} eV; the mean stands for it"]
        return _lorentzian(0.5 * (lower + upper)), notes
    match = _DAMPING.search(text)
    if match and _positive(match[1]) > 0.0:
        return _lorentzian(_positive(match[1]) * UNITS.get((match[2] or "").lower(), 1.0)), []
    if options.broadening is not None:
        return options.broadening, []
    return Broadening("lorentzian", DEFAULT_DAMPING), [
        f"the damping is not in the file: Yambo's default, a Lorentzian of {DEFAULT_DAMPING} eV, "
        "is assumed; pass broadening if it was another"
    ]


def _positive(text: str) -> float:
    try:
        return number(text)
    except ValueError:
        return 0.0


def _lorentzian(width: float) -> Broadening:
    return Broadening("lorentzian", width) if width > 0.0 else Broadening()


def _metadata(comments: Sequence[str]) -> dict[str, Any]:
    text = "\n".join(comments)
    metadata: dict[str, Any] = {}
    if version := _VERSION.search(text):
        metadata["version"] = version[1]
    if line := _DIRECTION.search(text):
        vector = [float(value) for value in _NUMBERS.findall(line[1])]
        if len(vector) == 3:
            metadata["direction"] = vector
    return metadata
