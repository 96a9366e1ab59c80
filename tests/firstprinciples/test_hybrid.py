import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from opalign.errors import ConfigurationError
from opalign.firstprinciples import gpaw_semilocal
from opalign.firstprinciples import hybrid as hybrid_module
from opalign.firstprinciples.engine import EngineFailure
from opalign.firstprinciples.gpaw_exchange import spherical_coulomb
from opalign.firstprinciples.gpaw_settings import GpawSettings
from opalign.firstprinciples.gpaw_structure import standard_cell
from opalign.firstprinciples.hybrid import HybridGap, HybridSettings, exchange_mesh, hybrid_gap
from opalign.firstprinciples.steps import Steps

CHEAP = GpawSettings(cutoff=300.0, scf_density=1.5)


def rock_salt(constant=4.212):
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(constant), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


def example(**changes):
    fields = {
        "semilocal_gap": 4.5,
        "exchange_shift": 9.6,
        "hubbard_shift": 0.0,
        "valence_point": (0.0, 0.0, 0.0),
        "conduction_point": (0.5, 0.5, 0.0),
        "functional": "PBE",
        "edge_mesh": (8, 8, 8),
        "history": ({"mesh": [3, 3, 3], "exchange_shift": 9.9, "hubbard_shift": 0.0},),
        "converged": True,
        "change": 0.05,
        "seconds": {"ground": 1.0},
    }
    return HybridGap(**(fields | changes))


def test_one_evaluation_serves_every_share_of_exchange():
    gap = example(hubbard_shift=-0.5)
    assert gap.shift(0.0) == -0.5
    assert gap.shift(0.3) == pytest.approx(0.3 * 9.6 - 0.5)
    assert gap.gap(0.3) == pytest.approx(4.5 + 0.3 * 9.6 - 0.5)
    assert example().shift(0.4) == pytest.approx(0.4 / 0.25 * example().pbe0_shift)


@pytest.mark.parametrize("fraction", [-0.1, 1.5, float("nan")])
def test_a_share_is_between_none_and_all(fraction):
    with pytest.raises(ConfigurationError, match="share"):
        example().shift(fraction)


def test_a_gap_is_direct_where_both_edges_are_one_point():
    assert not example().is_direct
    assert example(conduction_point=(0.0, 0.0, 0.0)).is_direct
    assert example(valence_point=(0.5, 0.5, -1.0)).is_direct
    assert not example(valence_point=(-0.4999, 0.5, 0.0)).is_direct


def test_a_gap_survives_json():
    gap = example()
    again = HybridGap.from_dict(json.loads(json.dumps(gap.to_dict())))
    assert again == gap
    with pytest.raises(TypeError):
        HybridGap.from_dict({**gap.to_dict(), "more": 1})


@pytest.mark.parametrize("density", [0.7, 1.4, 1.9, 2.9])
def test_meshes_of_exchange_are_dense_enough_and_as_symmetric_as_the_crystal(density):
    cell = standard_cell(rock_salt())
    size = exchange_mesh(cell, density)
    assert len(set(size)) == 1
    # The nearest lattice vectors of fcc are a/√2 apart.
    spacing = 4.212 / np.sqrt(2.0) / (2.0 * np.pi)
    assert size[0] * spacing >= density - 1e-9
    assert (size[0] - 1) * spacing < density
    assert exchange_mesh(cell, 1.4)[0] % 2 == 1


class Waves:
    def __init__(self, lengths):
        self.ekin_G = 0.5 * np.asarray(lengths, dtype=float) ** 2


def test_the_coulomb_interaction_ends_at_a_sphere():
    cell = np.array([[0.0, 4.0, 4.0], [4.0, 0.0, 4.0], [4.0, 4.0, 0.0]])
    potential = spherical_coulomb(cell, (2, 3, 4))
    radius = (3 * 128 * 24 / (4 * np.pi)) ** (1 / 3)
    # Continuous at G = 0, where ∫ over the sphere of 1/r is 2πR².
    limit, near = potential(Waves([0.0, 1e-4]))
    assert limit == pytest.approx(2 * np.pi * radius**2)
    assert near == pytest.approx(limit, rel=1e-6)
    # Whole waves on the radius cancel, half ones add up.
    waves = np.array([2.0, 3.0]) * np.pi / radius
    np.testing.assert_allclose(potential(Waves(waves)), [0.0, 8 * np.pi / waves[1] ** 2], atol=1e-9)


def stub(folder):
    """A run whose edges are known, so that only the refinement of the mesh is at work."""
    return SimpleNamespace(
        cell=standard_cell(rock_salt()),
        settings=CHEAP,
        steps=Steps(folder, "key"),
        edges=lambda mesh: {"gap_eV": 4.5, "valence": [0.0] * 3, "conduction": [0.5] * 3},
    )


def converged(monkeypatch, folder, fraction=0.25, **settings):
    """Δ that tends to 10 eV per unit share as 1/N³, and the meshes it was computed on."""
    computed = []

    def shifts(run, edges, size, degeneracy):
        computed.append(size)
        return {"exchange_shift": 10.0 + 30.0 / size[0] ** 3, "hubbard_shift": 0.0}

    monkeypatch.setattr(hybrid_module, "_edge_shifts", shifts)
    found = hybrid_module._converged(stub(folder), (8, 8, 8), HybridSettings(**settings), fraction)
    return found, computed


def test_the_mesh_is_refined_until_the_gap_stays(monkeypatch, tmp_path):
    found, computed = converged(monkeypatch, tmp_path / "a", densities=(0.4, 0.9, 1.4, 1.9, 2.4))
    sizes = [size[0] for size in computed]
    changes = 0.25 * -np.diff([10.0 + 30.0 / size**3 for size in sizes])
    assert changes[-1] <= 0.1 < changes[-2]
    assert found.converged
    assert found.change == pytest.approx(changes[-1])
    assert found.exchange_shift == found.history[-1]["exchange_shift"]
    assert [entry["mesh"] for entry in found.history] == [list(size) for size in computed]


def test_a_larger_share_needs_a_finer_mesh(monkeypatch, tmp_path):
    settings = {"densities": (0.9, 1.4, 1.9, 2.4, 2.9, 3.6), "tolerance": 0.02}
    _, few = converged(monkeypatch, tmp_path / "a", fraction=0.1, **settings)
    _, many = converged(monkeypatch, tmp_path / "b", fraction=0.5, **settings)
    assert len(few) < len(many)


def test_what_does_not_converge_says_so(monkeypatch, tmp_path):
    found, computed = converged(monkeypatch, tmp_path, densities=(0.9, 0.91, 1.4), tolerance=1e-6)
    assert not found.converged
    assert found.change > 1e-6
    assert len(computed) == 2, "equal meshes are one"


def test_finished_meshes_are_not_computed_again(monkeypatch, tmp_path):
    first, computed = converged(monkeypatch, tmp_path, densities=(0.9, 1.4))
    again, more = converged(monkeypatch, tmp_path, densities=(0.9, 1.4, 1.9), tolerance=1e-3)
    assert len(computed) == 2
    assert len(more) == 1
    assert again.history[:2] == first.history


@pytest.mark.parametrize(
    "bad", [{"densities": (1.0,)}, {"tolerance": 0.0}, {"degeneracy": -1.0}, {"unknown": 1}]
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match="HybridSettings"):
        HybridSettings(**bad)


def test_an_odd_number_of_electrons_has_no_gap(tmp_path):
    pytest.importorskip("gpaw")
    sodium_oxide = Structure(Lattice.cubic(4.0), ["Na", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(EngineFailure) as failure:
        hybrid_gap(sodium_oxide, tmp_path)
    assert failure.value.reason == "odd electron count"


@pytest.mark.slow
@pytest.mark.usefixtures("groups_checked_once")
def test_magnesia_against_the_pbe0_of_gpaw(tmp_path, monkeypatch):
    gpaw = pytest.importorskip("gpaw")
    from gpaw.hybrids.eigenvalues import non_self_consistent_eigenvalues

    settings = HybridSettings(densities=(0.9, 1.8), tolerance=1.0)
    options = {"semilocal": CHEAP, "settings": settings, "edge_mesh": (4, 4, 4)}
    ground = []
    keep = gpaw_semilocal.ground_state

    def computed(*arguments):
        ground.append(arguments)
        return keep(*arguments)

    monkeypatch.setattr(gpaw_semilocal, "ground_state", computed)
    found = hybrid_gap(rock_salt(), tmp_path / "work", **options)
    assert found.is_direct
    assert [entry["mesh"] for entry in found.history] == [[2, 2, 2], [4, 4, 4]]
    assert not list((tmp_path / "work").glob("*.gpw"))

    # A second call reads; another fraction needs no other evaluation.
    assert hybrid_gap(rock_salt(), tmp_path / "work", fraction=0.3, **options) == replace(
        found, change=0.3 / 0.25 * found.change
    )
    assert len(ground) == 1

    # GPAW cuts the Coulomb interaction at the Wigner–Seitz cell, which on these meshes differs
    # from a sphere by hundredths of an eV.
    atoms = standard_cell(rock_salt()).atoms()
    atoms.calc = gpaw.GPAW(
        mode=gpaw.PW(300),
        xc="PBE",
        kpts={"size": (4, 4, 4), "gamma": True},
        nbands=10,
        convergence={"bands": 9},
        txt=None,
    )
    atoms.get_potential_energy()
    points = atoms.calc.get_ibz_k_points()
    index = int(np.flatnonzero(np.abs(points).max(axis=1) < 1e-9)[0])
    energies, semilocal, pbe0 = non_self_consistent_eigenvalues(
        atoms.calc, "PBE0", n1=5, n2=9, kpt_indices=[index]
    )
    change = (pbe0 - semilocal)[0, 0]
    expected = change[3] - change[:3].mean()
    assert found.pbe0_shift == pytest.approx(expected, abs=0.03)
    assert found.semilocal_gap == pytest.approx(energies[0, 0, 3] - energies[0, 0, 2], abs=0.05)
