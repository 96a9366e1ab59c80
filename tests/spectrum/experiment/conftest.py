"""A crystal that is measured and computed, with a gap that is too small by 1.5 eV."""

import numpy as np
import pytest

from opalign.spectrum.experiment import Crystal
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.measured import Measurement, Samples
from opalign.spectrum.measured.tables import MeasuredGap, MeasuredStatic
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.scissor import scissor_shift

SHIFT = 1.5


@pytest.fixture(scope="session")
def rpa():
    """A Lorentz oscillator at 6 eV, cut below 3 eV; ε₁ by Kramers–Kronig."""
    grid = EnergyGrid(0.0, 20.0, 801)
    energies = grid.values
    imaginary = (1.0 + 60.0 / (36.0 - energies**2 - 1.5j * energies)).imag
    imaginary[energies < 3.0] = 0.0
    return OpticalSpectrum.from_imaginary(grid, imaginary, "rpa", material_id="made-1")


@pytest.fixture
def crystal(rpa):
    return Crystal("made-1", "ZnS", 216, rpa, 3.0, 3.0)


@pytest.fixture(scope="session")
def experiment(rpa):
    """What the scissor correction by 1.5 eV would make of it, at irregular energies."""
    true = scissor_shift(rpa, SHIFT, gap=3.0)
    energies = np.unique(1239.84198 / np.arange(130.0, 1300.0, 1.0))
    index = np.interp(energies, true.energies, true.refractive_index)
    extinction = np.interp(energies, true.energies, true.extinction_coefficient)
    return Measurement(
        "ZnS", 216, (Samples(energies, index, extinction),), phase="zinc blende", source="made up"
    )


@pytest.fixture
def gap():
    return MeasuredGap(
        "ZnS", 216, "zinc blende", 3.0 + SHIFT, "fundamental", "direct", 300.0, "made", "firm", "me"
    )


@pytest.fixture
def static():
    return MeasuredStatic(
        "ZnS", 216, "zinc blende", 2.2, "mean", "made", (), None, "firm", "me, 2000"
    )
