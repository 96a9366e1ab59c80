from dataclasses import replace

import numpy as np
import pytest

from opalign.dataset.table import SpectraTable
from opalign.errors import ConfigurationError
from opalign.spectrum.broadening import Broadening
from opalign.training.metrics import coefficient_of_determination, per_material, summarize
from opalign.training.spectra import read_spectra


@pytest.fixture(scope="module")
def reference(spectra_path):
    return read_spectra(SpectraTable.open(spectra_path), "rpa", band_gap_column="direct_gap_eV")


def test_a_perfect_prediction(reference):
    frame = per_material(reference, reference)
    assert tuple(frame["material_id"]) == reference.ids
    assert (frame["similarity"] == 1.0).all()
    errors = ["mae", "mse", "log_absorption_mae", "static_dielectric_error", "onset_eV_error"]
    assert (frame[[*errors, "band_gap_eV_error"]] == 0.0).all(axis=None)
    summary = summarize(frame)
    assert summary["onset_eV"]["r2"] == summary["band_gap_eV"]["r2"] == 1.0


def test_a_prediction_of_half_the_spectrum(reference):
    """SC = ½; MAE is half the mean of the reference; scaling ε₂ shifts log₁₀ α by about log₁₀ 2."""
    frame = per_material(replace(reference, imaginary=0.5 * reference.imaginary), reference)
    np.testing.assert_allclose(frame["similarity"], 0.5, rtol=1e-12)
    expected = 0.5 * (reference.imaginary @ reference.grid.weights) / reference.grid.stop
    np.testing.assert_allclose(frame["mae"], expected, rtol=1e-12)


def test_the_denominator_is_the_reference(reference):
    twice = replace(reference, imaginary=2 * reference.imaginary)
    assert per_material(twice, reference)["similarity"].iloc[0] == pytest.approx(0.0, abs=1e-12)
    assert per_material(reference, twice)["similarity"].iloc[0] == pytest.approx(0.5)


def test_a_gap_that_is_off_by_a_constant(reference):
    frame = per_material(replace(reference, band_gap=reference.band_gap + 0.5), reference)
    summary = summarize(frame)["band_gap_eV"]
    assert summary["absolute_error"]["mean"] == pytest.approx(0.5)
    gaps = reference.band_gap
    assert summary["r2"] == pytest.approx(1 - 8 * 0.25 / ((gaps - gaps.mean()) ** 2).sum())


def test_log_absorption_ends_at_fifteen_electronvolts(reference):
    changed = reference.imaginary.copy()
    changed[:, reference.grid.values > 15.1] *= 3
    frame = per_material(replace(reference, imaginary=changed), reference)
    assert (frame["mae"] > 0).all()
    assert (frame["log_absorption_mae"] == 0).all()


def test_onsets_are_left_out_where_the_broadening_makes_them(reference):
    wide = reference.broadened(Broadening("gaussian", 0.3))
    frame = per_material(wide, wide)
    assert "onset_eV_error" not in frame
    assert "σ ≤ 0.1" in summarize(frame)["onset_left_out"]
    assert "onset_left_out" not in summarize(per_material(reference, reference))


def test_a_prediction_without_onset_is_counted_and_does_not_spoil_the_rest(reference):
    imaginary, real = reference.imaginary.copy(), reference.real.copy()
    imaginary[2], real[2] = 0.0, 2.0  # positive Re ε: where it is negative, light is damped too
    transparent = replace(reference, imaginary=imaginary, real=real)
    summary = summarize(per_material(transparent, reference))
    assert summary["onset_eV"]["without_prediction"] == 1
    assert summary["onset_eV"]["absolute_error"]["mean"] == 0.0


@pytest.mark.parametrize(
    ("name", "value"),
    [("level", "ipa"), ("broadening", Broadening("gaussian", 0.1)), ("ids", tuple("abcdefgh"))],
)
def test_what_does_not_belong_together_is_refused(reference, name, value):
    with pytest.raises(ConfigurationError, match=f"differ in {name}"):
        per_material(replace(reference, **{name: value}), reference)


def test_coefficient_of_determination():
    reference = np.array([1.0, 2.0, 3.0])
    assert coefficient_of_determination(np.full(3, 2.0), reference) == 0.0
    assert coefficient_of_determination(reference[::-1], reference) == pytest.approx(-3.0)
    assert np.isnan(coefficient_of_determination(reference[:1], reference[:1]))


def test_median_mean_and_quartiles(reference):
    factors = np.arange(1, 9)[:, None] / 10.0
    frame = per_material(replace(reference, imaginary=factors * reference.imaginary), reference)
    similarity = summarize(frame)["similarity"]
    assert similarity["median"] == pytest.approx(0.45)
    assert similarity["mean"] == pytest.approx(0.45)
    assert similarity["quartile_1"] == pytest.approx(0.275)
