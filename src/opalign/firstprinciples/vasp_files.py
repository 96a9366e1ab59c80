"""Finding and reading what a run of VASP left in its folder, compressed or not."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opalign.errors import SpectrumError
from opalign.firstprinciples.engine import EngineFailure
from opalign.spectrum.formats.source import iterate_lines

if TYPE_CHECKING:
    from pymatgen.io.vasp.outputs import Vasprun

PDOS_ENERGIES = np.linspace(-10.0, 10.0, 401)
"""eV from the valence-band maximum."""
PDOS_WIDTH = 0.1
"""Gaussian σ of the densities of states, eV."""
_COMPRESSED = r"(\.gz|\.GZ|\.bz2|\.xz)?$"
_CORES = re.compile(r"running on\s+(\d+)\s+total cores|running\s+(\d+)\s+mpi-ranks")
_ELAPSED = re.compile(r"Elapsed time \(sec\):\s*([\d.]+)")


def find_file(folder: Path, name: str) -> Path:
    """Return the only file of this name in a folder, whatever stands before it with an underscore.

    Raises
    ------
    EngineFailure
        ``"bad output"``, if there is none or more than one.
    """
    pattern = re.compile(rf"(.*_)?{re.escape(name)}{_COMPRESSED}")
    try:
        found = sorted(path for path in folder.iterdir() if pattern.match(path.name))
    except OSError as error:
        raise EngineFailure("bad output", str(error), where=str(folder)) from error
    if len(found) != 1:
        listed = ", ".join(path.name for path in found)
        raise EngineFailure(
            "bad output",
            f"there is more than one {name}: {listed}" if found else f"there is no {name}",
            where=str(folder),
            cure="name the folder of one finished run",
        )
    return found[0]


def read_run(folder: Path, *, densities: bool = False) -> Vasprun:
    """Read the vasprun.xml of a run with its eigenvalues, on request with projected densities.

    Raises
    ------
    EngineFailure
        ``"bad output"``, if it is absent, cut off or damaged.
    """
    from pymatgen.io.vasp.outputs import Vasprun

    path = find_file(folder, "vasprun.xml")
    try:
        with warnings.catch_warnings():
            # About POTCAR files that are not there, and settings that are as they should be.
            warnings.simplefilter("ignore")
            return Vasprun(path, parse_dos=densities, parse_eigen=True, parse_potcar_file=False)
    except Exception as error:
        # Damaged XML fails in every way a parser can.
        raise EngineFailure(
            "bad output",
            f"cannot be read ({type(error).__name__}: {str(error)[:200]})",
            where=str(path),
            cure="if the run was stopped, run it to its end",
        ) from error


def processor_seconds(folder: Path) -> float | None:
    """Return elapsed seconds times cores of a run by its OUTCAR; None where it does not say."""
    cores, elapsed = 1, None
    try:
        for _, line in iterate_lines(find_file(folder, "OUTCAR")):
            if found := _CORES.search(line):
                cores = int(found.group(1) or found.group(2))
            elif found := _ELAPSED.search(line):
                elapsed = float(found.group(1))
    except (EngineFailure, SpectrumError):
        return None
    return None if elapsed is None else cores * elapsed


def magnetic_moment(folder: Path) -> float:
    """Return the largest moment (μ_B) of an atom or of the cell, by the OUTCAR."""
    from pymatgen.io.vasp.outputs import Outcar

    path = find_file(folder, "OUTCAR")
    try:
        outcar = Outcar(str(path))
    except Exception as error:
        raise EngineFailure("bad output", f"cannot be read ({error})", where=str(path)) from error
    local = [abs(float(site["tot"])) for site in outcar.magnetization]
    return max([*local, abs(float(outcar.total_mag or 0.0))])


def eigenvalues(run: Vasprun) -> np.ndarray:
    """Return eigenvalues (spins, points, bands) in eV in the order of the file.

    Raises
    ------
    EngineFailure
        ``"bad output"``, if there are none.
    """
    found: dict[Any, np.ndarray] = run.eigenvalues or {}
    if not found:
        raise EngineFailure("bad output", "there are no eigenvalues", where=str(run.filename))
    return np.stack([values[:, :, 0] for values in found.values()])


def band_edges(run: Vasprun) -> tuple[float, float, float]:
    """Return valence-band maximum, conduction-band minimum and direct gap in eV.

    Bands count as occupied by the number of electrons, since occupations of a hybrid's one
    evaluation are those of another Fermi level.

    Raises
    ------
    EngineFailure
        ``"metal"`` for an odd number of electrons, ``"bad output"`` without empty bands.
    """
    electrons = round(float(run.parameters["NELECT"]))
    if electrons % 2:
        raise EngineFailure("metal", f"{electrons} electrons without spin", where=str(run.filename))
    values = eigenvalues(run)
    occupied = electrons // 2
    if values.shape[2] <= occupied:
        raise EngineFailure(
            "bad output",
            f"{values.shape[2]} bands hold {electrons} electrons and leave none empty",
            where=str(run.filename),
        )
    valence, conduction = values[:, :, :occupied].max(axis=2), values[:, :, occupied:].min(axis=2)
    direct = float((conduction - valence).min())
    return float(valence.max()), float(conduction.min()), direct


def projected_densities(run: Vasprun, valence_maximum: float) -> dict[str, np.ndarray]:
    """Densities of states by element and l, such as ``O-p``, on ``PDOS_ENERGIES``.

    States per eV and cell, both spins; empty where the run was without LORBIT.
    """
    if not run.pdos:
        return {}
    complete = run.complete_dos
    energies = complete.energies - valence_maximum
    found = {}
    for element in run.final_structure.composition.elements:
        for shell, density in complete.get_element_spd_dos(element).items():
            smeared = sum(density.get_smeared_densities(PDOS_WIDTH).values())
            name = f"{element.symbol}-{shell.name}"
            found[name] = np.interp(PDOS_ENERGIES, energies, smeared, left=0.0, right=0.0)
    return found
