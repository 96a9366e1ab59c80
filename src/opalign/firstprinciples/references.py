"""Energies of the elements from GPAW, by the method of a set's total energies.

**What is the same as in the set**: functional, cutoff, PAW setups and the code, so that the errors
of cores and of plane waves cancel between a compound and its elements.

**What is not relaxed.** A set's structures are relaxed with PBEsol, and their energies are PBE's at
that geometry. PBEsol is within some 0.5 % of measured lattice constants, so the elements stand at
the measured ones: against a relaxation of their own they are off by (9/2)·B·V·(δa/a)², where the
lattice constant is off by 1 %: 1 meV per atom of a soft metal, up to 15 meV of tungsten. Molecules
stand at measured bond lengths (some 10 meV).

**What is left of the cutoff.** Plane waves of 400 eV do not do for oxygen: the errors of a compound
and of O₂ cancel but for 0.08 eV per oxygen atom (MgO, against 700 eV). The energy of O₂ depends on
the size of its box by 5 meV per atom.

**What PBE itself gets wrong** is not mended: it overbinds O₂, so that oxides are too little stable
against it. Altogether MgO forms with −5.29 eV per formula unit (measured −6.24) and Li₂O with −5.40
(−6.20). Between compounds of the same elements all of this cancels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from opalign.dataset.references import EnergyMethod, References
from opalign.dataset.table import SpectraTable
from opalign.errors import ConfigurationError, DatasetError
from opalign.firstprinciples.element_states import ElementState, element_state
from opalign.firstprinciples.engine import EngineFailure
from opalign.firstprinciples.gpaw_failures import failures_named, require_gpaw
from opalign.firstprinciples.gpaw_settings import GpawSettings
from opalign.firstprinciples.gpaw_setups import setups_for
from opalign.firstprinciples.steps import Steps

SMEARING = 0.05
"""eV, Fermi–Dirac, in crystals; energies are extrapolated to zero."""
MOLECULE_SMEARING = 0.01
DENSER = 2.0
"""k points of a crystal in units of ``scf_density``, which is meant for insulators.

A molecule has as many as an insulator of its cell. It needs them for its energy at a low cutoff: at
Γ alone the number of plane waves below the cutoff jumps with the size of the box, and the energy of
O₂ at 400 eV with it, by 0.05 eV per atom; the mean over points is that of a continuum.
"""

Report = Callable[[str, float], None]


def reference_energies(
    elements: Iterable[str],
    folder: str | Path,
    settings: GpawSettings | None = None,
    *,
    report: Report | None = None,
) -> dict[str, float]:
    """Compute the energies of elements in their ground states.

    Parameters
    ----------
    elements
        Symbols; the ground states are those of
        :func:`~opalign.firstprinciples.element_states.element_state`.
    folder
        Keeps the energy of each element, so that no element is computed twice with the same
        settings. Those of other settings lie beside them.
    settings
        Of the set: functional, cutoff and ``scf_density`` count.
    report
        Called with symbol and energy as each becomes known.

    Returns
    -------
    Symbol → eV per atom, relative to what the setups are relative to.

    Raises
    ------
    EngineFailure
        An element is not supported, or failed in GPAW; the message names it. What else could be
        computed is kept.
    ConfigurationError
        The settings put a U on one of the elements: energies with and without it do not compare.
    MissingExtraError
        GPAW is not installed.
    """
    settings = settings or GpawSettings()
    wanted = list(dict.fromkeys(elements))
    _require_no_hubbard(wanted, settings)
    states = _states(wanted)
    require_gpaw()
    found: dict[str, float] = {}
    failures: list[EngineFailure] = []
    for symbol, state in states.items():
        try:
            stored = _kept_energy(state, Path(folder), symbol, settings)
        except EngineFailure as failure:
            failures.append(
                EngineFailure(
                    failure.reason, failure.detail, where=f"element {symbol}", cure=failure.cure
                )
            )
            continue
        found[symbol] = stored["energy_eV_per_atom"]
        if report is not None:
            report(symbol, found[symbol])
    if failures:
        raise _joined(failures)
    return found


def _kept_energy(
    state: ElementState, folder: Path, symbol: str, settings: GpawSettings
) -> dict[str, Any]:
    key = _key(state, settings)
    steps = Steps(folder / f"{symbol}-{key[:12]}", key)
    log = steps.file("energy.log")
    return steps.run("energy", lambda: element_energy(state, settings, log))


def element_energy(state: ElementState, settings: GpawSettings, log: Path) -> dict[str, Any]:
    """Compute the energy per atom (eV) and the moment of the cell (μ_B) of one element.

    Raises
    ------
    EngineFailure
        ``"not converged"``, ``"unsupported"`` (no PAW setup) or ``"crashed"``.
    """
    from gpaw import GPAW, PW, FermiDirac

    atoms = state.atoms.copy()
    if state.molecule:
        density = settings.scf_density
        occupations = FermiDirac(MOLECULE_SMEARING, fixmagmom=state.magnetic)
    else:
        density = DENSER * settings.scf_density
        occupations = FermiDirac(SMEARING)
    with setups_for(settings.functional, atoms.get_chemical_symbols()), failures_named("energy"):
        atoms.calc = GPAW(
            mode=PW(settings.cutoff),
            xc=settings.functional,
            kpts={"density": density, "gamma": True},
            occupations=occupations,
            symmetry={"tolerance": 1e-5},
            convergence={"energy": 1e-4, "density": 1e-4},
            maxiter=250,
            txt=str(log),
        )
        energy = float(atoms.get_potential_energy())
        moment = float(atoms.calc.get_magnetic_moment()) if state.magnetic else 0.0
    if not np.isfinite(energy):
        raise EngineFailure("bad output", "the energy is not a finite number")
    return {
        "energy_eV_per_atom": energy / len(atoms),
        "moment": moment,
        "atoms": len(atoms),
        "state": state.description,
    }


def compute_references(
    elements: Iterable[str],
    folder: str | Path,
    settings: GpawSettings | None = None,
    *,
    supplied: References | None = None,
    report: Report | None = None,
) -> References:
    """Return :func:`reference_energies` with the method and what was computed, to be saved.

    Energies that are ``supplied`` are taken, and their elements not computed.

    Raises
    ------
    DatasetError
        What is supplied was computed by another method.
    EngineFailure, ConfigurationError, MissingExtraError
        As in :func:`reference_energies`.
    """
    settings = settings or GpawSettings()
    method = EnergyMethod(engine="gpaw", functional=settings.functional, cutoff=settings.cutoff)
    known = supplied or References(energies={})
    if known.method not in (None, method):
        raise DatasetError(
            f"the energies supplied are of another method ({known.method})",
            expected=str(method),
            cure="supply energies of that method",
        )
    asked = [symbol for symbol in elements if symbol not in known.energies]
    energies = reference_energies(asked, folder, settings, report=report) if asked else {}
    states = {symbol: element_state(symbol).description for symbol in energies}
    supplied_states = {symbol: known.states.get(symbol, "supplied") for symbol in known.energies}
    return References(
        energies=energies | known.energies, method=method, states=states | supplied_states
    )


def settings_of(table: SpectraTable) -> GpawSettings:
    """Return the settings by which the elements of a table's energies have to be computed.

    Raises
    ------
    DatasetError
        The rows do not tell, come from more than one method, or not from GPAW.
    """
    found: dict[str, GpawSettings] = {}
    for row in range(len(table)):
        calculation = _calculation(table, row)
        if calculation is None:
            raise DatasetError(
                f"row {row} ({table.ids[row]}) does not tell how its energy was computed",
                where=str(table.path),
                expected="a table that `opalign compute export` wrote",
                cure="name the elements, the functional and the cutoff instead",
            )
        if calculation.get("engine") != "gpaw":
            raise DatasetError(
                f"the energies come from {calculation.get('engine')!r}",
                where=str(table.path),
                expected="energies of GPAW, which computes the elements",
                cure="compute the elements with that code and supply them in a file",
            )
        try:
            settings = GpawSettings.model_validate(calculation["settings"])
            numerics = calculation.get("numerics") or {}
            cutoff = float(numerics.get("cutoff", settings.cutoff))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DatasetError(
                f"row {row} ({table.ids[row]}) has settings that cannot be read: {_short(error)}",
                where=str(table.path),
                cure="name the elements, the functional and the cutoff instead",
            ) from error
        settings = settings.model_copy(update={"cutoff": cutoff, "converge": False})
        decisive = settings.functional, settings.cutoff, sorted(settings.hubbard_u.items())
        found.setdefault(str(decisive), settings)
    if len(found) != 1:
        raise DatasetError(
            f"its energies come from {len(found)} methods: {'; '.join(sorted(found)) or 'no rows'}",
            where=str(table.path),
            expected="one functional, cutoff and U for all rows",
            cure="split the table by them: energies of different methods do not compare",
        )
    return next(iter(found.values()))


def check_method(table: SpectraTable, references: References) -> None:
    """Raise DatasetError if a row was computed by another method than the references.

    What either does not tell is not compared.
    """
    if references.method is None:
        return
    for row in range(len(table)):
        method = _method(_calculation(table, row))
        if method is not None and method != references.method:
            raise DatasetError(
                f"row {row} ({table.ids[row]}) was computed by another method ({method}) than the "
                f"references ({references.method})",
                where=str(table.path),
                expected="energies of one method: between two, differences mean nothing",
                cure="make references for this table: opalign dataset references",
            )


def _method(calculation: dict[str, Any] | None) -> EnergyMethod | None:
    if calculation is None:
        return None
    try:
        settings = calculation["settings"]
        told = calculation.get("numerics") or {}
        cutoff = calculation.get("cutoff_eV", told.get("cutoff", settings.get("cutoff")))
        return EnergyMethod(
            engine=calculation["engine"], functional=settings["functional"], cutoff=cutoff
        )
    except (KeyError, TypeError, AttributeError, ValidationError):
        return None


def _calculation(table: SpectraTable, row: int) -> dict[str, Any] | None:
    """Return what the engine told of a row, as a campaign's export wrote it."""
    try:
        calculation = json.loads(table.provenance(row) or "")["calculation"]
    except (ValueError, TypeError, KeyError):
        return None
    return calculation if isinstance(calculation, dict) else None


def _states(symbols: Iterable[str]) -> dict[str, ElementState]:
    """Return all ground states, or refuse all elements that have none before any is computed."""
    states: dict[str, ElementState] = {}
    refused: list[EngineFailure] = []
    for symbol in symbols:
        try:
            states[symbol] = element_state(symbol)
        except EngineFailure as failure:
            refused.append(failure)
    if refused:
        raise _joined(refused)
    return states


def _joined(failures: list[EngineFailure]) -> EngineFailure:
    if len(failures) == 1:
        return failures[0]
    named = [f"{each.where}: {each.detail or each.reason}" for each in failures]
    return EngineFailure(failures[0].reason, "\n    ".join(["", *named]), cure=failures[0].cure)


def _require_no_hubbard(symbols: Iterable[str], settings: GpawSettings) -> None:
    both = [symbol for symbol in symbols if symbol in settings.hubbard_u]
    if both:
        raise ConfigurationError(
            f"the settings put a U on {', '.join(both)}, and a metal has to be computed without",
            where="hubbard_u",
            cure="supply the energies of these elements, fitted to measured formation energies",
        )


def _key(state: ElementState, settings: GpawSettings) -> str:
    content = {
        "functional": settings.functional,
        "cutoff": settings.cutoff,
        "scf_density": settings.scf_density,
        "smearing": [SMEARING, MOLECULE_SMEARING, DENSER],
        "numbers": state.atoms.numbers.tolist(),
        "cell": np.round(state.atoms.cell.array, 6).tolist(),
        "positions": np.round(state.atoms.positions, 6).tolist(),
        "moments": state.atoms.get_initial_magnetic_moments().tolist(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
