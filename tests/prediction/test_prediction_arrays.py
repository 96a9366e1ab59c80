import numpy as np
import pytest
import torch

from opalign.crystal.graph import build_graph
from opalign.errors import SpectrumError
from opalign.prediction import Predictor
from opalign.prediction.arrays import batch_arrays
from opalign.prediction.output import batch_spectra


@pytest.mark.parametrize(
    ("head", "target"),
    [("physical", "log_absorption"), ("vector", "log_absorption"), ("vector", "epsilon_imaginary")],
)
def test_arrays_are_the_spectra_of_each_row(tmp_path, make_checkpoint, crystals, head, target):
    predictor = Predictor.load(make_checkpoint(tmp_path / "one", head, target), device="cpu")
    output = predictor.run([build_graph(one, predictor.config.graph) for one in crystals])
    one_by_one = batch_spectra(predictor.config, output)
    for level in predictor.levels:
        found = batch_arrays(predictor.config, output, level)
        assert found.finite.all()
        for row in range(len(crystals)):
            spectrum = one_by_one(row, level, "x", "y")
            # The same sums in another order.
            np.testing.assert_allclose(
                found.epsilon_real[row], spectrum.epsilon_real, rtol=1e-9, atol=1e-9
            )
            np.testing.assert_allclose(
                found.epsilon_imaginary[row], spectrum.epsilon_imaginary, rtol=1e-9, atol=1e-9
            )
    assert (found.band_gap is None) == (head == "vector")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 400.0])
def test_a_row_that_is_no_spectrum_spoils_no_other(tmp_path, make_checkpoint, crystals, value):
    predictor = Predictor.load(make_checkpoint(tmp_path / "one", "vector"), device="cpu")
    output = predictor.run([build_graph(one, predictor.config.graph) for one in crystals[:3]])
    sound = batch_arrays(predictor.config, output, "rpa")
    target = output["target"].clone()
    target[1, :, 5] = value
    found = batch_arrays(predictor.config, {**output, "target": target}, "rpa")
    assert found.finite.tolist() == [True, False, True]
    np.testing.assert_array_equal(found.epsilon_real[[0, 2]], sound.epsilon_real[[0, 2]])
    assert not found.epsilon_real[1].any()
    with pytest.raises(SpectrumError):
        batch_spectra(predictor.config, {**output, "target": target})(1, "rpa", "x", "y")


def test_features_that_are_not_finite_count(predictor, crystals):
    output = predictor.run([build_graph(one, predictor.config.graph) for one in crystals[:2]])
    broken = output["features"].clone()
    broken[0, 0] = torch.nan
    assert batch_arrays(
        predictor.config, {**output, "features": broken}, "ipa"
    ).finite.tolist() == [
        False,
        True,
    ]
