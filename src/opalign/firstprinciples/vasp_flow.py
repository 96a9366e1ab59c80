"""A material's VASP calculation as a jobflow flow of atomate2's jobs, for any runner of jobflow.

    relax … → static → check → optics → exchange fraction → hybrid → collect

*check* ends the flow for metals and magnets before anything costly; *exchange fraction* reads the
response and hands 1/ε∞ to *hybrid*, which evaluates with the orbitals of *static*; *collect* makes
one document of the files of all. Jobs find each other's files by path, so that folders have to lie
on a file system that all nodes share. docs/vasp.md has a worked example.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opalign.crystal.convert import to_structure
from opalign.errors import ConfigurationError, StructureError
from opalign.firstprinciples.engine import EngineFailure, EngineResult, FailureReason
from opalign.firstprinciples.gpaw_response import as_lists, from_lists
from opalign.firstprinciples.gpaw_structure import check_electrons, standard_cell
from opalign.firstprinciples.job_state import (
    LOCK_FILE,
    Attempt,
    job_lock,
    read_state,
    write_state,
)
from opalign.firstprinciples.jobs import RESULT_FOLDER
from opalign.firstprinciples.vasp_failures import require_atomate2
from opalign.firstprinciples.vasp_results import (
    Runs,
    checked_ground_state,
    epsilon_infinity,
    result_from_runs,
)
from opalign.firstprinciples.vasp_settings import VaspSettings
from opalign.firstprinciples.worker import now
from opalign.spectrum.grid import EnergyGrid

if TYPE_CHECKING:
    from jobflow.core.flow import Flow
    from pymatgen.core.structure import Structure

    from opalign.firstprinciples.campaign import Campaign

COLLECT = "collect"


def vasp_flow(
    structure: Structure,
    settings: VaspSettings | None = None,
    *,
    folder: str | Path | None = None,
    name: str | None = None,
    run_vasp_kwargs: Mapping[str, Any] | None = None,
) -> Flow:
    """Return the flow of one material; its output is the document of *collect*.

    Parameters
    ----------
    structure
        Any cell; its standardised primitive cell is computed.
    folder
        Where *collect* saves the result, on a file system that its node sees.
    name
        Of the flow and in the metadata of its jobs; the reduced formula by default.
    run_vasp_kwargs
        As atomate2's makers take them, such as ``{"vasp_cmd": "srun vasp_std"}``; by default the
        settings of atomate2 where the jobs run decide.

    Raises
    ------
    EngineFailure
        ``"odd electron count"`` or ``"unsupported"``.
    MissingExtraError
        atomate2 is not installed.
    """
    require_atomate2()
    from jobflow.core.flow import Flow
    from jobflow.core.job import Job

    from opalign.firstprinciples.vasp_inputs import makers

    settings = settings or VaspSettings()
    cell = standard_cell(structure)
    check_electrons(cell.structure)
    # atomate2 declares what its decorator returns by a function, which is no type.
    make: Any = makers(cell, settings, dict(run_vasp_kwargs or {}))
    content = settings.model_dump(mode="json")

    jobs: list[Job] = []
    folders: dict[str, Any] = {"relax": []}
    current: Any = cell.structure
    for run in range(1, settings.relax_runs + 1 if settings.relax else 1):
        relax = make.relax.make(current)
        relax.name = f"relax {run}"
        jobs.append(relax)
        folders["relax"].append(relax.output.dir_name)
        current = relax.output.structure
    static = make.static.make(current)
    check = Job(check_ground_state, (static.output.dir_name, content), name="check")
    optics = make.optics.make(static.output.structure, prev_dir=check.output["folder"])
    jobs += [static, check, optics]
    folders |= {"static": static.output.dir_name, "optics": optics.output.dir_name}
    if settings.hybrid:
        fraction = Job(
            exchange_fraction, (optics.output.dir_name, content), name="exchange fraction"
        )
        hybrid = make.hybrid.make(
            static.output.structure,
            prev_dir=check.output["folder"],
            exchange_fraction=fraction.output["exchange_fraction"],
        )
        jobs += [fraction, hybrid]
        folders["hybrid"] = hybrid.output.dir_name
    target = None if folder is None else str(Path(folder).resolve())
    collect = Job(collect_result, (folders, content, target), name=COLLECT)
    title = name or structure.composition.reduced_formula
    flow = Flow([*jobs, collect], output=collect.output, name=title)
    flow.update_metadata({"material_id": title, "engine": "vasp"})
    return flow


def campaign_vasp_flows(
    campaign: Campaign, identifiers: Collection[str] | None = None
) -> list[Flow]:
    """Return the flow of every job of a VASP campaign that waits, one queue job for every step.

    Their results are saved where ``opalign compute status`` and ``export`` look for them.
    (:func:`~opalign.firstprinciples.flow.campaign_flows` makes one queue job of all steps.) A
    material of which no flow can be made, such as one with an odd number of electrons, has failed
    with that reason in the campaign's folder.

    Raises
    ------
    ConfigurationError
        The campaign computes with another engine.
    MissingExtraError
        atomate2 is not installed.
    StorageError
        A failure cannot be recorded in the campaign's folder.
    """
    if campaign.config.engine != "vasp":
        raise ConfigurationError(
            f"the campaign computes with {campaign.config.engine}",
            where=str(campaign.folder),
            expected="engine: vasp",
        )
    flows = []
    for job in campaign.plan.jobs:
        folder = campaign.job_folder(job)
        if identifiers is not None and job.identifier not in identifiers:
            continue
        if read_state(folder).status != "waiting":
            continue
        try:
            flow = vasp_flow(
                to_structure(job.structure, job.identifier),
                VaspSettings.model_validate(job.settings),
                folder=folder / RESULT_FOLDER,
                name=job.identifier,
            )
        except EngineFailure as failure:
            _record(folder, failure.reason, failure.detail)
        except StructureError as error:
            _record(folder, "unsupported", str(error))
        else:
            flows.append(flow)
    return flows


def _record(folder: Path, reason: FailureReason, detail: str) -> None:
    """Write down why a job has failed before it could begin; one that is at work is left alone."""
    with job_lock(folder / LOCK_FILE) as free:
        state = read_state(folder)
        if free and state.status == "waiting":
            attempt = Attempt(now(), 0.0, "failed", reason, detail)
            write_state(folder, state.after(attempt))


def check_ground_state(folder: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Pass on the folder of a ground state; EngineFailure for one that is no use."""
    checked_ground_state(local_path(folder), VaspSettings.model_validate(settings))
    return {"folder": folder}


def exchange_fraction(folder: str, settings: Mapping[str, Any]) -> dict[str, float]:
    """Return ε∞ of a response and the exchange fraction of the hybrid that belongs to it.

    1/ε∞: J. H. Skone, M. Govoni and G. Galli, Phys. Rev. B 89, 195112 (2014).

    Raises
    ------
    EngineFailure
        ``"bad output"``, if ε∞ ≤ 1.
    """
    chosen = VaspSettings.model_validate(settings)
    dielectric = epsilon_infinity(local_path(folder), chosen)
    if dielectric <= 1.0:
        raise EngineFailure(
            "bad output", f"ε∞ is {dielectric:.3f}, which screens nothing", where=folder
        )
    return {
        "epsilon_infinity": dielectric,
        "exchange_fraction": chosen.exchange_fraction or 1.0 / dielectric,
    }


def collect_result(
    folders: Mapping[str, Any], settings: Mapping[str, Any], target: str | None = None
) -> dict[str, Any]:
    """Return the result of all runs as JSON, and save it in the folder ``target``."""
    found = {
        step: [local_path(each) for each in value] if step == "relax" else local_path(value)
        for step, value in folders.items()
    }
    result = result_from_runs(Runs.from_dict(found), VaspSettings.model_validate(settings))
    if target is not None:
        result.save(target)
    return result_document(result)


def result_document(result: EngineResult) -> dict[str, Any]:
    """Return a result as JSON for a document store; some 300 kB for two levels of 801 points."""
    return {
        "structure": result.structure.as_dict(),
        "grid": result.grid.model_dump(),
        "epsilon": as_lists(dict(result.epsilon)),
        "band_gap_eV": result.band_gap,
        "direct_gap_eV": result.direct_gap,
        "total_energy_eV": result.total_energy,
        "pdos_energies": result.pdos_energies.tolist(),
        "pdos": {channel: density.tolist() for channel, density in result.pdos.items()},
        "scalars": dict(result.scalars),
        "seconds": dict(result.seconds),
        "provenance": dict(result.provenance),
    }


def result_from_document(document: Mapping[str, Any]) -> EngineResult:
    """Read what :func:`result_document` made; KeyError for anything else."""
    return EngineResult(
        structure=to_structure(document["structure"], "document"),
        grid=EnergyGrid(**document["grid"]),
        epsilon=from_lists(document["epsilon"]),
        band_gap=document["band_gap_eV"],
        direct_gap=document["direct_gap_eV"],
        total_energy=document["total_energy_eV"],
        pdos_energies=np.array(document["pdos_energies"]),
        pdos={channel: np.array(density) for channel, density in document["pdos"].items()},
        scalars=document["scalars"],
        seconds=document["seconds"],
        provenance=document["provenance"],
    )


def local_path(folder: str | Path) -> Path:
    """Return the path in what atomate2 calls a folder, ``host:/path``."""
    from atomate2.utils.path import strip_hostname

    return Path(strip_hostname(str(folder)))
