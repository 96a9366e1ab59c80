import numpy as np
import pytest
import torch
from ase.data import atomic_numbers

from opalign.crystal import keys
from opalign.model.composition import CompositionDescriptors, element_properties


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


def test_a_supercell_is_described_alike_and_shares_nothing_with_its_neighbour():
    descriptors = CompositionDescriptors()
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
