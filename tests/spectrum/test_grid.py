"""The energy axis: values, equality, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from opalign.errors import ConfigurationError
from opalign.spectrum.grid import EnergyGrid


def test_values_include_both_ends():
    grid = EnergyGrid(start=0.0, stop=20.0, num=801)
    assert grid.step == 0.025
    np.testing.assert_allclose(grid.values, np.arange(801) * 0.025, atol=1e-12)
    assert grid.values[-1] == 20.0


@given(
    start=st.floats(0.0, 5.0),
    step=st.floats(1e-3, 1.0),
    intervals=st.integers(1, 500),
)
def test_from_step_counts_points(start, step, intervals):
    grid = EnergyGrid.from_step(start, start + intervals * step, step)
    assert grid.num == intervals + 1
    assert grid.step == pytest.approx(step, rel=1e-6)
    assert EnergyGrid.from_values(grid.values) == grid


def test_equal_grids_are_one_key():
    first, second = EnergyGrid(0.0, 15.0, 1501), EnergyGrid.from_step(0.0, 15.0, 0.01)
    assert first == second
    assert len({first, second}) == 1
    assert first != EnergyGrid(0.0, 15.0, 1500)


def test_survives_json():
    grid = EnergyGrid(0.1, 15.3, 77)
    assert EnergyGrid.model_validate_json(grid.model_dump_json()) == grid


def test_cannot_be_changed():
    grid = EnergyGrid(0.0, 1.0, 3)
    with pytest.raises(ValidationError):
        grid.num = 4
    with pytest.raises(ValueError, match="read-only"):
        grid.values[0] = 1.0


def test_weights_integrate_a_line_exactly():
    grid = EnergyGrid(1.0, 3.0, 6)
    assert grid.weights @ (2.0 * grid.values + 1.0) == pytest.approx(3.0**2 - 1.0**2 + 2.0)


@pytest.mark.parametrize(
    ("start", "stop", "num"),
    [(-1.0, 2.0, 3), (2.0, 2.0, 3), (3.0, 2.0, 3), (0.0, 1.0, 1), (0.0, np.inf, 3), (np.nan, 1, 3)],
)
def test_refuses_impossible_windows(start, stop, num):
    with pytest.raises(ValidationError):
        EnergyGrid(start, stop, num)


@pytest.mark.parametrize("step", [0.0, -0.1, np.nan, 0.3])
def test_from_step_refuses(step):
    with pytest.raises(ConfigurationError, match="step"):
        EnergyGrid.from_step(0.0, 1.0, step)


def test_from_values_names_the_uneven_energy():
    energies = np.linspace(0.0, 1.0, 11)
    energies[4] += 0.01
    with pytest.raises(ConfigurationError, match=r"number 4 is 0\.41 eV"):
        EnergyGrid.from_values(energies)
    with pytest.raises(ConfigurationError, match="at least two"):
        EnergyGrid.from_values(np.array([1.0]))


def test_from_values_takes_rounded_energies():
    energies = np.round(np.linspace(0.0, 1.0, 31), 5)
    assert EnergyGrid.from_values(energies) == EnergyGrid(0.0, 1.0, 31)
