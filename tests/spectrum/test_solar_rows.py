import numpy as np
import pytest

from opalign.errors import SpectrumError
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.solar import slme
from opalign.spectrum.solar_rows import slme_rows


@pytest.mark.parametrize("stop", [4.2, 10.0])
@pytest.mark.parametrize("thickness", [50.0, 500.0, 5000.0])
def test_rows_have_the_efficiency_of_one_spectrum(stop, thickness):
    grid = EnergyGrid.from_step(0.0, stop, 0.05)
    gaps = np.array([0.35, 0.9, 1.4, 2.2, 3.9])
    alpha = 1e5 * np.sqrt(np.maximum(grid.values - gaps[:, None] + 0.1, 0.0))
    found = slme_rows(grid, alpha, gaps, thickness=thickness)
    for row, gap in enumerate(gaps):
        spectrum = OpticalSpectrum.from_absorption(grid, alpha[row], "rpa")
        # pymatgen walks to the greatest power in steps of 1 mV, and α goes by way of ε and back.
        assert found[row] == pytest.approx(
            slme(spectrum, gap, thickness=thickness), rel=2e-4, abs=1e-6
        )


def test_what_does_not_absorb_gives_nothing():
    grid = EnergyGrid(0.0, 20.0, 201)
    assert slme_rows(grid, np.zeros((2, 201)), np.array([1.0, 15.0])).tolist() == [0.0, 0.0]


def test_a_gap_beyond_the_sunlight_has_no_efficiency():
    grid = EnergyGrid(0.0, 10.0, 101)
    found = slme_rows(grid, np.full((3, 101), 1e5), np.array([0.1, np.nan, 1.3]))
    assert np.isnan(found[:2]).all()
    # Between the limit of Shockley and Queisser for the sun and nothing.
    assert 20.0 < found[2] < 34.0


def test_a_window_that_ends_within_the_sunlight():
    with pytest.raises(SpectrumError, match="within the sun"):
        slme_rows(EnergyGrid(0.0, 3.0, 31), np.zeros((1, 31)), np.array([1.0]))
