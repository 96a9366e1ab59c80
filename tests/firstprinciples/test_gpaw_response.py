import json

import numpy as np

from opalign.firstprinciples.gpaw_response import as_lists, from_lists, physical
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import real_from_imaginary

GRID = EnergyGrid(0.0, 20.0, 401)


def tensor_of(imaginary):
    """Tensor with this Im ε on a turned diagonal, and Re ε by Kramers–Kronig."""
    axes, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    shares = np.array([1.0, 0.5, 0.2])
    epsilon = real_from_imaginary(imaginary, GRID) + 1j * imaginary
    values = 1.0 + (epsilon - 1.0)[:, None] * shares
    return (axes * values[:, None, :]) @ axes.T


def line(start):
    energies = GRID.values
    return np.where(energies >= start, np.maximum(energies - start, 0.0) * np.exp(-energies), 0.0)


def test_what_is_physical_stays():
    epsilon = tensor_of(line(3.0))
    np.testing.assert_allclose(physical(epsilon, GRID, 3.0), epsilon, atol=1e-12)


def test_tails_below_the_gap_go_with_their_real_part():
    tail = 1e-2 * np.sin(np.pi * GRID.values / 2.0) ** 2 * (GRID.values < 2.0)
    with_tail = tensor_of(line(3.0) + tail)
    np.testing.assert_allclose(physical(with_tail, GRID, 3.0), tensor_of(line(3.0)), atol=1e-10)


def test_negative_absorption_becomes_none():
    epsilon = tensor_of(line(3.0))
    epsilon[300] -= 5j * np.eye(3)
    epsilon[300, 0, 1] += 1e-3
    clean = physical(epsilon, GRID, 3.0)
    assert np.linalg.eigvalsh(clean.imag).min() > -1e-12
    np.testing.assert_allclose(clean, clean.swapaxes(1, 2), atol=1e-12)


def test_tensors_survive_json():
    epsilon = {"ipa": tensor_of(line(1.0)), "rpa": tensor_of(line(2.0))}
    again = from_lists(json.loads(json.dumps(as_lists(epsilon))))
    assert list(again) == ["ipa", "rpa"]
    for level in epsilon:
        np.testing.assert_array_equal(again[level], epsilon[level])
