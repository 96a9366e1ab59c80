"""Analyses: right numbers, reasons where there is none, and a configuration that is checked."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from opalign.errors import ConfigurationError, SpectrumError
from opalign.spectrum.analysis import OpticsConfig, analyse, prepare
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.solar import photocurrent_limit, slme

GRID = EnergyGrid(0.0, 20.0, 801)
GAP = 2.0
MGO = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.59, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)


@pytest.fixture
def spectrum():
    """A direct edge at 2 eV below a broad band."""
    edge = np.sqrt(np.maximum(GRID.values - GAP, 0.0))
    imaginary = 4.0 * edge * np.exp(-(((GRID.values - 2.0) / 5.0) ** 2))
    return OpticalSpectrum.from_imaginary(GRID, imaginary, "ipa", material_id="x")


@pytest.fixture
def lorentzian(spectrum):
    return spectrum.broadened(Broadening("lorentzian", 0.1))


@pytest.fixture
def uniaxial(spectrum):
    weight = np.diag([1.0, 1.0, 1.5])
    epsilon = np.eye(3) + (spectrum.epsilon - 1.0)[:, None, None] * weight
    return replace(spectrum, epsilon=epsilon)


def test_numbers_are_those_of_the_functions(spectrum):
    report = analyse(spectrum)
    onset = spectrum.onset_energy()
    assert report.name == "x"
    assert report.quantity("onset_eV").value == onset
    assert report.quantity("static_dielectric").value == spectrum.static_dielectric
    n, k = spectrum.at_wavelength(1064.0)
    assert report.quantity("refractive_index_1064nm").value == n
    assert report.quantity("extinction_1064nm").value == k
    assert report.quantity("slme_percent").value == slme(spectrum, onset)
    assert "onset" in report.quantity("slme_percent").note
    assert "500 nm" in report.quantity("slme_percent").note
    limit = report.quantity("photocurrent_limit_mA_per_cm2").value
    assert limit == photocurrent_limit(onset)
    assert len(report.colours) == 3
    assert report.notes == ()


def test_every_quantity_has_a_value_or_a_reason(spectrum, uniaxial, lorentzian):
    metal = OpticalSpectrum(GRID, np.full(GRID.num, -10.0 + 5.0j), "ipa")
    for one in (spectrum, uniaxial, lorentzian, metal):
        for quantity in analyse(one).quantities:
            assert quantity.value is not None or quantity.note, quantity.key
            assert quantity.label


def test_given_gaps_win_over_the_onset(spectrum):
    config = OpticsConfig(direct_gap=2.2, fundamental_gap=2.0, thickness=1000.0)
    report = analyse(spectrum, config)
    expected = slme(spectrum, 2.2, 2.0, thickness=1000.0)
    assert report.quantity("slme_percent").value == expected
    assert "as given" in report.quantity("slme_percent").note
    limit = report.quantity("photocurrent_limit_mA_per_cm2").value
    assert limit == photocurrent_limit(2.0)


def test_a_lorentzian_tail_hides_the_onset_unless_a_gap_is_known(lorentzian):
    blind = analyse(lorentzian)
    assert blind.quantity("onset_eV").value is None
    assert "Lorentzian" in blind.quantity("onset_eV").note
    assert blind.quantity("slme_percent").value is None
    assert "no gap is known" in blind.quantity("slme_percent").note

    report = analyse(lorentzian, OpticsConfig(direct_gap=GAP))
    # The onset lies in the step of the grid in which the cut is.
    assert report.quantity("onset_eV").value == pytest.approx(GAP, abs=GRID.step)
    assert "set to zero" in report.notes[0]
    below = GRID.values < GAP
    assert (report.spectrum.epsilon_imaginary[below] == 0.0).all()
    np.testing.assert_array_equal(report.spectrum.epsilon[~below], lorentzian.epsilon[~below])
    assert report.given is lorentzian
    assert "broadening" in report.quantity("urbach_energy_eV").note


def test_a_scissor_moves_the_edge_and_the_gaps(spectrum):
    config = OpticsConfig(direct_gap=GAP, scissor=0.8)
    report = analyse(spectrum, config)
    moved = report.quantity("onset_eV").value - spectrum.onset_energy()
    assert moved == pytest.approx(0.8, abs=GRID.step)
    limit = report.quantity("photocurrent_limit_mA_per_cm2").value
    assert limit == photocurrent_limit(GAP + 0.8)
    assert report.quantity("scissor_f_sum_change").value == pytest.approx(0.0, abs=1e-3)
    assert report.scissor is not None
    assert "+0.8 eV" in report.notes[0]
    with pytest.raises(ConfigurationError, match="there is no quantity"):
        analyse(spectrum).quantity("scissor_f_sum_change")


def test_broadening_is_applied_in_all(spectrum):
    report = analyse(spectrum, OpticsConfig(broadening=0.1))
    assert report.spectrum.broadening == Broadening("gaussian", 0.1)
    expected = spectrum.broadened(Broadening("gaussian", 0.1)).epsilon
    np.testing.assert_array_equal(report.spectrum.epsilon, expected)


def test_a_line_below_the_step_of_the_grid_may_be_broadened_on(spectrum):
    narrow = replace(spectrum, broadening=Broadening("lorentzian", 0.002))
    prepared = prepare(narrow, OpticsConfig(broadening=0.1))
    assert prepared.spectrum.broadening == Broadening("gaussian", 0.1)
    assert any("less than a step" in note for note in prepared.notes)
    wide = replace(spectrum, broadening=Broadening("lorentzian", 0.2))
    with pytest.raises(SpectrumError, match="combine"):
        prepare(wide, OpticsConfig(broadening=0.3))


def test_birefringence_needs_tensor_and_structure(spectrum, uniaxial):
    assert "no direction" in analyse(spectrum).quantity("optical_class").note
    assert "structure" in analyse(uniaxial).quantity("optical_class").note
    report = analyse(uniaxial, structure=RUTILE)
    assert report.quantity("optical_class").value == "uniaxial"
    ordinary = uniaxial.along([1, 0, 0]).at_wavelength(589.3)[0]
    extraordinary = uniaxial.along([0, 0, 1]).at_wavelength(589.3)[0]
    delta = report.quantity("birefringence_589.3nm").value
    assert delta == pytest.approx(extraordinary - ordinary, abs=1e-4)
    assert report.quantity("f_sum_error").value is not None
    cubic = analyse(uniaxial, structure=MGO)
    assert cubic.quantity("optical_class").value == "isotropic"
    assert cubic.quantity("birefringence_589.3nm").value == 0.0


def test_what_lies_outside_the_window_says_so(spectrum):
    short = spectrum.resampled(EnergyGrid(0.0, 3.0, 121))
    report = analyse(short)
    for key in ("visible_transmittance", "colour_powder", "slme_percent"):
        assert report.quantity(key).value is None
        assert "eV" in report.quantity(key).note
    assert report.colours == {}


def test_without_colour_science_all_else_is_there(spectrum, monkeypatch):
    monkeypatch.setitem(sys.modules, "colour", None)
    report = analyse(spectrum)
    for key in ("colour_slab", "luminous_transmittance"):
        assert report.quantity(key).value is None
        assert "colour-science" in report.quantity(key).note
    assert report.quantity("visible_transmittance").value is not None


def test_values_are_shown_with_their_units(spectrum):
    report = analyse(spectrum)
    assert report.quantity("onset_eV").shown == f"{spectrum.onset_energy():.4g} eV"
    assert report.quantity("optical_class").shown == "–"
    assert report.quantity("colour_slab").shown.startswith("#")


@pytest.mark.parametrize(
    "options",
    [
        {"direct_gap": -1.0},
        {"fundamental_gap": 1.0},
        {"direct_gap": 1.0, "fundamental_gap": 1.5},
        {"thickness": 0.0},
        {"wavelengths": (0.0,)},
        {"scissor": float("nan")},
        {"coherence": "partly"},
        {"thickens": 1.0},
    ],
)
def test_impossible_configurations_are_refused(options):
    with pytest.raises(ValidationError):
        OpticsConfig(**options)


def test_gaps_of_a_source_fill_in_for_missing_ones():
    plain = OpticsConfig(thickness=100.0)
    filled = plain.with_gaps(2.0, 1.5)
    assert (filled.direct_gap, filled.fundamental_gap, filled.thickness) == (2.0, 1.5, 100.0)
    assert filled.with_gaps(3.0, 3.0) is filled
    assert plain.with_gaps(2.0, 2.0 + 1e-12).fundamental_gap == 2.0
    for nothing in (None, float("nan"), 0.0):
        assert plain.with_gaps(nothing, 1.0) is plain
        assert plain.with_gaps(2.0, nothing).fundamental_gap is None
