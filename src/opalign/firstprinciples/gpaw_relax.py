"""Relaxation of cell and positions that keeps the symmetry and goes on where it was stopped.

**Stress at a fixed cutoff.** When a cell grows at a fixed cutoff, plane waves join it, which
lowers the energy; the stress that GPAW computes is that at fixed plane waves and is off by
σ_P = −(2/3)·(E_cut/V)·dE/dE_cut (G. P. Francis and M. C. Payne, J. Phys.: Condens. Matter 2, 4395
(1990)): 10 GPa in CaO at 520 eV, which would shrink its volume by a tenth. dE/dE_cut is measured on
the first geometry by two energies at neighbouring cutoffs and taken off as a pressure; 0.3 GPa are
left of it, for a tenth of the cost of a cutoff of 1000 eV.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opalign.files import write_text
from opalign.firstprinciples.engine import EngineFailure
from opalign.firstprinciples.gpaw_failures import failures_named
from opalign.firstprinciples.gpaw_settings import GpawSettings
from opalign.firstprinciples.gpaw_structure import StandardCell, standard_cell

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core.structure import Structure

CUTOFF_STEP = 0.05
"""Share of the cutoff by which it is moved to both sides to get dE/dE_cut."""


def relax(
    cell: StandardCell, settings: GpawSettings, progress: Path, log: Path
) -> tuple[Structure, dict[str, Any]]:
    """Return the relaxed, standardised structure and a few numbers of the relaxation.

    Every step is written to ``progress``, from which a stopped relaxation goes on.

    Raises
    ------
    EngineFailure
        ``"not converged"`` after ``settings.relax_steps``, or whatever befell GPAW.
    """
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    start = cell.atoms()
    atoms = start.copy()
    with failures_named("relaxation"):
        state = _resumed(atoms, progress)
        if state is None:
            state = {"steps": 0, "pulay_stress": pulay_stress(atoms, settings, log)}
            _keep(atoms, state, progress)
        before, stress = state["steps"], state["pulay_stress"]
        atoms.calc = _calculator(settings, settings.relax_cutoff, log)
        atoms.set_constraint(FixSymmetry(atoms, symprec=1e-4))
        # A filter stands for atoms in all that an optimiser asks for, but not by type.
        moved: Any = FrechetCellFilter(atoms, scalar_pressure=-stress)
        optimizer = BFGS(moved, logfile=None)
        optimizer.attach(
            lambda: _keep(atoms, state | {"steps": before + optimizer.nsteps}, progress)
        )
        steps_left = settings.relax_steps - before
        if not optimizer.run(fmax=settings.relax_force, steps=steps_left):
            raise EngineFailure(
                "not converged",
                f"forces above {settings.relax_force} eV/Å after {settings.relax_steps} steps",
                cure="allow more steps, or start from a better structure",
            )
        numbers = {
            "steps": before + optimizer.nsteps,
            "volume_change": float(atoms.get_volume() / start.get_volume() - 1.0),
            "energy_eV": float(atoms.get_potential_energy()),
            "pulay_stress_eV_per_A3": stress,
        }
    relaxed = cell.structure.copy()
    relaxed.lattice = atoms.cell.array
    for index, position in enumerate(atoms.get_scaled_positions()):
        relaxed.replace(index, relaxed[index].species, position)
    found = standard_cell(relaxed)
    numbers["space_group"] = found.space_group
    return found.structure, numbers


def pulay_stress(atoms: Atoms, settings: GpawSettings, log: Path) -> float:
    """Stress in eV/Å³ (positive: it pulls the cell together) that stems from the finite cutoff."""
    energies = []
    for factor in (1.0 - CUTOFF_STEP, 1.0 + CUTOFF_STEP):
        trial = atoms.copy()
        trial.calc = _calculator(settings, factor * settings.relax_cutoff, log)
        energies.append(trial.get_potential_energy())
    # E_cut · dE/dE_cut: the cutoff itself cancels.
    slope = (energies[1] - energies[0]) / (2.0 * CUTOFF_STEP)
    return float(-2.0 / 3.0 * slope / atoms.get_volume())


def _calculator(settings: GpawSettings, cutoff: float, log: Path) -> Any:
    from gpaw import GPAW, PW, FermiDirac

    from opalign.firstprinciples.gpaw_bands import setups

    return GPAW(
        mode=PW(cutoff),
        xc=settings.relax_functional,
        kpts={"density": settings.relax_density, "gamma": True},
        occupations=FermiDirac(0.01),
        setups=setups(settings),
        symmetry={"tolerance": 1e-5},
        convergence={"energy": 1e-5, "density": 1e-5},
        maxiter=150,
        txt=str(log),
    )


def _keep(atoms: Atoms, state: dict[str, Any], progress: Path) -> None:
    geometry = {
        "cell": np.asarray(atoms.cell).tolist(),
        "positions": atoms.get_scaled_positions(wrap=False).tolist(),
    }
    write_text(progress, json.dumps(state | geometry))


def _resumed(atoms: Atoms, progress: Path) -> dict[str, Any] | None:
    """Take over the last geometry that was kept; return what else was kept with it."""
    if not progress.exists():
        return None
    content: dict[str, Any] = json.loads(progress.read_text(encoding="utf-8"))
    atoms.set_cell(content.pop("cell"))
    atoms.set_scaled_positions(content.pop("positions"))
    return content
