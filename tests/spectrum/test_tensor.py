"""Principal axes: found again in any frame, followed through crossings, turning with energy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from opalign.errors import SpectrumError
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.tensor import principal_axes, principal_tensor

ENERGIES = np.linspace(0.0, 10.0, 201)


def line(resonance, width=0.3, strength=20.0):
    return 1.0 + strength / (resonance**2 - ENERGIES**2 - 1j * width * ENERGIES)


def diagonal(*components):
    tensor = np.zeros((len(ENERGIES), 3, 3), dtype=complex)
    for axis, values in enumerate(components):
        tensor[:, axis, axis] = values
    return tensor


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_values_and_axes_come_back_from_any_frame(seed):
    """Each value keeps its direction though ε₁ of the three cross many times."""
    turn = Rotation.random(random_state=np.random.default_rng(seed)).as_matrix()
    components = np.stack([line(3.0), line(5.0), line(7.0)], axis=1)
    principal = principal_tensor(turn @ diagonal(*components.T) @ turn.T)
    for part, reference in (
        (principal.real, components.real),
        (principal.imaginary, components.imag),
    ):
        overlap = np.abs(part.axes @ turn)  # one axis of each on one of the other
        assert part.rotation.max() < 0.1
        order = overlap[0].argmax(axis=1)
        assert sorted(order) == [0, 1, 2]
        np.testing.assert_allclose(part.values, reference[:, order], atol=1e-8)
        np.testing.assert_allclose(np.linalg.det(part.axes), 1.0)
    assert principal.shared.all()
    assert "same at all energies" in principal.describe()
    order = np.abs(principal.real.axes[0] @ turn).argmax(axis=1)
    np.testing.assert_allclose(principal.values, components[:, order], atol=1e-8)


def test_axes_that_turn_are_followed_and_the_angle_is_told():
    """A monoclinic model: the axes turn by 40° about y over the window, in Re and Im alike."""
    angles = 4.0 * ENERGIES
    turn = Rotation.from_euler("y", angles[:, None], degrees=True).as_matrix()
    plain = np.diag([2.0, 3.0, 5.0]) + 1j * np.diag([0.1, 0.2, 0.4])
    principal = principal_tensor(turn @ plain @ turn.swapaxes(1, 2))
    for part in (principal.real, principal.imaginary):
        assert np.ptp(part.values, axis=0) == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)
        assert not part.fixed
        # Measured from the energy at which the axes are clearest, here any of them.
        between = np.abs(angles - angles[part.rotation.argmin()])
        np.testing.assert_allclose(part.rotation, between, atol=1e-6)
        # Neighbouring axes differ by the 0.2° of a step, no more: none was swapped.
        steps = np.einsum("nij,nij->ni", part.axes[1:], part.axes[:-1])
        assert np.degrees(np.arccos(np.clip(steps, -1, 1))).max() == pytest.approx(0.2, abs=1e-3)
    assert principal.misalignment.max() < 1e-6
    assert f"up to {principal.real.rotation.max():.0f}°" in principal.describe()


@pytest.mark.parametrize("angle", [5.0, 25.0, 44.0])
def test_real_and_imaginary_axes_apart(angle):
    turn = Rotation.from_euler("y", angle, degrees=True).as_matrix()
    real, imaginary = np.diag([2.0, 3.0, 5.0]), np.diag([0.1, 0.2, 0.4])
    tensor = np.repeat((real + 1j * turn @ imaginary @ turn.T)[None], 4, axis=0)
    tensor[0] = real  # transparent: the axes of Im ε are free
    principal = principal_tensor(tensor)
    np.testing.assert_allclose(principal.misalignment, [0.0, angle, angle, angle], atol=1e-6)
    assert principal.shared.tolist() == [True, False, False, False]
    assert np.isnan(principal.values[1:]).all()
    np.testing.assert_allclose(sorted(principal.values[0].real), [2.0, 3.0, 5.0])
    assert f"{angle:.0f}° apart" in principal.describe()


def test_degenerate_values_leave_the_axes_in_peace():
    """A uniaxial crystal in an odd frame: any pair across the optic axis would do; none jumps."""
    turn = Rotation.from_euler("xyz", [20, 50, 70], degrees=True).as_matrix()
    rng = np.random.default_rng(0)
    tensor = turn @ diagonal(line(4.0), line(4.0), line(6.0)) @ turn.T
    noise = 1e-9 * rng.normal(size=tensor.shape)
    principal = principal_tensor(tensor + noise + noise.swapaxes(1, 2))
    assert principal.real.rotation.max() < 0.1
    assert principal.misalignment.max() < 0.1
    optic = np.abs(principal.real.axes[:, :, :] @ turn[:, 2]).max(axis=1)
    np.testing.assert_allclose(optic, 1.0, atol=1e-5)


def test_isotropic_spectrum_has_three_equal_values():
    spectrum = OpticalSpectrum(EnergyGrid(0.0, 10.0, 201), line(4.0), "ipa")
    principal = spectrum.principal()
    np.testing.assert_allclose(principal.values, np.repeat(line(4.0)[:, None], 3, axis=1))
    np.testing.assert_array_equal(principal.real.axes[7], np.eye(3))


def test_axes_diagonalise():
    matrices = np.random.default_rng(5).normal(size=(20, 3, 3))
    matrices += matrices.swapaxes(1, 2)
    found = principal_axes(matrices)
    rebuilt = np.einsum("nj,nja,njb->nab", found.values, found.axes, found.axes)
    np.testing.assert_allclose(rebuilt, matrices, atol=1e-12)


def test_other_shapes_are_refused():
    with pytest.raises(SpectrumError, match=r"\(n, 3, 3\)"):
        principal_tensor(np.zeros((5, 3)))
