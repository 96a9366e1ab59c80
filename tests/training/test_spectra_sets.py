import numpy as np
import pytest

from opalign.dataset.table import SpectraTable
from opalign.errors import DatasetError, SpectrumError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.training.spectra import effective_broadening, join, read_spectra

from .conftest import write_spectra


@pytest.fixture(scope="module")
def spectra(spectra_path):
    return read_spectra(
        SpectraTable.open(spectra_path), "rpa", Broadening("gaussian", 0.1), None, "direct_gap_eV"
    )


def test_broadening_in_two_steps_is_broadening_in_one(spectra, spectra_path):
    """σ_extra² = σ² − σ_own², the way one model is scored at two broadenings."""
    at_once = read_spectra(SpectraTable.open(spectra_path), "rpa", Broadening("gaussian", 0.5))
    in_two = spectra.broadened(Broadening("gaussian", 0.5))
    assert in_two.broadening == at_once.broadening
    # Away from the window's end, beyond which each step continues the spectrum anew.
    inside = slice(0, 85)
    scale = at_once.imaginary.max()
    np.testing.assert_allclose(
        in_two.imaginary[:, inside], at_once.imaginary[:, inside], atol=2e-3 * scale
    )


def test_broadening_cannot_be_undone(spectra):
    with pytest.raises(SpectrumError, match="cannot be brought"):
        spectra.broadened(Broadening("gaussian", 0.05))


def test_a_line_narrower_than_the_grid_is_none():
    grid = EnergyGrid(start=0.0, stop=20.0, num=801)
    assert effective_broadening(Broadening("lorentzian", 0.002), grid) == Broadening()
    wide = Broadening("lorentzian", 0.1)
    assert effective_broadening(wide, grid) == wide


def test_selection_by_id(spectra):
    chosen = spectra.select(["cscl-MgO", "rocksalt-CaO"])
    assert chosen.ids == ("cscl-MgO", "rocksalt-CaO")
    row = spectra.ids.index("cscl-MgO")
    np.testing.assert_array_equal(chosen.imaginary[0], spectra.imaginary[row])
    assert chosen.band_gap[0] == spectra.band_gap[row]
    with pytest.raises(DatasetError, match="'quartz'"):
        spectra.select(["quartz"])


def test_join_keeps_rows_together(spectra):
    joined = join([spectra.rows([3, 1]), spectra.rows([0])])
    assert joined.ids == tuple(spectra.ids[i] for i in (3, 1, 0))
    np.testing.assert_array_equal(joined.real, spectra.real[[3, 1, 0]])


def test_static_dielectric_of_an_oscillator(spectra):
    np.testing.assert_allclose(spectra.static_dielectric, 3.0, rtol=2e-3)


def test_only_narrow_lines_have_an_onset(spectra):
    assert spectra.has_sharp_onset
    assert not spectra.broadened(Broadening("gaussian", 0.3)).has_sharp_onset


def test_a_line_narrower_than_the_grid_is_not_applied_twice(tmp_path):
    path = write_spectra(tmp_path / "t.parquet", broadening=Broadening("lorentzian", 0.002))
    table = SpectraTable.open(path)
    as_stored = table.isotropic_imaginary("rpa")
    again = read_spectra(table, "rpa", Broadening("lorentzian", 0.002)).imaginary
    np.testing.assert_array_equal(again, as_stored)


def test_a_window_beyond_the_table_names_the_table(spectra_path):
    with pytest.raises(DatasetError, match=r"lorentz\.parquet: spectra on .* do not reach"):
        read_spectra(
            SpectraTable.open(spectra_path), "rpa", grid=EnergyGrid(start=0.0, stop=40.0, num=81)
        )
