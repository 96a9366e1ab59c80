"""The spectrum: identities between its quantities, ways to make one, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opalign.errors import SpectrumError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import Oscillator
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.units import (
    HC,
    VISIBLE_RANGE,
    energy_from_wavelength,
    visible,
    wavelength_from_energy,
)


@pytest.fixture
def spectrum(grid, lorentz):
    return OpticalSpectrum(grid, lorentz(grid.values), "model", material_id="test-1")


@pytest.fixture
def gapped(grid):
    """A Tauc–Lorentz ε₂, zero below its gap of 3 eV (Jellison and Modine 1996)."""
    energies = np.maximum(grid.values, 1e-6)
    imaginary = 100.0 * 5.0 * 2.0 * (energies - 3.0) ** 2
    imaginary /= ((energies**2 - 25.0) ** 2 + 4.0 * energies**2) * energies
    return np.where(energies > 3.0, imaginary, 0.0)


@pytest.fixture
def tensor(grid, lorentz):
    epsilon = np.zeros((801, 3, 3), dtype=complex)
    for axis, resonance in enumerate((5.0, 6.0, 7.0)):
        epsilon[:, axis, axis] = lorentz(grid.values, resonance)
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    return OpticalSpectrum(grid, rotation @ epsilon @ rotation.T, "model"), rotation


def glass(index=1.5, grid=None, **keywords):
    grid = grid or EnergyGrid(0.0, 5.0, 501)
    return OpticalSpectrum(grid, np.full(grid.num, index**2 + 0j), "model", **keywords)


def test_index_squared_is_epsilon(spectrum):
    n, k = spectrum.refractive_index, spectrum.extinction_coefficient
    scale = np.abs(spectrum.epsilon).max()
    np.testing.assert_allclose(n**2 - k**2, spectrum.epsilon_real, atol=1e-13 * scale)
    np.testing.assert_allclose(2 * n * k, spectrum.epsilon_imaginary, rtol=1e-12)
    assert (k >= 0.0).all()
    assert (spectrum.epsilon_real < 0.0).any()  # where the branch matters


def test_glass():
    spectrum = glass()
    np.testing.assert_allclose(spectrum.reflectivity, 0.04)
    np.testing.assert_array_equal(spectrum.absorption_coefficient, 0.0)
    np.testing.assert_array_equal(spectrum.log_absorption(), 2.0)
    np.testing.assert_array_equal(spectrum.log_absorption(floor=-1.0), -1.0)
    np.testing.assert_array_equal(spectrum.loss_function, 0.0)
    assert spectrum.onset_energy() is None
    assert spectrum.static_dielectric == 2.25
    assert spectrum.at_wavelength(589.3) == pytest.approx((1.5, 0.0))


def test_loss_function_peaks_at_the_plasmon(spectrum):
    """A Lorentz oscillator's ε vanishes near √(E₀² + S), where Im(−1/ε) is largest."""
    place = spectrum.energies[spectrum.loss_function.argmax()]
    assert place == pytest.approx(np.sqrt(36.0 + 30.0), abs=0.03)


def test_absorption_coefficient_of_a_dye_like_medium():
    """k = 0.1 at 2 eV is 2.0271e4 cm⁻¹."""
    grid = EnergyGrid(0.0, 4.0, 5)
    spectrum = OpticalSpectrum(grid, np.full(5, (1.5 + 0.1j) ** 2), "model")
    assert spectrum.absorption_coefficient[2] == pytest.approx(2.0271e4, rel=1e-4)
    assert spectrum.log_absorption()[2] == pytest.approx(4.3069, abs=1e-4)


# Making one


def test_from_imaginary_is_a_kramers_kronig_pair(grid, lorentz):
    exact = lorentz(grid.values)
    spectrum = OpticalSpectrum.from_imaginary(
        grid, exact.imag, "rpa", Broadening("lorentzian", 0.25), "mp-1", "a test"
    )
    below = grid.values < 15.0
    np.testing.assert_allclose(spectrum.epsilon_real[below], exact.real[below], atol=2e-3 * 10)
    assert spectrum.broadening.width == 0.25
    assert (spectrum.level, spectrum.material_id, spectrum.provenance) == ("rpa", "mp-1", "a test")


def test_tauc_lorentz_is_positive_gapped_and_obeys_its_sum(grid, gapped):
    spectrum = OpticalSpectrum.from_imaginary(grid, gapped, "model")
    assert (spectrum.epsilon_imaginary >= 0.0).all()
    assert (spectrum.absorption_coefficient[grid.values <= 3.0] == 0.0).all()
    assert 3.0 < spectrum.onset_energy() < 3.1
    # Static value by direct integration of ε₂/E.
    static = 1.0 + 2.0 / np.pi * (gapped[1:] / grid.values[1:]) @ grid.weights[1:]
    assert spectrum.static_dielectric == pytest.approx(static, rel=1e-4)


def test_from_imaginary_of_a_tensor_goes_by_component(grid, tensor):
    spectrum, _ = tensor
    oscillator = Oscillator(30.0, 0.2)
    made = OpticalSpectrum.from_imaginary(
        grid, spectrum.epsilon_imaginary, "model", oscillator=oscillator
    )
    alone = OpticalSpectrum.from_imaginary(
        grid, spectrum.epsilon_imaginary[:, 0, 0], "model", oscillator=oscillator
    )
    np.testing.assert_allclose(made.epsilon_real[:, 0, 0], alone.epsilon_real, atol=1e-12)
    below = grid.values < 15.0
    plain = OpticalSpectrum.from_imaginary(grid, spectrum.epsilon_imaginary, "model")
    np.testing.assert_allclose(plain.epsilon_real[below], spectrum.epsilon_real[below], atol=0.03)


def test_from_absorption_gives_the_absorption_back(grid, gapped):
    first = OpticalSpectrum.from_imaginary(grid, 0.2 * gapped, "model", oscillator=None)
    oscillator = Oscillator(30.0, 0.1)
    second = OpticalSpectrum.from_absorption(
        grid, first.absorption_coefficient, "model", oscillator=oscillator
    )
    np.testing.assert_allclose(
        second.absorption_coefficient, first.absorption_coefficient, rtol=1e-9, atol=1e-6
    )
    plain = OpticalSpectrum.from_absorption(grid, first.absorption_coefficient, "model")
    np.testing.assert_allclose(
        plain.refractive_index[:400], first.refractive_index[:400], rtol=0.01
    )
    assert second.refractive_index[0] == pytest.approx(plain.refractive_index[0] + 0.1)


# Tensors


def test_isotropic_is_a_third_of_the_trace(tensor):
    spectrum, _ = tensor
    assert spectrum.is_tensor
    average = spectrum.isotropic()
    expected = np.einsum("eii->e", spectrum.epsilon) / 3.0
    np.testing.assert_allclose(average.epsilon, expected)
    assert not average.is_tensor
    assert average.isotropic() is average
    assert average.grid == spectrum.grid


def test_along_a_principal_axis(grid, lorentz, tensor):
    spectrum, rotation = tensor
    for axis, resonance in enumerate((5.0, 6.0, 7.0)):
        along = spectrum.along(-3.0 * rotation[:, axis])
        np.testing.assert_allclose(along.epsilon, lorentz(grid.values, resonance), atol=1e-12)
    directions = [spectrum.along(row).epsilon for row in np.eye(3)]
    np.testing.assert_allclose(np.mean(directions, axis=0), spectrum.isotropic().epsilon)
    with pytest.raises(SpectrumError, match="direction"):
        spectrum.along((0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    "name",
    [
        "refractive_index",
        "extinction_coefficient",
        "absorption_coefficient",
        "reflectivity",
        "loss_function",
    ],
)
def test_tensor_asks_for_a_direction(tensor, name):
    with pytest.raises(SpectrumError, match=r"isotropic\(\)"):
        getattr(tensor[0], name)


def test_tensor_may_have_negative_off_diagonals_but_absorbs_along_every_axis(grid):
    epsilon = np.zeros((801, 3, 3), dtype=complex)
    epsilon[:] = np.eye(3) * (4.0 + 1.0j)
    epsilon[:, 0, 1] = epsilon[:, 1, 0] = -0.9j
    OpticalSpectrum(grid, epsilon, "model")
    epsilon[300, 0, 1] = epsilon[300, 1, 0] = -1.1j
    with pytest.raises(SpectrumError, match=r"negative, -0.1, at 7.5 eV"):
        OpticalSpectrum(grid, epsilon, "model")


# Static value, wavelength, onset


def test_static_dielectric(grid, lorentz, tensor):
    expected = 1.0 + 30.0 / 36.0
    whole = OpticalSpectrum(grid, lorentz(grid.values), "model")
    assert whole.static_dielectric == pytest.approx(expected)
    part = EnergyGrid(1.0, 20.0, 761)
    late = OpticalSpectrum(part, lorentz(part.values), "model")
    assert late.static_dielectric == pytest.approx(expected, abs=5e-4)
    assert abs(late.epsilon_real[0] - expected) > 0.02
    static = tensor[0].static_dielectric
    assert static.shape == (3, 3)
    np.testing.assert_allclose(np.linalg.eigvalsh(static), [1 + 30 / 49, 1 + 30 / 36, 1 + 30 / 25])


def test_wavelengths(spectrum):
    energy = 2.5
    n, k = spectrum.at_wavelength(HC / energy)
    assert isinstance(n, float)
    assert n == pytest.approx(spectrum.refractive_index[100])
    assert k == pytest.approx(spectrum.extinction_coefficient[100])
    many, _ = spectrum.at_wavelength(np.array([400.0, 589.3, HC / 20.0]))
    assert many.shape == (3,)
    assert many[2] == pytest.approx(spectrum.refractive_index[-1])
    with pytest.raises(SpectrumError, match=r"50 nm is 24\.8 eV"):
        spectrum.at_wavelength([400.0, 50.0])
    with pytest.raises(SpectrumError, match="positive"):
        spectrum.at_wavelength(0.0)


def test_units():
    assert pytest.approx(1239.841984, rel=1e-8) == HC
    assert energy_from_wavelength(500.0) == pytest.approx(2.479684)
    np.testing.assert_allclose(
        wavelength_from_energy(np.array(VISIBLE_RANGE)), [751.4, 380.3], 1e-3
    )
    inside = visible(np.array([1.64, 1.65, 2.0, 3.26, 3.27]))
    assert inside.tolist() == [False, True, True, True, False]


def test_gaussian_lowers_the_onset_and_a_wide_line_forbids_it(grid, gapped):
    sharp = OpticalSpectrum.from_imaginary(grid, gapped, "model")
    soft = sharp.broadened(Broadening("gaussian", 0.1))
    assert sharp.onset_energy() - 0.2 < soft.onset_energy() < sharp.onset_energy() - 0.05
    for broadening in (Broadening("gaussian", 0.3), Broadening("lorentzian", 0.05)):
        wide = sharp.broadened(broadening)
        assert not wide.has_sharp_onset
        with pytest.raises(SpectrumError, match="shows the broadening"):
            wide.onset_energy()


# Other spectra from one


def test_broadened_means_in_all(spectrum):
    direct = spectrum.broadened(Broadening("gaussian", 0.5))
    twice = spectrum.broadened(Broadening("gaussian", 0.3)).broadened(Broadening("gaussian", 0.5))
    np.testing.assert_allclose(twice.epsilon[:700], direct.epsilon[:700], atol=1e-4)
    assert twice.broadening == direct.broadening == Broadening("gaussian", 0.5)
    assert direct.material_id == "test-1"
    same = direct.broadened(Broadening("gaussian", 0.5))
    np.testing.assert_array_equal(same.epsilon, direct.epsilon)
    with pytest.raises(SpectrumError, match="undone"):
        direct.broadened(Broadening("gaussian", 0.4))
    with pytest.raises(SpectrumError, match="combine"):
        direct.broadened(Broadening("lorentzian", 0.6))


def test_broadening_a_tensor_and_averaging_commute(tensor):
    broadening = Broadening("lorentzian", 0.3)
    spectrum, _ = tensor
    np.testing.assert_allclose(
        spectrum.broadened(broadening).isotropic().epsilon,
        spectrum.isotropic().broadened(broadening).epsilon,
        atol=1e-12,
    )


def test_resampled(spectrum, tensor):
    coarse = spectrum.resampled(EnergyGrid(1.0, 15.0, 141))
    np.testing.assert_allclose(coarse.epsilon, spectrum.epsilon[40:601:4], atol=1e-12)
    assert tensor[0].resampled(EnergyGrid(0.0, 20.0, 201)).epsilon.shape == (201, 3, 3)
    with pytest.raises(SpectrumError, match="beyond"):
        spectrum.resampled(EnergyGrid(0.0, 21.0, 100))


# What it refuses


def test_names_the_energy_of_negative_absorption(grid, lorentz):
    epsilon = lorentz(grid.values)
    epsilon[200] = 3.0 - 0.01j
    with pytest.raises(SpectrumError, match=r"(?s)mp-7.*-0.01, at 5 eV"):
        OpticalSpectrum(grid, epsilon, "rpa", material_id="mp-7")


def test_rounding_below_zero_is_zero(grid):
    epsilon = np.full(801, 4.0 - 1e-9j)
    spectrum = OpticalSpectrum(grid, epsilon, "rpa")
    assert (spectrum.epsilon_imaginary == 0.0).all()
    assert (spectrum.refractive_index == 2.0).all()
    assert (epsilon.imag == -1e-9).all()  # the caller's array is not touched


@pytest.mark.parametrize("value", [np.nan, np.inf, 1j * np.nan])
def test_names_the_energy_of_what_is_no_number(grid, value):
    epsilon = np.ones(801, dtype=complex)
    epsilon[4] = value
    with pytest.raises(SpectrumError, match=r"not a finite number at 0.1 eV"):
        OpticalSpectrum(grid, epsilon, "rpa")


@pytest.mark.parametrize("shape", [(800,), (801, 3), (801, 2, 2), (800, 3, 3), ()])
def test_shapes(grid, shape):
    with pytest.raises(SpectrumError, match="does not lie on the grid"):
        OpticalSpectrum(grid, np.ones(shape), "rpa")


def test_tensor_must_be_symmetric(grid):
    epsilon = np.zeros((801, 3, 3), dtype=complex) + np.eye(3)
    epsilon[10, 0, 2] = 0.1
    with pytest.raises(SpectrumError, match=r"not symmetric at 0.25 eV"):
        OpticalSpectrum(grid, epsilon, "rpa")


def test_level_is_needed_and_epsilon_cannot_be_changed(grid, spectrum):
    with pytest.raises(SpectrumError, match="level"):
        OpticalSpectrum(grid, np.ones(801), "")
    with pytest.raises(ValueError, match="read-only"):
        spectrum.epsilon[0] = 0.0


@given(st.floats(1.0, 4.0), st.floats(0.0, 2.0))
def test_reflectivity_and_index_of_any_constant_medium(index, extinction):
    grid = EnergyGrid(0.0, 2.0, 3)
    spectrum = OpticalSpectrum(grid, np.full(3, (index + 1j * extinction) ** 2), "model")
    np.testing.assert_allclose(spectrum.refractive_index, index, rtol=1e-9)
    np.testing.assert_allclose(spectrum.extinction_coefficient, extinction, atol=1e-9)
    assert ((spectrum.reflectivity >= 0.0) & (spectrum.reflectivity < 1.0)).all()


def test_first_principles_spectra_are_valid_and_transparent_below_their_gap(first_principles, grid):
    for material_id, levels in first_principles.items():
        for level, epsilon in levels.items():
            spectrum = OpticalSpectrum(grid, epsilon, level, material_id=material_id).isotropic()
            onset = spectrum.onset_energy()
            assert onset is not None
            assert (spectrum.log_absorption()[grid.values < onset] <= 2.5).all()
            assert spectrum.static_dielectric > 1.0
            assert (spectrum.reflectivity <= 1.0).all()


def test_absorption_that_the_grid_cuts_off_gives_a_spectrum_with_that_absorption():
    """n would fall below zero at the end of the grid if k were zero above it."""
    grid = EnergyGrid(0.0, 20.0, 801)
    alpha = np.where(grid.values > 5.0, 1.5e6, 0.0)
    spectrum = OpticalSpectrum.from_absorption(grid, alpha, "rpa")
    np.testing.assert_allclose(spectrum.absorption_coefficient[1:], alpha[1:], rtol=1e-9)
    assert (spectrum.epsilon_imaginary >= 0.0).all()
