"""The scissor shift against its own definition, sum rules and shifted analytic lines."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opalign.errors import ConfigurationError, SpectrumError
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import Oscillator
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.scissor import rescale, scissor_report, scissor_shift

GRID = EnergyGrid(0.0, 20.0, 801)
GAP = 3.0
ABOVE = Oscillator(26.0, 0.3)


def hump(energies):
    """ε₂ with a gap of 3 eV, smooth and gone by 14 eV."""
    inside = (energies > GAP) & (energies < 14.0)
    return np.where(inside, 8.0 * np.sin(np.pi * (energies - GAP) / 11.0) ** 2, 0.0)


def spectrum(imaginary=None, oscillator=ABOVE):
    imaginary = hump(GRID.values) if imaginary is None else imaginary
    return OpticalSpectrum.from_imaginary(GRID, imaginary, "rpa", oscillator=oscillator)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("shift", [1.0, 0.337, -0.5, -1.21])
def test_is_the_formula(shift, power):
    shifted = scissor_shift(spectrum(), shift, gap=GAP, level="scissored", power=power)
    energies = shifted.energies
    source = energies - shift
    inside = energies >= GAP + shift
    factor = np.where(inside, source, 0.0) / np.where(inside, energies, 1.0)
    expected = np.where(inside, hump(source) * factor**power, 0.0)
    # Linear interpolation of a curve of period 11 eV on 0.025 eV: (π·h/11)²·8/4 ≈ 1e-4, times the
    # factor, which exceeds one where the shift is negative.
    tolerance = 3e-4 * max(1.0, GAP / (GAP + shift)) ** power
    np.testing.assert_allclose(shifted.epsilon_imaginary, expected, atol=tolerance)
    assert shifted.level == "scissored"
    assert f"{shift:+g} eV" in shifted.provenance


def test_a_shift_by_grid_steps_is_exact():
    shifted = scissor_shift(spectrum(), 1.0, gap=GAP)
    expected = np.zeros(801)
    expected[41:] = (GRID.values * hump(GRID.values))[1:-40] / GRID.values[41:]
    np.testing.assert_allclose(shifted.epsilon_imaginary, expected, atol=1e-12)


@pytest.mark.parametrize("shift", [1.5, -0.7])
def test_real_part_is_that_of_the_shifted_parts(shift):
    """ε₁′ is Kramers–Kronig of ε₂′ with the oscillator where it has moved, f-sum kept."""
    report = scissor_report(spectrum(), shift, gap=GAP)
    assert report.oscillator_before.energy == pytest.approx(26.0, rel=1e-3)
    moved = report.oscillator_after
    assert moved.energy == pytest.approx(26.0 + shift, rel=1e-3)
    assert moved.strength * moved.energy**2 == pytest.approx(0.3 * 26.0**2, rel=1e-3)
    rebuilt = OpticalSpectrum.from_imaginary(
        report.spectrum.grid,
        report.spectrum.epsilon_imaginary,
        "rpa",
        oscillator=Oscillator(26.0 + shift, 0.3 * (26.0 / (26.0 + shift)) ** 2),
    )
    np.testing.assert_allclose(report.spectrum.epsilon_real, rebuilt.epsilon_real, atol=2e-3)


@settings(deadline=None, max_examples=25)
@given(shift=st.floats(-2.5, 4.0), strength=st.floats(0.0, 1.0))
def test_the_f_sum_stays_and_a_wider_gap_screens_less(shift, strength):
    given_ = spectrum(oscillator=Oscillator(26.0, strength))
    report = scissor_report(given_, shift, gap=GAP)
    assert report.f_sum_change == pytest.approx(0.0, abs=1e-4)
    assert (report.static_after - report.static_before) * shift <= 1e-6 * abs(shift) + 1e-9
    assert (report.spectrum.epsilon_imaginary[report.spectrum.energies < GAP + shift] == 0).all()


def test_one_keeps_the_f_sum_by_default():
    given_ = spectrum()
    np.testing.assert_array_equal(
        scissor_shift(given_, 1.0, gap=GAP).epsilon,
        scissor_shift(given_, 1.0, gap=GAP, power=1.0).epsilon,
    )
    assert "power" not in scissor_shift(given_, 1.0, gap=GAP).provenance


@pytest.mark.parametrize("shift", [1.5, -0.7])
def test_a_rigid_shift_keeps_the_area(shift):
    """∫ ε₂ dE stays, of the window and of the line above it; ε₁(0) follows less than otherwise."""
    reports = {
        power: scissor_report(spectrum(), shift, gap=GAP, power=power) for power in (0.0, 1.0)
    }
    rigid = reports[0.0]
    area = GRID.step * rigid.spectrum.epsilon_imaginary.sum()
    assert area == pytest.approx(GRID.step * hump(GRID.values).sum(), rel=1e-4)
    before, after = rigid.oscillator_before, rigid.oscillator_after
    assert after.strength * after.energy == pytest.approx(before.strength * before.energy)
    assert rigid.f_sum_change * shift > 0.0
    change = {power: one.static_after - one.static_before for power, one in reports.items()}
    assert 0.0 < change[0.0] / change[1.0] < 1.0
    assert "power 0" in rigid.spectrum.provenance


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_a_line_weakens_by_the_power(power):
    """A line at 8 eV moved to 10 eV: its area times 0.8^power, ε₁(0) − 1 times 0.8^(power + 1)."""
    imaginary = np.zeros(801)
    imaginary[320] = 5.0
    given_ = spectrum(imaginary, None)
    shifted = scissor_shift(given_, 2.0, oscillator=Oscillator(50.0, 0.0), power=power)
    assert shifted.epsilon_imaginary[400] == pytest.approx(5.0 * 0.8**power)
    ratio = (shifted.static_dielectric - 1.0) / (given_.static_dielectric - 1.0)
    assert ratio == pytest.approx(0.8 ** (power + 1.0), rel=1e-4)


def test_absorption_that_leaves_the_window_still_counts():
    """A line moved out through the upper end acts on ε₁ far below as it would from there."""
    imaginary = np.zeros(801)
    imaginary[780:800] = 2.0  # 19.5–20 eV
    report = scissor_report(spectrum(imaginary, None), 2.0, oscillator=Oscillator(50.0, 0.0))
    assert report.window_sum_after == pytest.approx(0.0, abs=1e-12)
    assert report.f_sum_after == pytest.approx(report.f_sum_before, rel=2e-2)
    weight = report.f_sum_before * 2.0 / np.pi
    assert report.static_after - 1.0 == pytest.approx(weight / 21.74**2, rel=1e-2)


def test_negative_shift_keeps_only_what_is_known():
    shifted = scissor_shift(spectrum(), -0.51, gap=GAP)
    assert shifted.grid.stop == pytest.approx(19.475)
    assert shifted.grid.step == pytest.approx(GRID.step)


def test_nothing_shifted_is_nothing_changed():
    given_ = spectrum()
    same = scissor_shift(given_, 0.0, gap=GAP)
    np.testing.assert_allclose(same.epsilon, given_.epsilon, atol=1e-5)


def test_tensor_shifts_in_any_frame():
    """Each principal component is shifted as a spectrum of its own, whatever the axes are."""
    parts = [hump(GRID.values), 0.5 * hump(GRID.values - 0.5), 1.3 * hump(GRID.values)]
    singles = [
        spectrum(part, Oscillator(26.0, s)) for part, s in zip(parts, (0.3, 0.2, 0.4), strict=True)
    ]
    diagonal = np.zeros((801, 3, 3), dtype=complex)
    for axis, single in enumerate(singles):
        diagonal[:, axis, axis] = single.epsilon
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    tensor = OpticalSpectrum(GRID, turn @ diagonal @ turn.T, "rpa")
    shifted = scissor_shift(tensor, 0.8, gap=GAP)
    back = turn.T @ shifted.epsilon @ turn
    for axis, single in enumerate(singles):
        np.testing.assert_allclose(
            back[:, axis, axis], scissor_shift(single, 0.8, gap=GAP).epsilon, atol=2e-3
        )
    np.testing.assert_allclose(back - back * np.eye(3), 0.0, atol=2e-3)


def test_without_a_gap_nothing_is_cut():
    broadened = spectrum(hump(GRID.values) + 0.01)
    assert scissor_shift(broadened, 1.0).epsilon_imaginary[60] > 0.0
    assert scissor_shift(broadened, 1.0, gap=GAP).epsilon_imaginary[60] == 0.0


def test_cubic_continuation_needs_no_oscillator(lorentz):
    epsilon = lorentz(GRID.values)
    report = scissor_report(OpticalSpectrum(GRID, epsilon, "ipa"), 1.0, beyond="cubic")
    assert report.oscillator_before is None
    assert report.static_after < report.static_before


def test_refuses_what_makes_no_sense():
    with pytest.raises(ConfigurationError, match="needs the gap"):
        scissor_shift(spectrum(), -0.5)
    with pytest.raises(ConfigurationError, match="cannot be shifted"):
        scissor_shift(spectrum(), -3.5, gap=GAP)
    with pytest.raises(ConfigurationError, match="impossible"):
        scissor_shift(spectrum(), float("nan"), gap=GAP)
    for power in (-0.5, 2.5, float("nan")):
        with pytest.raises(ConfigurationError, match="power"):
            scissor_shift(spectrum(), 0.5, gap=GAP, power=power)
    with pytest.raises(SpectrumError, match="is left"):
        scissor_shift(spectrum(), -19.99, gap=30.0)
    too_low = OpticalSpectrum(GRID, spectrum().epsilon - 1.0, "rpa")
    with pytest.raises(SpectrumError, match=r"(?s)already.*Oscillator"):
        scissor_shift(too_low, 0.5, gap=GAP)


def test_rescale_reaches_the_static_value_and_keeps_causality():
    given_ = spectrum(oscillator=None)
    scaled = rescale(given_, static=6.0)
    assert scaled.static_dielectric == pytest.approx(6.0)
    rebuilt = OpticalSpectrum.from_imaginary(GRID, scaled.epsilon_imaginary, "rpa")
    np.testing.assert_allclose(scaled.epsilon_real, rebuilt.epsilon_real, atol=1e-9)
    np.testing.assert_allclose(
        rescale(given_, factor=0.5).epsilon_imaginary, 0.5 * given_.epsilon_imaginary
    )
    for wrong in ({}, {"factor": 1.0, "static": 2.0}, {"factor": -1.0}, {"static": 0.5}):
        with pytest.raises(ConfigurationError):
            rescale(given_, **wrong)
