"""Double refraction: principal refractive indices, their difference, the angle of the optic axes.

Source: M. Born and E. Wolf, Principles of Optics, 7th ed. (1999), chapter 15; the optic angle from
tan²V_γ = (n_α⁻² − n_β⁻²)/(n_β⁻² − n_γ⁻²) for n_α ≤ n_β ≤ n_γ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opalign.errors import SpectrumError
from opalign.spectrum import relations
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.symmetry import OpticalClass, OpticalSymmetry, optical_symmetry, symmetrized
from opalign.spectrum.tensor import principal_tensor

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

TRANSPARENT_EXTINCTION = 0.01
"""Largest k at which a crystal counts as transparent; an optic angle has no meaning above."""


@dataclass(frozen=True, eq=False)
class Birefringence:
    """Principal indices of a crystal and what follows from them, at every energy.

    Parameters
    ----------
    optical_class
        What the crystal's symmetry allows.
    index, extinction
        (n, 3) along the principal axes, each column following one axis; for a uniaxial crystal
        ordinary, ordinary, extraordinary. NaN where Re ε and Im ε have different axes.
    delta
        (n,): n_e − n_o of a uniaxial crystal, with its sign; otherwise the largest minus the
        smallest principal index.
    optic_angle
        (n,) 2V in degrees, the acute angle between the optic axes of a biaxial crystal. NaN in
        other classes and where the crystal absorbs (k > 0.01).
    positive
        (n,) 1.0 where the acute angle lies about the axis of the largest index (for a uniaxial
        crystal: n_e > n_o), −1.0 where about that of the smallest; NaN where undefined.
    """

    optical_class: OpticalClass
    index: np.ndarray
    extinction: np.ndarray
    delta: np.ndarray
    optic_angle: np.ndarray
    positive: np.ndarray


def birefringence(
    spectrum: OpticalSpectrum, structure: Structure | OpticalSymmetry
) -> Birefringence:
    """Return the principal indices of a tensor in the frame of ``structure``, projected first.

    Raises
    ------
    SpectrumError
        If the spectrum is an isotropic average.
    StructureError
        If the structure's symmetry cannot be found.
    """
    if not spectrum.is_tensor:
        raise SpectrumError(
            "an isotropic average knows no birefringence",
            where=spectrum.material_id,
            expected="a dielectric tensor (n, 3, 3)",
        )
    symmetry = structure if isinstance(structure, OpticalSymmetry) else optical_symmetry(structure)
    epsilon = symmetrized(spectrum.epsilon, symmetry.rotations)
    if symmetry.unique_axis is not None and symmetry.optical_class == "uniaxial":
        axis = symmetry.unique_axis
        extraordinary = epsilon @ axis @ axis
        ordinary = 0.5 * (np.trace(epsilon, axis1=1, axis2=2) - extraordinary)
        values = np.stack([ordinary, ordinary, extraordinary], axis=1)
    else:
        values = principal_tensor(epsilon).values
    index, extinction = relations.refractive_index(values.real, values.imag)
    if symmetry.optical_class == "uniaxial":
        delta = index[:, 2] - index[:, 0]
        angle, sign = np.full(len(delta), np.nan), np.sign(delta)
    else:
        delta = index.max(axis=1) - index.min(axis=1)
        angle, sign = optic_angle(index)
        opaque = ~(extinction.max(axis=1) <= TRANSPARENT_EXTINCTION)
        if symmetry.optical_class == "isotropic":
            opaque[:] = True
        angle[opaque] = sign[opaque] = np.nan
    return Birefringence(symmetry.optical_class, index, extinction, delta, angle, sign)


def optic_angle(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return 2V (n,) in degrees and the optic sign ±1 (n,) of principal indices (n, 3).

    NaN where all three are equal or one is not positive. Zero where two of them are equal.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        alpha, beta, gamma = np.sort(index, axis=1).T
        below, above = alpha**-2 - beta**-2, beta**-2 - gamma**-2
        about_gamma = 2.0 * np.degrees(np.arctan2(np.sqrt(below), np.sqrt(above)))
    undefined = ~((alpha > 0.0) & (gamma > alpha))
    positive = about_gamma < 90.0
    angle = np.where(positive, about_gamma, 180.0 - about_gamma)
    return np.where(undefined, np.nan, angle), np.where(
        undefined, np.nan, np.where(positive, 1.0, -1.0)
    )
