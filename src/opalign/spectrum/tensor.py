"""Principal values and axes of a dielectric tensor, followed through energy.

Re ε and Im ε are real symmetric, so each has three orthogonal axes at every energy. In crystals of
orthorhombic or higher symmetry all of them are fixed by symmetry; in monoclinic and triclinic ones
they turn with energy, and those of Re ε and Im ε differ where light is absorbed: then ε has no
common principal axes. Sorting values by size would swap axes where two values cross; here axes are
followed by overlap, so that a value belongs to a direction.
Source: M. Born and E. Wolf, Principles of Optics, 7th ed. (1999), chapter 15.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from opalign.errors import SpectrumError

DEGENERACY = 1e-6
"""Values closer than this share of the largest |ε| of the spectrum span a plane or space, within
which the axes are free."""

SHARED_ANGLE = 1.0
"""Degrees below which axes count as the same."""


@dataclass(frozen=True, eq=False)
class PrincipalAxes:
    """Principal values and axes of the real or the imaginary part of ε at every energy.

    Parameters
    ----------
    values
        (n, 3), each column following one axis.
    axes
        (n, 3, 3), right-handed: ``axes[i, j]`` is the unit vector, Cartesian, of ``values[i, j]``.
    rotation
        (n,) angle in degrees of the rotation that takes the axes from where they are most clearly
        defined (the energy of the largest anisotropy) to where they are.
    """

    values: np.ndarray
    axes: np.ndarray
    rotation: np.ndarray

    @property
    def fixed(self) -> bool:
        """Whether the axes keep their directions at all energies, to one degree."""
        return bool(self.rotation.max() < SHARED_ANGLE)


@dataclass(frozen=True, eq=False)
class PrincipalTensor:
    """Principal axes of Re ε and Im ε, and how far the two are apart.

    ``misalignment`` (n,) is the angle in degrees of the smallest rotation that takes the axes of
    Re ε to those of Im ε; zero where either leaves the choice open, as Im ε does below the gap.
    """

    real: PrincipalAxes
    imaginary: PrincipalAxes
    misalignment: np.ndarray

    @property
    def shared(self) -> np.ndarray:
        """Where (n,) Re ε and Im ε have the same axes, to one degree."""
        return self.misalignment < SHARED_ANGLE

    @property
    def values(self) -> np.ndarray:
        """Complex principal values (n, 3) along the axes of Re ε; NaN where Im ε has others."""
        along = np.where(self.shared[:, None], self._imaginary_along_real(), np.nan)
        return self.real.values + 1j * along

    def describe(self) -> str:
        """Return one sentence on what the axes do."""
        turns = max(float(self.real.rotation.max()), float(self.imaginary.rotation.max()))
        apart = float(self.misalignment.max())
        if turns < SHARED_ANGLE and apart < SHARED_ANGLE:
            return "The principal axes are the same at all energies, for Re ε and Im ε."
        return (
            f"The principal axes turn with energy, by up to {self.real.rotation.max():.0f}° (Re ε) "
            f"and {self.imaginary.rotation.max():.0f}° (Im ε); those of Re ε and Im ε are up to "
            f"{apart:.0f}° apart."
        )

    def _imaginary_along_real(self) -> np.ndarray:
        overlap = np.einsum("nik,njk->nij", self.real.axes, self.imaginary.axes) ** 2
        return np.einsum("nij,nj->ni", overlap, self.imaginary.values)


def principal_tensor(epsilon: np.ndarray) -> PrincipalTensor:
    """Return principal axes of the complex symmetric tensors ``epsilon`` (n, 3, 3).

    Raises
    ------
    SpectrumError
        If ``epsilon`` has another shape.
    """
    epsilon = np.asarray(epsilon)
    if epsilon.ndim != 3 or epsilon.shape[1:] != (3, 3):
        raise SpectrumError(
            f"ε of shape {epsilon.shape} has no principal axes",
            expected="tensors of shape (n, 3, 3)",
        )
    tolerance = DEGENERACY * float(np.abs(epsilon).max())
    real, imaginary = (principal_axes(part, tolerance) for part in (epsilon.real, epsilon.imag))
    return PrincipalTensor(real, imaginary, _misalignment(epsilon, tolerance))


def principal_axes(tensors: np.ndarray, tolerance: float = 0.0) -> PrincipalAxes:
    """Follow the axes of real symmetric ``tensors`` (n, 3, 3) from the most anisotropic one.

    Values that are closer than ``tolerance`` leave their axes free; these keep as near as they can
    to those of the neighbouring energy.
    """
    values, vectors = np.linalg.eigh(tensors)
    # Only if all three values differ are all axes defined: judge by the smaller difference first.
    gaps = np.sort(np.diff(values, axis=1), axis=1)
    significant = gaps[:, 0] > tolerance
    anchor = int((gaps[:, 0] if significant.any() else gaps[:, 1]).argmax())
    followed, axes = np.empty_like(values), np.empty_like(vectors)
    start = np.eye(3)
    followed[anchor], axes[anchor] = nearest_axes(values[anchor], vectors[anchor], start, tolerance)
    for order in (range(anchor + 1, len(values)), range(anchor - 1, -1, -1)):
        previous = axes[anchor]
        for index in order:
            followed[index], previous = nearest_axes(
                values[index], vectors[index], previous, tolerance
            )
            axes[index] = previous
    return PrincipalAxes(followed, axes, _angle_between(axes, axes[anchor]))


def nearest_axes(
    values: np.ndarray, vectors: np.ndarray, reference: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return a tensor's values (3,) and axes (3, 3), as rows, ordered and turned to ``reference``.

    ``values`` ascending and ``vectors`` (columns) are those of numpy's eigh. Axes of equal values
    are turned within what they span.
    """
    group = np.concatenate(([0], np.cumsum(np.diff(values) > tolerance)))
    if group[-1] == 0:
        return values, reference
    # Share of each reference axis that lies within the space of each value.
    shares = np.stack(
        [((reference @ vectors[:, group == number]) ** 2).sum(axis=1) for number in group], axis=1
    )
    order = max(permutations(range(3)), key=lambda slots: shares[range(3), slots].sum())
    slots = np.array(order)
    axes = np.empty((3, 3))
    for number in range(group[-1] + 1):
        members = group[slots] == number
        basis = vectors[:, group == number]
        # The rotation of the basis nearest to the reference: the polar factor of the projection.
        left, _, right = np.linalg.svd(reference[members] @ basis)
        axes[members] = left @ right @ basis.T
    if np.linalg.det(axes) < 0.0:
        # Turn over the axis that agrees least, so that the frame stays right-handed.
        worst = int(np.abs(np.einsum("ij,ij->i", axes, reference)).argmin())
        axes[worst] *= -1.0
    return values[slots], axes


def _misalignment(epsilon: np.ndarray, tolerance: float) -> np.ndarray:
    parts = [np.linalg.eigh(part) for part in (epsilon.real, epsilon.imag)]
    angles = np.zeros(len(epsilon))
    # Axes are shared exactly where the parts commute; most tensors are settled by that.
    commutator = epsilon.real @ epsilon.imag - epsilon.imag @ epsilon.real
    scale = np.linalg.norm(epsilon.real, axis=(1, 2)) * np.linalg.norm(epsilon.imag, axis=(1, 2))
    for index in np.flatnonzero(np.abs(commutator).max(axis=(1, 2)) > 1e-12 * scale):
        (real, real_axes), (imaginary, imaginary_axes) = (
            (values[index], vectors[index]) for values, vectors in parts
        )
        turned = []
        for values, vectors, other in (
            (real, real_axes, imaginary_axes.T),
            (imaginary, imaginary_axes, real_axes.T),
        ):
            axes = nearest_axes(values, vectors, other, tolerance)[1]
            # Only lines matter here, not which way they point.
            cosine = np.clip(np.abs(np.einsum("ij,ij->i", axes, other)), 0.0, 1.0)
            turned.append(np.degrees(np.arccos(cosine)).max())
        angles[index] = min(turned)
    return angles


def _angle_between(axes: np.ndarray, reference: np.ndarray) -> np.ndarray:
    # |axes − reference|² of two frames is 8 sin²(angle/2): exact for small angles too.
    distance = np.linalg.norm(axes - reference, axis=(1, 2))
    return np.degrees(2.0 * np.arcsin(np.clip(distance / np.sqrt(8.0), 0.0, 1.0)))
