"""Settings raised one after another until the spectrum no longer changes.

**Criterion.** Two successive settings agree where SC of Im ε̄, Gaussian σ = 0.1 eV, is at least the
target (0.95) both for independent particles and in the RPA; the finer is the reference. Cutoffs and
bands are tested on a coarse mesh, where a test costs little, and raised where it fails; of the two
that agree the coarser is kept, since the finer would cost more on every mesh to come. The mesh
comes last and grows until it passes; there the finer is used, since it is computed anyway. An easy
material is done after one test of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from opalign.firstprinciples.engine import EngineFailure
from opalign.firstprinciples.gpaw_settings import Numerics
from opalign.spectrum.broadening import Broadening, broaden
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.similarity import similarity_coefficient

COMPARED_AT = Broadening("gaussian", 0.1)
FACTORS = {"response_cutoff": 1.5, "band_density": 1.4, "cutoff": 1.25}
"""By how much a setting is raised; in the order of what a test costs."""
MOST_RAISES = 3
MESH_DENSITIES = (3.5, 4.5, 5.5, 6.5, 7.5)
"""Points per Å⁻¹; the first is the coarse mesh of the other tests."""

Epsilon = Mapping[str, np.ndarray]


def agreement(coarser: Epsilon, finer: Epsilon, grid: EnergyGrid) -> float:
    """Lowest SC over the levels of two tensors (n, 3, 3) each, the finer as the reference."""
    found = []
    for level, reference in finer.items():
        compared = _compared(coarser[level], grid), _compared(reference, grid)
        found.append(float(similarity_coefficient(compared[0], compared[1], grid)))
    return min(found)


def _compared(epsilon: np.ndarray, grid: EnergyGrid) -> np.ndarray:
    average = np.trace(epsilon.imag, axis1=1, axis2=2) / 3.0
    return broaden(average, grid, COMPARED_AT, "odd")


def converged(
    start: Numerics,
    target: float,
    grid: EnergyGrid,
    epsilon: Callable[[Numerics], Epsilon],
    mesh: Callable[[float], tuple[int, int, int]],
) -> tuple[Numerics, list[dict[str, Any]]]:
    """Return settings whose spectra no longer change, and the history of tests.

    Cutoffs and bands agree with the next finer ones, the mesh with the next coarser one.

    Parameters
    ----------
    start
        Where cutoffs and bands begin. Its mesh is not used: meshes begin at the coarsest.
    epsilon
        Computes a spectrum, or recalls it.
    mesh
        Mesh of a density; densities with equal meshes are no test and are passed over.

    Raises
    ------
    EngineFailure
        ``"not converged"``, if a setting was raised three times or the mesh is the densest.
    """
    history: list[dict[str, Any]] = []

    def test(name: str, coarser: Numerics, finer: Numerics) -> bool:
        similarity = agreement(epsilon(coarser), epsilon(finer), grid)
        values = [getattr(coarser, name), getattr(finer, name)]
        history.append({"setting": name, "values": values, "similarity": round(similarity, 4)})
        return similarity >= target

    chosen = start.model_copy(update={"optics_density": MESH_DENSITIES[0]})
    for name, factor in FACTORS.items():
        for _ in range(MOST_RAISES):
            raised = chosen.model_copy(update={name: round(getattr(chosen, name) * factor, 6)})
            if test(name, chosen, raised):
                break
            chosen = raised
        else:
            raise _not_converged(history, target)
    for density in MESH_DENSITIES[1:]:
        if mesh(density) == mesh(chosen.optics_density):
            continue
        finer = chosen.model_copy(update={"optics_density": density})
        if test("optics_density", chosen, finer):
            return finer, history
        chosen = finer
    raise _not_converged(history, target)


def _not_converged(history: list[dict[str, Any]], target: float) -> EngineFailure:
    last = history[-1]
    return EngineFailure(
        "not converged",
        f"{last['setting']} from {last['values'][0]:g} to {last['values'][1]:g} still changes the "
        f"spectrum to SC {last['similarity']:.3f}",
        cure=f"set the numerics by hand with converge = false, or lower the target of {target}",
    )
