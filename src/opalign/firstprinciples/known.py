"""What campaigns elsewhere have computed, by the keys of their jobs.

A set grows over many machines and months: its table and the list of what failed travel, the folders
of the campaigns that made them need not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opalign.dataset.table import SpectraTable
from opalign.errors import DatasetError
from opalign.files import read_json, write_text

if TYPE_CHECKING:
    from opalign.firstprinciples.campaign import Campaign

FAILURES_VERSION = 1
FIELDS = ("key", "material_id", "reason", "detail")
LONGEST_DETAIL = 200
LARGEST_LIST = 64 << 20
"""Bytes of a list of failures; a million of them is less."""


def known_keys(paths: Iterable[str | PathLike[str]]) -> dict[str, str]:
    """Return job key → file name of what exported tables and lists of failures hold.

    A job that was tried again with other settings is there with all its keys.

    Raises
    ------
    DatasetError
        A file is no such table or list, or a row does not tell its key.
    """
    found: dict[str, str] = {}
    for path in map(Path, paths):
        keys = _listed(path) if path.suffix == ".json" else _exported(path)
        found |= dict.fromkeys(keys, path.name)
    return found


def failures_of(campaign: Campaign) -> list[dict[str, Any]]:
    """Return key, material id, reason and detail of all that gave no spectrum.

    What the campaign knows as failed from elsewhere comes first.
    """
    entries = {
        entry["key"]: entry
        for known in campaign.config.known
        if known.suffix == ".json"
        for entry in _read(known)
    }
    for job, state in zip(campaign.plan.jobs, campaign.states(), strict=True):
        if state.status == "failed":
            entries[job.key] = {
                "key": job.key,
                "material_id": job.identifier,
                "reason": state.reason,
                "detail": state.detail.split("\n")[0][:LONGEST_DETAIL],
                **({"retry_of": list(job.retry_of)} if job.retry_of else {}),
            }
    return list(entries.values())


def write_failures(failures: Sequence[Mapping[str, Any]], path: str | PathLike[str]) -> Path:
    """Write what :func:`failures_of` returns as JSON, which :func:`known_keys` reads."""
    content = {"version": FAILURES_VERSION, "failures": list(failures)}
    return write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _exported(path: Path) -> list[str]:
    table = SpectraTable.open(path)
    keys: list[str] = []
    for row in range(len(table)):
        try:
            keys += _keys(json.loads(table.provenance(row) or ""))
        except (ValueError, TypeError, KeyError) as error:
            raise DatasetError(
                f"row {row} does not say which job made it",
                where=str(path),
                expected="a table that `opalign compute export` wrote",
                cure="leave it out of known",
            ) from error
    return keys


def _listed(path: Path) -> list[str]:
    return [key for entry in _read(path) for key in _keys(entry)]


def _keys(told: Mapping[str, Any]) -> list[str]:
    """Return the key of a job, and those of the failed ones that it stands for."""
    earlier = told.get("retry_of", [])
    if not isinstance(earlier, list):
        raise TypeError(f"retry_of {earlier!r}")
    return [str(key) for key in (told["key"], *earlier)]


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        content = read_json(path, LARGEST_LIST)
        if content["version"] != FAILURES_VERSION:
            raise ValueError(f"version {content['version']}")
        entries: list[dict[str, Any]] = content["failures"]
        for entry in entries:
            if not all(isinstance(entry[name], str) for name in FIELDS):
                raise ValueError(f"{', '.join(FIELDS)} are texts")
            _keys(entry)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DatasetError(
            f"cannot be read: {type(error).__name__}: {error}",
            where=str(path),
            expected="the list of failures that `opalign compute export --card` wrote",
            cure="leave it out of known",
        ) from error
    return entries
