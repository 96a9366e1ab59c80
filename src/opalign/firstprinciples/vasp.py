"""VASP as an engine, through atomate2: relaxation, ground state, response, dielectric hybrid."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opalign.firstprinciples.engine import RESULT_FILE, EngineFailure, EngineResult
from opalign.firstprinciples.gpaw_cost import expected_seconds
from opalign.firstprinciples.gpaw_settings import GpawSettings
from opalign.firstprinciples.jobs import content_key
from opalign.firstprinciples.steps import Steps
from opalign.firstprinciples.vasp_failures import CURE_COMMAND, failures_named, require_atomate2
from opalign.firstprinciples.vasp_flow import COLLECT, result_from_document, vasp_flow
from opalign.firstprinciples.vasp_leash import leashed
from opalign.firstprinciples.vasp_results import result_from_folder
from opalign.firstprinciples.vasp_settings import VaspSettings, study_settings

if TYPE_CHECKING:
    from jobflow.core.flow import Flow
    from jobflow.core.job import Job
    from jobflow.core.store import JobStore
    from pymatgen.core.structure import Structure

__all__ = ["VaspEngine", "VaspSettings", "result_from_folder", "study_settings", "vasp_flow"]

RUNS_FOLDER = "runs"
POLLING = {"polling_time_step": 0.5, "monitor_freq": 600}
"""custodian looks every half second whether VASP has ended, every five minutes how it does."""


class VaspEngine:
    """Spectra of independent particles from VASP, and those corrected by the nsc-dd hybrid.

    Runs, one after the other in this process, the jobs of the flow that a cluster would run, with
    the command that atomate2 is set to (``ATOMATE2_VASP_CMD`` or ``~/.atomate2.yaml``). A folder of
    work holds one JSON file per finished job and the files of VASP under ``runs/``; a job that was
    stopped is started anew, finished ones are not.
    """

    name = "vasp"

    def __init__(self, settings: VaspSettings | None = None) -> None:
        self.settings = settings or VaspSettings()

    def expected_seconds(self, structure: Structure) -> float:
        """Estimate the cost on one core as for GPAW, whose scaling is the same; the hybrid doubles.

        Good to order a queue by.
        """
        alike = GpawSettings(
            cutoff=self.settings.cutoff,
            optics_density=self.settings.optics_density,
            band_density=self.settings.band_density,
            relax=self.settings.relax,
        )
        return expected_seconds(structure, alike) * (2.0 if self.settings.hybrid else 1.0)

    def require(self) -> None:
        """Raise MissingExtraError without atomate2, EngineFailure without the command of VASP."""
        require_atomate2()
        vasp_commands()

    def run(self, structure: Structure, folder: Path) -> EngineResult:
        """Compute inside ``folder``, going on from the jobs finished there.

        Raises
        ------
        EngineFailure
            With the reason for which there is no spectrum: also ``"unsupported"`` where the command
            or the potentials of VASP cannot be found.
        MissingExtraError
            atomate2 is not installed.
        """
        require_atomate2()
        folder = Path(folder).resolve()
        key = content_key(structure.as_dict(), self.name, self.settings.model_dump(mode="json"))
        steps = Steps(folder, key)
        if (folder / RESULT_FILE).exists():
            # A damaged one is made anew by whatever jobs are left.
            with contextlib.suppress(EngineFailure):
                finished = EngineResult.load(folder)
                if finished.provenance.get("key") == key:
                    return finished
        commands = {**vasp_commands(), "custodian_kwargs": POLLING}
        flow = vasp_flow(structure, self.settings, run_vasp_kwargs=commands)
        document = _run_flow(flow, steps, folder / RUNS_FOLDER / key[:12])
        document["provenance"]["key"] = key
        result = result_from_document(document)
        result.save(folder)
        return result


def vasp_commands() -> dict[str, str]:
    """Return the commands that atomate2 is set to, bound to the life of this process.

    Raises
    ------
    EngineFailure
        ``"unsupported"``, if the command of VASP is not there.
    """
    from atomate2.settings import Atomate2Settings

    # Made anew, since atomate2 reads the environment when it is imported.
    found = Atomate2Settings()
    words = shlex.split(os.path.expandvars(found.VASP_CMD))
    if not words or shutil.which(words[0]) is None:
        raise EngineFailure(
            "unsupported",
            f"the command of VASP, {found.VASP_CMD!r}, cannot be found",
            cure=CURE_COMMAND,
        )
    return {"vasp_cmd": leashed(found.VASP_CMD), "vasp_gamma_cmd": leashed(found.VASP_GAMMA_CMD)}


def _run_flow(flow: Flow, steps: Steps, runs: Path) -> dict[str, Any]:
    """Run the jobs of a flow that no step is kept of, and return the output of the last."""
    from jobflow.core.store import JobStore
    from maggma.stores import MemoryStore
    from monty.json import jsanitize

    store = JobStore(MemoryStore())
    store.connect()
    outputs = {}
    for job, _ in flow.iterflow():
        output = steps.run(job.name, _runner(job, store, runs / job.name.replace(" ", "-")))
        # What was kept of an earlier run goes where later jobs look for it.
        document = {"uuid": job.uuid, "index": job.index, "output": jsanitize(output)}
        store.update(document, key=["uuid", "index"])
        outputs[job.name] = output
    return outputs[COLLECT]


def _runner(job: Job, store: JobStore, folder: Path) -> Callable[[], dict]:
    def run() -> dict[str, Any]:
        from monty.json import jsanitize

        # What a stopped attempt left would be taken for the result of this one.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with failures_named(job.name, folder), contextlib.chdir(folder):
            response = job.run(store)
        sanitized: dict[str, Any] = jsanitize(response.output, strict=True, enum_values=True)
        return sanitized

    return run
