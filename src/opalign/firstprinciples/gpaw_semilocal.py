"""Ground state of a crystal with GPAW, its band edges, and states on its density."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opalign.files import atomic_path
from opalign.firstprinciples.engine import EngineFailure
from opalign.firstprinciples.gpaw_bands import ground_state
from opalign.firstprinciples.gpaw_failures import failures_named
from opalign.firstprinciples.gpaw_settings import GpawSettings
from opalign.firstprinciples.gpaw_structure import StandardCell, check_electrons, standard_cell
from opalign.firstprinciples.steps import Steps

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

EMPTY_BANDS = 4
"""That are computed above the gap: the edge may be degenerate."""


class SemilocalRun:
    """Ground state of one crystal, and states at k points on its density; GPAW's, not kept."""

    def __init__(
        self,
        structure: Structure,
        folder: Path,
        settings: GpawSettings,
        ground: str | Path | None = None,
    ) -> None:
        self.cell: StandardCell = standard_cell(structure)
        check_electrons(self.cell.structure)
        self.settings = settings
        self.steps = Steps(folder, _key(self.cell.structure, settings))
        self._given = Path(ground) if ground is not None else None

    @cached_property
    def ground(self) -> Any:
        """GPAW's calculator of the ground state, computed or read."""
        from gpaw import GPAW

        self._prepare()
        path = self._given or self._path
        if self._given is None and not path.exists():
            # Tidied away after an earlier run, which needed fewer steps than this one.
            self._write_ground()
        with failures_named("reading the ground state"):
            return GPAW(str(path), legacy_gpaw=False, txt=None)

    @property
    def _path(self) -> Path:
        return self.steps.file("ground.gpw")

    def _prepare(self) -> None:
        """Compute the ground state unless it was; its cost counts in either case."""
        if self._given is None:
            self.steps.run("ground", self._write_ground)

    def _write_ground(self) -> dict[str, Any]:
        log = self.steps.file("ground.log")
        with atomic_path(self._path) as temporary:
            return ground_state(self.cell, self.settings, self.settings.cutoff, temporary, log)

    @property
    def occupied(self) -> int:
        """Number of occupied bands."""
        return round(self.ground.get_number_of_electrons()) // 2

    def edges(self, mesh: Sequence[int]) -> dict[str, Any]:
        """Find gap and k points of the band edges on a mesh."""
        self._prepare()
        name = "edges-" + "x".join(str(points) for points in mesh)
        return self.steps.run(name, lambda: self._edges(mesh))

    def _edges(self, mesh: Sequence[int]) -> dict[str, Any]:
        with failures_named("band edges"):
            calc = self.ground.fixed_density(
                kpts={"size": tuple(mesh), "gamma": True},
                symmetry={"tolerance": 1e-5},
                nbands=self.occupied + EMPTY_BANDS,
                convergence={"bands": self.occupied + 1, "eigenstates": 1e-5},
                txt=None,
            )
            points = calc.get_ibz_k_points()
            energies = np.array([calc.get_eigenvalues(kpt=k) for k in range(len(points))])
        top, bottom = energies[:, self.occupied - 1], energies[:, self.occupied]
        gap = float(bottom.min() - top.max())
        if gap < self.settings.smallest_gap:
            raise EngineFailure("metal", f"gap of {gap:.3f} eV on the mesh {tuple(mesh)}")
        return {
            "gap_eV": gap,
            "valence": _rounded(points[top.argmax()]),
            "conduction": _rounded(points[bottom.argmin()]),
        }

    def tidy(self) -> None:
        """Remove wave functions and densities."""
        self.steps.remove("*.gpw")


def _rounded(point: np.ndarray) -> list[float]:
    return [round(float(component), 10) + 0.0 for component in point]


def _key(structure: Structure, settings: GpawSettings) -> str:
    names = ("functional", "cutoff", "scf_density", "hubbard_u", "smallest_gap")
    content = {
        "lattice": np.round(structure.lattice.matrix, 6).tolist(),
        "species": [site.specie.symbol for site in structure],
        "positions": np.round(structure.frac_coords, 6).tolist(),
        "settings": {name: getattr(settings, name) for name in names},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
