"""Figures of one quantity: what they show is what the numbers say."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from opalign.errors import ConfigurationError, SpectrumError
from opalign.spectrum import plots
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.colour import colour_of
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.plots.style import COLORS, REFERENCE_COLOR
from opalign.spectrum.plots.tensor import distinct_components

GRID = EnergyGrid(0.0, 12.0, 241)
SINGLE = (
    plots.plot_dielectric_function,
    plots.plot_refractive_index,
    plots.plot_absorption,
    plots.plot_reflectivity,
    plots.plot_loss,
)


@pytest.fixture
def spectrum():
    gap = np.maximum(1.0 - 3.0 / np.maximum(GRID.values, 1e-3), 0.0) ** 2
    imaginary = gap * 30.0 * np.exp(-0.5 * (GRID.values - 6.0) ** 2)
    return OpticalSpectrum.from_imaginary(GRID, imaginary, "rpa", material_id="mp-1")


@pytest.fixture
def uniaxial(spectrum):
    ordinary, extraordinary = spectrum.epsilon, 1.0 + 0.5 * (spectrum.epsilon - 1.0)
    tensor = np.zeros((GRID.num, 3, 3), dtype=complex)
    for axis, values in enumerate((ordinary, ordinary, extraordinary)):
        tensor[:, axis, axis] = values
    return replace(spectrum, epsilon=tensor)


def curves(panel):
    """The lines over energy, without the straight ones that mark something."""
    return [line for line in panel.lines if len(line.get_xdata()) > 2]


def words(figure):
    found = [text.get_text() for text in figure.texts]
    for legend in figure.legends:
        found += [text.get_text() for text in legend.get_texts()]
    for panel in figure.axes:
        found += [text.get_text() for text in panel.texts]
    return "\n".join(found)


@pytest.mark.parametrize("plot", SINGLE)
@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_files_are_whole_and_the_same_each_time(plot, suffix, spectrum, tmp_path):
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    plot(spectrum, first)
    plot(spectrum, second)
    start = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix]
    assert first.read_bytes().startswith(start)
    if suffix != ".svg":  # matplotlib numbers the parts of an SVG at random
        assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, second.name]


@pytest.mark.parametrize(
    ("plot", "quantities"),
    [
        (SINGLE[0], ("epsilon_real", "epsilon_imaginary")),
        (SINGLE[1], ("refractive_index", "extinction_coefficient")),
        (SINGLE[3], ("reflectivity",)),
        (SINGLE[4], ("loss_function",)),
    ],
)
def test_curves_hold_the_numbers(plot, quantities, spectrum):
    (panel,) = plot(spectrum, max_energy=8.0).axes
    assert panel.get_xlim() == (0.0, 8.0)
    assert "eV" in panel.get_xlabel()
    for line, quantity in zip(curves(panel), quantities, strict=True):
        expected = getattr(spectrum, quantity)[GRID.values <= 8.0]
        np.testing.assert_array_equal(line.get_ydata(), expected)


def test_absorption_marks_the_onset_at_its_threshold(spectrum):
    (panel,) = plots.plot_absorption(spectrum, threshold=4.0).axes
    (mark,) = [line for line in panel.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(mark.get_xydata(), [[spectrum.onset_energy(4.0), 4.0]])
    assert panel.images[0].get_extent()[:2] == [1.65, 3.26]


def test_onsets_may_be_given_where_they_cannot_be_read(spectrum):
    wide = spectrum.broadened(Broadening("lorentzian", 0.1))
    assert "broadened too far" in words(plots.plot_absorption(wide))
    assert "onset 3.21 eV" in words(plots.plot_absorption(wide, onsets=[3.21]))
    with pytest.raises(ConfigurationError, match="1 onsets for 2 curves"):
        plots.plot_absorption(wide, reference=spectrum, onsets=[3.2])


def test_band_of_uncertainty_lies_between_its_bounds(spectrum):
    lower, upper = 0.8 * spectrum.epsilon_imaginary, 1.3 * spectrum.epsilon_imaginary
    reference = spectrum.broadened(Broadening("gaussian", 0.1))
    figure = plots.plot_dielectric_function(
        spectrum, reference=reference, bands={"epsilon_imaginary": (lower, upper)}
    )
    (area,) = figure.axes[0].collections
    (path,) = area.get_paths()
    assert path.vertices[:, 1].max() == pytest.approx(upper.max())
    assert to_hex(area.get_facecolor()[0]).upper() == COLORS[0]
    greys = [line for line in curves(figure.axes[0]) if line.get_color() == REFERENCE_COLOR]
    assert len(greys) == 2
    assert "Reference" in words(figure)


def test_bands_are_checked(spectrum):
    half = spectrum.epsilon_imaginary[1:]
    with pytest.raises(SpectrumError, match="bounds of epsilon_imaginary"):
        plots.plot_loss(spectrum, bands={"epsilon_imaginary": (half, half)})
    with pytest.raises(ConfigurationError, match="'colour'"):
        plots.plot_loss(spectrum, bands={"colour": (half, half)})


def test_overlaid_spectra_have_colours_and_names_of_their_own(spectrum):
    figure = plots.plot_loss([spectrum] * 6, labels=list("abcdef"))
    drawn = curves(figure.axes[0])
    assert tuple(line.get_color() for line in drawn) == COLORS
    assert words(figure).splitlines()[-6:] == list("abcdef")
    with pytest.raises(ConfigurationError, match="7 spectra"):
        plots.plot_loss([spectrum] * 7)
    with pytest.raises(ConfigurationError, match="1 labels for 2"):
        plots.plot_loss([spectrum] * 2, labels=["a"])


def test_legends_never_cover_the_axes(spectrum):
    figure = plots.plot_loss([spectrum] * 6, labels=["a rather long name of a spectrum"] * 6)
    figure.canvas.draw()
    bottom = figure.legends[0].get_window_extent().y0
    assert bottom > figure.axes[0].get_window_extent().y1


def test_equal_components_are_drawn_once(uniaxial, spectrum):
    assert list(distinct_components(uniaxial.epsilon)) == ["xx = yy", "zz"]
    figure = plots.plot_tensor(uniaxial)
    upper, lower = figure.axes
    np.testing.assert_array_equal(curves(upper)[0].get_ydata(), spectrum.epsilon_imaginary)
    np.testing.assert_array_equal(curves(lower)[0].get_ydata(), spectrum.epsilon_real)
    names = [text.get_text() for text in upper.get_legend().get_texts()]
    assert names == ["xx = yy", "zz"]
    top = spectrum.epsilon_imaginary.max()
    assert top < upper.get_ylim()[1] < 1.2 * top
    with pytest.raises(SpectrumError, match="isotropic"):
        plots.plot_tensor(spectrum)


def test_off_diagonal_components_show_up(uniaxial):
    angle = np.radians(30.0)
    turn = np.array(
        [
            [np.cos(angle), 0.0, -np.sin(angle)],
            [0.0, 1.0, 0.0],
            [np.sin(angle), 0.0, np.cos(angle)],
        ]
    )
    turned = turn @ uniaxial.epsilon @ turn.T
    assert list(distinct_components(turned)) == ["xx", "yy", "zz", "xz"]


def test_fields_show_the_colours(tmp_path):
    wavelengths = np.arange(380.0, 781.0)
    found = {
        "white": colour_of(wavelengths, np.ones(401)),
        "green": colour_of(wavelengths, np.exp(-(((wavelengths - 510.0) / 8.0) ** 2))),
    }
    figure = plots.plot_colours(found, tmp_path / "colours.png")
    fields = {to_hex(patch.get_facecolor()).upper() for patch in figure.findobj(Rectangle)}
    for colour in found.values():
        assert colour.hex in fields
    assert words(figure).count("outside sRGB") == 1
    assert "#FFFFFF" in words(figure)
    with pytest.raises(ConfigurationError, match="no colour"):
        plots.plot_colours({})


def test_wrong_suffixes_leave_nothing_behind(spectrum, uniaxial, tmp_path):
    for plot in (*SINGLE, plots.plot_tensor):
        with pytest.raises(ConfigurationError, match=r"\.png, \.svg, \.pdf"):
            plot(uniaxial, tmp_path / "figure.bmp")
    assert list(tmp_path.iterdir()) == []


def test_no_global_state_is_touched(spectrum):
    import matplotlib

    before = dict(matplotlib.rcParams)
    known = "matplotlib.pyplot" in sys.modules
    for plot in SINGLE:
        plot(spectrum)
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == known
