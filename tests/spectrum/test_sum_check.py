"""Sum rules of whole spectra: exact ones obey them, broken ones are found out."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from opalign.errors import StructureError
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import Oscillator
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.oscillators import LorentzOscillator, TaucLorentzOscillator
from opalign.spectrum.sum_check import sum_rules, valence_electron_density
from opalign.spectrum.sum_rules import plasma_energy

DENSITY = 0.05
MODEL = LorentzOscillator(5.0, 1.0, plasma_energy(DENSITY))
WIDE = EnergyGrid(0.0, 300.0, 3001)


def spectrum(grid=WIDE, model=MODEL):
    return OpticalSpectrum(grid, model.epsilon(grid.values), "ipa")


@pytest.mark.parametrize("model", [MODEL, TaucLorentzOscillator(80.0, 5.0, 2.0, 2.0)])
def test_an_exact_spectrum_obeys_all_of_them(model):
    density = DENSITY * model.f_sum / MODEL.f_sum
    found = sum_rules(spectrum(model=model), electron_density=density)
    assert found.expected_sum == pytest.approx(model.f_sum)
    for error in (
        found.f_sum_error,
        found.loss_sum_error,
        found.static_error,
        found.static_loss_error,
    ):
        assert abs(error) < 0.01
    assert found.real_error < 1e-3 * np.abs(spectrum(model=model).epsilon_real).max()


def test_a_short_window_needs_its_oscillator():
    """ε₂ that ends at 8 eV, for which a line above stands in: its share is counted."""
    grid = EnergyGrid(0.0, 8.0, 801)
    above = Oscillator(15.0, 0.6)
    whole = OpticalSpectrum.from_imaginary(
        grid, MODEL.epsilon(grid.values).imag, "ipa", oscillator=above
    )
    found = sum_rules(whole)
    assert found.f_sum_error is None
    assert found.oscillator.strength == pytest.approx(0.6, rel=1e-3)
    assert found.oscillator_sum == pytest.approx(0.5 * np.pi * 0.6 * 15.0**2, rel=1e-3)
    assert abs(found.static_error) < 1e-4
    bare = sum_rules(whole, oscillator=Oscillator(15.0, 0.0))
    assert bare.static_error == pytest.approx(-0.6 / whole.static_dielectric, rel=1e-3)


def test_completed_sum_counts_the_oscillator():
    grid = EnergyGrid(0.0, 12.0, 1201)
    # All of the electrons: a line within and one above.
    inside = LorentzOscillator(5.0, 0.2, 6.0)
    above = Oscillator(20.0, 0.1)
    whole = OpticalSpectrum.from_imaginary(
        grid, inside.epsilon(grid.values).imag, "ipa", oscillator=above
    )
    electrons = DENSITY * (inside.f_sum + 0.5 * np.pi * 0.1 * 400.0) / MODEL.f_sum
    found = sum_rules(whole, electron_density=electrons)
    assert found.f_sum_error < -0.4
    assert abs(found.completed_f_sum_error) < 0.02


def test_a_real_part_that_is_not_its_own_is_found_out():
    broken = OpticalSpectrum(WIDE, MODEL.epsilon(WIDE.values).imag * 1j + 3.0, "ipa")
    found = sum_rules(broken)
    assert found.static_error > 0.5
    assert found.real_error > 0.1  # a constant where a resonance of height 40 belongs
    too_low = OpticalSpectrum(WIDE, MODEL.epsilon(WIDE.values) - 1.5, "ipa")
    found = sum_rules(too_low)
    assert found.oscillator is None
    assert found.static_error > 0.5


def test_tensor_is_averaged():
    tensor = OpticalSpectrum(WIDE, MODEL.epsilon(WIDE.values)[:, None, None] * np.eye(3), "ipa")
    assert sum_rules(tensor).f_sum == pytest.approx(sum_rules(spectrum()).f_sum)


def test_valence_electrons():
    cell = Lattice.cubic(4.0)
    oxide = Structure(cell, ["Mg", "O", "Ti", "Zn"], np.random.default_rng(0).random((4, 3)))
    assert valence_electron_density(oxide) == pytest.approx((2 + 6 + 4 + 2) / 64.0)
    charged = Structure(cell, ["Mg2+", "O2-"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert valence_electron_density(charged) == pytest.approx(8 / 64.0)
    lanthanum = Structure(cell, ["La"], [[0, 0, 0]])
    assert valence_electron_density(lanthanum) == pytest.approx(3 / 64.0)
    with pytest.raises(StructureError, match="Eu"):
        valence_electron_density(Structure(cell, ["Eu"], [[0, 0, 0]]))
