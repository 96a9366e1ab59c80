"""Normal incidence on anisotropic faces: uniaxial theory, invariance, energy that is conserved."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from opalign.errors import SpectrumError
from opalign.spectrum import relations
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.normal_incidence import (
    effective_tensor,
    eigen_polarizations,
    in_plane_axes,
    normal_reflectivity,
)
from opalign.spectrum.optical import OpticalSpectrum

GRID = EnergyGrid(0.5, 6.0, 60)


def line(resonance, strength=12.0, width=0.4):
    return 1.0 + strength / (resonance**2 - GRID.values**2 - 1j * width * GRID.values)


ORDINARY, EXTRAORDINARY = line(4.0), line(4.8, 20.0)


def reflected(epsilon):
    return relations.reflectivity(*relations.refractive_index(epsilon.real, epsilon.imag))


def tensor(*components, turn=None):
    turn = np.eye(3) if turn is None else turn
    epsilon = np.einsum("na,ab->nab", np.stack(components, axis=1), np.eye(3))
    return OpticalSpectrum(GRID, turn @ epsilon @ turn.T, "ipa")


UNIAXIAL = tensor(ORDINARY, ORDINARY, EXTRAORDINARY)


def test_face_across_the_optic_axis_is_ordinary():
    for field in (None, (1, 0, 0), (1, 2, 0)):
        np.testing.assert_allclose(
            UNIAXIAL.normal_reflectivity((0, 0, 3), field), reflected(ORDINARY), atol=1e-12
        )


def test_face_along_the_optic_axis_has_both():
    ordinary = normal_reflectivity(UNIAXIAL, (1, 0, 0), (0, 1, 0))
    extraordinary = normal_reflectivity(UNIAXIAL, (1, 0, 0), (0, 0, 1))
    np.testing.assert_allclose(ordinary, reflected(ORDINARY), atol=1e-12)
    np.testing.assert_allclose(extraordinary, reflected(EXTRAORDINARY), atol=1e-12)
    between = normal_reflectivity(UNIAXIAL, (1, 0, 0), (0, 1, 1))
    np.testing.assert_allclose(between, 0.5 * (ordinary + extraordinary), atol=1e-12)
    unpolarised = normal_reflectivity(UNIAXIAL, (1, 0, 0))
    np.testing.assert_allclose(unpolarised, 0.5 * (ordinary + extraordinary), atol=1e-12)


@pytest.mark.parametrize("angle", [10.0, 45.0, 77.0])
def test_oblique_face_of_a_uniaxial_crystal(angle):
    """1/ε(θ) = cos²θ/ε_o + sin²θ/ε_e for the extraordinary wave at θ to the optic axis."""
    theta = np.radians(angle)
    normal = (np.sin(theta), 0.0, np.cos(theta))
    expected = 1.0 / (np.cos(theta) ** 2 / ORDINARY + np.sin(theta) ** 2 / EXTRAORDINARY)
    waves = eigen_polarizations(UNIAXIAL, normal)
    which = int(np.abs(waves.field[0, :, 1]).argmin())  # the one without a field along y
    np.testing.assert_allclose(waves.index[:, which] ** 2, expected, rtol=1e-10)
    np.testing.assert_allclose(waves.index[:, 1 - which] ** 2, ORDINARY, rtol=1e-10)
    np.testing.assert_allclose(waves.reflectivity[:, which], reflected(expected), rtol=1e-10)
    in_plane = (np.cos(theta), 0.0, -np.sin(theta))
    np.testing.assert_allclose(
        normal_reflectivity(UNIAXIAL, normal, in_plane), reflected(expected), rtol=1e-10
    )


def monoclinic():
    """Re ε and Im ε with different axes: no common principal axes, elliptic waves."""
    turn = Rotation.from_euler("zy", [30, 20], degrees=True).as_matrix()
    first = tensor(line(3.5), line(4.0), line(5.0)).epsilon
    second = turn @ tensor(line(3.0, 5.0), line(4.5, 9.0), line(5.5, 3.0)).epsilon @ turn.T
    return OpticalSpectrum(GRID, first + second - np.eye(3), "ipa")


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_turning_crystal_face_and_field_together_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=rng).as_matrix()
    normal, field = rng.normal(size=(2, 3))
    crystal = monoclinic()
    rotated = OpticalSpectrum(GRID, turn @ crystal.epsilon @ turn.T, "ipa")
    for polarization, other in ((field, turn @ field), (None, None)):
        expected = normal_reflectivity(crystal, normal, polarization)
        np.testing.assert_allclose(
            normal_reflectivity(rotated, turn @ normal, other), expected, atol=1e-10
        )
        assert ((expected >= 0.0) & (expected <= 1.0)).all()
    np.testing.assert_allclose(
        np.sort(eigen_polarizations(rotated, turn @ normal).reflectivity, axis=1),
        np.sort(eigen_polarizations(crystal, normal).reflectivity, axis=1),
        atol=1e-10,
    )


def test_waves_satisfy_their_equation_and_are_followed():
    crystal, normal = monoclinic(), np.array([0.3, -0.5, 0.8])
    waves = eigen_polarizations(crystal, normal)
    plane = in_plane_axes(normal)
    fields = waves.field @ plane.T
    product = np.einsum("nab,nwb->nwa", effective_tensor(crystal.epsilon, normal), fields)
    np.testing.assert_allclose(product, waves.index[..., None] ** 2 * fields, atol=1e-9)
    np.testing.assert_allclose(waves.field @ normal, 0.0, atol=1e-12)
    assert (waves.index.imag >= 0.0).all()
    # Followed: neighbours overlap better with themselves than with the other wave.
    overlap = np.abs(np.einsum("nwi,nvi->nwv", waves.field[1:], waves.field[:-1].conj()))
    kept, swapped = overlap[:, [0, 1], [0, 1]].sum(axis=1), overlap[:, [0, 1], [1, 0]].sum(axis=1)
    assert (kept >= swapped).all()


@pytest.mark.parametrize("seed", range(6))
def test_waves_are_not_swapped_on_the_way(seed):
    """Three lines in a face, each along its own direction: LAPACK's order changes in the window."""
    rng = np.random.default_rng(seed)
    epsilon = np.tile(np.eye(3, dtype=complex), (GRID.num, 1, 1))
    for _ in range(3):
        angle = rng.uniform(0.0, np.pi)
        direction = np.array([np.cos(angle), np.sin(angle), 0.0])
        part = line(rng.uniform(2.0, 6.0), rng.uniform(5.0, 20.0)) - 1.0
        epsilon += part[:, None, None] * np.outer(direction, direction)
    waves = eigen_polarizations(OpticalSpectrum(GRID, epsilon, "ipa"), (0, 0, 1))
    overlap = np.abs(np.einsum("nwi,nvi->nwv", waves.field[1:], waves.field[:-1].conj()))
    assert (overlap[:, 0, 0] + overlap[:, 1, 1] >= overlap[:, 0, 1] + overlap[:, 1, 0]).all()


def test_field_along_an_eigenpolarisation_reflects_as_it(lorentz):
    """Where light is not absorbed the waves are linear, and reflect unmixed."""
    turn = Rotation.from_euler("xyz", [15, 33, 71], degrees=True).as_matrix()
    constant = np.ones(GRID.num)
    crystal = tensor(2.0 * constant, 3.0 * constant, 5.0 * constant, turn=turn)
    waves = eigen_polarizations(crystal, (0.2, 0.1, 1.0))
    for wave in range(2):
        assert np.abs(waves.field[5, wave].imag).max() < 1e-12
        np.testing.assert_allclose(
            normal_reflectivity(crystal, (0.2, 0.1, 1.0), waves.field[5, wave].real),
            waves.reflectivity[:, wave],
        )


def test_isotropic_matter_does_not_care():
    isotropic = OpticalSpectrum(GRID, ORDINARY, "ipa")
    np.testing.assert_allclose(normal_reflectivity(isotropic, (1, 2, 3)), isotropic.reflectivity)
    waves = eigen_polarizations(isotropic, (1, 2, 3))
    np.testing.assert_allclose(waves.reflectivity[:, 0], isotropic.reflectivity)


def test_singular_axis_where_both_waves_coincide():
    """ε_eff that cannot be diagonalised, as along a singular axis of an absorbing crystal."""
    epsilon = np.tile(np.array([[3, 0.5j, 0], [0.5j, 4, 0], [0, 0, 3]], dtype=complex), (60, 1, 1))
    epsilon += 1j * np.eye(3)
    matrix = epsilon[0, :2, :2]
    assert np.ptp(np.linalg.eigvals(matrix)) == pytest.approx(0.0, abs=1e-7)
    reflectivity = normal_reflectivity(OpticalSpectrum(GRID, epsilon, "ipa"), (0, 0, 1))
    nearby = epsilon.copy()
    nearby[:, 0, 0] += 1e-6
    expected = normal_reflectivity(OpticalSpectrum(GRID, nearby, "ipa"), (0, 0, 1))
    np.testing.assert_allclose(reflectivity, expected, atol=1e-5)


def test_refuses():
    with pytest.raises(SpectrumError, match="does not lie in the face"):
        normal_reflectivity(UNIAXIAL, (0, 0, 1), (0, 0, 2))
    with pytest.raises(SpectrumError, match="not a direction"):
        normal_reflectivity(UNIAXIAL, (0, 0, 0))
