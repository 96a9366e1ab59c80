import numpy as np
import pytest
import torch

from opalign.model.config import ModelConfig
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.similarity import similarity_coefficient
from opalign.training.losses import TrainingLoss, predicted_target, spectral_loss

GRID = EnergyGrid(start=0.0, stop=10.0, num=101)
MODEL = ModelConfig(grid=GRID)


@pytest.fixture
def spectra():
    energies = torch.tensor(GRID.values, dtype=torch.float32)
    reference = torch.exp(-((energies - 5.0) ** 2))[None, None]
    return torch.exp(-((energies - 5.5) ** 2))[None, None], reference


def test_similarity_loss_is_one_minus_sc_with_the_reference_below(spectra):
    predicted, reference = spectra
    loss = spectral_loss("similarity", predicted, 2 * reference, GRID, 1.0)
    torch.testing.assert_close(loss, 1.0 - similarity_coefficient(predicted, 2 * reference, GRID))
    # Predicting nothing has SC 0, so the loss is 1 whatever the scale of the reference.
    nothing = spectral_loss("similarity", torch.zeros_like(reference), 7 * reference, GRID, 1.0)
    assert nothing.item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("kind", ["l1", "mse", "huber", "similarity"])
def test_losses_vanish_at_the_reference_and_nowhere_else(kind, spectra):
    predicted, reference = spectra
    assert spectral_loss(kind, reference, reference, GRID, 1.0).item() == 0.0
    assert spectral_loss(kind, predicted, reference, GRID, 1.0).item() > 0.0


@pytest.mark.parametrize(("kind", "expected"), [("l1", 3.0), ("mse", 9.0), ("huber", 2.5)])
def test_a_constant_difference_of_three(kind, expected, spectra):
    """Averages over energy; Huber of 3 with width 1 is 3 − 1/2."""
    _, reference = spectra
    loss = spectral_loss(kind, reference + 3.0, reference, GRID, 1.0)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_reference_of_zero_gives_a_finite_loss():
    zero = torch.zeros(1, 1, GRID.num)
    loss = spectral_loss("similarity", zero.clone().requires_grad_(), zero, GRID, 1.0)
    loss.sum().backward()
    assert torch.isfinite(loss).all()


def test_unknown_scalars_neither_count_nor_spoil_the_gradient():
    loss = TrainingLoss(MODEL, band_gap_weight=0.5, static_dielectric_weight=2.0)
    gap = torch.tensor([2.0, 3.0], requires_grad=True)
    real = torch.full((2, 1, GRID.num), 4.0, requires_grad=True)
    terms = loss(
        {"band_gap": gap, "epsilon_real": real},
        {
            "band_gap": torch.tensor([1.0, torch.nan]),
            "static_dielectric": torch.tensor([[torch.nan], [5.0]]),
        },
    )
    # |2 − 1| eV, and |4 − 5|/5.
    assert terms["loss"].item() == pytest.approx(0.5 * 1.0 + 2.0 * 0.2)
    terms["loss"].backward()
    assert gap.grad.tolist() == [0.5, 0.0]
    assert torch.isfinite(real.grad).all()


def test_nothing_known_is_no_error():
    loss = TrainingLoss(MODEL, band_gap_weight=1.0)
    terms = loss({"band_gap": torch.tensor([2.0])}, {"band_gap": torch.tensor([torch.nan])})
    assert terms["loss"].item() == 0.0


def test_log_absorption_of_a_known_medium():
    """Constant ε = 4 + 0.4i: k from the formula, α = 2Ek/ħc; below the floor the floor."""
    real, imaginary = torch.full((1, 1, GRID.num), 4.0), torch.full((1, 1, GRID.num), 0.4)
    target = predicted_target(
        {"epsilon_real": real, "epsilon_imaginary": imaginary}, "log_absorption", GRID
    )
    k = np.sqrt((np.hypot(4.0, 0.4) - 4.0) / 2)
    alpha = 2 * 5.0 * k / 1.973269804e-5
    assert target[0, 0, 50].item() == pytest.approx(np.log10(alpha), rel=1e-5)
    assert target[0, 0, 0].item() == 2.0


def test_gradients_of_log_absorption_are_finite_where_nothing_absorbs():
    imaginary = torch.zeros(1, 1, GRID.num, requires_grad=True)
    real = torch.full((1, 1, GRID.num), 4.0, requires_grad=True)
    output = {"epsilon_real": real, "epsilon_imaginary": imaginary}
    predicted_target(output, "log_absorption", GRID).sum().backward()
    assert torch.isfinite(imaginary.grad).all()
    assert torch.isfinite(real.grad).all()


def test_a_level_that_a_material_lacks_neither_counts_nor_spoils_the_gradient():
    loss = TrainingLoss(MODEL, "l1")
    predicted = torch.full((2, 2, GRID.num), 3.0, requires_grad=True)
    reference = torch.ones(2, 2, GRID.num)
    reference[0, 0] += 1.0
    reference[1, 1] = torch.nan
    terms = loss({"epsilon_imaginary": predicted}, {"epsilon_imaginary": reference})
    # |3 − 2|, |3 − 1|, |3 − 1|; the fourth is unknown.
    assert terms["loss"].item() == pytest.approx((1.0 + 2.0 + 2.0) / 3, rel=1e-6)
    terms["loss"].backward()
    assert torch.isfinite(predicted.grad).all()
    assert (predicted.grad[1, 1] == 0.0).all()
    assert (predicted.grad[1, 0, 1:-1] > 0.0).all()


def test_unknown_similarities_do_not_count():
    loss = TrainingLoss(MODEL, similarity_weight=2.0)
    found = loss(
        {"similarity": torch.tensor([0.9, 0.4])}, {"similarity": torch.tensor([0.8, torch.nan])}
    )
    assert found["loss"].item() == pytest.approx(0.2, rel=1e-5)
