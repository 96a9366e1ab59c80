"""Light that falls straight onto a face of an anisotropic crystal.

With ŝ the normal of the face and t the two directions within it, D has no component along ŝ, which
leaves an effective tensor for the field in the face:

    ε_eff = ε_tt − ε_ts·ε_st / ε_ss,    N²·E_t = ε_eff·E_t,

whose eigenvectors are the two waves that travel inwards unchanged, with indices N₁, N₂. With
𝐍 = √ε_eff, the root with k ≥ 0 of both, continuity of the tangential E and H gives the reflected
field r·E with r = (1 − 𝐍)(1 + 𝐍)⁻¹.
Source: e.g. M. Born and E. Wolf, Principles of Optics, 7th ed. (1999), chapter 15; the matrix root
by Cayley–Hamilton, 𝐍 = (ε_eff + N₁N₂)/(N₁ + N₂), needs no eigenvectors and so holds at singular
axes too, where they coincide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from opalign.errors import SpectrumError
from opalign.spectrum import relations
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.validation import unit_vector


@dataclass(frozen=True, eq=False)
class EigenPolarizations:
    """The two waves that enter a face unchanged, each followed through energy.

    Parameters
    ----------
    index
        (n, 2) complex, N = n + ik.
    reflectivity
        (n, 2).
    field
        (n, 2, 3) complex unit vectors of E within the face, Cartesian; real up to a phase where the
        wave is linearly polarised. Where both waves have the same index any pair would do.
    """

    index: np.ndarray
    reflectivity: np.ndarray
    field: np.ndarray


def in_plane_axes(normal: Sequence[float]) -> np.ndarray:
    """Return two unit vectors (2, 3) that span the face with this ``normal`` (3,)."""
    direction = unit_vector(normal)
    # Start from the Cartesian axis farthest from the normal.
    first = np.cross(direction, np.eye(3)[np.abs(direction).argmin()])
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(direction, first)])


def effective_tensor(epsilon: np.ndarray, normal: Sequence[float]) -> np.ndarray:
    """Return ε_eff (n, 2, 2), on :func:`in_plane_axes`, of ``epsilon`` (n, 3, 3).

    Where ε_ss = 0 exactly, a plasma oscillation along the normal, it is not finite.
    """
    direction, plane = unit_vector(normal), in_plane_axes(normal)
    across = epsilon @ direction
    along = across @ direction
    mixed = across @ plane.T
    with np.errstate(divide="ignore", invalid="ignore"):
        correction = mixed[:, :, None] * mixed[:, None, :] / along[:, None, None]
    return plane @ epsilon @ plane.T - correction


def normal_reflectivity(
    spectrum: OpticalSpectrum,
    normal: Sequence[float],
    polarization: Sequence[float] | None = None,
) -> np.ndarray:
    """Return R (n,) of the face with this ``normal``, for light that arrives along it.

    Parameters
    ----------
    spectrum
        Tensor or isotropic.
    normal, polarization
        Cartesian vectors (3,) of any length. Of the ``polarization`` of the incoming field only the
        part within the face counts; None is unpolarised light, the mean over all polarisations.
        All reflected light is counted, also what has changed its polarisation.

    Raises
    ------
    SpectrumError
        If a vector is no direction, or the polarisation is parallel to the normal.
    """
    plane = in_plane_axes(normal)
    if polarization is not None:
        field = plane @ unit_vector(polarization)
        length = np.linalg.norm(field)
        if length < 1e-9:
            raise SpectrumError(
                f"a field along {polarization} does not lie in the face with normal {normal}",
                expected="a polarisation across the direction of propagation",
            )
        field = field / length
    if not spectrum.is_tensor:
        return spectrum.reflectivity
    amplitude = _amplitudes(effective_tensor(spectrum.epsilon, normal))
    if polarization is None:
        return np.asarray(0.5 * (np.abs(amplitude) ** 2).sum(axis=(1, 2)))
    return np.asarray((np.abs(amplitude @ field) ** 2).sum(axis=1))


def eigen_polarizations(spectrum: OpticalSpectrum, normal: Sequence[float]) -> EigenPolarizations:
    """Return indices, reflectivities and fields of the two waves that enter the face unchanged.

    Raises
    ------
    SpectrumError
        If ``normal`` is no direction.
    """
    epsilon = spectrum.epsilon
    if not spectrum.is_tensor:
        epsilon = epsilon[:, None, None] * np.eye(3)
    effective = effective_tensor(epsilon, normal)
    values, vectors = np.linalg.eig(effective)
    fields = vectors.swapaxes(1, 2)
    for row in range(1, len(values)):
        overlap = np.abs(fields[row] @ fields[row - 1].conj().T)
        swapped = overlap[0, 1] + overlap[1, 0] > overlap[0, 0] + overlap[1, 1] + 1e-9
        if swapped:
            values[row], fields[row] = values[row, ::-1].copy(), fields[row, ::-1].copy()
    index, extinction = relations.refractive_index(values.real, values.imag)
    return EigenPolarizations(
        index + 1j * extinction,
        relations.reflectivity(index, extinction),
        fields @ in_plane_axes(normal),
    )


def _amplitudes(effective: np.ndarray) -> np.ndarray:
    """Return r = (1 − 𝐍)(1 + 𝐍)⁻¹ (n, 2, 2)."""
    values = np.linalg.eigvals(effective)
    index, extinction = relations.refractive_index(values.real, values.imag)
    roots = index + 1j * extinction
    total = roots.sum(axis=1)[:, None, None]
    unity = np.eye(2)
    # ε_eff is zero where both roots vanish; its root is zero as well.
    matrix = (effective + roots.prod(axis=1)[:, None, None] * unity) / np.where(
        total == 0.0, 1.0, total
    )
    return np.linalg.solve(unity + matrix, unity - matrix)
