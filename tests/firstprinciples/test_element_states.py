import numpy as np
import pytest

from opalign.firstprinciples.element_states import SUPPORTED, VACUUM, element_state
from opalign.firstprinciples.engine import EngineFailure

# Å, between nearest neighbours, and atoms in the cell; measured, from other sources than the cells.
NEIGHBOURS = {
    "Al": (2.86, 1),
    "C": (1.42, 4),
    "Ce": (3.43, 1),
    "Ga": (2.465, 4),
    "La": (3.74, 4),
    "Mg": (3.20, 2),
    "O": (1.21, 2),
    "S": (2.05, 8),
    "Se": (2.37, 3),
    "Si": (2.35, 2),
    "Sn": (2.81, 2),
    "Te": (2.835, 3),
    "W": (2.74, 1),
}


@pytest.mark.parametrize("symbol", NEIGHBOURS)
def test_neighbours_are_as_far_as_measured(symbol):
    distance, count = NEIGHBOURS[symbol]
    state = element_state(symbol)
    assert len(state.atoms) == count
    distances = state.atoms.repeat((3, 3, 3)).get_all_distances(mic=True)
    assert distances[distances > 1e-3].min() == pytest.approx(distance, abs=0.01)


@pytest.mark.parametrize("symbol", SUPPORTED)
def test_every_supported_element_has_a_sane_cell(symbol):
    state = element_state(symbol)
    assert set(state.atoms.get_chemical_symbols()) == {symbol}
    assert state.atoms.pbc.all()
    assert state.molecule == ("box" in state.description)
    volume = state.atoms.get_volume() / len(state.atoms)
    assert state.molecule or 5.0 < volume < 120.0
    assert state.magnetic == (symbol in {"O", "Cr", "Fe", "Co", "Ni"})


def test_oxygen_is_a_triplet_and_chromium_has_no_moment_in_all():
    assert element_state("O").atoms.get_initial_magnetic_moments().sum() == 2.0
    chromium = element_state("Cr").atoms.get_initial_magnetic_moments()
    assert sorted(chromium) == [-1.0, 1.0]


def test_the_ring_of_sulphur_has_equal_bonds_and_angles():
    atoms = element_state("S").atoms
    bonds = [atoms.get_distance(i, (i + 1) % 8) for i in range(8)]
    angles = [atoms.get_angle(i, (i + 1) % 8, (i + 2) % 8) for i in range(8)]
    torsions = [atoms.get_dihedral(i, *((i + n) % 8 for n in (1, 2, 3))) for i in range(8)]
    assert np.ptp(bonds) < 1e-9
    assert angles == pytest.approx([108.2] * 8)
    assert np.minimum(torsions, 360 - np.array(torsions)) == pytest.approx([98.5] * 8, abs=1.0)


@pytest.mark.parametrize("symbol", ["O", "S", "F"])
def test_copies_of_a_molecule_are_apart(symbol):
    atoms = element_state(symbol).atoms
    gap = atoms.cell.lengths() - np.ptp(atoms.positions, axis=0)
    assert gap == pytest.approx([2 * VACUUM] * 3)


@pytest.mark.parametrize("symbol", ["Mn", "B", "P", "Nd", "I", "He"])
def test_others_are_refused_by_name_with_the_cure(symbol):
    with pytest.raises(EngineFailure, match=f"element {symbol}: unsupported") as caught:
        element_state(symbol)
    assert caught.value.reason == "unsupported"
    assert "file of references" in caught.value.cure
