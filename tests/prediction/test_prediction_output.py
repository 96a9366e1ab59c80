import numpy as np
import pytest
import torch

from opalign.errors import SpectrumError
from opalign.model.config import AlignnConfig, ModelConfig, PhysicalHeadConfig, VectorHeadConfig
from opalign.prediction import Predictor
from opalign.prediction.output import batch_spectra
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import real_from_imaginary

GRID = EnergyGrid(0.0, 10.0, 201)
PEAK = 3.0 * np.exp(-((GRID.values - 5.0) ** 2))
LABELS = ("rpa", "mp-1", "a model")


def config(head):
    return ModelConfig(encoder=AlignnConfig(), head=head, grid=GRID, levels=("ipa", "rpa"))


def tensor(*levels):
    return torch.tensor(np.array([levels]))


def test_the_physical_head_gives_both_parts():
    output = {
        "epsilon_imaginary": tensor(0 * PEAK, PEAK),
        "epsilon_real": tensor(0 * PEAK, PEAK + 1),
    }
    spectrum = batch_spectra(config(PhysicalHeadConfig()), output)(0, *LABELS)
    np.testing.assert_allclose(spectrum.epsilon, PEAK + 1 + 1j * PEAK, atol=1e-9)
    assert (spectrum.level, spectrum.material_id, spectrum.provenance) == LABELS


def test_free_imaginary_part_is_cut_at_zero_and_completed():
    head = VectorHeadConfig(target="epsilon_imaginary")
    # It ends high, so that what is assumed above the window matters.
    target = PEAK - 0.1 + 0.5 * (GRID.values / GRID.stop) ** 4
    spectrum = batch_spectra(config(head), {"target": tensor(0 * PEAK, target)})(0, *LABELS)
    imaginary = np.maximum(target, 0.0)
    np.testing.assert_allclose(spectrum.epsilon_imaginary, imaginary, atol=1e-9)
    np.testing.assert_allclose(
        spectrum.epsilon_real, real_from_imaginary(imaginary, GRID, beyond="cubic"), atol=1e-7
    )


def test_free_absorption_comes_back():
    head = VectorHeadConfig(target="log_absorption")
    target = np.where(GRID.values < 3.0, 1.9, 5.0)
    spectrum = batch_spectra(config(head), {"target": tensor(0 * target, target)})(0, *LABELS)
    alpha = spectrum.absorption_coefficient
    assert (alpha[GRID.values < 3.0] == 0.0).all(), "below the floor there is no absorption"
    np.testing.assert_allclose(alpha[GRID.values > 3.0], 1e5, rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, 400.0])
def test_numbers_beyond_sense_are_refused(value):
    head = VectorHeadConfig(target="log_absorption")
    output = {"target": tensor(PEAK, np.full(GRID.num, value))}
    with pytest.raises(SpectrumError):
        batch_spectra(config(head), output)(0, *LABELS)


@pytest.mark.parametrize("target", ["log_absorption", "epsilon_imaginary"])
def test_a_model_with_a_free_head_predicts(make_checkpoint, tmp_path, crystals, target):
    predictor = Predictor.load(make_checkpoint(tmp_path / "free", "vector", target), device="cpu")
    for prediction in predictor.predict(crystals):
        assert prediction.band_gap is None
        assert (prediction.spectrum.epsilon_imaginary >= 0).all()
        assert len(prediction.nearest) == 3
