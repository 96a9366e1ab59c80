"""Input sets and makers of every step of a VASP calculation, on top of atomate2's.

This module needs atomate2; it is imported when a flow is built or run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from atomate2 import SETTINGS
from atomate2.common.files import gzip_output_folder
from atomate2.vasp.files import copy_vasp_outputs, write_vasp_input_set
from atomate2.vasp.jobs.base import BaseVaspMaker
from atomate2.vasp.jobs.core import NonSCFMaker, RelaxMaker, StaticMaker
from atomate2.vasp.run import DEFAULT_HANDLERS, run_vasp
from atomate2.vasp.sets.base import VaspInputGenerator
from atomate2.vasp.sets.core import NonSCFSetGenerator, RelaxSetGenerator, StaticSetGenerator
from custodian.vasp.handlers import NonConvergingErrorHandler, UnconvergedErrorHandler
from jobflow.core.job import job
from pymatgen.core.periodic_table import Element
from pymatgen.io.vasp.inputs import Kpoints

from opalign.firstprinciples.gpaw_mesh import symmetric_mesh
from opalign.firstprinciples.gpaw_structure import StandardCell
from opalign.firstprinciples.vasp_settings import Step, VaspSettings

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

_FUNCTIONALS = {"PBE": "PE", "PBEsol": "PS"}
# What only large documents of eigenvalues would be made of: results are read from the files.
_SHORT_DOCUMENT = {"parse_dos": False, "parse_bandstructure": False, "store_additional_json": False}


@dataclass
class OpticsSetGenerator(NonSCFSetGenerator):
    """Non-self-consistent LOPTICS run with empty bands in proportion to the volume.

    Parameters
    ----------
    band_density
        Empty bands per Å³.
    """

    band_density: float = 0.3

    @property
    def incar_updates(self) -> dict[str, Any]:
        """Of atomate2, and the number of bands, for which the run before has to be known."""
        updates: dict[str, Any] = super().incar_updates
        if self.prev_vasprun is not None and self.structure is not None:
            electrons = float(self.prev_vasprun.parameters["NELECT"])
            empty = self.band_density * self.structure.volume
            updates["NBANDS"] = int(np.ceil(electrons / 2.0)) + int(np.ceil(empty)) + 4
        return updates


@dataclass
class HybridSetGenerator(VaspInputGenerator):
    """One evaluation of a hybrid functional's eigenvalues with given orbitals.

    ALGO = Eigenval with NELM = 1 takes the orbitals of a WAVECAR and returns the diagonal of the
    Hamiltonian, https://www.vasp.at/wiki/index.php/ALGO. The exchange is not screened: a
    dielectric-dependent hybrid has its fraction, 1/ε∞, at all distances.

    Parameters
    ----------
    exchange_fraction
        AEXX.
    """

    exchange_fraction: float = 0.25

    @property
    def incar_updates(self) -> dict[str, Any]:
        """INCAR of the hybrid; the number of bands is that of the orbitals."""
        updates: dict[str, Any] = {
            "ALGO": "Eigenval",
            "NELM": 1,
            "NSW": 0,
            "ISTART": 1,
            "LHFCALC": True,
            "AEXX": round(self.exchange_fraction, 6),
            "HFSCREEN": 0.0,
            "PRECFOCK": "Normal",
            "LCHARG": False,
            "LWAVE": False,
            "LORBIT": None,
        }
        if self.prev_vasprun is not None:
            updates["NBANDS"] = int(self.prev_vasprun.parameters["NBANDS"])
        return updates


@dataclass
class HybridMaker(BaseVaspMaker):
    """Job of :class:`HybridSetGenerator`; the exchange fraction may come from another job.

    Its output is ``{"dir_name": …}`` alone: atomate2's document is one of a self-consistent run,
    with forces and a judgement on convergence, of which one evaluation has neither.
    """

    name: str = "hybrid"
    input_set_generator: HybridSetGenerator = field(default_factory=HybridSetGenerator)

    @job
    def make(
        self, structure: Structure, prev_dir: str | Path, exchange_fraction: float
    ) -> dict[str, str]:
        """Run with the orbitals that lie in ``prev_dir``."""
        # Known only when the job runs: by then the reference to another job is resolved.
        self.input_set_generator.exchange_fraction = float(exchange_fraction)
        copy_vasp_outputs(prev_dir, **self.copy_vasp_kwargs)
        write = {"from_prev": True, **self.write_input_set_kwargs}
        write_vasp_input_set(structure, self.input_set_generator, **write)
        run_vasp(**self.run_vasp_kwargs)
        folder = Path.cwd()
        # Orbitals of other jobs have done their work here.
        (folder / "WAVECAR").unlink(missing_ok=True)
        gzip_output_folder(folder, SETTINGS.VASP_ZIP_FILES, ["INCAR", "OUTCAR", "vasprun.xml"])
        return {"dir_name": str(folder)}


@dataclass(frozen=True)
class Makers:
    """Makers of the four steps for one material."""

    relax: RelaxMaker
    static: StaticMaker
    optics: NonSCFMaker
    hybrid: HybridMaker


def makers(
    cell: StandardCell, settings: VaspSettings, run_vasp_kwargs: dict[str, Any] | None = None
) -> Makers:
    """Return the makers for a cell; meshes are chosen for it as it is before relaxation.

    Parameters
    ----------
    run_vasp_kwargs
        As atomate2's makers take them, such as ``{"vasp_cmd": …}``.
    """
    lattice = cell.structure.lattice.matrix

    def mesh(density: float) -> Kpoints:
        return Kpoints.gamma_automatic(symmetric_mesh(lattice, cell.rotations, density))

    def common(step: Step, density: float) -> dict[str, Any]:
        return {
            "user_incar_settings": _incar(cell.structure, settings, step),
            "user_kpoints_settings": mesh(density),
            "user_potcar_functional": settings.potentials,
            "auto_ismear": False,
        }

    run = dict(run_vasp_kwargs or {})
    lenient = [
        handler
        for handler in DEFAULT_HANDLERS
        if not isinstance(handler, UnconvergedErrorHandler | NonConvergingErrorHandler)
    ]
    return Makers(
        relax=RelaxMaker(
            input_set_generator=RelaxSetGenerator(**common("relax", settings.relax_density)),
            task_document_kwargs=dict(_SHORT_DOCUMENT),
            run_vasp_kwargs=dict(run),
        ),
        static=StaticMaker(
            input_set_generator=StaticSetGenerator(**common("static", settings.scf_density)),
            task_document_kwargs=dict(_SHORT_DOCUMENT),
            run_vasp_kwargs=dict(run),
        ),
        optics=NonSCFMaker(
            name="optics",
            input_set_generator=OpticsSetGenerator(
                mode="uniform",
                optics=True,
                band_density=settings.band_density,
                auto_ispin=False,
                **common("optics", settings.optics_density),
            ),
            task_document_kwargs=dict(_SHORT_DOCUMENT),
            run_vasp_kwargs=dict(run),
        ),
        hybrid=HybridMaker(
            input_set_generator=HybridSetGenerator(**common("hybrid", settings.scf_density)),
            copy_vasp_kwargs={"additional_vasp_files": ["WAVECAR"]},
            # One evaluation is never converged in the sense of a loop.
            run_vasp_kwargs={"handlers": lenient, **run},
        ),
    )


def _incar(structure: Structure, settings: VaspSettings, step: Step) -> dict[str, Any]:
    """Return what our settings say; None takes a tag of atomate2's sets out."""
    functional = settings.relax_functional if step == "relax" else settings.functional
    incar: dict[str, Any] = {
        "ENCUT": settings.cutoff,
        "GGA": _FUNCTIONALS[functional],
        "PREC": "Accurate",
        "EDIFF": 1e-6,
        "LASPH": True,
        "LREAL": False,
        "ISMEAR": 0,
        "SIGMA": 0.05,
        "LWAVE": False,
        # Files and tags of other purposes.
        "LAECHG": False,
        "LVTOT": False,
        "LELF": None,
        "LMIXTAU": None,
        **_spin(settings, step),
        **_hubbard(structure, settings, step),
    }
    if step == "relax":
        incar |= {"EDIFF": 1e-7, "EDIFFG": -settings.relax_force, "NSW": settings.relax_steps}
    else:
        incar |= {"EDIFFG": None, "IBRION": -1, "ISIF": None}
    if step == "static":
        incar |= {"LWAVE": True}
    if step == "optics":
        # ALGO = Fast leaves high empty bands unconverged.
        incar |= {
            "ALGO": "Normal",
            "ISMEAR": -5,
            "NEDOS": settings.optics_points,
            "CSHIFT": settings.complex_shift,
        }
    return incar | settings.incar.get(step, {})


def _spin(settings: VaspSettings, step: Step) -> dict[str, Any]:
    # What passes the check has no moments, and its response needs no spin; the hybrid takes over
    # the orbitals of the ground state, which are polarised then.
    if settings.spin_check and step in ("static", "hybrid"):
        return {"ISPIN": 2}
    return {"ISPIN": 1, "MAGMOM": None}


def _hubbard(structure: Structure, settings: VaspSettings, step: Step) -> dict[str, Any]:
    chosen = {
        symbol: value
        for symbol, value in settings.hubbard_u.items()
        if symbol in structure.symbol_set and value
    }
    # Exact exchange takes the place of U.
    if not chosen or step == "hybrid":
        return {"LDAU": False, "LDAUU": None, "LDAUL": None, "LDAUJ": None}
    shells = {symbol: 3 if Element(symbol).block == "f" else 2 for symbol in chosen}
    return {
        "LDAU": True,
        "LDAUTYPE": 2,
        "LDAUU": chosen,
        "LDAUL": {symbol: shells.get(symbol, -1) for symbol in structure.symbol_set},
        "LDAUJ": dict.fromkeys(chosen, 0.0),
    }
