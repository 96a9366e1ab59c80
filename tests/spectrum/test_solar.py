"""SLME against an own integration and against pymatgen on a VASP run; photocurrents."""

import numpy as np
import pytest
from scipy import constants

from opalign.errors import ConfigurationError, SpectrumError
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.solar import photocurrent, photocurrent_limit, slme, sunlight

GRID = EnergyGrid(0.0, 8.0, 801)


def absorber(gap=1.4, strength=8e4):
    """Direct allowed edge: α = strength·√(E − gap) cm⁻¹, n = 3."""
    alpha = strength * np.sqrt(np.maximum(GRID.values - gap, 0.0))
    k = alpha * 1.973269804e-5 / (2.0 * np.maximum(GRID.values, 1e-9))
    return OpticalSpectrum(GRID, (3.0 + 1j * k) ** 2, "experiment")


def by_hand(spectrum, direct, fundamental, thickness_nm, temperature=293.15):
    """Maximum of V·[J_sc − J₀/f_r (exp(eV/kT) − 1)] over the incoming power, in percent.

    Written out from Yu and Zunger (2012) in metres, with the trapezoidal rule over the energy of
    the photons: nothing is shared with pymatgen's but the sunlight.
    """
    wavelength, irradiance = sunlight()
    energy = (constants.h * constants.c / constants.e) / (wavelength * 1e-9)
    alpha = 100.0 * np.interp(energy, spectrum.energies, spectrum.absorption_coefficient)
    alpha[energy < direct] = 0.0
    absorbed = 1.0 - np.exp(-2.0 * alpha * thickness_nm * 1e-9)
    order = np.argsort(energy)
    # Per m², s and eV: Φ_E = Φ_λ·λ²/(hc).
    metres = wavelength * 1e-9
    photons = 1e9 * irradiance * metres**3 / (constants.h * constants.c) ** 2 * constants.e
    current = constants.e * np.trapezoid((photons * absorbed)[order], energy[order])
    kt = constants.k * temperature / constants.e
    planck = (
        2.0 * np.pi * constants.e**3 / (constants.h**3 * constants.c**2) * energy**2
    ) / np.expm1(energy / kt)
    dark = constants.e * np.trapezoid((planck * absorbed)[order], energy[order])
    dark /= np.exp(-(direct - fundamental) / kt)
    voltage = np.linspace(0.0, direct, 20001)
    power = voltage * (current - dark * np.expm1(voltage / kt))
    return 100.0 * power.max() / np.trapezoid(irradiance, wavelength)


@pytest.mark.parametrize(
    ("direct", "fundamental", "thickness"), [(1.4, 1.4, 500.0), (1.4, 1.2, 2000.0)]
)
def test_slme_agrees_with_a_hand_calculation(direct, fundamental, thickness):
    spectrum = absorber(direct)
    expected = by_hand(spectrum, direct, fundamental, thickness)
    # pymatgen's spline rounds the kink at the gap and its voltages go in steps of 1 mV.
    assert slme(spectrum, direct, fundamental, thickness=thickness) == pytest.approx(
        expected, rel=2e-3
    )


def test_slme_defaults_are_ours():
    spectrum = absorber()
    assert slme(spectrum, 1.4) == slme(spectrum, 1.4, 1.4, thickness=500.0, temperature=293.15)
    assert slme(spectrum, 1.4) == pytest.approx(by_hand(spectrum, 1.4, 1.4, 500.0), rel=2e-3)


def test_slme_of_a_thick_step_is_the_limit_of_shockley_and_queisser():
    # 33.7 % at 1.34 eV and 298.15 K, S. Rühle, Solar Energy 130, 139 (2016).
    found = slme(absorber(1.33, 1e7), 1.34, thickness=1e5, temperature=298.15)
    assert found == pytest.approx(33.7, abs=0.15)


def test_an_indirect_gap_below_costs_efficiency():
    spectrum = absorber()
    values = [slme(spectrum, 1.4, fundamental) for fundamental in (1.4, 1.3, 1.1)]
    assert values[0] > values[1] > values[2]


def test_a_spectrum_that_ends_early_is_continued():
    spectrum = absorber()
    short = spectrum.resampled(EnergyGrid(0.0, 4.2, 421))
    # Beyond 4.2 eV are 5e-5 of the photons; pymatgen alone would leave them out.
    assert slme(short, 1.4) == pytest.approx(slme(spectrum, 1.4), rel=1e-4)
    with pytest.raises(SpectrumError, match="ends at 3 eV"):
        slme(spectrum.resampled(EnergyGrid(0.0, 3.0, 301)), 1.4)


def test_absorption_and_slme_of_pymatgen_on_a_vasp_run(opalign_data):
    from pymatgen.analysis.solar import slme as reference
    from pymatgen.io.vasp.outputs import Vasprun

    run = Vasprun(
        opalign_data / "vasp_mgse" / "MgSe_absorption_vasprun.xml.gz", parse_potcar_file=False
    )
    # VASP prints four digits of its evenly spaced energies; both sides take them unrounded, since
    # the rounding alone moves the efficiency by 1.5e-5.
    printed, *parts = run.dielectric
    grid = EnergyGrid.from_values(np.array(printed), tolerance=0.01)
    energies, alpha = reference.absorption_coefficient([grid.values, *parts])
    real, imaginary = (np.array(part)[:, :3].mean(axis=1) for part in parts)
    spectrum = OpticalSpectrum(grid, real + 1j * imaginary, "ipa")
    strong = alpha > 1e2
    np.testing.assert_allclose(spectrum.absorption_coefficient[strong], alpha[strong], rtol=1e-6)

    direct, gap = 2.529, 2.529
    for thickness in (500.0, 50_000.0):
        expected = reference.slme(
            energies,
            alpha,
            direct,
            gap,
            thickness=thickness * 1e-9,
            absorbance_in_inverse_centimeters=True,
        )
        found = slme(spectrum, direct, gap, thickness=thickness)
        assert found == pytest.approx(expected, rel=1e-6)
    assert slme(spectrum, direct, gap) == pytest.approx(5.9675, abs=1e-3)


@pytest.mark.parametrize(("gap", "expected"), [(1.12, 43.8), (1.34, 35.0), (1.42, 32.0)])
def test_photocurrent_of_step_absorbers(gap, expected):
    # S. Rühle, Solar Energy 130, 139 (2016), table of J_sc: 43.79 … 35.2, to the tenth.
    assert photocurrent_limit(gap) == pytest.approx(expected, abs=0.25)


def test_photocurrent_grows_with_thickness_towards_the_limit():
    spectrum = absorber()
    currents = [photocurrent(spectrum, d) for d in (10.0, 100.0, 1e3, 1e4, 1e6)]
    assert (np.diff(currents) > 0.0).all()
    assert currents[-1] == pytest.approx(photocurrent_limit(1.4), rel=2e-3)
    assert photocurrent(spectrum, 500.0, passes=2) == photocurrent(spectrum, 1000.0)
    assert photocurrent(spectrum, 1e6, direct_gap=2.0) == pytest.approx(
        photocurrent_limit(2.0), rel=2e-3
    )


def test_impossible_wishes_are_named():
    spectrum = absorber()
    with pytest.raises(ConfigurationError, match="4,000 nm"):
        slme(spectrum, 0.2)
    with pytest.raises(ConfigurationError, match="below the fundamental one"):
        slme(spectrum, 1.4, 1.6)
    with pytest.raises(ConfigurationError, match="thickness"):
        slme(spectrum, 1.4, thickness=0.0)
    with pytest.raises(ConfigurationError, match="0 K"):
        slme(spectrum, 1.4, temperature=0.0)
    with pytest.raises(ConfigurationError, match="thickness"):
        photocurrent(spectrum, float("nan"))
    with pytest.raises(ConfigurationError, match="4,000 nm"):
        photocurrent_limit(float("nan"))
