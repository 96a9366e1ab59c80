"""What an engine owes: structure and settings in; ε per level, gaps, densities and cost out.

An engine works inside one folder, keeps there every step that it has finished, and can be stopped
at any time and started again without computing anything twice. What is no spectrum (a metal, an
odd number of electrons, a calculation that does not converge) is an :class:`EngineFailure` with
one of few reasons, so that a campaign can count them and retry some with other settings.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
from pydantic import BaseModel, ValidationError

from opalign.errors import ConfigurationError, OpalignError
from opalign.files import sha256, write_atomically, write_text
from opalign.spectrum.grid import EnergyGrid

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

    from opalign.spectrum.optical import OpticalSpectrum

FailureReason = Literal[
    "metal",
    "odd electron count",
    "magnetic",
    "not converged",
    "time limit",
    "out of memory",
    "crashed",
    "bad output",
    "unsupported",
]

RESULT_FILE = "result.json"
ARRAYS_FILE = "arrays.npz"
RESULT_VERSION = 1
ENGINES = {
    "gpaw": ("gpaw", "GpawEngine", "GpawSettings"),
    "vasp": ("vasp", "VaspEngine", "VaspSettings"),
}
"""Name → module of this room, its engine and its settings; imported when asked for."""


class EngineFailure(OpalignError):  # noqa: N818 - an outcome to be counted, not a defect
    """A material of which an engine could make no spectrum, and why.

    Parameters
    ----------
    reason
        One of the few reasons that a campaign counts, see ``FailureReason``.
    detail
        What happened, in words.
    where, cure
        As in :class:`~opalign.errors.OpalignError`.
    """

    def __init__(
        self,
        reason: FailureReason,
        detail: str = "",
        *,
        where: str | None = None,
        cure: str | None = None,
    ) -> None:
        if reason not in get_args(FailureReason):
            raise ConfigurationError(
                f"{reason!r} is no reason for a failure",
                expected=", ".join(get_args(FailureReason)),
            )
        self.reason: FailureReason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason, where=where, cure=cure)

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions travel between processes by calling their class with their arguments again.
        return _failure, (self.reason, self.detail, self.where, self.cure)


def _failure(
    reason: FailureReason, detail: str, where: str | None, cure: str | None
) -> EngineFailure:
    return EngineFailure(reason, detail, where=where, cure=cure)


@dataclass(frozen=True, eq=False)
class EngineResult:
    """One computed material.

    Parameters
    ----------
    structure
        As computed: relaxed if asked for, and standardised.
    grid
        Photon energies.
    epsilon
        Level of theory → complex tensor (n, 3, 3), Cartesian axes of ``structure``, unbroadened.
    band_gap, direct_gap
        Semi-local, on the mesh of the optical calculation, eV.
    total_energy
        eV per cell.
    pdos_energies
        (m,) eV, zero at the valence-band maximum.
    pdos
        Projected densities of states, ``"O-p"`` → (m,) states per eV and cell.
    scalars
        Further numbers by name with their unit, such as ``pbe0_shift_eV``.
    seconds
        Cost of every step in seconds of the processor.
    provenance
        JSON: code and versions, settings, mesh, integration scheme, history of convergence.

    Raises
    ------
    EngineFailure
        ``"bad output"``, if an array does not fit its grid or a number is not finite.
    """

    structure: Structure
    grid: EnergyGrid
    epsilon: Mapping[str, np.ndarray]
    band_gap: float
    direct_gap: float
    total_energy: float
    pdos_energies: np.ndarray
    pdos: Mapping[str, np.ndarray]
    scalars: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.epsilon:
            raise EngineFailure("bad output", "there is no dielectric function at any level")
        for level, epsilon in self.epsilon.items():
            _check_array(f"ε at level {level}", epsilon, (self.grid.num, 3, 3))
        energies = np.shape(self.pdos_energies)
        _check_array("the energies of the densities of states", self.pdos_energies, energies[:1])
        for channel, density in self.pdos.items():
            _check_array(f"the density of states {channel}", density, energies[:1])
        for name in ("band_gap", "direct_gap", "total_energy"):
            if not np.isfinite(getattr(self, name)):
                raise EngineFailure("bad output", f"{name} is not a finite number")

    def __repr__(self) -> str:
        """Tell what it is of, not its arrays."""
        formula, levels = self.structure.composition.reduced_formula, ", ".join(self.epsilon)
        size = f"{self.grid.num} energies"
        return f"EngineResult({formula}, {levels}, gap {self.band_gap:.3f} eV, {size})"

    def spectrum(self, level: str, material_id: str | None = None) -> OpticalSpectrum:
        """Return the spectrum of one level as a tensor; KeyError for a level that is not there.

        Raises :class:`~opalign.errors.SpectrumError` where ε breaks the rules of optics.
        """
        from opalign.spectrum.optical import OpticalSpectrum

        return OpticalSpectrum(self.grid, self.epsilon[level], level, material_id=material_id)

    def save(self, folder: str | Path) -> Path:
        """Write ``arrays.npz``, then ``result.json``, which carries the hash of the first.

        Both are written atomically; a folder with a whole ``result.json`` is a finished one.
        Returns the path of ``result.json``.
        """
        folder = Path(folder)
        arrays = {f"epsilon/{level}": np.asarray(e) for level, e in self.epsilon.items()}
        arrays |= {f"pdos/{channel}": np.asarray(d) for channel, d in self.pdos.items()}
        arrays["pdos_energies"] = np.asarray(self.pdos_energies)
        stored = write_atomically(
            folder / ARRAYS_FILE,
            lambda path: np.savez_compressed(path, **arrays),  # type: ignore[arg-type]
        )
        content = {
            "version": RESULT_VERSION,
            "arrays_sha256": sha256(stored),
            "structure": self.structure.as_dict(),
            "grid": self.grid.model_dump(),
            "band_gap_eV": float(self.band_gap),
            "direct_gap_eV": float(self.direct_gap),
            "total_energy_eV": float(self.total_energy),
            "scalars": {name: float(value) for name, value in self.scalars.items()},
            "seconds": {name: float(value) for name, value in self.seconds.items()},
            "provenance": dict(self.provenance),
        }
        return write_text(folder / RESULT_FILE, json.dumps(content, indent=1, ensure_ascii=False))

    @classmethod
    def load(cls, folder: str | Path) -> EngineResult:
        """Read what :meth:`save` wrote.

        Raises
        ------
        EngineFailure
            ``"bad output"`` if a file is absent, damaged, of another version, or if the two files
            do not belong together.
        """
        from opalign.crystal.convert import to_structure

        folder = Path(folder)
        path, stored = folder / RESULT_FILE, folder / ARRAYS_FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["version"] != RESULT_VERSION:
                raise ValueError(f"version {content['version']}, not {RESULT_VERSION}")
            if content["arrays_sha256"] != sha256(stored):
                raise ValueError(f"{ARRAYS_FILE} is not the one written with it")
            with np.load(stored, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            return cls(
                structure=to_structure(content["structure"], str(path)),
                grid=EnergyGrid(**content["grid"]),
                epsilon=_group(arrays, "epsilon/"),
                band_gap=content["band_gap_eV"],
                direct_gap=content["direct_gap_eV"],
                total_energy=content["total_energy_eV"],
                pdos_energies=arrays["pdos_energies"],
                pdos=_group(arrays, "pdos/"),
                scalars=content["scalars"],
                seconds=content["seconds"],
                provenance=content["provenance"],
            )
        except EngineFailure as failure:
            raise EngineFailure(failure.reason, failure.detail, where=str(path)) from failure
        except Exception as error:
            # Damaged files fail in every way a parser can.
            raise EngineFailure(
                "bad output",
                f"the result cannot be read ({type(error).__name__}: {error})",
                where=str(path),
                cure="remove the folder and compute the material again",
            ) from error


def _group(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _check_array(name: str, values: Any, shape: tuple[int, ...]) -> None:
    if np.shape(values) != shape or len(shape) not in (1, 3):
        raise EngineFailure(
            "bad output", f"{name} has shape {np.shape(values)}, not {shape or '(m,)'}"
        )
    if not np.isfinite(values).all():
        raise EngineFailure("bad output", f"{name} holds values that are not finite")


class Engine(Protocol):
    """A code that computes spectra.

    An engine may have two methods more: ``require()``, which raises MissingExtraError (or an
    EngineFailure) where its code is not installed and is called before a run, so that no material
    fails for it; and ``correct(result, folder, settings)``, its own way to move a result to the
    gap of a hybrid, see :func:`~opalign.firstprinciples.correction.correct_folder`.
    """

    name: str

    @property
    def settings(self) -> BaseModel:
        """Everything that decides about the result; frozen, part of the key of a job."""
        ...

    def expected_seconds(self, structure: Structure) -> float:
        """Estimate the cost on one core, to order a queue by."""
        ...

    def run(self, structure: Structure, folder: Path) -> EngineResult:
        """Compute inside ``folder``, going on from the steps finished there.

        Raises
        ------
        EngineFailure
            If there is no spectrum to be had, with the reason.
        """
        ...


def engine_from_settings(name: str, settings: Mapping[str, Any] | None = None) -> Engine:
    """Return the engine ``name`` with these settings.

    The codes themselves are imported when an engine runs, not here.

    Raises
    ------
    ConfigurationError
        If there is no such engine, or a setting is unknown or out of range.
    """
    if name not in ENGINES:
        guess = difflib.get_close_matches(str(name).lower(), ENGINES, n=1, cutoff=0.4)
        raise ConfigurationError(
            f"there is no engine {name!r}",
            expected=" or ".join(ENGINES),
            cure=f"did you mean {guess[0]!r}?" if guess else None,
        )
    module, engine, model = ENGINES[name]
    home = import_module(f"opalign.firstprinciples.{module}")
    try:
        checked = getattr(home, model).model_validate(dict(settings or {}))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "settings"
        raise ConfigurationError(first["msg"], where=f"settings of {name}, {place}") from error
    created: Engine = getattr(home, engine)(checked)
    return created
