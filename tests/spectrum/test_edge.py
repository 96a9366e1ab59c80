"""Edge reports: steepness of known slopes, and reasons instead of numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opalign.errors import SpectrumError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.edge import edge_report, edge_steepness
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.oscillators import TaucLorentzOscillator

GRID = EnergyGrid(0.0, 12.0, 1201)
MODEL = TaucLorentzOscillator(100.0, 4.5, 2.0, 2.0)


@settings(deadline=None, max_examples=20)
@given(slope=st.floats(0.2, 3.0), onset=st.floats(1.0, 9.0))
def test_steepness_of_an_exponential(slope, onset):
    alpha = 10.0 ** (2.5 + slope * (GRID.values - onset))
    assert edge_steepness(GRID.values, alpha, onset).value == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize(
    ("onset", "window", "reason"),
    [
        (None, 1.0, "no onset"),
        (11.5, 1.0, "ends"),
        (2.0, 0.01, "fewer than"),
        (0.0, 1.0, "before the first"),
    ],
)
def test_steepness_says_why_not(onset, window, reason):
    found = edge_steepness(GRID.values, np.ones(1201), onset, window)
    assert not found.defined
    assert reason in found.reason
    with pytest.raises(SpectrumError, match="empty"):
        edge_steepness(GRID.values, np.ones(1201), 2.0, 0.0)


def test_report_of_an_amorphous_model():
    """ε₂ ∝ (E − E_g)²/E² is Tauc's own law: the indirect plot is straight and meets the gap."""
    spectrum = OpticalSpectrum(GRID, MODEL.epsilon(GRID.values), "model")
    report = edge_report(spectrum)
    assert 2.0 < report.onset.value < 2.2
    assert report.indirect.defined
    # The resonance above and n bend the line: by some 10 % of the window's width.
    assert report.indirect.gap == pytest.approx(2.0, abs=0.1)
    assert report.integral.value > 0.0
    assert report.steepness.value > 0.5
    assert not report.urbach.defined


def test_report_of_something_too_broad_gives_reasons_only():
    spectrum = OpticalSpectrum(
        GRID, MODEL.epsilon(GRID.values), "model", Broadening("gaussian", 0.3)
    )
    report = edge_report(spectrum)
    for part in (
        report.onset,
        report.integral,
        report.steepness,
        report.direct,
        report.indirect,
        report.urbach,
    ):
        assert not part.defined
        assert "0.3" in part.reason


def test_a_tail_that_is_gone_forbids_nothing():
    spectrum = OpticalSpectrum(
        GRID, MODEL.epsilon(GRID.values), "model", Broadening("lorentzian", 0.002)
    )
    assert not edge_report(spectrum).onset.defined
    assert edge_report(spectrum, tail_removed=True).onset.value == pytest.approx(2.1, abs=0.1)


def test_report_of_glass_clear_matter():
    spectrum = OpticalSpectrum(GRID, np.full(1201, 2.0 + 0j), "model")
    report = edge_report(spectrum)
    assert report.onset.value is None
    assert "no onset" in report.onset.reason
    assert "no onset" in report.integral.reason


def test_tensor_is_refused():
    tensor = OpticalSpectrum(GRID, np.repeat(2.0 * np.eye(3)[None], 1201, axis=0), "model")
    with pytest.raises(SpectrumError, match="direction"):
        edge_report(tensor)
