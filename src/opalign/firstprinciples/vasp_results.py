"""From the files of finished VASP runs to spectra, gaps, densities of states and their provenance.

Only ε₂ is taken from a run: whether CSHIFT broadens it, and how ε₁ is made of it, differs between
versions of VASP. ε₁ follows from ε₂ by Kramers–Kronig over the whole range that was computed, as
in the reference study. ε∞ is ε₁(0) of independent particles: LOPTICS has no local fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opalign.errors import SpectrumError
from opalign.firstprinciples.engine import EngineFailure, EngineResult
from opalign.firstprinciples.vasp_files import (
    PDOS_ENERGIES,
    band_edges,
    find_file,
    magnetic_moment,
    processor_seconds,
    projected_densities,
    read_run,
)
from opalign.firstprinciples.vasp_settings import VaspSettings
from opalign.spectrum.formats import read_file
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import real_from_imaginary
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.scissor import scissor_shift

if TYPE_CHECKING:
    from pymatgen.io.vasp.outputs import Vasprun

    from opalign.spectrum.formats import SpectrumFile

MAGNETIC = 0.1
"""μ_B above which an atom or a cell carries a moment."""
TETRAHEDRA = {-5: "linear tetrahedra, Blöchl's corrections", -4: "linear tetrahedra"}


@dataclass(frozen=True)
class Runs:
    """Folders of the runs of one material; of all but the response there may be none."""

    optics: Path
    static: Path | None = None
    hybrid: Path | None = None
    relax: tuple[Path, ...] = ()

    @classmethod
    def from_dict(cls, folders: Mapping[str, Any]) -> Runs:
        """Read what :meth:`to_dict` wrote."""
        return cls(
            optics=Path(folders["optics"]),
            static=Path(folders["static"]) if folders.get("static") else None,
            hybrid=Path(folders["hybrid"]) if folders.get("hybrid") else None,
            relax=tuple(Path(folder) for folder in folders.get("relax", ())),
        )

    def named(self) -> dict[str, Path]:
        """Step → folder, in the order of the steps."""
        relax = {f"relax {place}": folder for place, folder in enumerate(self.relax, start=1)}
        others = {"static": self.static, "optics": self.optics, "hybrid": self.hybrid}
        return relax | {step: folder for step, folder in others.items() if folder is not None}


def result_from_folder(folder: str | Path, settings: VaspSettings | None = None) -> EngineResult:
    """Read finished runs: one with LOPTICS, or a folder of folders ``static``, ``optics``, ….

    Parameters
    ----------
    folder
        A folder with a vasprun.xml (compressed or not), or one with a folder ``optics`` and, where
        they were run, ``static``, ``hybrid`` and ``relax …``.
    settings
        With which the runs were made. Without, those of :class:`VaspSettings` decide about the
        grid and what counts as a metal, and the provenance tells no settings but the INCAR's.

    Raises
    ------
    EngineFailure
        ``"bad output"``, ``"not converged"``, ``"metal"`` or ``"magnetic"``.
    """
    folder = Path(folder)
    runs = Runs(folder)
    if (folder / "optics").is_dir():
        static, hybrid = folder / "static", folder / "hybrid"
        runs = Runs(
            optics=folder / "optics",
            static=static if static.is_dir() else None,
            hybrid=hybrid if hybrid.is_dir() else None,
            relax=tuple(sorted(path for path in folder.glob("relax*") if path.is_dir())),
        )
    result = result_from_runs(runs, settings or VaspSettings())
    if settings is None:
        told = {name: value for name, value in result.provenance.items() if name != "settings"}
        result = replace(result, provenance=told)
    return result


def result_from_runs(runs: Runs, settings: VaspSettings) -> EngineResult:
    """Collect a result from the folders of its runs.

    The total energy is that of the static run, or of the response where that was self-consistent.

    Raises
    ------
    EngineFailure
        ``"bad output"``, ``"not converged"``, ``"metal"`` or ``"magnetic"``.
    """
    run = read_run(runs.optics, densities=True)
    found = _dielectric(runs.optics)
    maximum, minimum, direct = band_edges(run)
    gap = _open_gap(minimum - maximum, settings, "the mesh of the response")
    ground = run if runs.static is None else checked_ground_state(runs.static, settings)
    if runs.static is None:
        _require_converged(run)
    wide = wide_spectrum(found, direct, settings)
    spectrum = wide.resampled(settings.grid)
    static_dielectric = float(wide.isotropic().static_dielectric)
    epsilon = {"ipa": spectrum.epsilon}
    scalars = {"epsilon_infinity": static_dielectric}
    hybrid: dict[str, Any] | None = None
    if runs.hybrid is not None:
        hybrid = hybrid_shift(ground, read_run(runs.hybrid))
        scalars |= {
            "exchange_fraction": hybrid["exchange_fraction"],
            "hybrid_shift_eV": hybrid["shift_eV"],
            "corrected_gap_eV": gap + hybrid["shift_eV"],
            "corrected_direct_gap_eV": direct + hybrid["shift_eV"],
        }
        if hybrid["shift_eV"] >= 0.0:
            epsilon["ipa_corrected"] = _corrected(spectrum, hybrid["shift_eV"], direct)
    costs = {step: processor_seconds(folder) for step, folder in runs.named().items()}
    return EngineResult(
        structure=run.final_structure,
        grid=settings.grid,
        epsilon=epsilon,
        band_gap=gap,
        direct_gap=direct,
        total_energy=float(ground.final_energy),
        pdos_energies=PDOS_ENERGIES,
        pdos=projected_densities(run, maximum),
        scalars=scalars,
        seconds={step: cost for step, cost in costs.items() if cost is not None},
        provenance={
            "engine": "vasp",
            "versions": {"vasp": str(run.vasp_version)} | _versions(),
            "settings": settings.model_dump(mode="json"),
            "incar": {name: _plain(value) for name, value in run.incar.items()},
            "integration": TETRAHEDRA.get(int(run.parameters["ISMEAR"]), "sum with smearing"),
            "mesh": [int(points) for points in run.kpoints.kpts[0]],
            "irreducible_points": len(run.actual_kpoints),
            "bands": int(run.parameters["NBANDS"]),
            "electrons": round(float(run.parameters["NELECT"])),
            "cutoff_eV": float(run.parameters["ENMAX"]),
            "potentials": list(run.potcar_symbols),
            "static_dielectric_of_vasp": float(found.spectrum("ipa").isotropic().static_dielectric),
            "notes": list(found.notes),
            "hybrid": hybrid,
        },
    )


def checked_ground_state(folder: Path, settings: VaspSettings) -> Vasprun:
    """Read a ground state and refuse one that is not converged, magnetic or a metal.

    Raises
    ------
    EngineFailure
        ``"not converged"``, ``"magnetic"``, ``"metal"`` or ``"bad output"``.
    """
    run = read_run(folder)
    _require_converged(run)
    if run.is_spin:
        moment = magnetic_moment(folder)
        if moment > MAGNETIC:
            raise EngineFailure("magnetic", f"a moment of {moment:.2f} Bohr magnetons")
    maximum, minimum, _ = band_edges(run)
    _open_gap(minimum - maximum, settings, "the mesh of the ground state")
    return run


def epsilon_infinity(folder: Path, settings: VaspSettings) -> float:
    """Return ε₁(0), isotropic, of the response that lies in a folder."""
    _, _, direct = band_edges(read_run(folder))
    wide = wide_spectrum(_dielectric(folder), direct, settings)
    return float(wide.isotropic().static_dielectric)


def wide_spectrum(
    found: SpectrumFile, direct_gap: float, settings: VaspSettings
) -> OpticalSpectrum:
    """Return ε from E = 0 to the end of what was computed, in the steps of the settings' grid.

    Im ε is zero below the direct gap, where older versions leave a tail of CSHIFT.

    Raises
    ------
    EngineFailure
        ``"bad output"``, if the file ends below the settings' grid.
    """
    given = found.spectrum("ipa")
    step, target = settings.grid.step, settings.grid
    if given.grid.stop < target.stop or given.grid.start > 0.0:
        raise EngineFailure(
            "bad output",
            f"the response covers {given.grid}, not {target}",
            where=str(found.path),
            cure="raise band_density: the window ends with the highest band",
        )
    grid = EnergyGrid(0.0, int(given.grid.stop / step) * step, int(given.grid.stop / step) + 1)
    resampled = given.resampled(grid)
    imaginary = resampled.epsilon_imaginary * (grid.values >= direct_gap)[:, None, None]
    real = np.moveaxis(real_from_imaginary(np.moveaxis(imaginary, 0, -1), grid), -1, 0)
    # What is transformed is χ: the diagonal alone has the vacuum's 1.
    real = real - 1.0 + np.eye(3)
    return replace(resampled, epsilon=real + 1j * imaginary)


def hybrid_shift(ground: Vasprun, hybrid: Vasprun) -> dict[str, Any]:
    """Return Δ = E_g(hybrid) − E_g(semi-local) on the same points, with what it came from.

    Raises
    ------
    EngineFailure
        ``"bad output"``, if the runs differ in their points or the second is no hybrid.
    """
    where = str(hybrid.filename)
    if not hybrid.parameters.get("LHFCALC"):
        raise EngineFailure("bad output", "the run has no exact exchange", where=where)
    points, others = np.array(ground.actual_kpoints), np.array(hybrid.actual_kpoints)
    if points.shape != others.shape or np.abs(points - others).max() > 1e-6:
        raise EngineFailure("bad output", "its k points are not the ground state's", where=where)
    maximum, minimum, _ = band_edges(ground)
    top, bottom, direct = band_edges(hybrid)
    return {
        "exchange_fraction": float(hybrid.parameters["AEXX"]),
        "semilocal_gap_eV": minimum - maximum,
        "hybrid_gap_eV": bottom - top,
        "hybrid_direct_gap_eV": direct,
        "shift_eV": (bottom - top) - (minimum - maximum),
        "irreducible_points": len(points),
        "mesh": [int(number) for number in hybrid.kpoints.kpts[0]],
    }


def _dielectric(folder: Path) -> SpectrumFile:
    path = find_file(folder, "vasprun.xml")
    try:
        found = read_file(path)
        found.spectrum("ipa")
    except SpectrumError as error:
        raise EngineFailure(
            "bad output", error.problem, where=error.where or str(path), cure=error.cure
        ) from error
    return found


def _corrected(spectrum: OpticalSpectrum, shift: float, direct_gap: float) -> np.ndarray:
    try:
        return scissor_shift(spectrum, shift, gap=direct_gap, level="ipa_corrected").epsilon
    except SpectrumError as error:
        raise EngineFailure("bad output", f"no correction is possible: {error.problem}") from error


def _open_gap(gap: float, settings: VaspSettings, mesh: str) -> float:
    if gap < settings.smallest_gap:
        raise EngineFailure("metal", f"gap of {gap:.3f} eV on {mesh}")
    return gap


def _require_converged(run: Vasprun) -> None:
    if not run.converged_electronic:
        raise EngineFailure(
            "not converged",
            f"{run.parameters['NELM']} electronic steps did not do",
            where=str(run.filename),
            cure='raise NELM or choose another ALGO: incar = {"static": {"ALGO": "All"}}',
        )


def _plain(value: Any) -> Any:
    """Return a setting as JSON: lists stay lists, all else that is no number becomes text."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value if isinstance(value, bool | int | float | str) else str(value)


def _versions() -> dict[str, str]:
    found = {}
    for package in ("atomate2", "pymatgen", "opalign"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
