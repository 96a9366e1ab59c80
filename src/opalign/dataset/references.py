"""Energies of the elements, from which formation energies are counted, in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator

from opalign.dataset.table import SpectraTable
from opalign.errors import ConfigurationError, DatasetError
from opalign.files import read_json, write_text

VERSION = 1
LARGEST_FILE = 1 << 20
"""Bytes; a hundred elements need a hundredth of it."""


class EnergyMethod(BaseModel):
    """What total energies have in common that can be compared; cutoff of the plane waves in eV."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str
    functional: str
    cutoff: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]

    def __str__(self) -> str:
        return f"{self.engine}, {self.functional}, {self.cutoff:g} eV"


class References(BaseModel):
    """Energies of elements in their ground states, all of one method.

    Parameters
    ----------
    energies
        Symbol → eV per atom.
    method
        None where the file does not tell.
    states
        Symbol → what was computed, for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    energies: dict[str, FiniteFloat]
    method: EnergyMethod | None = None
    states: dict[str, str] = {}

    @field_validator("energies")
    @classmethod
    def _elements(cls, energies: dict[str, float]) -> dict[str, float]:
        if strange := _strange(energies):
            raise ValueError(f"no elements: {', '.join(strange)}")
        return energies

    def save(self, path: str | PathLike[str]) -> Path:
        """Write as JSON, atomically, and return the path."""
        content = {
            "version": VERSION,
            "method": None if self.method is None else self.method.model_dump(),
            "energies_eV_per_atom": dict(sorted(self.energies.items())),
            "states": dict(sorted(self.states.items())),
        }
        return write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> References:
        """Read what :meth:`save` wrote, or a plain ``{"O": -4.9, …}`` in eV per atom.

        Raises
        ------
        DatasetError
            The file is absent, too large, no JSON, of another version, or not of this form.
        """
        path = Path(path)
        try:
            content = read_json(path, LARGEST_FILE)
            if not isinstance(content, dict):
                raise ValueError("no mapping")
            if "version" not in content:
                return cls(energies=content)
            if content["version"] != VERSION:
                raise ValueError(f"version {content['version']}, not {VERSION}")
            named = {name: value for name, value in content.items() if name != "version"}
            if "energies_eV_per_atom" not in named:
                raise ValueError("energies_eV_per_atom is missing")
            return cls(energies=named.pop("energies_eV_per_atom"), **named)
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise DatasetError(
                f"cannot be read as energies of elements: {_told(error)}",
                where=str(path),
                expected='{"O": -4.9, …} in eV per atom, or a file of `opalign dataset references`',
                cure="correct the file, or make it anew",
            ) from error


def elements_of(table: SpectraTable) -> list[str]:
    """Symbols of the elements in a table, by atomic number."""
    from ase.data import chemical_symbols

    numbers: set[int] = set()
    for row in range(len(table)):
        numbers.update(table.arrays(row).atomic_numbers.tolist())
    return [chemical_symbols[number] for number in sorted(numbers)]


def check_elements(symbols: Iterable[str]) -> list[str]:
    """Return symbols of elements as given, each once; ConfigurationError for what is none."""
    asked = list(dict.fromkeys(symbols))
    if strange := _strange(asked):
        raise ConfigurationError(
            f"{', '.join(map(repr, strange))} is no element",
            expected="symbols, such as Mg O, or a table (.parquet)",
        )
    return asked


def _strange(symbols: Iterable[str]) -> list[str]:
    from ase.data import atomic_numbers

    return sorted(symbol for symbol in symbols if not atomic_numbers.get(symbol))


def _told(error: Exception) -> str:
    if isinstance(error, ValidationError):
        details = error.errors(include_url=False, include_context=False)
        return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in details)
    return f"{getattr(error, 'strerror', None) or error}"
