"""Similarity and error measures: definitions by hand, symmetry that is not there, torch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from opalign.errors import SpectrumError
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.similarity import (
    mean_absolute_error,
    mean_squared_error,
    similarity_coefficient,
)

GRID = EnergyGrid(0.0, 8.0, 17)
SPECTRA = arrays(float, 17, elements=st.floats(0.0, 50.0))


def positive(values):
    return values + 1e-3


@given(SPECTRA)
def test_a_spectrum_is_like_itself(values):
    assert similarity_coefficient(positive(values), positive(values), GRID) == 1.0


def test_definition_by_hand():
    """X = 1, Y = 4 over 8 eV: ∫|X − Y| = 24, ∫|Y| = 32, ∫|X| = 8; swapped it would be −2."""
    x, reference = np.full(17, 1.0), np.full(17, 4.0)
    assert similarity_coefficient(x, reference, GRID) == pytest.approx(0.25)
    assert similarity_coefficient(reference, x, GRID) == pytest.approx(-2.0)
    assert mean_absolute_error(x, reference, GRID) == pytest.approx(3.0)
    assert mean_squared_error(x, reference, GRID) == pytest.approx(9.0)


def test_integrals_are_trapezoidal():
    """X − Y = E: ∫|X − Y| dE / 8 eV = 4; the trapezoidal rule is exact on it."""
    x, reference = GRID.values + 1.0, np.ones(17)
    assert mean_absolute_error(x, reference, GRID) == pytest.approx(4.0)
    assert similarity_coefficient(x, reference, GRID) == pytest.approx(1.0 - 32.0 / 8.0)


def test_errors_divide_by_the_end_of_the_window():
    grid = EnergyGrid(2.0, 8.0, 13)
    ones = np.ones(13)
    assert mean_absolute_error(2 * ones, ones, grid) == pytest.approx(6.0 / 8.0)


@given(SPECTRA, SPECTRA, st.floats(0.01, 100.0))
def test_scale_drops_out_of_the_similarity_only(x, reference, scale):
    reference = positive(reference)
    plain = similarity_coefficient(x, reference, GRID)
    assert similarity_coefficient(scale * x, scale * reference, GRID) == pytest.approx(plain)
    assert mean_absolute_error(scale * x, scale * reference, GRID) == pytest.approx(
        scale * mean_absolute_error(x, reference, GRID)
    )
    assert mean_squared_error(scale * x, scale * reference, GRID) == pytest.approx(
        scale**2 * mean_squared_error(x, reference, GRID)
    )


@given(SPECTRA, SPECTRA)
def test_bounds(x, reference):
    assert similarity_coefficient(x, positive(reference), GRID) <= 1.0
    assert similarity_coefficient(0.0 * x, positive(reference), GRID) == pytest.approx(0.0)
    mean = mean_absolute_error(x, reference, GRID)
    assert mean == mean_absolute_error(reference, x, GRID)
    # Cauchy and Schwarz.
    assert mean_squared_error(x, reference, GRID) >= mean**2 * (1.0 - 1e-9)


def test_zero_reference_says_nothing():
    rows = np.ones((2, 17))
    reference = np.stack([np.zeros(17), np.ones(17)])
    result = similarity_coefficient(rows, reference, GRID)
    assert np.isnan(result[0])
    assert result[1] == 1.0
    assert math.isnan(similarity_coefficient(np.zeros(17), np.zeros(17), GRID))


def test_rows_broadcast():
    rows = np.random.default_rng(0).uniform(size=(4, 3, 17))
    reference = np.random.default_rng(1).uniform(size=17)
    for measure in (similarity_coefficient, mean_absolute_error, mean_squared_error):
        result = measure(rows, reference, GRID)
        assert result.shape == (4, 3)
        assert result[2, 1] == pytest.approx(measure(rows[2, 1], reference, GRID))


@pytest.mark.parametrize(
    "measure", [similarity_coefficient, mean_absolute_error, mean_squared_error]
)
def test_torch_does_what_numpy_does(measure):
    rng = np.random.default_rng(2)
    x, reference = rng.uniform(size=(5, 17)), rng.uniform(size=(5, 17))
    computed = measure(torch.tensor(x), torch.tensor(reference), GRID)
    np.testing.assert_allclose(computed.numpy(), measure(x, reference, GRID), rtol=1e-12)
    leaf = torch.tensor(x, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: measure(v, torch.tensor(reference), GRID), (leaf,))


def test_zero_reference_leaves_the_other_gradients_alone():
    x = torch.rand(2, 17, requires_grad=True)
    reference = torch.stack([torch.zeros(17), torch.ones(17)])
    similarity_coefficient(x, reference, GRID).nansum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad[1] != 0.0).all()


def test_wrong_length():
    with pytest.raises(SpectrumError, match="reference"):
        similarity_coefficient(np.ones(17), np.ones(16), GRID)
    with pytest.raises(SpectrumError, match="17 points"):
        mean_absolute_error(np.ones(16), np.ones(17), GRID)
