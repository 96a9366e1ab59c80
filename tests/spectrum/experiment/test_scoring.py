import math

import numpy as np
import pytest

from opalign.errors import SpectrumError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.experiment import score
from opalign.spectrum.experiment.scoring import measured_onset, orient
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.measured import Measurement, Samples
from opalign.spectrum.optical import OpticalSpectrum


def measured(energies, epsilon, **keywords):
    root = np.sqrt(np.asarray(epsilon, dtype=complex))
    return Measurement("X", 225, (Samples(energies, root.real, root.imag),), **keywords)


@pytest.fixture
def edge():
    """ε with a direct edge: ε₂ = 5·√(E − gap) above the gap and zero below; ε₁ = 4."""

    def epsilon(energies, gap=2.0):
        energies = np.asarray(energies)
        return 4.0 + 5j * np.sqrt(np.maximum(energies - gap, 0.0))

    return epsilon


@pytest.fixture
def computed(grid, edge):
    return OpticalSpectrum(grid, edge(grid.values), "rpa")


def test_a_spectrum_against_itself_is_perfect(grid, computed, edge):
    inside = grid.values[40:280]
    result = score(computed, measured(inside, edge(inside)), broadening=Broadening())
    assert result.similarity == pytest.approx(1.0, abs=1e-12)
    assert result.onset_shift == pytest.approx(0.0, abs=1e-12)
    assert result.edge_shift == pytest.approx(0.0, abs=1e-12)
    assert result.permittivity_error == pytest.approx(0.0, abs=1e-12)
    assert result.window == pytest.approx((1.0, 6.975))


def test_the_experiment_stands_in_the_denominator(grid, edge):
    energies = grid.values[40:280]
    twice = OpticalSpectrum(grid, 4.0 + 2j * edge(grid.values).imag, "rpa")
    result = score(twice, measured(energies, edge(energies)), broadening=Broadening())
    assert result.similarity == pytest.approx(0.0, abs=1e-12)


def test_onset_and_edge_shift_with_the_gap(grid, edge):
    computed = OpticalSpectrum(grid, edge(grid.values, 1.5), "rpa")
    energies = np.arange(1.0, 6.0, 0.02)
    result = score(computed, measured(energies, edge(energies, 2.0)))
    assert result.onset_shift == pytest.approx(-0.5, abs=0.03)
    assert result.edge_shift == pytest.approx(-0.5, abs=0.03)


def test_only_the_measured_window_counts(grid, computed, edge):
    energies = grid.values[40:280]
    changed = computed.epsilon.copy()
    changed[290:] *= 3.0
    other = OpticalSpectrum(grid, changed, "rpa")
    of = [score(one, measured(energies, edge(energies)), broadening=Broadening())
          for one in (computed, other)]  # fmt: skip
    assert of[0].similarity == of[1].similarity


def test_lattice_vibrations_are_left_out(grid, computed, edge):
    energies = grid.values[2:280]
    with_phonon = edge(energies)
    with_phonon[:10] += 50j
    result = score(computed, measured(energies, with_phonon), broadening=Broadening())
    assert result.window[0] == pytest.approx(0.5)
    assert result.similarity == pytest.approx(1.0, abs=1e-12)


def test_the_computed_spectrum_is_broadened_but_its_onset_is_not(grid, computed, edge):
    measurement = measured(grid.values[40:280], edge(grid.values[40:280]))
    sharp = score(computed, measurement, broadening=Broadening())
    broad = score(computed, measurement, broadening=Broadening("gaussian", 0.3))
    assert broad.similarity < sharp.similarity
    assert broad.onset_computed == sharp.onset_computed


def test_a_line_narrower_than_the_grid_counts_as_none(grid, edge):
    narrow = OpticalSpectrum(grid, edge(grid.values), "rpa", Broadening("lorentzian", 0.002))
    wide = OpticalSpectrum(grid, edge(grid.values), "rpa", Broadening("lorentzian", 0.2))
    measurement = measured(grid.values[40:280], edge(grid.values[40:280]))
    assert math.isfinite(score(narrow, measurement).onset_computed)
    assert math.isnan(score(wide, measurement).onset_computed)


def test_tails_noise_and_missing_range_give_no_measured_onset(edge):
    energies = np.arange(1.0, 6.0, 0.02)
    tail = measured(energies, edge(energies) + 0.05j * energies)
    onset, note = measured_onset(tail, tail.spectrum())
    assert math.isnan(onset)
    assert "throughout the measured window" in note

    slow = measured(energies, 4.0 + 1e-3j * np.exp(1.5 * (energies - 1.0)))
    onset, note = measured_onset(slow, slow.spectrum())
    assert math.isnan(onset)
    assert "too slowly" in note

    assert math.isnan(measured_onset(slow, slow.spectrum(), 4.0)[0])

    transparent = measured(energies, np.full(energies.size, 4.0))
    onset, note = measured_onset(transparent, transparent.spectrum())
    assert math.isnan(onset)
    assert "does not stay above" in note

    coarse = measured(energies[::10], edge(energies[::10]))
    onset, note = measured_onset(coarse, coarse.spectrum())
    assert math.isnan(onset)
    assert "apart" in note


def test_orientation_of_a_tensor_follows_what_was_measured(grid):
    epsilon = np.zeros((grid.num, 3, 3), dtype=complex)
    for axis, value in enumerate((9 + 3j, 9 + 3j, 3 + 0j)):
        epsilon[:, axis, axis] = value
    tensor = OpticalSpectrum(grid, epsilon, "rpa")
    expected = {"mean": 7 + 2j, "perpendicular": 9 + 3j, "parallel": 3 + 0j}
    for orientation, value in expected.items():
        found, note = orient(tensor, orientation)
        assert found.epsilon == pytest.approx(np.full(grid.num, value))
        assert not note
    turned = np.roll(epsilon, 1, axis=(1, 2))  # the optic axis along x
    found, _ = orient(OpticalSpectrum(grid, turned, "rpa"), "perpendicular", (1, 0, 0))
    assert found.epsilon == pytest.approx(np.full(grid.num, 9 + 3j))
    average = OpticalSpectrum(grid, np.full(grid.num, 7 + 2j), "prediction")
    assert "across the optic axis" in orient(average, "perpendicular")[1]


def test_without_common_energies_nothing_is_scored(edge):
    grid = EnergyGrid(0.0, 2.0, 81)
    computed = OpticalSpectrum(grid, edge(grid.values, 1.0), "rpa")
    energies = np.arange(3.0, 5.0, 0.05)
    with pytest.raises(SpectrumError, match="not both measured"):
        score(computed, measured(energies, edge(energies)))
