"""n, Abbe number and transmittance, against closed forms."""

import numpy as np
import pytest

from opalign.errors import ConfigurationError, SpectrumError
from opalign.spectrum.applications import LINES, abbe_number, visible_transmittance
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.units import energy_from_wavelength

GRID = EnergyGrid(0.0, 6.0, 601)


def glass(strength=1.0396, k=0.0):
    """One Sellmeier term with its pole far in the ultraviolet: n² = 1 + strength/(1 − (E/12)²)."""
    index = np.sqrt(1.0 + strength / (1.0 - (GRID.values / 12.0) ** 2))
    return OpticalSpectrum(GRID, (index + 1j * k) ** 2, "experiment")


def test_abbe_number_of_a_sellmeier_glass():
    found = abbe_number(glass())
    energy = {line: energy_from_wavelength(nm) for line, nm in LINES.items()}
    exact = {line: np.sqrt(1.0 + 1.0396 / (1.0 - (e / 12.0) ** 2)) for line, e in energy.items()}
    # n is interpolated linearly: an error of n''·step²/8 ≈ 1e-7 in each, 1e-2 between F and C.
    assert found.indices == pytest.approx(exact, abs=2e-7)
    expected = (exact["d"] - 1.0) / (exact["F"] - exact["C"])
    assert found.value == pytest.approx(expected, rel=1e-4)
    assert found.absorbing == ()
    assert found.note is None


def test_abbe_number_names_the_lines_that_are_absorbed():
    k = np.where(GRID.values > 2.3, 1e-2, 0.0)
    found = abbe_number(glass(k=k))
    assert found.absorbing == ("F",)
    assert found.value is not None
    assert found.note == "absorbs at F"


def test_abbe_number_does_not_exist_where_n_falls_towards_the_blue():
    index = 2.0 - 0.1 * GRID.values
    found = abbe_number(OpticalSpectrum(GRID, (index + 1e-6j) ** 2, "experiment"))
    assert found.value is None
    assert "anomalous" in found.note


def test_abbe_number_needs_the_lines():
    short = glass().resampled(EnergyGrid(0.0, 2.0, 201))
    with pytest.raises(SpectrumError, match="outside the spectrum"):
        abbe_number(short)


def test_transmittance_of_a_clear_pane_is_that_of_its_faces():
    spectrum = OpticalSpectrum(GRID, np.full(601, 2.25 + 0j), "experiment")
    # Both faces, all passes: 2n/(n² + 1).
    expected = 3.0 / 3.25
    assert visible_transmittance(spectrum, 1e6) == pytest.approx(expected, rel=1e-12)
    bright = visible_transmittance(spectrum, 1e6, weighting="photopic")
    assert bright == pytest.approx(expected, rel=1e-12)


def test_the_eye_weighs_green_more_than_blue():
    k = np.where(GRID.values > energy_from_wavelength(480.0), 0.05, 0.0)
    flat = visible_transmittance(glass(k=k), 2000.0)
    photopic = visible_transmittance(glass(k=k), 2000.0, weighting="photopic")
    assert flat < photopic - 0.1


def test_thicker_panes_let_less_through():
    shares = [visible_transmittance(glass(k=1e-3), d) for d in (0.0, 1e2, 1e3, 1e4, 1e5)]
    assert shares[0] == pytest.approx(visible_transmittance(glass(), 1.0), abs=1e-6)
    assert (np.diff(shares) < 0.0).all()


def test_impossible_wishes_are_named():
    with pytest.raises(ConfigurationError, match="photopic"):
        visible_transmittance(glass(), 1.0, weighting="scotopic")
    with pytest.raises(ConfigurationError, match="thickness"):
        visible_transmittance(glass(), -1.0)
    tensor = OpticalSpectrum(GRID, np.eye(3) * glass().epsilon[:, None, None], "experiment")
    with pytest.raises(SpectrumError):
        visible_transmittance(tensor, 1.0)
