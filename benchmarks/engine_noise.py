"""How far GPAW's own tetrahedra are defined: one calculation, with noise of rounding in its points.

    python benchmarks/engine_noise.py $OPALIGN_DATA WORK_FOLDER [--formula ZnO]

GPAW joins the points of the irreducible zone to tetrahedra by Delaunay's criterion, which on a
regular mesh has many answers: corners of a parallelepiped lie on one sphere, and rounding decides.
Ground state and bands are computed once, the response several times, with 10⁻¹² of noise in the
points that the triangulation gets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gpaw.response.integrators as integrators
import numpy as np
from engine_reference import imported, similarity
from scipy.spatial import Delaunay

from opalign.firstprinciples.engine import EngineResult
from opalign.firstprinciples.gpaw import GpawEngine, GpawSettings
from opalign.firstprinciples.steps import Steps

NOISE = 1e-12
"""Of the reciprocal lattice, a thousand times the rounding of numbers of that size."""
TIMES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--formula", default="ZnO")
    arguments = parser.parse_args()
    table = imported(arguments.data, arguments.work)
    row = table.formulas.index(arguments.formula)
    engine = GpawEngine(GpawSettings(relax=False, scheme="irreducible", optics_density=4.5))
    folder = arguments.work / "noise" / table.ids[row]
    Steps.remove = lambda self, pattern: None  # Wave functions serve every repetition.
    results: list[EngineResult] = []
    print("| noise | SC IPA to the first | SC IPA to the script | ε∞ IPA |\n|---|---|---|---|")
    for number in range(TIMES):
        for path in (*folder.glob("step-response*"), folder / "result.json"):
            path.unlink(missing_ok=True)
        integrators.Delaunay = triangulation(number)
        results.append(engine.run(table.structure(row), folder))
        spectrum, first = (each.spectrum("ipa").isotropic() for each in (results[-1], results[0]))
        print(
            f"| {NOISE if number else 0:g} | {similarity(spectrum, first):.3f} "
            f"| {similarity(spectrum, table.spectrum(row, 'ipa').isotropic()):.3f} "
            f"| {spectrum.epsilon_real[0]:.2f} |",
            flush=True,
        )


def triangulation(seed: int) -> type[Delaunay]:
    """Return Delaunay's triangulation of points with noise of this seed; 0 is none."""
    shift = np.random.default_rng(seed)

    class Shaken(Delaunay):
        def __init__(self, points: np.ndarray, **options: object) -> None:
            noise = NOISE * shift.normal(size=np.shape(points)) if seed else 0.0
            super().__init__(np.asarray(points) + noise, **options)

    return Shaken


if __name__ == "__main__":
    main()
