"""Point groups, the five optical classes, and projections that know them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.core.operations import SymmOp
from scipy.spatial.transform import Rotation

from opalign.errors import StructureError
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.symmetry import optical_symmetry, project, symmetrized

ROCK_SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)
WURTZITE = Structure.from_spacegroup(
    "P6_3mc", Lattice.hexagonal(3.25, 5.2), ["Zn", "O"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.38]]
)
ORTHORHOMBIC = Structure.from_spacegroup(
    "Pmmm", Lattice.orthorhombic(3, 4, 5), ["Ba", "O"], [[0, 0, 0], [0.5, 0.5, 0.2]]
)
MONOCLINIC = Structure.from_spacegroup(
    "P2/m", Lattice.monoclinic(5, 3, 6, 105), ["Zr", "O"], [[0, 0, 0], [0.2, 0.5, 0.3]]
)
TRICLINIC = Structure(
    Lattice.from_parameters(4, 5, 6, 80, 95, 103),
    ["V", "O", "O"],
    [[0, 0, 0], [0.2, 0.3, 0.1], [0.6, 0.1, 0.7]],
)
CLASSES = [
    (ROCK_SALT, "isotropic", "m-3m", 1),
    (RUTILE, "uniaxial", "4/mmm", 2),
    (WURTZITE, "uniaxial", "6mm", 2),
    (ORTHORHOMBIC, "orthorhombic", "mmm", 3),
    (MONOCLINIC, "monoclinic", "2/m", 4),
    (TRICLINIC, "triclinic", "1", 6),
]
GRID = EnergyGrid(0.0, 1.0, 4)


def turned(structure, rotation):
    return structure.copy().apply_operation(SymmOp.from_rotation_and_translation(rotation))


def random_tensor(seed):
    parts = np.random.default_rng(seed).normal(size=(2, 3, 3, 3))
    # ε₂ = A·Aᵀ has no negative value in any direction.
    return parts[0] + parts[0].swapaxes(1, 2) + 1j * parts[1] @ parts[1].swapaxes(1, 2)


@pytest.mark.parametrize(("structure", "expected", "group", "independent"), CLASSES)
def test_class_and_components(structure, expected, group, independent):
    """As many independent numbers as Nye's table 9 says, in any frame."""
    for rotation in (
        np.eye(3),
        Rotation.from_euler("xyz", [10, 200, 31], degrees=True).as_matrix(),
    ):
        found = optical_symmetry(turned(structure, rotation))
        assert (found.optical_class, found.point_group) == (expected, group)
        basis = [random_tensor(seed)[0].real for seed in range(8)]
        projected = np.array([symmetrized(one, found.rotations).ravel() for one in basis])
        assert np.linalg.matrix_rank(projected, tol=1e-8) == independent


@pytest.mark.parametrize("structure", [RUTILE, WURTZITE, MONOCLINIC])
@pytest.mark.parametrize("seed", [1, 2])
def test_unique_axis_turns_with_the_crystal(structure, seed):
    rotation = Rotation.random(random_state=seed).as_matrix()
    axis = structure.lattice.matrix[1 if structure is MONOCLINIC else 2]
    expected = rotation @ axis / np.linalg.norm(axis)
    found = optical_symmetry(turned(structure, rotation)).unique_axis
    assert abs(found @ expected) == pytest.approx(1.0, abs=1e-8)


def test_optic_axis_along_the_body_diagonal():
    """The trace of the probes alone would not see an axis along [111]."""
    rhombohedral = Structure(
        Lattice([[2.0, 2.0, 0.3], [0.3, 2.0, 2.0], [2.0, 0.3, 2.0]]), ["As"], [[0, 0, 0]]
    )
    found = optical_symmetry(rhombohedral)
    assert found.optical_class == "uniaxial"
    np.testing.assert_allclose(found.unique_axis, np.full(3, 3**-0.5), atol=1e-8)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), which=st.integers(0, len(CLASSES) - 1))
def test_projection_is_idempotent_invariant_and_keeps_the_trace(seed, which):
    structure = CLASSES[which][0]
    epsilon = random_tensor(seed)
    spectrum = OpticalSpectrum(GRID.__class__(0.0, 1.0, 3), epsilon, "ipa")
    first = project(spectrum, structure)
    projected = first.spectrum.epsilon
    again = project(first.spectrum, structure)
    np.testing.assert_allclose(again.spectrum.epsilon, projected, atol=1e-10)
    assert again.residual.max() < 1e-10
    for rotation in first.symmetry.rotations:
        np.testing.assert_allclose(rotation @ projected @ rotation.T, projected, atol=1e-10)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(
        np.trace(projected, axis1=1, axis2=2), np.trace(epsilon, axis1=1, axis2=2)
    )
    expected = np.abs(projected - epsilon).max(axis=(1, 2)) / np.abs(epsilon).max()
    np.testing.assert_allclose(first.residual, expected, atol=1e-12)


def test_isotropic_spectrum_is_left_alone():
    spectrum = OpticalSpectrum(GRID, np.full(4, 2.0 + 0.5j), "ipa")
    assert spectrum.projected(RUTILE) is spectrum


def test_method_is_the_function():
    spectrum = OpticalSpectrum(EnergyGrid(0.0, 1.0, 3), random_tensor(0), "ipa")
    np.testing.assert_array_equal(
        spectrum.projected(WURTZITE).epsilon, project(spectrum, WURTZITE).spectrum.epsilon
    )


def test_atoms_on_top_of_each_other_have_no_symmetry():
    broken = Structure(Lattice.cubic(4.0), ["O", "O"], [[0, 0, 0], [0, 0, 1e-6]])
    with pytest.raises(StructureError, match="symmetry"):
        optical_symmetry(broken)
