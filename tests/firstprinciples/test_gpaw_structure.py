import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from opalign.firstprinciples.engine import EngineFailure
from opalign.firstprinciples.gpaw_structure import check_electrons, standard_cell

ROCKSALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
DELAFOSSITE = Structure.from_spacegroup(
    "R-3m",
    Lattice.hexagonal(3.23, 16.4),
    ["Na", "In", "O"],
    [[0, 0, 0], [0, 0, 0.5], [0, 0, 0.23]],
)
BODY_CENTRED = Structure.from_spacegroup(
    "I4/mmm", Lattice.tetragonal(3.8, 6.8), ["Ba", "O"], [[0, 0, 0], [0, 0, 0.39]]
)


@pytest.mark.parametrize(
    ("structure", "atoms", "group", "order"),
    [(ROCKSALT, 2, 225, 48), (DELAFOSSITE, 4, 166, 12), (BODY_CENTRED, 3, 139, 16)],
)
def test_primitive_cell_with_its_point_group(structure, atoms, group, order):
    cell = standard_cell(structure)
    assert len(cell.structure) == atoms
    assert cell.space_group == group
    assert cell.rotations.shape == (order, 3, 3)
    cartesian = cell.cartesian_rotations
    np.testing.assert_allclose(
        cartesian @ cartesian.swapaxes(1, 2), np.broadcast_to(np.eye(3), cartesian.shape), atol=1e-8
    )


@pytest.mark.parametrize("structure", [DELAFOSSITE, BODY_CENTRED])
def test_the_axis_of_a_uniaxial_crystal_is_z(structure):
    turned = standard_cell(structure).cartesian_rotations @ [0.0, 0.0, 1.0]
    np.testing.assert_allclose(np.abs(turned), np.broadcast_to([0, 0, 1], turned.shape), atol=1e-8)


def test_noise_of_a_relaxation_is_taken_off():
    noisy = ROCKSALT.copy()
    noisy.perturb(1e-3)
    assert standard_cell(noisy).space_group == 225


def test_atoms_are_those_of_the_structure():
    cell = standard_cell(DELAFOSSITE)
    atoms = cell.atoms()
    assert atoms.pbc.all()
    assert atoms.get_chemical_symbols() == [site.specie.symbol for site in cell.structure]
    np.testing.assert_allclose(atoms.cell.array, cell.structure.lattice.matrix)
    np.testing.assert_allclose(
        atoms.get_distances(0, [1, 2, 3], mic=True),
        [cell.structure.get_distance(0, other) for other in (1, 2, 3)],
    )


def test_odd_electrons_are_refused():
    check_electrons(ROCKSALT)
    odd = Structure(Lattice.cubic(4.0), ["Cu", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(EngineFailure, match="CuO has 37 electrons") as caught:
        check_electrons(odd)
    assert caught.value.reason == "odd electron count"
