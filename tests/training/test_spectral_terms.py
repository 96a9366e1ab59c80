import numpy as np
import pytest
import torch

from opalign.model.config import ModelConfig
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.units import HBAR_C
from opalign.training.config import CurriculumConfig, FurtherTerms, LossConfig
from opalign.training.losses import TrainingLoss, curriculum_broadening, training_loss
from opalign.training.spectral_terms import (
    blurred_distance,
    cumulative_distance,
    logarithmic_distance,
    relative_distance,
    slope_distance,
)

GRID = EnergyGrid(start=0.0, stop=20.0, num=401)
MODEL = ModelConfig(grid=GRID)


def peak(center: float, width: float = 0.3, area: float = 1.0) -> torch.Tensor:
    energies = torch.tensor(GRID.values)
    height = area / (width * (2 * np.pi) ** 0.5)
    return height * torch.exp(-0.5 * ((energies - center) / width) ** 2)


def test_cumulative_distance_is_the_shift_of_a_peak():
    """Wasserstein distance of a distribution and its translate: the translation, in eV."""
    for shift in (0.5, 3.0):
        found = cumulative_distance(peak(8.0 + shift), peak(8.0), GRID)
        assert found.item() == pytest.approx(shift, rel=1e-3)


def test_cumulative_distance_agrees_with_scipy():
    from scipy.stats import wasserstein_distance

    ours, theirs = peak(5.0, 1.0) + peak(9.0, 0.5), 2 * peak(7.0, 0.8)
    expected = wasserstein_distance(GRID.values, GRID.values, ours.numpy(), theirs.numpy())
    assert cumulative_distance(ours, theirs, GRID).item() == pytest.approx(expected, rel=1e-3)


def test_blurring_forgives_a_small_shift_and_not_a_large_one():
    reference = peak(8.0)
    near, far = peak(8.5), peak(14.0)
    assert relative_distance(near, reference, GRID) > 1.1
    assert blurred_distance(near, reference, GRID, 1.0) < 0.45
    assert blurred_distance(far, reference, GRID, 1.0).item() == pytest.approx(2.0, abs=0.02)


def test_slope_distance_of_wiggles_with_little_area():
    """cos(10 E)/10 of amplitude 0.1 has slopes of up to 1; the reference climbs 1 in all."""
    energies = torch.tensor(GRID.values)
    reference = energies / GRID.stop
    wiggle = 0.1 * torch.cos(10 * energies)
    # ∫|sin(10 E)| dE over 20 eV is 20 · 2/π; sampled at half a radian, within some per cent.
    assert slope_distance(reference + wiggle, reference).item() == pytest.approx(40 / np.pi, 0.03)
    assert slope_distance(reference + 3.0, reference).item() == pytest.approx(0.0, abs=1e-9)


def test_logarithm_counts_orders_of_magnitude_above_the_floor():
    one = torch.full((GRID.num,), 1e-2, dtype=torch.float64)
    found = logarithmic_distance(100 * one, one, GRID).item()
    # nα = Eε₂/ħc passes 100 cm⁻¹ at E = 0.2 eV and at 0.002 eV: two decades but in a sliver.
    assert HBAR_C * 100 / 1e-2 < 0.2
    assert found == pytest.approx(2.0, abs=0.03)
    assert logarithmic_distance(1e-6 * one, 1e-7 * one, GRID).item() == 0.0


@pytest.mark.parametrize("name", ["blurred", "cumulative", "slope", "logarithmic"])
def test_terms_add_to_the_loss_and_vanish_at_the_reference(name):
    reference = peak(8.0).float()[None, None].repeat(2, 2, 1)
    reference[1, 1] = torch.nan
    loss = training_loss(
        MODEL,
        LossConfig(
            band_gap_weight=0, static_dielectric_weight=0, further=FurtherTerms(**{name: 0.5})
        ),
    )
    predicted = peak(9.0).float()[None, None].repeat(2, 2, 1).requires_grad_()
    terms = loss({"epsilon_imaginary": predicted}, {"epsilon_imaginary": reference})
    assert terms[name].item() > 0.05
    assert terms["loss"].item() == pytest.approx(
        terms["spectrum"].item() + terms[name].item(), rel=1e-6
    )
    terms["loss"].backward()
    assert torch.isfinite(predicted.grad).all()
    assert not predicted.grad[1, 1].any()  # unknown there
    exact = loss(
        {"epsilon_imaginary": peak(8.0).float()[None, None].repeat(2, 2, 1)},
        {"epsilon_imaginary": reference},
    )
    assert exact["loss"].item() == pytest.approx(0.0, abs=1e-6)


def test_a_curriculum_narrows_to_the_plain_loss():
    curriculum = CurriculumConfig(width=1.0, share=0.5)
    widths = [curriculum_broadening(curriculum, p).width for p in (0.0, 0.1, 0.3, 0.49, 0.5, 1.0)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == 1.0
    assert widths[-2:] == [0.0, 0.0]
    targets = {"epsilon_imaginary": peak(8.0).float()[None, None]}
    output = {"epsilon_imaginary": peak(8.5).float()[None, None]}
    plain, blurred = TrainingLoss(MODEL), TrainingLoss(MODEL, curriculum=curriculum)
    assert blurred(output, targets, 1.0)["loss"] == plain(output, targets, 0.0)["loss"]
    first = blurred(output, targets, 0.0)["loss"]
    expected = relative_distance(peak(8.5, 1.09**0.5), peak(8.0, 1.09**0.5), GRID)
    # Gaussians blurred by a Gaussian, σ² = 0.3² + 1².
    assert first.item() == pytest.approx(expected.item(), rel=2e-3)


def test_terms_of_epsilon_are_refused_for_other_targets():
    with pytest.raises(ValueError, match="about Im ε"):
        LossConfig(target="log_absorption", further=FurtherTerms(slope=1.0))
