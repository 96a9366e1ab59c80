"""GPAW as an engine: relaxation, ground state, bands, response; open, by pip, on one core."""

from __future__ import annotations

import contextlib
import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opalign.firstprinciples import gpaw_bands, gpaw_relax, gpaw_response
from opalign.firstprinciples.engine import RESULT_FILE, EngineFailure, EngineResult
from opalign.firstprinciples.gpaw_convergence import converged
from opalign.firstprinciples.gpaw_failures import require_gpaw
from opalign.firstprinciples.gpaw_settings import GpawSettings, Numerics
from opalign.firstprinciples.gpaw_setups import setups_for
from opalign.firstprinciples.gpaw_structure import StandardCell, check_electrons, standard_cell
from opalign.firstprinciples.steps import Steps

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

__all__ = ["GpawEngine", "GpawSettings"]

INTEGRATION = {
    "periodic": "tetrahedra that fill the reciprocal cell, oscillator strengths interpolated",
    "irreducible": "tetrahedra in the irreducible zone, dipoles interpolated (GPAW's)",
}
"""Part of the key of a job: spectra integrated otherwise are other spectra."""
MAGNETIC = 0.1
"""μ_B above which an atom or a cell carries a moment."""


class GpawEngine:
    """Spectra of independent particles and in the RPA from GPAW; see docs/firstprinciples_schemes.

    A folder of work holds one JSON file per finished step (``step-…``), the logs of GPAW and, while
    they are needed, wave functions (``.gpw``), which are removed at the end.
    """

    name = "gpaw"

    def __init__(self, settings: GpawSettings | None = None) -> None:
        self.settings = settings or GpawSettings()

    def expected_seconds(self, structure: Structure) -> float:
        """Estimate the cost on one core from volume, electrons and symmetry."""
        from opalign.firstprinciples.gpaw_cost import expected_seconds

        return expected_seconds(structure, self.settings)

    def require(self) -> None:
        """Raise MissingExtraError where GPAW is not installed."""
        require_gpaw()

    def run(self, structure: Structure, folder: Path) -> EngineResult:
        """Compute inside ``folder``, going on from the steps finished there.

        Raises
        ------
        EngineFailure
            With the reason for which there is no spectrum.
        MissingExtraError
            GPAW is not installed.
        """
        require_gpaw()
        folder = Path(folder)
        key = self._key(structure)
        steps = Steps(folder, key)
        if (folder / RESULT_FILE).exists():
            try:
                finished = EngineResult.load(folder)
                if finished.provenance.get("key") == key:
                    return finished
            except EngineFailure:
                pass  # Damaged: whatever steps are left make it anew.
        with contextlib.ExitStack() as stack:
            for functional in {self.settings.functional, self.settings.relax_functional}:
                stack.enter_context(setups_for(functional, structure.symbol_set))
            try:
                result = _Run(self.settings, steps, key).result(structure)
            except EngineFailure:
                steps.remove("*.gpw")
                raise
        result.save(folder)
        steps.remove("*.gpw")
        return result

    def _key(self, structure: Structure) -> str:
        content = {
            "lattice": np.round(structure.lattice.matrix, 6).tolist(),
            "species": [site.specie.symbol for site in structure],
            "positions": np.round(structure.frac_coords, 6).tolist(),
            "settings": self.settings.model_dump(mode="json"),
            "integration": INTEGRATION[self.settings.scheme],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class _Run:
    """One material on its way through the steps."""

    def __init__(self, settings: GpawSettings, steps: Steps, key: str) -> None:
        self.settings = settings
        self.steps = steps
        self.key = key

    def result(self, structure: Structure) -> EngineResult:
        """Go through all steps."""
        settings, steps = self.settings, self.steps
        cell = standard_cell(structure)
        check_electrons(cell.structure)
        if settings.spin_check:
            self._refuse_magnetic(cell)
        relaxation: dict[str, Any] | None = None
        if settings.relax:
            cell, relaxation = self._relaxed(cell)
        numerics = Numerics.of(settings)
        history: list[dict[str, Any]] = []
        if settings.converge:
            numerics, history = converged(
                numerics,
                settings.convergence_target,
                settings.grid,
                epsilon=lambda tried: self.epsilon(cell, tried),
                mesh=lambda density: gpaw_bands.mesh_of(cell, settings, density),
            )
        epsilon = self.epsilon(cell, numerics)
        ground, bands = self.ground(cell, numerics), self.bands(cell, numerics)
        return EngineResult(
            structure=cell.structure,
            grid=settings.grid,
            epsilon=epsilon,
            band_gap=bands["gap_eV"],
            direct_gap=bands["direct_gap_eV"],
            total_energy=ground["total_energy_eV"],
            pdos_energies=gpaw_bands.PDOS_ENERGIES,
            pdos={name: np.array(density) for name, density in bands["pdos"].items()},
            seconds=dict(steps.seconds),
            provenance={
                "key": self.key,
                "engine": "gpaw",
                "versions": _versions(),
                "settings": settings.model_dump(mode="json"),
                "numerics": numerics.model_dump(),
                "integration": INTEGRATION[settings.scheme],
                "space_group": cell.space_group,
                "mesh": bands["mesh"],
                "irreducible_points": bands["irreducible_points"],
                "bands": bands["bands"],
                "electrons": ground["electrons"],
                "relaxation": relaxation,
                "convergence": history,
            },
        )

    def _refuse_magnetic(self, cell: StandardCell) -> None:
        log = self.steps.file("spin.log")
        moment = self.steps.run(
            "spin", lambda: {"moment": gpaw_bands.magnetic_moment(cell, self.settings, log)}
        )["moment"]
        if moment > MAGNETIC:
            raise EngineFailure("magnetic", f"a moment of {moment:.2f} Bohr magnetons")

    def _relaxed(self, cell: StandardCell) -> tuple[StandardCell, dict[str, Any]]:
        from pymatgen.core.structure import Structure

        def compute() -> dict[str, Any]:
            relaxed, numbers = gpaw_relax.relax(
                cell,
                self.settings,
                self.steps.file("relaxing.json"),
                self.steps.file("relax.log"),
            )
            return {"structure": relaxed.as_dict(), "numbers": numbers}

        found = self.steps.run("relax", compute)
        return standard_cell(Structure.from_dict(found["structure"])), found["numbers"]

    def ground(
        self, cell: StandardCell, numerics: Numerics, *, density: bool = False
    ) -> dict[str, Any]:
        """Return energy and gap of the ground state; with ``density`` its file is there too."""
        name = f"ground-c{numerics.cutoff:g}"
        path = self.steps.file(f"{name}.gpw")
        return self.steps.run(
            name,
            lambda: gpaw_bands.ground_state(
                cell, self.settings, numerics.cutoff, path, self.steps.file(f"{name}.log")
            ),
            needs=path if density else None,
        )

    def bands(
        self, cell: StandardCell, numerics: Numerics, *, waves: bool = False
    ) -> dict[str, Any]:
        """Return gaps, mesh, densities of states; with ``waves`` the wave functions are there."""
        name = numerics.bands_name
        path = self.steps.file(f"{name}.gpw")

        def compute() -> dict[str, Any]:
            self.ground(cell, numerics, density=True)
            ground = self.steps.file(f"ground-c{numerics.cutoff:g}.gpw")
            log = self.steps.file(f"{name}.log")
            return gpaw_bands.bands(cell, self.settings, numerics, ground, path, log)

        return self.steps.run(name, compute, needs=path if waves else None)

    def epsilon(self, cell: StandardCell, numerics: Numerics) -> dict[str, np.ndarray]:
        """Return the tensors of both levels."""

        def compute() -> dict[str, Any]:
            bands = self.bands(cell, numerics, waves=True)
            path = self.steps.file(f"{numerics.bands_name}.gpw")
            log = self.steps.file(f"{numerics.response_name}.log")
            found = gpaw_response.response(cell, self.settings, numerics, bands["bands"], path, log)
            return gpaw_response.as_lists(found)

        found = gpaw_response.from_lists(self.steps.run(numerics.response_name, compute))
        gap = self.bands(cell, numerics)["direct_gap_eV"]
        return {
            level: gpaw_response.physical(values, self.settings.grid, gap)
            for level, values in found.items()
        }


def _versions() -> dict[str, str]:
    found = {}
    for package in ("gpaw", "gpaw-data", "ase", "opalign"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
