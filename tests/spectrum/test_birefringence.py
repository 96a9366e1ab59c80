"""Birefringence against measured crystals and the textbook's biaxial relations."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.core.operations import SymmOp
from scipy.spatial.transform import Rotation

from opalign.errors import SpectrumError
from opalign.spectrum.birefringence import birefringence, optic_angle
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.symmetry import optical_symmetry

GRID = EnergyGrid(0.5, 3.0, 6)
TURN = Rotation.from_euler("xyz", [25, 140, 61], degrees=True).as_matrix()
LATTICES = {
    "isotropic": Lattice.cubic(4.0),
    "uniaxial": Lattice.tetragonal(4.0, 3.0),
    "orthorhombic": Lattice.orthorhombic(3.0, 4.0, 5.0),
    "monoclinic": Lattice.monoclinic(5.0, 3.0, 6.0, 105.0),
}


def crystal(kind, turn=TURN):
    structure = Structure(LATTICES[kind], ["Si"], [[0, 0, 0]])
    return structure.apply_operation(SymmOp.from_rotation_and_translation(turn))


def spectrum(principal, imaginary=(0.0, 0.0, 0.0), turn=TURN):
    epsilon = turn @ np.diag(np.square(principal) + 1j * np.asarray(imaginary)) @ turn.T
    return OpticalSpectrum(GRID, np.repeat(epsilon[None], GRID.num, axis=0), "ipa")


@pytest.mark.parametrize(
    ("ordinary", "extraordinary", "sign"),
    [(2.613, 2.909, 1.0), (1.658, 1.486, -1.0)],  # rutile and calcite, sodium light
)
def test_uniaxial(ordinary, extraordinary, sign):
    found = birefringence(spectrum((ordinary, ordinary, extraordinary)), crystal("uniaxial"))
    assert found.optical_class == "uniaxial"
    np.testing.assert_allclose(found.delta, extraordinary - ordinary, atol=1e-10)
    np.testing.assert_allclose(found.index[:, 2], extraordinary)
    np.testing.assert_array_equal(found.positive, sign)
    assert np.isnan(found.optic_angle).all()


def test_noise_that_symmetry_forbids_does_not_count():
    rotated = spectrum((1.5, 1.5, 1.6)).epsilon + 0.0j
    # 1 % more along one crystal axis across the optic axis, as a poor k-point mesh gives.
    rotated = rotated + 0.02 * np.outer(TURN[:, 0], TURN[:, 0])
    found = birefringence(OpticalSpectrum(GRID, rotated, "ipa"), crystal("uniaxial"))
    np.testing.assert_allclose(found.index[:, 0], np.sqrt(1.5**2 + 0.01))
    np.testing.assert_allclose(found.index[:, 2], 1.6)


def test_optic_angle_of_known_minerals():
    # n_α, n_β, n_γ and measured 2V: topaz (+), muscovite (−), aragonite (−); Deer, Howie, Zussman.
    indices = np.array([[1.607, 1.610, 1.618], [1.564, 1.599, 1.602], [1.530, 1.680, 1.685]])
    angle, sign = optic_angle(indices)
    np.testing.assert_array_equal(sign, [1.0, -1.0, -1.0])
    # Three decimals of n leave some degrees open.
    np.testing.assert_allclose(angle, [63.0, 32.0, 18.0], atol=4.0)


def test_along_an_optic_axis_both_waves_are_alike():
    """The definition of 2V: on that axis the section of the index ellipsoid is a circle."""
    from opalign.spectrum.normal_incidence import eigen_polarizations

    principal = (1.53, 1.68, 1.9)
    found = birefringence(spectrum(principal, turn=np.eye(3)), crystal("orthorhombic", np.eye(3)))
    half = np.radians(found.optic_angle[0] / 2.0)
    assert found.positive[0] == 1.0
    optic_axis = (np.sin(half), 0.0, np.cos(half))
    waves = eigen_polarizations(spectrum(principal, turn=np.eye(3)), optic_axis)
    np.testing.assert_allclose(waves.index, 1.68, rtol=1e-7)


@pytest.mark.parametrize("kind", ["orthorhombic", "monoclinic"])
def test_biaxial_in_any_frame(kind):
    found = birefringence(spectrum((1.53, 1.68, 1.685)), crystal(kind))
    assert found.optical_class == kind
    np.testing.assert_allclose(np.sort(found.index[0]), [1.53, 1.68, 1.685])
    np.testing.assert_allclose(found.delta, 0.155)
    expected, _ = optic_angle(np.array([[1.53, 1.68, 1.685]]))
    np.testing.assert_allclose(found.optic_angle, expected[0], rtol=1e-6)


def test_cubic_has_none():
    found = birefringence(spectrum((1.7, 1.7, 1.7)), crystal("isotropic"))
    np.testing.assert_allclose(found.delta, 0.0, atol=1e-12)
    assert np.isnan(found.optic_angle).all()


def test_absorption_ends_the_optic_angle_but_not_the_indices():
    found = birefringence(
        spectrum((1.53, 1.68, 1.685), imaginary=(0.2, 0.1, 0.3)), crystal("orthorhombic")
    )
    assert np.isnan(found.optic_angle).all()
    assert np.isfinite(found.index).all()


def test_monoclinic_with_turned_absorption_has_no_principal_indices():
    inner = Rotation.from_rotvec(np.radians(25.0) * TURN[:, 1]).as_matrix()
    imaginary = inner @ TURN @ np.diag([0.1, 0.2, 0.4]) @ TURN.T @ inner.T
    epsilon = spectrum((1.53, 1.68, 1.9)).epsilon + 1j * imaginary
    found = birefringence(OpticalSpectrum(GRID, epsilon, "ipa"), crystal("monoclinic"))
    assert np.isnan(found.index).all()
    assert np.isnan(found.delta).all()


def test_symmetry_can_be_given_and_averages_are_refused():
    symmetry = optical_symmetry(crystal("uniaxial"))
    assert birefringence(spectrum((1.5, 1.5, 1.6)), symmetry).delta[0] == pytest.approx(0.1)
    with pytest.raises(SpectrumError, match="no birefringence"):
        birefringence(spectrum((1.5, 1.5, 1.6)).isotropic(), symmetry)
