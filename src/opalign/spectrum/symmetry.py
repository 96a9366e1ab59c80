"""What a crystal's point group says about its dielectric tensor.

ε is invariant under every rotation of the point group, so the average of R·ε·Rᵀ over the group
removes what symmetry forbids: the noise of k-point meshes, cells in odd orientations, networks.
Which components are left is a matter of the group alone: the number of independent ones, the
trace of that average on symmetric tensors, ½⟨(tr R)² + tr R²⟩, is 1, 2, 3, 4 or 6.
Source: J. F. Nye, Physical Properties of Crystals (1985), chapters I and XIII.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from opalign.errors import StructureError
from opalign.spectrum.optical import OpticalSpectrum

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

OpticalClass = Literal["isotropic", "uniaxial", "orthorhombic", "monoclinic", "triclinic"]
"""Cubic; tetragonal, trigonal and hexagonal; and the three kinds of biaxial crystals."""

SYMMETRY_TOLERANCE = 0.01
"""Å within which atoms count as symmetric, as is customary for relaxed structures."""

_CLASSES: dict[int, OpticalClass] = {
    1: "isotropic",
    2: "uniaxial",
    3: "orthorhombic",
    4: "monoclinic",
    6: "triclinic",
}

_SYMMETRIC_BASIS = np.stack(
    [
        np.outer(first, second) + np.outer(second, first)
        for index, first in enumerate(np.eye(3))
        for second in np.eye(3)[index:]
    ]
)


@dataclass(frozen=True, eq=False)
class OpticalSymmetry:
    """The point group as far as optics sees it.

    Parameters
    ----------
    point_group
        International symbol.
    optical_class
        Which components of ε are independent.
    rotations
        (g, 3, 3), Cartesian, orthogonal.
    unique_axis
        (3,) unit vector: the optic axis of a uniaxial crystal, the twofold axis (or normal of the
        mirror) of a monoclinic one; None otherwise.
    """

    point_group: str
    optical_class: OpticalClass
    rotations: np.ndarray
    unique_axis: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Projection:
    """A spectrum made to obey its crystal's symmetry.

    ``residual`` (n,) is the largest component of what was taken away at each energy, relative to
    the largest |ε| of the spectrum; more than some per cent says that structure and tensor are not
    in the same Cartesian frame.
    """

    spectrum: OpticalSpectrum
    symmetry: OpticalSymmetry
    residual: np.ndarray


def optical_symmetry(
    structure: Structure, tolerance: float = SYMMETRY_TOLERANCE
) -> OpticalSymmetry:
    """Return the point group of ``structure``; ``tolerance`` in Å is spglib's symprec.

    Raises
    ------
    StructureError
        If no symmetry can be found, as with atoms on top of each other.
    """
    import spglib

    lattice = np.asarray(structure.lattice.matrix)
    kinds = [str(site.species) for site in structure]
    number = {kind: index for index, kind in enumerate(dict.fromkeys(kinds), start=1)}
    cell: Any = (lattice, structure.frac_coords, [number[kind] for kind in kinds])
    try:
        dataset = spglib.get_symmetry_dataset(cell, symprec=tolerance)
    except spglib.SpglibError:
        dataset = None
    if dataset is None:
        raise StructureError(
            "the symmetry of the structure cannot be found",
            expected="a crystal without overlapping atoms",
            cure=f"try another tolerance than {tolerance:g} Å",
        )
    # Fractional columns transform as x′ = W·x; lattice vectors are rows, hence the transposes.
    turned = np.unique(dataset.rotations, axis=0)
    cartesian = lattice.T @ turned @ np.linalg.inv(lattice.T)
    # A cell that is symmetric only within the tolerance gives rotations that are so as well.
    left, _, right = np.linalg.svd(cartesian)
    return _symmetry(str(dataset.pointgroup).strip(), left @ right)


def project(
    spectrum: OpticalSpectrum, structure: Structure, tolerance: float = SYMMETRY_TOLERANCE
) -> Projection:
    """Average ``spectrum`` over the point group of ``structure``, given in the same frame.

    An isotropic spectrum comes back as it is. Errors as for :func:`optical_symmetry`.
    """
    symmetry = optical_symmetry(structure, tolerance)
    if not spectrum.is_tensor:
        return Projection(spectrum, symmetry, np.zeros(spectrum.grid.num))
    projected = symmetrized(spectrum.epsilon, symmetry.rotations)
    residual = np.abs(projected - spectrum.epsilon).max(axis=(1, 2))
    return Projection(
        replace(spectrum, epsilon=projected),
        symmetry,
        residual / np.abs(spectrum.epsilon).max(),
    )


def symmetrized(tensors: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Return the average of R·ε·Rᵀ over ``rotations`` (g, 3, 3) of ``tensors`` (..., 3, 3)."""
    total = sum(rotation @ tensors @ rotation.T for rotation in rotations)
    return np.asarray(total) / len(rotations)


def _symmetry(point_group: str, rotations: np.ndarray) -> OpticalSymmetry:
    traces = np.trace(rotations, axis1=1, axis2=2)
    squares = np.trace(rotations @ rotations, axis1=1, axis2=2)
    independent = round(float(np.mean(0.5 * (traces**2 + squares))))
    optical_class = _CLASSES[independent]
    axis = None
    if optical_class == "uniaxial":
        # Projected, every tensor becomes a·1 + c·(ẑẑᵀ − 1/3) with its own c of either sign; the
        # squares of the second parts add up to a tensor whose largest value belongs to ẑ.
        probes = symmetrized(_SYMMETRIC_BASIS, rotations)
        parts = probes - np.trace(probes, axis1=1, axis2=2)[:, None, None] * np.eye(3) / 3.0
        axis = np.linalg.eigh((parts @ parts).sum(axis=0))[1][:, -1]
    elif optical_class == "monoclinic":
        proper = rotations * np.linalg.det(rotations)[:, None, None]
        axis = np.linalg.eigh(proper.mean(axis=0))[1][:, -1]
    if axis is not None:
        axis = axis * np.sign(axis[np.abs(axis).argmax()])
    return OpticalSymmetry(point_group, optical_class, rotations, axis)
