"""Ground state, bands on the mesh of the response, gaps and projected densities of states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from opalign.firstprinciples.engine import EngineFailure
from opalign.firstprinciples.gpaw_failures import failures_named
from opalign.firstprinciples.gpaw_mesh import symmetric_mesh
from opalign.firstprinciples.gpaw_settings import GpawSettings, Numerics
from opalign.firstprinciples.gpaw_structure import StandardCell

PDOS_ENERGIES = np.linspace(-10.0, 10.0, 401)
"""eV from the valence-band maximum."""
PDOS_WIDTH = 0.1
BANDS_UNCONVERGED = 4
"""Extra bands on top: the highest ones converge slowly and nothing uses them."""


def setups(settings: GpawSettings) -> dict[str, str]:
    """PAW setups, with U on d states where the settings ask for it."""
    return {symbol: f":d,{value}" for symbol, value in settings.hubbard_u.items()}


def number_of_bands(electrons: int, volume: float, band_density: float) -> int:
    """Occupied bands, and empty ones in proportion to the volume (Å³) as for free electrons."""
    return electrons // 2 + int(np.ceil(band_density * volume)) + 4


def ground_state(
    cell: StandardCell, settings: GpawSettings, cutoff: float, path: Path, log: Path
) -> dict[str, Any]:
    """Compute the ground state, write it to ``path`` (.gpw), and return energy and gap.

    Raises
    ------
    EngineFailure
        ``"metal"``, ``"not converged"``, ``"unsupported"`` (no PAW setup) or ``"crashed"``.
    """
    from ase.dft.bandgap import bandgap
    from gpaw import GPAW, PW, FermiDirac

    with failures_named("ground state"):
        atoms = cell.atoms()
        atoms.calc = GPAW(
            mode=PW(cutoff),
            xc=settings.functional,
            kpts={"density": settings.scf_density, "gamma": True},
            occupations=FermiDirac(0.01),
            setups=setups(settings),
            symmetry={"tolerance": 1e-5},
            convergence={"energy": 1e-4, "density": 1e-4},
            maxiter=120,
            txt=str(log),
        )
        energy = float(atoms.get_potential_energy())
        gap = float(bandgap(atoms.calc, output=None)[0])
        _require_gap(gap, settings, "the mesh of the ground state")
        electrons = round(atoms.calc.get_number_of_electrons())
        atoms.calc.write(str(path))
    return {"total_energy_eV": energy, "gap_eV": gap, "electrons": electrons}


def magnetic_moment(cell: StandardCell, settings: GpawSettings, log: Path) -> float:
    """Largest moment (μ_B) of an atom, or of the cell, in a spin-polarised run from 1 μ_B each."""
    from gpaw import GPAW, PW, FermiDirac

    with failures_named("spin-polarised check"):
        atoms = cell.atoms()
        atoms.set_initial_magnetic_moments(np.ones(len(atoms)))
        atoms.calc = GPAW(
            mode=PW(settings.cutoff),
            xc=settings.functional,
            kpts={"density": 0.75 * settings.scf_density, "gamma": True},
            occupations=FermiDirac(0.05),
            setups=setups(settings),
            symmetry={"tolerance": 1e-5},
            convergence={"energy": 1e-3, "density": 1e-3},
            maxiter=200,
            txt=str(log),
        )
        atoms.get_potential_energy()
        local = np.abs(atoms.calc.get_magnetic_moments()).max()
        return float(max(local, abs(atoms.calc.get_magnetic_moment())))


def mesh_of(cell: StandardCell, settings: GpawSettings, density: float) -> tuple[int, int, int]:
    """Return the mesh of the response for the scheme of integration."""
    if settings.optics_mesh is not None:
        return settings.optics_mesh
    if settings.scheme == "periodic":
        return symmetric_mesh(cell.structure.lattice.matrix, cell.rotations, density)
    import contextlib
    import io

    from gpaw.bztools import optimal_monkhorst_pack_grid

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            found = optimal_monkhorst_pack_grid(
                cell.atoms(),
                kptdensity=density,
                force_gamma=True,
                force_even=True,
                contains_ibz_vertices=True,
                nmaxperdim=10,
            )
    except RuntimeError as error:
        raise EngineFailure(
            "unsupported",
            "no mesh holds all corners of the irreducible zone",
            cure='set scheme = "periodic"',
        ) from error
    first, second, third = (int(points) for points in found["size"])
    return first, second, third


def bands(
    cell: StandardCell,
    settings: GpawSettings,
    numerics: Numerics,
    ground: Path,
    path: Path,
    log: Path,
) -> dict[str, Any]:
    """Compute bands on the mesh of the response from the density in ``ground``.

    Writes wave functions to ``path`` and returns gaps, mesh and projected densities of states.

    Raises
    ------
    EngineFailure
        ``"metal"``, ``"not converged"``, ``"unsupported"`` (no mesh) or ``"crashed"``.
    """
    from ase.dft.bandgap import bandgap
    from gpaw import GPAW

    mesh = mesh_of(cell, settings, numerics.optics_density)
    with failures_named("bands"):
        start = GPAW(str(ground), txt=None)
        count = number_of_bands(
            round(start.get_number_of_electrons()),
            cell.structure.volume,
            numerics.band_density,
        )
        calc = start.fixed_density(
            nbands=count + BANDS_UNCONVERGED,
            kpts={"size": mesh, "gamma": True},
            symmetry={"tolerance": 1e-5},
            convergence={"bands": count, "eigenstates": 1e-5},
            txt=str(log),
        )
        gap = float(bandgap(calc, output=None)[0])
        _require_gap(gap, settings, f"the mesh {mesh}")
        result = {
            "gap_eV": gap,
            "direct_gap_eV": float(bandgap(calc, direct=True, output=None)[0]),
            "mesh": list(mesh),
            "irreducible_points": len(calc.get_ibz_k_points()),
            "bands": count,
            "pdos": projected_densities(calc),
        }
        calc.write(str(path), mode="all")
    return result


def projected_densities(calc: Any) -> dict[str, list[float]]:
    """Densities of states by element and l, such as ``O-p``, on ``PDOS_ENERGIES``."""
    from gpaw.dos import DOSCalculator

    dos = DOSCalculator.from_calculator(calc, shift_fermi_level=False)
    energies = PDOS_ENERGIES + calc.get_homo_lumo()[0]
    found: dict[str, np.ndarray] = {}
    for atom, symbol in enumerate(calc.atoms.get_chemical_symbols()):
        present = {int(angular) for angular in calc.setups[atom].l_j}
        for angular, letter in enumerate("spd"):
            if angular in present:
                density = dos.raw_pdos(energies, a=atom, l=angular, width=PDOS_WIDTH)
                channel = f"{symbol}-{letter}"
                found[channel] = found.get(channel, 0.0) + density
    return {channel: density.round(6).tolist() for channel, density in found.items()}


def _require_gap(gap: float, settings: GpawSettings, mesh: str) -> None:
    if gap < settings.smallest_gap:
        raise EngineFailure("metal", f"gap of {gap:.3f} eV on {mesh}")
