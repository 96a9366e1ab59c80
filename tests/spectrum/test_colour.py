"""Colours: whites are white, gold is gold, and screens' limits are told."""

import subprocess
import sys

import numpy as np
import pytest

from opalign.errors import ConfigurationError, MissingExtraError, SpectrumError
from opalign.spectrum.applications import VISIBLE_WAVELENGTHS
from opalign.spectrum.colour import colour_of, powder_colour, slab_colour, specular_colour
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.units import energy_from_wavelength

GRID = EnergyGrid(1.5, 3.5, 401)

# E/eV, n, k of gold: P. B. Johnson and R. W. Christy, Phys. Rev. B 6, 4370 (1972), table I.
GOLD = np.array(
    [
        (1.39, 0.16, 5.083), (1.64, 0.14, 4.542), (1.76, 0.13, 4.103),
        (1.88, 0.14, 3.697), (2.01, 0.21, 3.272), (2.13, 0.29, 2.863), (2.26, 0.43, 2.455),
        (2.38, 0.62, 2.081), (2.50, 1.04, 1.833), (2.63, 1.31, 1.849), (2.75, 1.38, 1.914),
        (2.88, 1.45, 1.948), (3.00, 1.46, 1.958), (3.12, 1.47, 1.952), (3.25, 1.46, 1.933),
        (3.37, 1.48, 1.895), (3.50, 1.50, 1.866),
    ]
)  # fmt: skip


def spectrum_of(n, k=0.0):
    index = np.broadcast_to(np.asarray(n) + 1j * np.asarray(k), GRID.num)
    return OpticalSpectrum(GRID, index**2, "experiment")


def blue_absorber(k=0.02):
    """Clear below 2.6 eV, absorbing above."""
    return spectrum_of(2.0, np.where(GRID.values > 2.6, k, 0.0))


def test_perfect_white_and_black():
    white = colour_of(VISIBLE_WAVELENGTHS, np.ones(401))
    # XYZ of D65, CIE 15:2018; to the last digit that the tables give at steps of 1 nm.
    assert white.xyz == pytest.approx((0.95043, 1.0, 1.08880), abs=5e-4)
    assert white.lab == pytest.approx((100.0, 0.0, 0.0), abs=1e-9)
    assert white.srgb == pytest.approx((1.0, 1.0, 1.0), abs=1e-4)
    assert white.hex == "#FFFFFF"
    assert not white.clipped
    black = colour_of(VISIBLE_WAVELENGTHS, np.zeros(401))
    assert (black.hex, black.lab[0]) == ("#000000", 0.0)


def test_half_the_light_is_a_neutral_grey():
    grey = colour_of(VISIBLE_WAVELENGTHS, np.full(401, 0.5))
    assert grey.lab == pytest.approx((76.069, 0.0, 0.0), abs=1e-3)
    assert grey.hex == "#BCBCBC"


def test_colours_agree_with_colour_science_itself():
    import colour

    share = 0.5 + 0.4 * np.sin(VISIBLE_WAVELENGTHS / 40.0)
    distribution = colour.SpectralDistribution(share, VISIBLE_WAVELENGTHS)
    expected = colour.sd_to_XYZ(
        distribution,
        colour.MSDS_CMFS["CIE 1931 2 Degree Standard Observer"].copy().align(distribution.shape),
        colour.SDS_ILLUMINANTS["D65"].copy().align(distribution.shape),
    )
    assert colour_of(VISIBLE_WAVELENGTHS, share).xyz == pytest.approx(expected / 100.0, abs=1e-4)


def test_gold_is_golden():
    index = np.interp(GRID.values, GOLD[:, 0], GOLD[:, 1] + 1j * GOLD[:, 2])
    gold = specular_colour(OpticalSpectrum(GRID, index**2, "experiment"))
    # Linear (1.00, 0.77, 0.34), as renderers have it from these data: N. Hoffman, Physics and Math
    # of Shading, SIGGRAPH (2012). In sRGB (255, 227, 157).
    assert gold.srgb == pytest.approx((1.0, 0.89, 0.615), abs=0.03)
    lightness, red, yellow = gold.lab
    assert 85.0 < lightness < 92.0
    assert 0.0 < red < 12.0
    assert 30.0 < yellow < 42.0
    assert gold.clipped


def test_grey_metals_and_clear_crystals_have_no_hue():
    _, red, yellow = specular_colour(spectrum_of(2.0, 3.0)).lab
    assert (red, yellow) == pytest.approx((0.0, 0.0), abs=1e-9)
    assert specular_colour(spectrum_of(1.5)).xyz[1] == pytest.approx(0.04)
    assert powder_colour(spectrum_of(1.5)).hex == "#FFFFFF"


def test_what_takes_blue_away_is_yellow():
    for colour in (slab_colour(blue_absorber(), 5e4), powder_colour(blue_absorber())):
        _, _, yellow = colour.lab
        assert yellow > 50.0
        red, green, blue = colour.srgb
        assert blue < 0.6 * min(red, green)


def test_thicker_slabs_and_coarser_powders_are_darker():
    absorbing = spectrum_of(2.0, 1e-3 * (GRID.values - 1.4))
    slabs = [slab_colour(absorbing, d).xyz[1] for d in (0.0, 1e3, 1e4, 1e5)]
    powders = [powder_colour(absorbing, s).xyz[1] for s in (1e5, 1e4, 1e3, 1e2)]
    assert (np.diff(slabs) < 0.0).all()
    assert (np.diff(powders) < 0.0).all()


def test_thin_films_show_interference_colours_thick_ones_none():
    film = slab_colour(spectrum_of(2.5), 300.0, "coherent")
    pane = slab_colour(spectrum_of(2.5), 300.0, "incoherent")
    assert np.hypot(*film.lab[1:]) > 5.0
    assert np.hypot(*pane.lab[1:]) < 1e-9


def test_colours_that_no_screen_shows_are_marked():
    line = np.exp(-(((VISIBLE_WAVELENGTHS - 510.0) / 8.0) ** 2))
    green = colour_of(VISIBLE_WAVELENGTHS, line)
    assert green.clipped
    assert all(0.0 <= value <= 1.0 for value in green.srgb)


def test_half_a_visible_spectrum_is_refused():
    grid = EnergyGrid(1.5, 2.5, 11)
    short = OpticalSpectrum(grid, np.full(11, 4.0 + 0j), "experiment")
    with pytest.raises(SpectrumError, match="outside the spectrum"):
        specular_colour(short)
    with pytest.raises(SpectrumError, match="visible range"):
        colour_of(np.linspace(400.0, 700.0, 31), np.ones(31))
    with pytest.raises(SpectrumError, match="rising"):
        colour_of(VISIBLE_WAVELENGTHS[::-1], np.ones(401))
    with pytest.raises(ConfigurationError, match="thickness"):
        slab_colour(spectrum_of(2.0), -1.0)
    assert energy_from_wavelength(380.0) < GRID.stop


def test_the_extra_is_named_where_it_is_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "colour", None)
    with pytest.raises(MissingExtraError, match="colour-science"):
        colour_of(VISIBLE_WAVELENGTHS, np.ones(401))


def test_colour_science_changes_nothing_for_others():
    # In a process of its own: it acts when it is first imported.
    code = (
        "import numpy as np\n"
        "from opalign.spectrum.colour import colour_of\n"
        "before = np.get_printoptions()\n"
        "colour_of(np.arange(380.0, 781.0), np.ones(401))\n"
        "assert np.get_printoptions() == before\n"
        "assert str(np.float64(1.0) / 3.0) == repr(1.0 / 3.0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
