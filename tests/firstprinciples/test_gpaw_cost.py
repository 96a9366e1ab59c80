import pytest
from pymatgen.core import Element, Lattice, Structure

from opalign.firstprinciples.gpaw import GpawEngine
from opalign.firstprinciples.gpaw_cost import irreducible_points, valence_electrons
from opalign.firstprinciples.gpaw_settings import GpawSettings
from opalign.firstprinciples.gpaw_structure import standard_cell

ROCKSALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(4.25), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.3, 0.3, 0]]
)


@pytest.mark.parametrize(
    ("symbol", "electrons"),
    [("O", 6), ("Mg", 10), ("Ca", 10), ("Ti", 12), ("Zn", 12), ("Sn", 14), ("Hf", 12), ("Pb", 14)],
)
def test_valence_is_that_of_the_setups(symbol, electrons):
    assert valence_electrons(Element(symbol)) == electrons


@pytest.mark.parametrize(("mesh", "points"), [((12, 12, 12), 72), ((16, 16, 16), 145)])
def test_irreducible_points_of_a_face_centred_cell(mesh, points):
    # Counts of GPAW.
    cell = standard_cell(ROCKSALT)
    assert irreducible_points(cell, GpawSettings(optics_mesh=mesh)) == points


def test_time_reversal_halves_the_points_of_a_polar_crystal():
    polar = Structure(
        Lattice.from_parameters(3, 4, 5, 80, 85, 95), ["Zn", "O"], [[0] * 3, [0.4] * 3]
    )
    cell = standard_cell(polar)
    # 64 points, of which 8 are their own mirror image.
    assert irreducible_points(cell, GpawSettings(optics_mesh=(4, 4, 4))) == 36


def seconds(structure, **settings):
    return GpawEngine(GpawSettings(**settings)).expected_seconds(structure)


def test_cost_grows_with_the_work():
    alone = seconds(ROCKSALT, relax=False)
    assert alone < seconds(ROCKSALT)
    assert alone < seconds(ROCKSALT, relax=False, converge=True)
    assert alone < seconds(ROCKSALT, relax=False, cutoff=600.0)
    assert alone < seconds(ROCKSALT, relax=False, optics_density=8.0)
    assert seconds(ROCKSALT) < seconds(RUTILE)


def test_cost_of_one_core_is_of_the_order_measured():
    # MgO: 12 s; wurtzite ZnO on 100 points: 129 s.
    assert 5.0 < seconds(ROCKSALT, relax=False) < 25.0
    wurtzite = Structure.from_spacegroup(
        "P6_3mc",
        Lattice.hexagonal(3.29, 5.31),
        ["Zn", "O"],
        [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.38]],
    )
    assert 60.0 < seconds(wurtzite, relax=False, optics_mesh=(12, 12, 8)) < 260.0
