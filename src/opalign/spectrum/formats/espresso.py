"""Quantum ESPRESSO's epsilon.x: ``epsr_PREFIX.dat`` with ``epsi_PREFIX.dat``, or ``epsxx.dat`` ….

Any file of a family stands for all of it. ``calculation = 'eps'`` gives the diagonal x, y, z;
``'offdiag'`` nine files of one component each, a full tensor. Level: independent particles without
local fields or the non-local part of the pseudopotential, ``ipa``. Where they are there, the loss
function (``eels_…``) and ε on the imaginary axis (``ieps_…``) are in the metadata.

epsilon.x uses Drude–Lorentz oscillators of full width ``intersmear``, which is not in the files:
its default of 0.136 eV, a half width of 0.068 eV, is assumed and noted unless the caller tells.

Source: PP/src/epsilon.f90 of Quantum ESPRESSO 7.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from opalign.errors import SpectrumError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.formats.columns import NumberTable
from opalign.spectrum.formats.lines import read_table
from opalign.spectrum.formats.result import Draft, ReadOptions, SpectrumFile, assemble

NAME = "Quantum ESPRESSO epsilon.x"
DEFAULT_INTERSMEAR = 0.136
ROUNDING = {"diagonal": 5e-10, "full": 5e-7}
"""Half of the last decimal: f15.9 and f15.6."""

_FAMILY = re.compile(r"^(?:epsr|epsi|eels|ieps)((?:_.*)?\.dat(?:\.gz)?)$")
_COMPONENT = re.compile(r"^eps[xyz][xyz](\.dat(?:\.gz)?)$")


def read(path: Path, options: ReadOptions) -> SpectrumFile:
    """Read the family of files that ``path`` belongs to.

    Raises
    ------
    SpectrumError
        If a file of the family is missing or does not fit the others, or the name is of none.
    """
    metadata: dict[str, Any] = {}
    family = _FAMILY.match(path.name)
    component = _COMPONENT.match(path.name)
    if family:
        kind, identifier = "diagonal", family[1].split(".dat")[0].lstrip("_") or None
        table, epsilon = _diagonal(path, family[1])
        for name, prefix in (("loss", "eels"), ("epsilon_on_imaginary_axis", "ieps")):
            beside = path.with_name(prefix + family[1])
            if beside.is_file():
                metadata[name] = _table(beside, 4, table).values[:, 1:]
    elif component:
        kind, identifier = "full", None
        table, epsilon = _full(path, component[1])
    else:
        raise SpectrumError(
            "the name does not tell what the file is",
            where=str(path),
            expected="epsr_PREFIX.dat and epsi_PREFIX.dat side by side, or epsxx.dat … epszz.dat",
            cure="give the files the names that epsilon.x gave them",
        )
    width, notes = _broadening(options)
    draft = Draft(
        "ipa",
        table.values[:, 0],
        epsilon,
        width,
        f"{kind} tensor",
        table.energy_resolution,
        ROUNDING[kind],
    )
    return assemble(
        path,
        NAME,
        [draft],
        options,
        source="Quantum ESPRESSO epsilon.x",
        material_id=identifier,
        metadata=metadata,
        notes=notes,
    )


def _diagonal(path: Path, rest: str) -> tuple[NumberTable, np.ndarray]:
    table = _table(path.with_name("epsr" + rest), 4)
    imaginary = _table(path.with_name("epsi" + rest), 4, table)
    diagonal = table.values[:, 1:] + 1j * imaginary.values[:, 1:]
    return table, diagonal[:, :, None] * np.eye(3)


def _full(path: Path, rest: str) -> tuple[NumberTable, np.ndarray]:
    table = _table(path.with_name("epsxx" + rest), 3)
    epsilon = np.empty((len(table), 3, 3), dtype=complex)
    for row, first in enumerate("xyz"):
        for column, second in enumerate("xyz"):
            part = _table(path.with_name(f"eps{first}{second}{rest}"), 3, table).values
            epsilon[:, row, column] = part[:, 1] + 1j * part[:, 2]
    # Without a magnetic field the antisymmetric part is noise of the k-point sum.
    return table, 0.5 * (epsilon + epsilon.swapaxes(1, 2))


def _table(path: Path, width: int, like: NumberTable | None = None) -> NumberTable:
    if not path.is_file():
        raise SpectrumError(
            "is missing beside the others",
            where=str(path),
            expected="all files of one run of epsilon.x in one folder",
        )
    table = read_table(path).table
    if table.width != width:
        raise SpectrumError(
            f"the table has {table.width} columns", where=str(path), expected=f"{width} of them"
        )
    if like is not None and not np.array_equal(like.values[:, 0], table.values[:, 0]):
        raise SpectrumError(
            "its energies are not those of the others",
            where=str(path),
            expected="files of one run of epsilon.x",
        )
    return table


def _broadening(options: ReadOptions) -> tuple[Broadening, list[str]]:
    if options.broadening is not None:
        return options.broadening, []
    return Broadening("lorentzian", 0.5 * DEFAULT_INTERSMEAR), [
        f"intersmear is not in the files: its default of {DEFAULT_INTERSMEAR} eV, a Lorentzian of "
        "half that half width, is assumed; pass broadening if it was another"
    ]
