import numpy as np
import pytest

from opalign.errors import ConfigurationError
from opalign.screening.quantities import (
    Abilities,
    checked_quantities,
    quantity,
    quantity_names,
    standard_quantities,
)
from opalign.screening.spectra import SpectraRows
from opalign.spectrum.applications import visible_transmittance
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.solar import slme
from opalign.spectrum.units import HC, visible

GRID = EnergyGrid(0.0, 12.0, 241)
ABILITIES = Abilities(GRID)


@pytest.fixture(scope="module")
def spectra():
    """Spectra of edges from 0.8 to 13 eV, the last with no absorption at all."""
    energies = GRID.values
    found = []
    for gap in (0.8, 1.5, 2.7, 4.0, 13.0):
        imaginary = 4.0 * np.sqrt(np.maximum(energies - gap, 0.0)) * np.exp(-0.2 * energies)
        found.append(OpticalSpectrum.from_imaginary(GRID, imaginary, "rpa", beyond="cubic"))
    return found


@pytest.fixture(scope="module")
def rows(spectra):
    return SpectraRows(
        GRID,
        np.array([one.epsilon_real for one in spectra]),
        np.array([one.epsilon_imaginary for one in spectra]),
        band_gap=np.array([0.8, 1.5, 2.7, 4.0, 13.0]),
        relative_distance=np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
        unseen_elements=np.zeros(5),
    )


# Both sides are double precision and the same formulas; what differs is the order of operations.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("onset_eV", lambda s: s.onset_energy() or np.nan),
        ("static_dielectric", lambda s: s.static_dielectric),
        ("refractive_index_589nm", lambda s: s.at_wavelength(589.0)[0]),
        ("extinction_400nm", lambda s: s.at_wavelength(400.0)[1]),
        ("refractive_index_2.1eV", lambda s: s.at_wavelength(HC / 2.1)[0]),
        ("absorption_3eV_per_cm", lambda s: s.absorption_coefficient[60]),
        ("absorption_500nm_per_cm", lambda s: np.interp(HC / 500, GRID.values,
                                                        s.absorption_coefficient)),
        ("reflectivity_12eV", lambda s: s.reflectivity[-1]),
        ("largest_visible_absorption_per_cm",
         lambda s: s.absorption_coefficient[visible(GRID.values)].max()),
        ("visible_transmittance_300nm", lambda s: visible_transmittance(s, 300.0)),
        ("loss_peak_eV", lambda s: GRID.values[s.loss_function.argmax()]),
    ],
)  # fmt: skip
def test_a_batch_gives_what_one_spectrum_gives(name, expected, spectra, rows):
    found = quantity(name).evaluate(rows)
    np.testing.assert_allclose(found, [expected(one) for one in spectra], rtol=1e-10)


def test_slme_of_a_batch(spectra, rows):
    expected = [slme(one, gap) for one, gap in zip(spectra, rows.band_gap, strict=True)]
    # pymatgen walks to the greatest power in steps of 1 mV.
    np.testing.assert_allclose(quantity("slme_percent").evaluate(rows), expected, atol=1e-3)
    thick = quantity("slme_2000nm_percent").evaluate(rows)
    np.testing.assert_allclose(thick[1], slme(spectra[1], 1.5, thickness=2000.0), atol=1e-3)


def test_what_the_model_says_beside_is_handed_on(rows):
    assert quantity("relative_distance").evaluate(rows).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert quantity("band_gap_eV").evaluate(rows)[1] == 1.5
    assert np.isnan(quantity("expected_error").evaluate(rows)).all()


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("onset", "onset_eV"),
        ("refractive_index_600", "refractive_index_600nm"),
        ("absorbtion_2.5eV_per_cm", "absorption_2.5eV_per_cm"),
        ("slme_300nm", "slme_300nm_percent"),
        ("static_dielectrc", "static_dielectric"),
    ],
)
def test_did_you_mean(wrong, meant):
    with pytest.raises(ConfigurationError, match="there is no quantity") as caught:
        quantity(wrong)
    assert repr(meant) in caught.value.cure
    assert "visible_transmittance_<number>nm" in caught.value.expected


@pytest.mark.parametrize(
    ("name", "abilities", "reason"),
    [
        ("onset_eV", Abilities(GRID, Broadening("gaussian", 0.3)), "broadening"),
        ("onset_eV", Abilities(GRID, Broadening("lorentzian", 0.01)), "broadening"),
        ("band_gap_eV", Abilities(GRID, band_gap=False), "no band gap"),
        ("slme_percent", Abilities(GRID, band_gap=False), "no band gap"),
        ("slme_percent", Abilities(EnergyGrid(0.0, 3.5, 36)), "below 4 eV"),
        ("slme_0nm_percent", ABILITIES, "thickness"),
        ("relative_distance", Abilities(GRID, reference=False), "training materials"),
        ("expected_error", ABILITIES, "not calibrated"),
        ("refractive_index_50nm", ABILITIES, "outside"),
        ("refractive_index_0nm", ABILITIES, "outside"),
        ("absorption_12.1eV_per_cm", ABILITIES, "outside"),
        ("static_dielectric", Abilities(EnergyGrid(0.5, 12.0, 116)), "0 eV"),
        ("visible_transmittance_100nm", Abilities(EnergyGrid(0.0, 3.0, 31)), "outside"),
    ],
)
def test_what_a_model_cannot_give_is_refused(name, abilities, reason):
    with pytest.raises(ConfigurationError, match=reason):
        checked_quantities([name], abilities)
    if name in standard_quantities(ABILITIES):
        assert name not in standard_quantities(abilities)


def test_every_name_can_be_asked_for_once():
    names = [name.replace("{}", "400" if "nm" in name else "2") for name in quantity_names()]
    names.remove("expected_error")
    found = checked_quantities([*names, *names], ABILITIES)
    assert [one.name for one in found] == names
    assert [
        one.name
        for one in checked_quantities(["expected_error"], Abilities(GRID, uncertainty=True))
    ]
