from dataclasses import replace

import numpy as np
import pytest

from opalign.firstprinciples.quality import (
    MEASURES,
    QualityLimits,
    check_result,
    clean_tensor,
)

from .conftest import magnesia
from .engines.fake_engine import result_of


@pytest.fixture
def sound():
    return result_of(magnesia(0))


def changed(result, change, level="rpa"):
    epsilon = {name: np.array(values) for name, values in result.epsilon.items()}
    epsilon[level] = change(epsilon[level], result.grid.values)
    return replace(result, epsilon=epsilon)


def test_a_sound_spectrum_has_no_flag_and_all_measures(sound):
    quality = check_result(sound)
    assert quality.flags == ()
    assert set(quality.measures) == {f"{lv}_{name}" for lv in ("ipa", "rpa") for name in MEASURES}
    assert np.isfinite(list(quality.measures.values())).all()


def test_measures_are_what_the_oscillator_has(sound):
    measures = check_result(sound).measures
    # Of the oscillator at 6 eV, 0.6 eV wide, little lies below the gap or above 20 eV.
    assert measures["rpa_f_sum"] == pytest.approx(0.93, abs=0.04)
    assert measures["rpa_completed_f_sum"] == pytest.approx(0.97, abs=0.05)
    assert measures["rpa_onset_eV"] == pytest.approx(4.0, abs=0.06)
    assert measures["rpa_static_epsilon"] == pytest.approx(sound.epsilon["rpa"][0, 0, 0].real)
    assert measures["rpa_asymmetry"] < 1e-12
    assert measures["rpa_lowest_imaginary"] == 0.0


def test_the_f_sum_counts_the_electrons_of_the_engine(sound):
    few = replace(sound, provenance={"electrons": 6.0})
    assert "rpa_f_sum" in check_result(few).flags
    assert check_result(few).measures["rpa_f_sum"] == pytest.approx(
        check_result(sound).measures["rpa_f_sum"] * 8 / 6
    )
    many = replace(sound, provenance={"electrons": 60.0})
    assert "ipa_f_sum" in check_result(many).flags
    # Without a count, Mg gives two electrons and O six.
    assert check_result(replace(sound, provenance={})).measures == check_result(sound).measures


FAULTS = {
    "negative": lambda e, x: e - 0.05j * np.eye(3) * ((x > 10) & (x < 11))[:, None, None] * 8,
    "symmetry": lambda e, x: e * np.diag([1.0, 1.0, 1.2]),
    "f_sum": lambda e, x: e.real + 1j * e.imag * 1.5,
    "causality": lambda e, x: e + 0.5 * (e.real - np.eye(3)),
    "onset": lambda e, x: e + 0.2j * np.eye(3) * ((x > 2) & (x < 4))[:, None, None],
}


@pytest.mark.parametrize("check", FAULTS)
def test_every_fault_is_flagged_at_its_level_alone(sound, check):
    flags = check_result(changed(sound, FAULTS[check])).flags
    assert f"rpa_{check}" in flags
    assert not any(flag.startswith("ipa") for flag in flags)
    expected = {"f_sum": {"rpa_f_sum", "rpa_causality"}}.get(check, {f"rpa_{check}"})
    assert set(flags) == expected


def test_a_late_onset_is_flagged_too(sound):
    late = changed(sound, lambda e, x: np.where((x < 5.5)[:, None, None], e.real, e))
    assert "rpa_onset" in check_result(late).flags


def test_a_spectrum_without_absorption_is_flagged(sound):
    quality = check_result(changed(sound, lambda e, x: 3.0 * np.eye(3) + 0.0j * e))
    assert "rpa_onset" in quality.flags
    assert np.isnan(quality.measures["rpa_onset_eV"])


def test_an_antisymmetric_part_is_flagged(sound):
    twisted = np.zeros((3, 3))
    twisted[0, 1], twisted[1, 0] = 1.0, -1.0
    quality = check_result(changed(sound, lambda e, x: e + twisted * np.abs(e).max() * 0.1))
    assert quality.flags == ("rpa_symmetry",)
    # From ε to its transpose are two tenths.
    assert quality.measures["rpa_asymmetry"] == pytest.approx(0.2, rel=0.01)


def test_corrected_levels_are_held_against_the_corrected_gap(sound):
    shifted = np.roll(sound.epsilon["rpa"], 40, axis=0)
    shifted[:40] = shifted[40].real
    corrected = replace(
        sound,
        epsilon={"rpa_corrected": shifted},
        scalars={"corrected_gap_eV": sound.band_gap + 2.0},
    )
    assert "rpa_corrected_onset" not in check_result(corrected).flags
    assert "rpa_corrected_onset" in check_result(replace(corrected, scalars={})).flags


def test_limits_are_settings(sound):
    strict = QualityLimits(most_electrons=0.5, early_onset=1e-6)
    assert set(check_result(sound, strict).flags) == {
        f"{level}_{check}" for level in ("ipa", "rpa") for check in ("f_sum", "onset")
    }


def test_cleaning_takes_away_noise_alone(sound):
    epsilon = np.array(sound.epsilon["rpa"])
    assert np.array_equal(clean_tensor(epsilon), epsilon)
    rng = np.random.default_rng(0)
    noisy = epsilon + 1e-4 * (rng.normal(size=epsilon.shape) + 1j * rng.normal(size=epsilon.shape))
    clean = clean_tensor(noisy)
    assert np.array_equal(clean, clean.swapaxes(1, 2))
    assert np.linalg.eigvalsh(clean.imag).min() >= -1e-15
    assert np.abs(clean - noisy).max() < 1e-3
    # What was absorbed stays: eigenvalues above the noise are untouched.
    strong = epsilon[:, 0, 0].imag > 0.1
    symmetric = 0.5 * (noisy + noisy.swapaxes(1, 2))
    assert np.allclose(clean[strong], symmetric[strong], atol=1e-14)


def test_cleaning_keeps_a_tensor_in_a_tilted_frame():
    angle = 0.3
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    epsilon = (turn @ np.diag([2 + 1j, 3 + 0j, 4 - 0.5j]) @ turn.T)[None]
    expected = turn @ np.diag([2 + 1j, 3 + 0j, 4 + 0j]) @ turn.T
    assert np.allclose(clean_tensor(epsilon)[0], expected, atol=1e-14)
