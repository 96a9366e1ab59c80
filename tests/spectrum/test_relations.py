"""n, k, α, R and the loss function from ε, by hand and by identity."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from opalign.errors import SpectrumError
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.relations import (
    absorption_coefficient,
    loss_function,
    reflectivity,
    refractive_index,
)

REAL = st.floats(-100.0, 100.0)
IMAGINARY = st.floats(0.0, 100.0)


@given(REAL, IMAGINARY)
def test_square_gives_epsilon_back(real, imaginary):
    n, k = refractive_index(np.float64(real), np.float64(imaginary))
    assert n >= 0.0
    assert k >= 0.0
    scale = np.hypot(real, imaginary)
    assert n**2 - k**2 == pytest.approx(real, abs=1e-12 * scale)
    assert 2.0 * n * k == pytest.approx(imaginary, rel=1e-12, abs=1e-300)


def test_weak_absorption_keeps_its_digits():
    n, k = refractive_index(np.array([4.0, -4.0]), np.array([1e-18, 1e-18]))
    np.testing.assert_allclose(n, [2.0, 2.5e-19], rtol=1e-12)
    np.testing.assert_allclose(k, [2.5e-19, 2.0], rtol=1e-12)


def test_vacuum_glass_and_silver():
    np.testing.assert_array_equal(refractive_index(np.array([1.0]), np.array([0.0])), [[1], [0]])
    assert reflectivity(1.5, 0.0) == pytest.approx(0.04)
    assert reflectivity(0.0, 3.0) == 1.0  # no light enters where ε is real and negative


@given(REAL, IMAGINARY)
def test_reflectivity_is_a_share(real, imaginary):
    share = reflectivity(*refractive_index(np.float64(real), np.float64(imaginary)))
    assert 0.0 <= share <= 1.0 + 1e-12


@given(st.floats(0.1, 100.0), IMAGINARY)
def test_loss_function_is_that_of_the_inverse(real, imaginary):
    expected = (-1.0 / complex(real, imaginary)).imag
    assert loss_function(real, imaginary) == pytest.approx(expected, rel=1e-12, abs=1e-300)


def test_absorption_coefficient_by_hand():
    """k = 0.1 at 2 eV: α = 4πk/λ with λ = 619.92 nm, that is 2.0271e4 cm⁻¹."""
    grid = EnergyGrid(1.0, 2.0, 2)
    alpha = absorption_coefficient(np.array([0.0, 0.1]), grid)
    assert alpha[0] == 0.0
    assert alpha[1] == pytest.approx(4.0 * np.pi * 0.1 / 619.92099e-7, rel=1e-7)
    assert alpha[1] == pytest.approx(2.0271e4, rel=1e-4)
    with pytest.raises(SpectrumError):
        absorption_coefficient(np.zeros(3), grid)


def test_torch_does_what_numpy_does_with_gradients():
    real = torch.tensor([4.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    imaginary = torch.tensor([0.1, 0.3, 2.0], dtype=torch.float64, requires_grad=True)
    grid = EnergyGrid(1.0, 3.0, 3)

    def everything(real, imaginary):
        n, k = refractive_index(real, imaginary)
        absorption = 1e-5 * absorption_coefficient(k, grid)
        return torch.stack([absorption, reflectivity(n, k), loss_function(real, imaginary)])

    assert torch.autograd.gradcheck(everything, (real, imaginary))
    n, k = refractive_index(real.detach().numpy(), imaginary.detach().numpy())
    np.testing.assert_allclose(n + 1j * k, np.sqrt([4 + 0.1j, -2 + 0.3j, 0.5 + 2j]))
    np.testing.assert_allclose(
        everything(real, imaginary)[0].detach(), 1e-5 * absorption_coefficient(k, grid)
    )


def test_gradient_is_finite_where_nothing_absorbs():
    real = torch.tensor([2.0, -2.0], requires_grad=True)
    imaginary = torch.zeros(2, requires_grad=True)
    n, k = refractive_index(real, imaginary)
    (n + k).sum().backward()
    assert torch.isfinite(real.grad).all()
    assert torch.isfinite(imaginary.grad).all()
