"""Exact exchange of given states with GPAW, not self-consistent, at any k point.

GPAW's own treatment of the divergence at q → 0 cuts the Coulomb interaction at the Wigner–Seitz
cell of the supercell that the mesh stands for, tabulated at differences of its points alone. Band
edges lie anywhere, so the interaction is cut at a sphere of the same volume instead (J. Spencer and
A. Alavi, Phys. Rev. B 77, 193110 (2008)): v(G) = 4π/G²·(1 − cos G·R), known for every G.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

EXCHANGE = {"PBE": "GGA_X_PBE", "PBEsol": "GGA_X_PBE_SOL"}
"""The exchange part of a functional in libxc's words."""


@dataclass(frozen=True)
class ExchangeDifference:
    """What replacing semi-local by exact exchange does to states (k, n); eV, diagonal elements.

    Parameters
    ----------
    energies
        Semi-local eigenvalues.
    exchange
        ⟨exact exchange⟩ − ⟨semi-local exchange⟩: a hybrid with a share ``a`` adds ``a`` times this.
    hubbard
        ⟨U⟩, which a hybrid that takes the place of the U leaves out; zero without one.
    """

    energies: np.ndarray
    exchange: np.ndarray
    hubbard: np.ndarray


def states_at(ground: Any, points: Any, bands: int) -> Any:
    """Return GPAW's calculator with the lowest ``bands`` states at ``points`` (k, 3), fractional.

    The density is that of ``ground``. Points are taken as they are given, none by symmetry. At Γ
    alone GPAW would make wave functions real, which do not go with those of a mesh: a corner of
    the cell is then added at the end.
    """
    chosen = np.asarray(points, dtype=float)
    if not chosen.any():
        chosen = np.vstack([chosen, np.full(3, 0.5)])
    return ground.fixed_density(
        kpts=chosen,
        symmetry="off",
        nbands=bands + 2,
        convergence={"bands": bands, "eigenstates": 1e-6},
        txt=None,
    )


def occupied_on(ground: Any, size: Sequence[int], occupied: int) -> Any:
    """Return GPAW's calculator with the occupied states on a Γ-centred mesh."""
    return ground.fixed_density(
        kpts={"size": tuple(size), "gamma": True},
        symmetry={"tolerance": 1e-5},
        nbands=occupied,
        convergence={"bands": occupied, "eigenstates": 1e-5},
        txt=None,
    )


def exchange_difference(
    mesh: Any,
    size: Sequence[int],
    functional: str,
    states: Any,
    count: int,
    first: int,
    last: int,
) -> ExchangeDifference:
    """Evaluate the states from band ``first`` up to, not including, ``last``.

    Parameters
    ----------
    mesh, size
        Of :func:`occupied_on`: the states that are exchanged with.
    functional
        ``"PBE"`` or ``"PBEsol"``, that of the ground state.
    states, count
        Of :func:`states_at`, the first ``count`` points of which are evaluated.
    """
    from gpaw.new.pw.nschse import NonSelfConsistentHybridXCCalculator, nsc_corrections

    dft = mesh.dft
    hybrid = NonSelfConsistentHybridXCCalculator.from_dft_calculation(dft, "EXX", log=None)
    hybrid.coulomb = spherical_coulomb(hybrid.grid.cell_cv, size)
    # The calculator subtracts the whole functional; exchange alone is to be replaced.
    _, hybrid.dxc_sR, _, hybrid.dxc_asii = nsc_corrections(
        dft.density, dft.pot_calc, EXCHANGE[functional]
    )
    waves = states.dft.ibzwfs
    energies, exact = hybrid.calculate(waves, first, last, range(count))
    return ExchangeDifference(
        energies[0], (exact - energies)[0], _hubbard(dft, waves, count, first, last)
    )


def spherical_coulomb(cell: np.ndarray, size: Sequence[int]) -> Callable[[Any], np.ndarray]:
    """Return v(G) of the interaction cut at a sphere as large as the supercell; atomic units.

    ``cell`` (3, 3) in Bohr. The function takes GPAW's plane waves, whose ``ekin_G`` is G²/2.
    """
    volume = abs(np.linalg.det(cell)) * np.prod(size)
    radius = float(np.cbrt(3.0 * volume / (4.0 * np.pi)))

    def potential(waves: Any) -> np.ndarray:
        squared = 2.0 * np.asarray(waves.ekin_G)
        values = np.full(squared.shape, 2.0 * np.pi * radius**2)
        rest = squared > 1e-10
        values[rest] = 4.0 * np.pi * (1.0 - np.cos(np.sqrt(squared[rest]) * radius)) / squared[rest]
        return values

    return potential


def _hubbard(dft: Any, waves: Any, count: int, first: int, last: int) -> np.ndarray:
    from ase.units import Ha

    found = np.zeros((count, last - first))
    for atom, density in dft.density.D_asii.items():
        setup = dft.setups[atom]
        if setup.hubbard_u is None:
            continue
        _, potential = setup.hubbard_u.calculate(setup, density)
        for index in range(count):
            projections = waves._get_wfs(index, 0).P_ani[atom][first:last]
            found[index] += np.einsum(
                "ni, ij, nj -> n", projections.conj(), potential[0], projections
            ).real
    return found * Ha
