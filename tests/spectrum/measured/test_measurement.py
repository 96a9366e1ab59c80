import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opalign.errors import SpectrumError
from opalign.spectrum.measured.measurement import Measurement, Samples


def of_epsilon(energies, epsilon):
    root = np.sqrt(np.asarray(epsilon, dtype=complex))
    return Samples(energies, root.real, root.imag)


@pytest.fixture
def irregular():
    """Samples a few hundredths of an eV apart, as wavelengths evenly spaced give."""
    return np.sort(1239.84198 / np.linspace(150.0, 1500.0, 700))


def test_epsilon_of_an_oscillator_comes_back_from_irregular_samples(irregular, lorentz):
    measurement = Measurement("X", 225, (of_epsilon(irregular, lorentz(irregular)),))
    spectrum = measurement.spectrum(0.025)
    # h²/8·|ε″| with samples h = 0.05 eV apart at the line, and ε″ of 2·10/(0.25 eV)² there.
    assert np.abs(spectrum.epsilon - lorentz(spectrum.energies)).max() < 0.12
    assert spectrum.level == "experiment"


def test_the_grid_is_made_of_multiples_of_the_step_within_the_samples():
    samples = Samples([0.61, 0.8, 1.0, 1.19], [2.0] * 4, [0.0] * 4)
    grid = Measurement("X", 1, (samples,)).spectrum(0.05).grid
    assert grid.start == pytest.approx(0.65)
    assert grid.stop == pytest.approx(1.15)
    assert grid.step == pytest.approx(0.05)


def test_nothing_is_extrapolated():
    samples = Samples([1.0, 1.2, 1.4], [2.0, 2.1, 2.2], [0.0, 0.0, 0.1])
    values = Measurement("X", 1, (samples,)).permittivity_at(np.array([0.99, 1.0, 1.4, 1.41]))
    assert np.isnan(values[[0, 3]]).all()
    assert values[1] == pytest.approx(4.0)
    assert values[2] == pytest.approx((2.2 + 0.1j) ** 2)


def test_a_hole_is_left_open_and_the_wider_side_taken():
    energies = np.concatenate((np.arange(1.0, 1.51, 0.1), np.arange(2.0, 3.01, 0.1)))
    samples = Samples(energies, np.full(energies.size, 2.0), np.zeros(energies.size))
    measurement = Measurement("X", 1, (samples,))
    at = measurement.permittivity_at(np.array([1.5, 1.75, 2.0]))
    assert np.isfinite(at[[0, 2]]).all()
    assert np.isnan(at[1])
    grid = measurement.spectrum(0.1).grid
    assert (grid.start, grid.stop) == pytest.approx((2.0, 3.0))


def test_a_hole_as_wide_as_allowed_is_bridged():
    samples = Samples([1.0, 1.4], [2.0, 3.0], [0.0, 0.0])
    measurement = Measurement("X", 1, (samples,))
    assert measurement.permittivity_at(np.array([1.2]), spacing=0.41)[0] == pytest.approx(6.25)
    assert np.isnan(measurement.permittivity_at(np.array([1.2]), spacing=0.39)[0])


def test_where_k_was_not_measured_there_is_n_alone():
    samples = Samples([1.0, 1.2, 1.4, 1.6], [2.0] * 4, [np.nan, np.nan, 0.1, 0.2])
    measurement = Measurement("X", 1, (samples,))
    energies = np.array([1.1, 1.5])
    assert np.isnan(measurement.permittivity_at(energies)[0])
    assert measurement.transparent_permittivity_at(energies) == pytest.approx([4.0, 4.0 - 0.15**2])


def test_two_rays_average_as_epsilon_two_to_one():
    energies = np.linspace(1.0, 3.0, 21)
    rays = (of_epsilon(energies, np.full(21, 9 + 1j)), of_epsilon(energies, np.full(21, 4 + 0j)))
    measurement = Measurement("X", 186, rays, (2 / 3, 1 / 3))
    spectrum = measurement.spectrum(0.1)
    assert spectrum.epsilon == pytest.approx(np.full(spectrum.grid.num, (22 + 2j) / 3))
    tensor = measurement.tensor(0.1)
    assert np.trace(tensor.epsilon[3]) / 3 == pytest.approx((22 + 2j) / 3)
    assert tensor.epsilon[3, 2, 2] == pytest.approx(4.0)


def test_a_tensor_needs_two_rays():
    samples = Samples([1.0, 1.1, 1.2], [2.0] * 3, [0.0] * 3)
    with pytest.raises(SpectrumError, match="two rays"):
        Measurement("X", 1, (samples,)).tensor()


@given(
    st.floats(1.5, 30.0),
    st.floats(2.0, 12.0),
    st.floats(0.3, 0.5),
)
def test_the_static_value_of_one_oscillator_is_exact(static, resonance, fraction):
    # 1/(n² − 1) of one oscillator is linear in E², so the extrapolation has no error but rounding.
    energies = np.linspace(0.1, fraction * resonance, 20)
    squared = 1.0 + (static - 1.0) / (1.0 - (energies / resonance) ** 2)
    samples = Samples(energies, np.sqrt(squared), np.full(20, np.nan))
    found = Measurement("X", 1, (samples,)).static(fraction * resonance)
    assert found == pytest.approx(static, rel=1e-9)


def test_a_static_value_needs_normal_dispersion_and_enough_samples():
    energies = np.linspace(0.5, 1.5, 11)
    falling = Measurement("X", 1, (Samples(energies, 3.0 - 0.5 * energies, np.zeros(11)),))
    with pytest.raises(SpectrumError, match="does not rise"):
        falling.static(1.5)
    with pytest.raises(SpectrumError, match="0 values of n"):
        falling.static(0.4)


@pytest.mark.parametrize(
    ("energies", "index", "extinction", "message"),
    [
        ([1.0], [2.0], [0.0], "two samples"),
        ([1.0, 2.0], [2.0], [0.0, 0.0], "2 energies, 1 n"),
        ([2.0, 1.0], [2.0, 2.0], [0.0, 0.0], "do not increase"),
        ([0.0, 1.0], [2.0, 2.0], [0.0, 0.0], "photon of 0 eV"),
        ([1.0, 2.0], [2.0, -2.0], [0.0, 0.0], "n is -2 at 2 eV"),
        ([1.0, 2.0], [2.0, 2.0], [-0.1, 0.0], "k is -0.1 at 1 eV"),
        ([1.0, 2.0], [2.0, np.inf], [0.0, 0.0], "n is inf"),
    ],
)
def test_samples_that_cannot_be_are_refused(energies, index, extinction, message):
    with pytest.raises(SpectrumError, match=message):
        Samples(energies, index, extinction)


def test_unordered_samples_are_sorted_and_repeats_averaged():
    samples = Samples.unordered([2.0, 1.0, 2.0], [3.0, 2.0, 5.0], [0.0, 0.1, 0.2])
    assert samples.energies.tolist() == [1.0, 2.0]
    assert samples.index.tolist() == [2.0, 4.0]
    assert samples.extinction == pytest.approx([0.1, 0.1])


def test_weights_belong_to_polarisations():
    samples = Samples([1.0, 1.1, 1.2], [2.0] * 3, [0.0] * 3)
    with pytest.raises(SpectrumError, match="weights"):
        Measurement("X", 1, (samples,), (0.5,))


def test_without_k_there_is_no_spectrum():
    samples = Samples([1.0, 1.1, 1.2], [2.0] * 3, [np.nan] * 3)
    with pytest.raises(SpectrumError, match="not both measured"):
        Measurement("X", 1, (samples,)).spectrum()
