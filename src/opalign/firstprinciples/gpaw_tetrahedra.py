"""The response function integrated over periodic tetrahedra, inside GPAW's own machinery.

GPAW provides matrix elements at the irreducible points and tetrahedron weights; which tetrahedra
there are comes from :mod:`opalign.firstprinciples.gpaw_mesh`. Imported only where GPAW is present.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gpaw.cgpaw import tetrahedron_weight  # type: ignore[attr-defined]
from gpaw.response.df import DielectricFunction
from gpaw.response.integrators import (
    Domain,
    HilbertOpticalLimitTetrahedron,
    HilbertTetrahedron,
    PointIntegrator,
)

from opalign.firstprinciples.gpaw_mesh import Neighbourhood, neighbourhood, periodic_tetrahedra


class PeriodicTetrahedra(PointIntegrator):
    """An integrator of spectral functions by linear tetrahedra that fill the reciprocal cell.

    Linear interpolation of energies and matrix elements as in GPAW's own, with every tetrahedron
    of the mesh counted once. Only for one process.
    """

    def integrate(self, **parts: Any) -> None:
        """Add the spectral function of ``integrand`` over ``domain`` to ``out_wxx``.

        ``parts``, all named by GPAW: the two, ``out_wxx``, frequencies ``wd`` and ``task``, which
        updates the output.
        """
        domain, integrand, wd = parts["domain"], parts["integrand"], parts["wd"]
        out_wxx, task = parts["out_wxx"], parts["task"]
        kd = integrand.gs.kd
        size = np.array(kd.N_c)
        index = np.ravel_multi_index(np.round(kd.bzk_kc * size).astype(int).T % size[:, None], size)
        tetrahedra = periodic_tetrahedra(kd.N_c, integrand.gs.gd.icell_cv)
        # GPAW numbers the points of the mesh in an order of its own.
        place = np.empty_like(index)
        place[index] = np.arange(len(index))
        tetrahedra = place[tetrahedra]

        to_cartesian = 2.0 * np.pi * integrand.gs.gd.icell_cv
        irreducible = Domain(kd.ibzk_kc @ to_cartesian, domain.spins)
        numbers = range(len(irreducible))
        deps = np.array([-integrand.eigenvalues(irreducible[number]) for number in numbers])
        deps = deps.reshape(irreducible.nkpts, domain.nspins, -1)

        prefactor = (2.0 * np.pi) ** 3 / self.vol / domain.nkpts
        out_wxx /= prefactor
        stars = integrand.generator.group_kpoints()
        around = [neighbourhood(star, tetrahedra, kd.bz2ibz_k) for star in stars]
        for point in domain:
            near = around[point.K]
            spin = list(domain.spins).index(point.spin)
            local = np.ascontiguousarray(deps[near.points, spin].T)
            weights, first, last = _weights(near, local, wd)
            elements = integrand.matrix_element(point)
            task.run(elements, local, weights, first, last, out_wxx)
        if task.symmetrizable_unless_blocked:
            lower = np.tril_indices(out_wxx.shape[1], -1)
            for matrix in out_wxx:
                matrix[lower] = matrix[lower[::-1]].conj()
        out_wxx *= prefactor


def _weights(
    near: Neighbourhood, energies: np.ndarray, wd: Any
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Weights of the middle point at the frequencies of ``wd``, one array a transition."""
    first, last = wd.get_index_range(energies.min(axis=1), energies.max(axis=1))
    simplices = np.ascontiguousarray(near.simplices, dtype=np.int32)
    chosen = np.arange(len(simplices))
    weights = []
    for values, start, stop in zip(energies, first, last, strict=True):
        weight = np.zeros(stop - start)
        frequencies = wd.omega_w[start:stop]
        tetrahedron_weight(values, simplices, 0, chosen, weight, frequencies, near.volumes)
        weights.append(weight)
    return weights, first, last


class OscillatorHeadAndWings(HilbertOpticalLimitTetrahedron):
    """Head and wings with oscillator strengths, not dipoles, interpolated between points.

    GPAW hands over dipoles x = p/Δε. Near a narrow direct gap Δε varies much between the corners of
    a tetrahedron, x² with it, and its linear interpolation carries the large x² of the gap to
    energies where it no longer holds: ε∞ of CdSe (gap 0.5 eV) comes out a third too high on a mesh
    of 8×8×8. The oscillator strength f ∝ x²·Δε varies less, and interpolated it keeps the f-sum of
    the mesh, ∫ω Im ε dω ∝ Σ f, exactly. On the surface Δε = ω then x² = f/ω: weights of the head
    are multiplied by Δε/ω, those of the wings, which hold one x, by its root, so that head, wings
    and body remain one positive matrix.
    """

    def __init__(self, omega_w: np.ndarray) -> None:
        self.omega_w = omega_w

    def run(self, n_MG: Any, deps_Mk: Any, W_Mw: Any, i0_M: Any, i1_M: Any, out_wxvG: Any) -> None:
        """Add one point of the mesh, the first of ``deps_Mk``."""
        # Columns are x, y, z, then plane waves; rows are x, y, z always.
        dipole = np.arange(out_wxvG.shape[-1]) < 3
        for elements, deps, weight, first, last in zip(
            n_MG, deps_Mk[:, 0], W_Mw, i0_M, i1_M, strict=True
        ):
            if first == last:
                continue
            root = np.sqrt(deps / self.omega_w[first:last])
            shares = (weight * root)[:, None] * np.where(dipole, root[:, None], 1.0)
            product = np.outer(elements[:3], elements.conj())
            both = np.stack([product, product.conj()])
            out_wxvG[first:last] += shares[:, None, None, :] * both


def dielectric_function(path: str, *, scheme: str, **options: Any) -> DielectricFunction:
    """Return GPAW's calculator of ε from a ``.gpw`` file with the scheme of integration."""
    if scheme == "irreducible":
        return DielectricFunction(path, integrationmode="tetrahedron integration", **options)
    function = DielectricFunction(path, integrationmode="point integration", **options)
    body = function.chi0calc.chi0_body_calc
    extension = function.chi0calc.chi0_opt_ext_calc
    head_and_wings = OscillatorHeadAndWings(extension.wd.omega_w)
    for part, task in ((body, HilbertTetrahedron(body.blockcomm)), (extension, head_and_wings)):
        old = part.integrator
        part.task = task
        part.integrator = PeriodicTetrahedra(
            cell_cv=part.gs.gd.cell_cv,
            context=old.context,
            blockcomm=old.blockcomm,
            kncomm=old.kncomm,
        )
    return function
