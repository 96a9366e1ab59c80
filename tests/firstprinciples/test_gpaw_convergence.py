import numpy as np
import pytest

from opalign.firstprinciples.engine import EngineFailure
from opalign.firstprinciples.gpaw_convergence import agreement, converged
from opalign.firstprinciples.gpaw_settings import GpawSettings, Numerics
from opalign.spectrum.grid import EnergyGrid

GRID = EnergyGrid(0.0, 20.0, 201)
START = Numerics.of(GpawSettings())
LINE = np.exp(-((GRID.values - 8.0) ** 2))


def tensor(scale):
    return (scale * LINE)[:, None, None] * 1j * np.eye(3)


def fine_mesh(density):
    return (round(2 * density),) * 3


class Material:
    """Im ε too low by a share that every setting has in it, and that its increase takes away."""

    def __init__(self, **errors):
        self.errors = errors
        self.computed = []

    def __call__(self, numerics):
        self.computed.append(numerics)
        missing = sum(
            share * (getattr(START, name) / getattr(numerics, name)) ** 4
            for name, share in self.errors.items()
        )
        return {"ipa": tensor(1.0), "rpa": tensor(1.0 - missing)}


def run(material, mesh=fine_mesh, target=0.95):
    return converged(START, target, GRID, material, mesh)


def test_agreement_is_that_of_the_worst_level():
    assert agreement(
        {"ipa": tensor(1.0), "rpa": tensor(0.9)}, {"ipa": tensor(1.0), "rpa": tensor(1.0)}, GRID
    ) == pytest.approx(0.9)


def test_an_easy_material_takes_one_test_of_each():
    numerics, history = run(Material())
    assert [entry["setting"] for entry in history] == [
        "response_cutoff",
        "band_density",
        "cutoff",
        "optics_density",
    ]
    assert all(entry["similarity"] == 1.0 for entry in history)
    assert numerics == START.model_copy(update={"optics_density": 4.5})


def test_what_matters_is_raised_until_it_does_not():
    numerics, history = run(Material(band_density=0.2))
    values = [entry["values"] for entry in history if entry["setting"] == "band_density"]
    assert values == [[0.3, 0.42], [0.42, 0.588]]
    assert numerics.band_density == 0.42
    assert (numerics.cutoff, numerics.response_cutoff) == (START.cutoff, START.response_cutoff)


def test_the_mesh_grows_and_the_finer_of_two_is_used():
    numerics, history = run(Material(optics_density=0.02))
    densities = [e["values"] for e in history if e["setting"] == "optics_density"]
    assert densities == [[3.5, 4.5], [4.5, 5.5]]
    assert numerics.optics_density == 5.5
    assert history[-1]["similarity"] >= 0.95 > history[-2]["similarity"]


def test_equal_meshes_are_no_test():
    numerics, history = run(Material(), mesh=lambda density: (4, 4, 4 if density < 6 else 6))
    assert history[-1]["values"] == [3.5, 6.5]
    assert numerics.optics_density == 6.5


@pytest.mark.parametrize("name", ["cutoff", "optics_density"])
def test_what_never_settles_has_failed(name):
    class Restless(Material):
        def __call__(self, numerics):
            scale = 1.0 + getattr(numerics, name)
            return {"ipa": tensor(scale), "rpa": tensor(scale)}

    with pytest.raises(EngineFailure, match=f"{name} from .* still changes") as caught:
        run(Restless(), target=0.99)
    assert caught.value.reason == "not converged"


def test_tests_of_cutoffs_run_on_the_coarse_mesh():
    material = Material()
    run(material)
    assert {n.optics_density for n in material.computed[:-1]} == {3.5}
