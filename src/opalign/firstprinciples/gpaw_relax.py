"""Relaxation of cell and positions that keeps the symmetry and goes on where it was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opalign.files import write_text
from opalign.firstprinciples.engine import EngineFailure
from opalign.firstprinciples.gpaw_failures import failures_named
from opalign.firstprinciples.gpaw_settings import GpawSettings
from opalign.firstprinciples.gpaw_structure import StandardCell, standard_cell

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core.structure import Structure


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
    from gpaw import GPAW, PW, FermiDirac

    from opalign.firstprinciples.gpaw_bands import setups

    start = cell.atoms()
    atoms = start.copy()
    before = _resume(atoms, progress)
    with failures_named("relaxation"):
        atoms.calc = GPAW(
            mode=PW(settings.relax_cutoff),
            xc=settings.relax_functional,
            kpts={"density": settings.relax_density, "gamma": True},
            occupations=FermiDirac(0.01),
            setups=setups(settings),
            convergence={"energy": 1e-5, "density": 1e-5},
            maxiter=150,
            txt=str(log),
        )
        atoms.set_constraint(FixSymmetry(atoms, symprec=1e-4))
        optimizer = BFGS(FrechetCellFilter(atoms), logfile=None)
        optimizer.attach(lambda: _keep(atoms, before + optimizer.nsteps, progress))
        steps_left = settings.relax_steps - before
        converged = steps_left > 0 and optimizer.run(fmax=settings.relax_force, steps=steps_left)
        if not converged:
            raise EngineFailure(
                "not converged",
                f"forces above {settings.relax_force} eV/Å after {settings.relax_steps} steps",
                cure="allow more steps, or start from a better structure",
            )
        numbers = {
            "steps": before + optimizer.nsteps,
            "volume_change": atoms.get_volume() / start.get_volume() - 1.0,
            "energy_eV": float(atoms.get_potential_energy()),
        }
    relaxed = cell.structure.copy()
    relaxed.lattice = atoms.cell.array
    for index, position in enumerate(atoms.get_scaled_positions()):
        relaxed.replace(index, relaxed[index].species, position)
    found = standard_cell(relaxed)
    numbers["space_group"] = found.space_group
    return found.structure, numbers


def _keep(atoms: Atoms, steps: int, progress: Path) -> None:
    content = {
        "steps": steps,
        "cell": atoms.cell.array.tolist(),
        "positions": atoms.get_scaled_positions(wrap=False).tolist(),
    }
    write_text(progress, json.dumps(content))


def _resume(atoms: Atoms, progress: Path) -> int:
    """Take over the last geometry that was kept; return the number of steps that led to it."""
    if not progress.exists():
        return 0
    content = json.loads(progress.read_text(encoding="utf-8"))
    atoms.set_cell(content["cell"])
    atoms.set_scaled_positions(content["positions"])
    return int(content["steps"])
