"""ε₁ from ε₂ against analytic line shapes, direct quadrature and first principles."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.integrate import quad

from opalign.errors import ConfigurationError, SpectrumError
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import (
    Oscillator,
    index_from_extinction,
    kramers_kronig_matrix,
    kramers_kronig_weights,
    real_from_imaginary,
    static_from_imaginary,
)
from opalign.spectrum.sum_rules import fit_oscillator


def tail_above(window_end, epsilon_imaginary, energies):
    """(2/π)∫ E′ε₂/(E′² − E²) dE′ from the end of the window to infinity."""

    def integrand(x, energy):
        return 2.0 / np.pi * x * epsilon_imaginary(x) / (x * x - energy * energy)

    return np.array([quad(integrand, window_end, np.inf, args=(e,))[0] for e in energies])


def test_lorentz_oscillator_with_its_exact_tail(grid, lorentz):
    epsilon = lorentz(grid.values)
    probed = slice(0, 760, 20)  # up to 19 eV
    computed = real_from_imaginary(epsilon.imag, grid)[probed]
    computed = computed + tail_above(20.0, lambda x: lorentz(x).imag, grid.values[probed])
    # The interpolant is off by h²ε₂″/8, that is (h/Γ)² / 4 of the peak: 6e-4 here.
    np.testing.assert_allclose(
        computed, epsilon.real[probed], atol=1e-3 * np.abs(epsilon.real).max()
    )


def test_cubic_continuation_holds_up_to_the_edge(grid, lorentz):
    """A Lorentz oscillator decays as E⁻³, so nothing is missing, not even at the last point."""
    epsilon = lorentz(grid.values)
    scale = np.abs(epsilon.real).max()
    computed = real_from_imaginary(epsilon.imag, grid, beyond="cubic")
    # Near the line itself the interpolation decides, which other tests are about.
    far = np.abs(grid.values - 6.0) > 1.5
    np.testing.assert_allclose(computed[far], epsilon.real[far], atol=3e-4 * scale)
    cut_off = real_from_imaginary(epsilon.imag, grid)
    assert np.abs(cut_off - epsilon.real)[-1] > 3.0 * np.abs(computed - epsilon.real)[-1]


def test_cubic_continuation_of_a_high_edge_is_smooth():
    """A constant ε₂ ends in a spike of ε₁ where it is cut off, and in none where it goes on."""
    grid = EnergyGrid(0.0, 20.0, 801)
    flat = np.ones(grid.num)
    steps = np.abs(np.diff(real_from_imaginary(flat, grid, beyond="cubic")))
    spike = np.abs(np.diff(real_from_imaginary(flat, grid)))
    assert steps[-1] < 0.05
    assert spike[-1] > 5.0 * steps[-1]


def test_converges_with_the_square_of_the_step(lorentz):
    errors = []
    for num in (401, 801, 1601):
        grid = EnergyGrid(0.0, 20.0, num)
        computed = real_from_imaginary(lorentz(grid.values).imag, grid)
        errors.append(np.abs(computed - lorentz(grid.values).real)[grid.values < 10.0].max())
    tail = tail_above(20.0, lambda x: lorentz(x).imag, [6.0])[0]
    ratio = (errors[0] - tail) / (errors[1] - tail)
    assert 3.0 < ratio < 5.5
    assert errors[2] < errors[1] < errors[0]


def test_hat_function_against_quadrature():
    """One hat is what the matrix is made of: compare with the integral itself, off the pole."""
    grid = EnergyGrid(0.0, 4.0, 9)

    def hat(x):
        return max(0.0, 1.0 - abs(x - 1.5) / 0.5)

    values = np.array([hat(x) for x in grid.values])
    for index in (0, 6, 8):
        energy = grid.values[index]
        expected = quad(lambda x, e=energy: x * hat(x) / (x * x - e * e), 1.0, 2.0, points=[1.5])[0]
        computed = real_from_imaginary(values, grid)[index] - 1.0
        assert computed == pytest.approx(2.0 / np.pi * expected, rel=1e-8)
    # On the pole, scipy's Cauchy weight: the integrand is f(x)/(x − 1.5).
    expected = quad(lambda x: x * hat(x) / (x + 1.5), 1.0, 2.0, weight="cauchy", wvar=1.5)[0]
    computed = real_from_imaginary(values, grid)[3] - 1.0
    assert computed == pytest.approx(2.0 / np.pi * expected, rel=1e-6)


def test_static_limit(grid, lorentz):
    window = real_from_imaginary(lorentz(grid.values).imag, grid)[0]
    tail = tail_above(20.0, lambda x: lorentz(x).imag, [0.0])[0]
    assert window + tail == pytest.approx(1.0 + 30.0 / 36.0, abs=2e-4)
    assert static_from_imaginary(lorentz(grid.values).imag, grid) == pytest.approx(window)


def test_window_that_starts_above_zero_sees_the_same(lorentz):
    whole, part = EnergyGrid(0.0, 20.0, 801), EnergyGrid(2.0, 20.0, 721)

    def gapped(energies):
        return lorentz(energies).imag * (1.0 - 4.0 / np.maximum(energies, 4.0)) ** 2

    expected = real_from_imaginary(gapped(whole.values), whole)
    computed = real_from_imaginary(gapped(part.values), part)
    np.testing.assert_allclose(computed, expected[80:], atol=1e-10)
    assert static_from_imaginary(gapped(part.values), part) == pytest.approx(expected[0])


def test_edges_stay_finite_and_zero_energy_does_not_count(grid):
    assert np.isfinite(kramers_kronig_matrix(grid)).all()
    assert (kramers_kronig_matrix(grid)[:, 0] == 0.0).all()
    start = EnergyGrid(0.01, 5.0, 100)  # the ramp below is cut off at E = 0
    assert np.isfinite(kramers_kronig_matrix(start)).all()


def test_weights_at_grid_energies_are_the_matrix(grid):
    rows = kramers_kronig_weights(grid, grid.values[[3, 400]])
    np.testing.assert_array_equal(rows, kramers_kronig_matrix(grid)[[3, 400]])


def test_matrix_is_cached_and_read_only(grid):
    matrix = kramers_kronig_matrix(grid)
    assert kramers_kronig_matrix(EnergyGrid(0.0, 20.0, 801)) is matrix
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 1.0


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(0.01, 100.0))
def test_linear_and_static_value_at_least_one(seed, factor):
    grid = EnergyGrid(0.0, 10.0, 101)
    first, second = np.random.default_rng(seed).uniform(0.0, 5.0, (2, 101))
    separate = real_from_imaginary(first, grid) + factor * (real_from_imaginary(second, grid) - 1)
    np.testing.assert_allclose(
        real_from_imaginary(first + factor * second, grid), separate, rtol=1e-9, atol=1e-9 * factor
    )
    assert real_from_imaginary(first, grid)[0] >= 1.0


def test_oscillator_adds_its_own_dispersion(grid):
    oscillator = Oscillator(energy=25.0, strength=0.4)
    real = real_from_imaginary(np.zeros(801), grid, oscillator)
    assert real[0] == pytest.approx(1.4)
    assert real[800] == pytest.approx(1.0 + 0.4 * 625.0 / 225.0)


def test_oscillator_is_a_narrow_line_above_the_window():
    """A hat at 25 eV with the weight of the oscillator gives the oscillator's ε₁ below 20 eV."""
    oscillator = Oscillator(energy=25.0, strength=0.4)
    wide = EnergyGrid(0.0, 30.0, 3001)
    line = np.zeros(3001)
    line[2500] = 0.5 * np.pi * 0.4 * 25.0 / wide.step
    window = wide.values <= 20.0
    np.testing.assert_allclose(
        real_from_imaginary(line, wide)[window],
        1.0 + oscillator.real_part(wide.values[window]),
        rtol=1e-5,
    )


def test_oscillator_in_the_window_is_refused(grid):
    with pytest.raises(ConfigurationError, match="within the window"):
        real_from_imaginary(np.zeros(801), grid, Oscillator(20.0, 1.0))
    with pytest.raises(ValidationError):
        Oscillator(25.0, -1.0)


@pytest.mark.parametrize("oscillator", [None, Oscillator(25.0, 0.3)])
def test_torch_does_what_numpy_does(grid, lorentz, oscillator):
    imaginary = np.stack([lorentz(grid.values, 4.0).imag, lorentz(grid.values, 9.0).imag])
    expected = real_from_imaginary(imaginary, grid, oscillator)
    double = real_from_imaginary(torch.tensor(imaginary), grid, oscillator)
    np.testing.assert_allclose(double.numpy(), expected, rtol=1e-12)
    single = real_from_imaginary(torch.tensor(imaginary, dtype=torch.float32), grid, oscillator)
    assert single.dtype == torch.float32
    # 801 products of float32, each off by 6e-8 of some 10.
    np.testing.assert_allclose(single.numpy(), expected, atol=2e-5 * np.abs(expected).max())


def test_gradient():
    grid = EnergyGrid(0.5, 5.0, 12)
    values = torch.rand(2, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: real_from_imaginary(v, grid), (values,))


def test_first_use_in_inference_mode_does_not_break_training():
    grid = EnergyGrid(0.0, 7.0, 31)  # a grid no other test uses: its matrix is not yet cached
    with torch.inference_mode():
        real_from_imaginary(torch.rand(31), grid)
    values = torch.rand(31, requires_grad=True)
    real_from_imaginary(values, grid).sum().backward()
    assert values.grad is not None


def test_half_precision_and_autocast_keep_the_digits(grid, lorentz):
    imaginary = torch.tensor(lorentz(grid.values).imag, dtype=torch.float32)
    expected = real_from_imaginary(imaginary, grid)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(real_from_imaginary(imaginary, grid), expected)
        assert real_from_imaginary(imaginary.bfloat16(), grid).dtype == torch.float32


def test_index_from_extinction(grid, lorentz):
    """√ε of a Lorentz oscillator obeys the relation as well."""
    root = np.sqrt(lorentz(grid.values))
    probed = slice(0, 700, 25)
    computed = index_from_extinction(root.imag, grid)[probed] + tail_above(
        20.0, lambda x: np.sqrt(lorentz(x)).imag, grid.values[probed]
    )
    np.testing.assert_allclose(computed, root.real[probed], atol=1e-3 * root.real.max())


def test_wrong_length_is_named(grid):
    with pytest.raises(SpectrumError, match=r"(?s)\(3, 800\).*801 points"):
        real_from_imaginary(np.zeros((3, 800)), grid)
    with pytest.raises(SpectrumError, match="do not lie on the energy grid"):
        real_from_imaginary(torch.zeros(800), grid)


def test_agrees_with_first_principles(first_principles, grid):
    """ε₁ of the engine and ε₁ from its ε₂, a 20 eV window completed by one fitted oscillator."""
    below = grid.values < 15.0
    for material_id, levels in first_principles.items():
        epsilon = np.trace(levels["rpa"], axis1=1, axis2=2) / 3.0
        oscillator = fit_oscillator(epsilon.imag, grid, epsilon_real=epsilon.real)
        computed = real_from_imaginary(epsilon.imag, grid, oscillator)
        error = np.abs(computed - epsilon.real)[below]
        # The engine interpolates from a mesh of 0.03–0.06 eV, which blunts its peaks.
        assert error.mean() < 0.01 * np.abs(epsilon.real).max(), material_id
        assert computed[0] == pytest.approx(epsilon.real[0], rel=0.01), material_id
