"""Figures: written whole, right in what they show, and without a trace in global state."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from opalign.errors import ConfigurationError, SpectrumError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.plot import plot_spectrum


@pytest.fixture
def spectrum():
    grid = EnergyGrid(0.0, 12.0, 241)
    gap = np.maximum(1.0 - 3.0 / np.maximum(grid.values, 1e-3), 0.0) ** 2
    imaginary = gap * 30.0 * np.exp(-0.5 * (grid.values - 6.0) ** 2)
    return OpticalSpectrum.from_imaginary(grid, imaginary, "rpa", material_id="mp-1")


def texts(figure):
    found = [text.get_text() for text in figure.texts]
    for panel in figure.axes:
        found += [text.get_text() for text in panel.texts]
        found += [panel.get_xlabel(), panel.get_ylabel()]
    for legend in figure.legends:
        found += [text.get_text() for text in legend.get_texts()]
    return "\n".join(found)


@pytest.mark.parametrize(
    ("suffix", "start"),
    [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89PNG")],
)
def test_writes_whole_files_by_suffix(spectrum, tmp_path, suffix, start):
    path = tmp_path / "new" / f"figure{suffix}"
    plot_spectrum(spectrum, path)
    content = path.read_bytes()
    assert content.startswith(start)
    assert len(content) > 10_000
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_says_units_level_broadening_and_onset(spectrum):
    soft = spectrum.broadened(Broadening("gaussian", 0.1))
    said = texts(plot_spectrum(soft))
    for part in (
        "mp-1",
        "RPA",
        "σ = 0.1 eV",
        "(eV)",
        "cm⁻¹",
        f"onset {soft.onset_energy():.2f} eV",
    ):
        assert part in said


def test_onset_is_marked_where_it_is(spectrum):
    absorption = plot_spectrum(spectrum).axes[2]
    marks = [line for line in absorption.lines if line.get_marker() == "o"]
    assert len(marks) == 1
    np.testing.assert_allclose(marks[0].get_xydata(), [[spectrum.onset_energy(), 2.5]])


def test_wide_lines_have_no_onset(spectrum):
    figure = plot_spectrum(spectrum.broadened(Broadening("lorentzian", 0.3)))
    assert "broadened too far" in texts(figure)
    assert not [line for line in figure.axes[2].lines if line.get_marker() == "o"]


def test_visible_band_lies_where_light_is_visible(spectrum):
    band = plot_spectrum(spectrum).axes[2].images[0]
    assert band.get_extent()[:2] == [1.65, 3.26]
    red, violet = band.get_array()[0, 40], band.get_array()[0, -1]
    assert red[0] > red[2]
    assert violet[2] > violet[1]


def test_curves_hold_the_numbers(spectrum):
    epsilon, index, _, reflectivity = plot_spectrum(spectrum).axes
    np.testing.assert_array_equal(epsilon.lines[0].get_ydata(), spectrum.epsilon_real)
    np.testing.assert_array_equal(epsilon.lines[1].get_ydata(), spectrum.epsilon_imaginary)
    np.testing.assert_array_equal(index.lines[1].get_ydata(), spectrum.extinction_coefficient)
    np.testing.assert_array_equal(reflectivity.lines[0].get_ydata(), spectrum.reflectivity)


def test_several_with_reference_and_labels(spectrum):
    tensor = OpticalSpectrum(
        spectrum.grid, spectrum.epsilon[:, None, None] * np.eye(3), "ipa", material_id="mp-2"
    )
    figure = plot_spectrum([spectrum, tensor], reference=tensor, labels=["first", "second"])
    said = texts(figure)
    for part in ("first", "second", "Reference: IPA", "isotropic average", "mp-2, mp-1"):
        assert part in said
    assert len(figure.axes[3].lines) == 3


def test_contributions_of_sites_are_stacked(spectrum):
    imaginary = spectrum.epsilon_imaginary
    figure = plot_spectrum(spectrum, sites={"Mg": 0.3 * imaginary, "O": 0.7 * imaginary})
    areas = figure.axes[0].collections
    assert len(areas) == 2
    top = max(path.vertices[:, 1].max() for path in areas[1].get_paths())
    assert top == pytest.approx(imaginary.max())
    with pytest.raises(ConfigurationError, match="one spectrum"):
        plot_spectrum([spectrum, spectrum], sites={"Mg": imaginary})
    with pytest.raises(SpectrumError, match="contributions of Mg"):
        plot_spectrum(spectrum, sites={"Mg": imaginary[1:]})


def test_window_can_be_cut(spectrum):
    figure = plot_spectrum(spectrum, max_energy=5.0)
    assert figure.axes[0].get_xlim() == (0.0, 5.0)
    assert figure.axes[0].lines[0].get_xdata().max() == 5.0


def test_refuses_and_leaves_nothing_behind(spectrum, tmp_path):
    with pytest.raises(ConfigurationError, match=r"\.png, \.svg, \.pdf"):
        plot_spectrum(spectrum, tmp_path / "figure.bmp")
    with pytest.raises(ConfigurationError, match="labels"):
        plot_spectrum(spectrum, labels=["a", "b"])
    with pytest.raises(ConfigurationError, match="0 spectra"):
        plot_spectrum([])
    with pytest.raises(ConfigurationError, match="7 spectra"):
        plot_spectrum([spectrum] * 7)
    assert list(tmp_path.iterdir()) == []


def test_threads_and_global_settings(spectrum, tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    pyplot_before = "matplotlib.pyplot" in sys.modules
    plot_spectrum(spectrum, tmp_path / "alone.png")
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda i: plot_spectrum(spectrum, tmp_path / f"{i}.png"), range(3)))
    alone = (tmp_path / "alone.png").read_bytes()
    assert all((tmp_path / f"{i}.png").read_bytes() == alone for i in range(3))
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == pyplot_before
