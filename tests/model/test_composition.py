import numpy as np
import pytest
import torch
from ase.data import atomic_numbers

from opalign.crystal import keys
from opalign.model.composition import (
    CompositionDescriptors,
    IonDescriptors,
    element_properties,
    ion_properties,
    ionic_volumes,
)


def crystal(symbols, volume, structures=1):
    numbers = torch.tensor([atomic_numbers[s] for s in symbols])
    size = len(numbers) // structures
    return {
        keys.ATOMIC_NUMBERS: numbers,
        keys.NUM_ATOMS: torch.full((structures,), size),
        keys.ATOM_STRUCTURE: torch.arange(structures).repeat_interleave(size),
        keys.VOLUME: torch.full((structures,), volume),
    }


def test_properties_are_standardised_and_complete():
    table = element_properties()
    assert table.shape == (101, 8)
    assert np.isfinite(table).all()
    np.testing.assert_allclose(table[1:84].mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(table[1:84].std(axis=0), 1.0, atol=1e-12)


def test_known_orders():
    """Electronegativity and ionisation energy grow from Cs to O, s orbitals deepen."""
    table = element_properties()
    row = {s: table[atomic_numbers[s]] for s in ("Cs", "Mg", "Zn", "S", "O")}
    for column, sign in ((0, 1), (1, 1), (5, -1)):
        values = [sign * row[s][column] for s in ("Cs", "Mg", "S", "O")]
        assert values == sorted(values)
    assert row["Zn"][7] < row["Mg"][7]  # 3d at −11 eV against none


@pytest.mark.parametrize("descriptors", [CompositionDescriptors(), IonDescriptors()])
def test_a_supercell_is_described_alike_and_shares_nothing_with_its_neighbour(descriptors):
    one = descriptors(crystal(["Mg", "O"], 18.0))
    double = descriptors(crystal(["Mg", "O", "Mg", "O"], 36.0))
    torch.testing.assert_close(one, double)
    both = descriptors(crystal(["Mg", "O", "Cd", "Se"], 18.0, structures=2))
    torch.testing.assert_close(both[:1], one)
    assert not torch.allclose(both[0], both[1])


def test_statistics_are_those_of_the_sites():
    batch = crystal(["Ti", "O", "O"], 30.0)
    found = CompositionDescriptors()(batch)[0].numpy()
    values = element_properties()[[22, 8, 8]]
    expected = np.concatenate([values.mean(0), values.min(0), values.max(0), values.std(0)])
    np.testing.assert_allclose(found[:32], expected, atol=1e-5)
    # 16 valence electrons in 30 Å³: ħω_p = 37.13 eV · √(16/30).
    assert found[33] == pytest.approx((37.13 * (16 / 30) ** 0.5 - 15) / 5, rel=1e-4)
    assert np.abs(found).max() < 10


def test_families_of_elements_are_those_of_pymatgen():
    from pymatgen.core import Element

    table = ion_properties()
    assert table.shape == (101, 7)
    for z in range(1, 93):
        element = Element.from_Z(z)
        kinds = [
            element.is_alkali,
            element.is_alkaline,
            element.is_transition_metal,
            element.is_chalcogen,
            z == 8,
        ]
        assert table[z, 2:].tolist() == [float(kind) for kind in kinds], element
    assert table[37, 1] > table[19, 1] > table[3, 1], "Rb+ is larger than K+ and Li+"


def test_share_of_space_that_ions_fill():
    found = IonDescriptors()(crystal(["K", "K", "O"], 90.0))[0].numpy()
    values = ion_properties()[[19, 19, 8]]
    expected = np.concatenate([values.mean(0), values.min(0), values.max(0), values.std(0)])
    np.testing.assert_allclose(found[:28], expected, atol=1e-5)
    # Mean radii of pymatgen: K 1.52 Å, O 1.26 Å.
    filled = 4 / 3 * np.pi * (2 * 1.52**3 + 1.26**3) / 90.0
    np.testing.assert_allclose(ionic_volumes()[19], 4 / 3 * np.pi * 1.52**3, rtol=1e-3)
    np.testing.assert_allclose(found[28:], [np.log(30 / 20) * 3, (filled - 0.4) * 5], rtol=1e-4)
