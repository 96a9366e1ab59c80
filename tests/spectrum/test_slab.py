"""Slabs and powders: what goes in comes out, and closed forms hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opalign.errors import ConfigurationError
from opalign.spectrum.slab import absorption_at_wavelength, powder_reflectance, slab_response

numbers = st.floats(0.3, 6.0)
extinctions = st.floats(0.0, 5.0)
thicknesses = st.floats(0.0, 1e5)


@given(numbers, extinctions, thicknesses)
def test_energy_is_kept(n, k, thickness):
    for coherence in ("coherent", "incoherent"):
        response = slab_response(550.0, n, k, thickness, coherence)
        for share in response:
            assert -1e-9 <= share <= 1.0 + 1e-9
        assert sum(response) == pytest.approx(1.0)
        if k == 0.0:
            assert response.absorptance == pytest.approx(0.0, abs=1e-9)


def test_half_and_quarter_waves():
    # λ/2: as if there were no film. λ/4: R = ((1 − n²)/(1 + n²))², e.g. Heavens (1955).
    half = slab_response(600.0, 2.0, 0.0, 150.0, "coherent")
    quarter = slab_response(600.0, 2.0, 0.0, 75.0, "coherent")
    assert half.reflectance == pytest.approx(0.0, abs=1e-14)
    assert quarter.reflectance == pytest.approx((3.0 / 5.0) ** 2)


def test_fringes_average_to_the_incoherent_slab():
    # Over one period of the phase; with k > 0 the faces' 1 − R holds to the order of k².
    n, k, wavelength = 2.4, 1e-4, 550.0
    steps = np.arange(400) / 400.0
    thickness = 20_000.0 + steps * wavelength / (2.0 * n)
    fringes = [slab_response(wavelength, n, k, d, "coherent").transmittance for d in thickness]
    plain = slab_response(wavelength, n, k, float(thickness.mean()))
    assert np.mean(fringes) == pytest.approx(float(plain.transmittance), rel=1e-5)


def test_a_thick_absorber_reflects_as_its_face():
    for coherence in ("coherent", "incoherent"):
        response = slab_response(500.0, 2.0, 1.0, 1e5, coherence)
        assert response.reflectance == pytest.approx(2.0 / 10.0)
        assert response.transmittance == 0.0


def test_thin_air_does_nothing():
    response = slab_response(np.array([400.0, 700.0]), 1.0, 0.0, 1e6, "coherent")
    np.testing.assert_allclose(response.transmittance, 1.0)


@given(numbers, st.floats(1e-6, 1.0), st.floats(1.0, 1e4))
def test_thicker_means_darker(n, k, thickness):
    thin, thick = (slab_response(550.0, n, k, d).transmittance for d in (thickness, 2 * thickness))
    assert thick <= thin


def test_absorption_coefficient_at_a_wavelength():
    # α = 4πk/λ: k = 1 at 4π·100 nm = 10⁻⁵·4π cm is 10⁵ cm⁻¹.
    assert absorption_at_wavelength(400.0 * np.pi, 1.0) == pytest.approx(1e5)


@given(st.floats(0.0, 1e7), st.floats(1.0, 1e5))
def test_kubelka_munk_is_inverted(alpha, scattering):
    share = powder_reflectance(alpha, scattering)
    assert 0.0 < share <= 1.0
    ratio = (1.0 - share) ** 2 / (2.0 * share)
    # R∞ near one has lost the digits of a small K/S.
    assert ratio == pytest.approx(2.0 * alpha / scattering, rel=1e-6, abs=1e-12)


def test_powders_pale_with_finer_grains_and_whiten_without_absorption():
    assert powder_reflectance(0.0) == 1.0
    shares = powder_reflectance(np.array([1.0, 1e2, 1e4]))
    assert (np.diff(shares) < 0.0).all()
    assert powder_reflectance(100.0, 1e4) > powder_reflectance(100.0, 1e2)


def test_impossible_slabs_are_named():
    with pytest.raises(ConfigurationError, match="thickness"):
        slab_response(550.0, 1.5, 0.0, -1.0)
    with pytest.raises(ConfigurationError, match="'coherent' or 'incoherent'"):
        slab_response(550.0, 1.5, 0.0, 1.0, "partly")
    with pytest.raises(ConfigurationError, match="scattering"):
        powder_reflectance(1.0, 0.0)
