"""Band gaps of non-self-consistent dielectric-dependent (nsc-dd) hybrids with GPAW.

A hybrid with a share ``a`` of exact exchange, on the orbitals of a semi-local run, changes every
eigenvalue by ``a``·(⟨exact exchange⟩ − ⟨semi-local exchange⟩), so that one evaluation at the band
edges serves every share: a = 1/4 from PBE is PBE0, a = 1/ε∞ the dielectric-dependent hybrid
(J. H. Skone, M. Govoni and G. Galli, Phys. Rev. B 89, 195112 (2014); diagonal and not
self-consistent: Y. Hinuma et al., Phys. Rev. B 95, 075302 (2017)).

The edges are those of the semi-local run, states within ``degeneracy`` of them averaged. The mesh
of the exchange sum is refined until the gap stays within ``tolerance``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from opalign.errors import ConfigurationError
from opalign.firstprinciples.gpaw_bands import mesh_of
from opalign.firstprinciples.gpaw_exchange import exchange_difference, occupied_on, states_at
from opalign.firstprinciples.gpaw_failures import failures_named, require_gpaw
from opalign.firstprinciples.gpaw_mesh import symmetric_mesh
from opalign.firstprinciples.gpaw_semilocal import EMPTY_BANDS, SemilocalRun
from opalign.firstprinciples.gpaw_settings import GpawSettings
from opalign.firstprinciples.gpaw_setups import setups_for
from opalign.firstprinciples.gpaw_structure import StandardCell

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

PBE0_FRACTION = 0.25
SAME_POINT = 1e-6


class HybridSettings(BaseModel):
    """How the exchange at the band edges is converged; frozen. Energies in eV."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tolerance: float = Field(
        default=0.1, gt=0.0, description="change of the gap from one mesh to the next that ends it"
    )
    densities: tuple[float, ...] = Field(
        default=(1.4, 1.9, 2.4, 2.9, 3.6),
        min_length=2,
        description="meshes of the exchange sum, points per Å⁻¹, one after the other",
    )
    degeneracy: float = Field(
        default=0.01, ge=0.0, description="states as near to an edge as this are averaged"
    )


@dataclass(frozen=True)
class HybridGap:
    """How a band gap depends on the share of exact exchange.

    Parameters
    ----------
    semilocal_gap
        Fundamental gap of the semi-local run on ``edge_mesh``, eV.
    exchange_shift
        Change of the gap in eV per unit share of exact exchange.
    hubbard_shift
        Change of the gap in eV by leaving out U; zero where there was none.
    valence_point, conduction_point
        Fractional k points of the edges.
    functional
        Semi-local functional of the orbitals.
    edge_mesh
        Γ-centred mesh on which the edges were looked for.
    history
        One entry a mesh of the exchange sum: ``mesh`` and ``exchange_shift``.
    converged
        Whether the last two differ by less than the tolerance.
    change
        By how much they differ in the gap of the share that was asked for, eV.
    seconds
        Cost of each step on the processor.
    """

    semilocal_gap: float
    exchange_shift: float
    hubbard_shift: float
    valence_point: tuple[float, float, float]
    conduction_point: tuple[float, float, float]
    functional: str
    edge_mesh: tuple[int, int, int]
    history: tuple[Mapping[str, Any], ...]
    converged: bool
    change: float
    seconds: Mapping[str, float]

    @property
    def is_direct(self) -> bool:
        """Whether both edges lie at one k point."""
        difference = np.subtract(self.valence_point, self.conduction_point)
        return bool(np.abs(difference - np.round(difference)).max() < SAME_POINT)

    def shift(self, fraction: float) -> float:
        """Return Δ = E_g(hybrid) − E_g(semi-local) in eV for a share of exact exchange.

        Raises ConfigurationError for a share outside 0…1.
        """
        if not 0.0 <= fraction <= 1.0:
            raise ConfigurationError(
                f"{fraction:g} is no share of exact exchange", expected="a number from 0 to 1"
            )
        return fraction * self.exchange_shift + self.hubbard_shift

    def gap(self, fraction: float) -> float:
        """Return the gap in eV of the hybrid with this share of exact exchange."""
        return self.semilocal_gap + self.shift(fraction)

    @property
    def pbe0_shift(self) -> float:
        """Δ in eV for a quarter of exact exchange: PBE0 where the orbitals are PBE's."""
        return self.shift(PBE0_FRACTION)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON of all fields."""
        content = asdict(self)
        content["history"] = [dict(entry) for entry in self.history]
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> HybridGap:
        """Read :meth:`to_dict`; raises TypeError or KeyError for anything else."""
        fields = dict(content)
        for name in ("valence_point", "conduction_point", "edge_mesh", "history"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


def hybrid_gap(
    structure: Structure,
    folder: str | Path,
    *,
    fraction: float = PBE0_FRACTION,
    semilocal: GpawSettings | None = None,
    settings: HybridSettings | None = None,
    edge_mesh: Sequence[int] | None = None,
    ground: str | Path | None = None,
) -> HybridGap:
    """Return how the gap of a crystal depends on the share of exact exchange.

    Finished steps stay in ``folder``, and a calculation that was stopped goes on from them.

    Parameters
    ----------
    structure
        As it is to be computed: nothing is relaxed here.
    fraction
        Share for which the gap is converged; the result serves every share.
    semilocal
        Functional, cutoff, U and meshes of the semi-local run.
    edge_mesh
        Mesh on which to look for the edges; by default that of the optics.
    ground
        A ground state (.gpw) with these settings, if there is one already.

    Raises
    ------
    EngineFailure
        There is no gap, or what befell GPAW.
    MissingExtraError
        GPAW is not installed.
    """
    require_gpaw()
    semilocal = semilocal or GpawSettings()
    settings = settings or HybridSettings()
    with setups_for(semilocal.functional, structure.symbol_set):
        run = SemilocalRun(structure, Path(folder), semilocal, ground)
        mesh = tuple(edge_mesh or mesh_of(run.cell, semilocal, semilocal.optics_density))
        found = _converged(run, mesh, settings, fraction)
        run.tidy()
    return found


def exchange_mesh(cell: StandardCell, density: float) -> tuple[int, int, int]:
    """Return the smallest mesh, odd or even, as dense as asked for and as symmetric as the crystal.

    See :func:`~opalign.firstprinciples.gpaw_mesh.symmetric_mesh`.
    """
    even = symmetric_mesh(cell.structure.lattice.matrix, cell.rotations, 2.0 * density)
    first, second, third = (points // 2 for points in even)
    return first, second, third


def _converged(
    run: SemilocalRun, mesh: tuple[int, ...], settings: HybridSettings, fraction: float
) -> HybridGap:
    edges = run.edges(mesh)
    history: list[dict[str, Any]] = []
    change = float("inf")
    for density in sorted(settings.densities):
        size = exchange_mesh(run.cell, density)
        if history and history[-1]["mesh"] == list(size):
            continue
        name = "exchange-" + "x".join(str(points) for points in (*mesh, *size))
        compute = partial(_edge_shifts, run, edges, size, settings.degeneracy)
        found = run.steps.run(f"{name}-d{settings.degeneracy:g}", compute)
        if history:
            change = fraction * abs(found["exchange_shift"] - history[-1]["exchange_shift"])
        history.append({"mesh": list(size), **found})
        if change <= settings.tolerance:
            break
    return HybridGap(
        semilocal_gap=edges["gap_eV"],
        exchange_shift=history[-1]["exchange_shift"],
        hubbard_shift=history[-1]["hubbard_shift"],
        valence_point=tuple(edges["valence"]),
        conduction_point=tuple(edges["conduction"]),
        functional=run.settings.functional,
        edge_mesh=mesh,  # type: ignore[arg-type]
        history=tuple(history),
        converged=change <= settings.tolerance,
        change=change,
        seconds=dict(run.steps.seconds),
    )


def _edge_shifts(
    run: SemilocalRun, edges: Mapping[str, Any], size: Sequence[int], degeneracy: float
) -> dict[str, float]:
    occupied = run.occupied
    first, last = max(occupied - EMPTY_BANDS, 0), occupied + EMPTY_BANDS
    with failures_named(f"exact exchange on the mesh {tuple(size)}"):
        direct = edges["valence"] == edges["conduction"]
        points = [edges["valence"]] if direct else [edges["valence"], edges["conduction"]]
        states = states_at(run.ground, points, last)
        mesh = occupied_on(run.ground, size, occupied)
        found = exchange_difference(
            mesh, size, run.settings.functional, states, len(points), first, last
        )
    here = occupied - first
    below, above = found.energies[0, :here], found.energies[-1, here:]
    valence, conduction = below[-1] - below <= degeneracy, above - above[0] <= degeneracy

    def across(values: np.ndarray) -> float:
        return float(values[-1, here:][conduction].mean() - values[0, :here][valence].mean())

    return {
        "exchange_shift": across(found.exchange),
        "hubbard_shift": 0.0 - across(found.hubbard),
    }
