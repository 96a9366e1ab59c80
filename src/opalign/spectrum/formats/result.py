"""What reading a file gives, and how spectra are made of the numbers in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opalign.errors import SpectrumError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.formats.sampling import sample
from opalign.spectrum.optical import OpticalSpectrum

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

NEGATIVE_NOISE = 1e-3
"""Negative Im ε, relative to its largest value, that is taken for noise and set to zero."""


@dataclass(frozen=True)
class ReadOptions:
    """What the caller knows and the file may not; see :func:`~.registry.read_spectra`."""

    level: str | None = None
    broadening: Broadening | None = None
    material_id: str | None = None
    step: float | None = None


@dataclass(frozen=True)
class SpectrumFile:
    """All that a file tells.

    Parameters
    ----------
    path, format
        The file, and the name of its format.
    spectra
        One spectrum per level of theory.
    structure
        The crystal, where the file has it.
    metadata
        What else is known, by the words of the code: settings, ``band_gap`` and
        ``direct_band_gap`` in eV, version.
    notes
        What a user should know: spectra left out and why, values changed, widths assumed.
    """

    path: Path
    format: str
    spectra: tuple[OpticalSpectrum, ...]
    structure: Structure | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def levels(self) -> tuple[str, ...]:
        """Levels of theory in the file."""
        return tuple(spectrum.level for spectrum in self.spectra)

    def spectrum(self, level: str | None = None) -> OpticalSpectrum:
        """Return the spectrum of this ``level``; None means the first.

        Raises
        ------
        SpectrumError
            If there is none; the message lists those there are and why others were left out.
        """
        for spectrum in self.spectra:
            if level in (None, spectrum.level):
                return spectrum
        raise SpectrumError(
            f"there is no usable spectrum of level {level!r}",
            where=str(self.path),
            expected=f"one of {', '.join(self.levels)}",
            cure="; ".join(self.notes) or None,
        )


@dataclass(frozen=True)
class Draft:
    """Numbers of one spectrum as they stand in a file.

    Parameters
    ----------
    level
        Level of theory, or None if the file does not say.
    energies
        (m,) in eV, increasing, evenly spaced or not.
    epsilon
        Complex, (m,) or (m, 3, 3).
    broadening
        What ε contains.
    origin
        What the file calls it, for the provenance.
    energy_rounding, rounding
        Largest error of energies (eV) and of ε by the digits they are written with.
    """

    level: str | None
    energies: np.ndarray
    epsilon: np.ndarray
    broadening: Broadening = field(default_factory=Broadening)
    origin: str = ""
    energy_rounding: float = 0.0
    rounding: float = 0.0


def assemble(
    path: Path,
    name: str,
    drafts: Sequence[Draft],
    options: ReadOptions,
    *,
    source: str,
    material_id: str | None = None,
    structure: Structure | None = None,
    metadata: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> SpectrumFile:
    """Make spectra of ``drafts``, leaving out those that break the rules of optics, with a note.

    ``name`` is the format's, ``source`` the code and its version, for the provenance.

    Raises
    ------
    SpectrumError
        If none is left, or none is of the level that was asked for.
    """
    where = str(path)
    spectra: list[OpticalSpectrum] = []
    remarks = list(notes)
    failure: SpectrumError | None = None
    for draft in drafts:
        level = draft.level or options.level
        if level is None:
            raise level_unknown(where)
        if _is_vacuum(draft.epsilon):
            remarks.append(f"{draft.origin or level}: left out, since ε is 1 at all energies")
            continue
        try:
            spectrum, remark = _spectrum(path, draft, level, options, source, material_id)
        except SpectrumError as error:
            failure = failure or error
            lowest = float(draft.epsilon.imag.min())
            remarks.append(
                f"{draft.origin or level}: left out, since {error.problem} "
                f"(lowest element of Im ε: {lowest:.3g})"
            )
            continue
        spectra.append(spectrum)
        if remark:
            remarks.append(f"{draft.origin or level}: {remark}")
    if not spectra:
        raise failure or SpectrumError(
            "there is no dielectric function but that of vacuum",
            where=where,
            expected="a calculation of optical properties",
            cure="; ".join(remarks) or None,
        )
    known = dict(metadata or {})
    found = SpectrumFile(path, name, tuple(spectra), structure, known, tuple(remarks))
    if options.level is None:
        return found
    chosen = found.spectrum(options.level)
    return SpectrumFile(path, name, (chosen,), structure, found.metadata, found.notes)


def level_unknown(where: str) -> SpectrumError:
    """Return the error of a file that does not tell its level of theory."""
    return SpectrumError(
        "the level of theory is not in the file",
        where=where,
        expected="a name such as 'ipa', 'rpa' or 'experiment'",
        cure="pass level",
    )


def _spectrum(
    path: Path,
    draft: Draft,
    level: str,
    options: ReadOptions,
    source: str,
    material_id: str | None,
) -> tuple[OpticalSpectrum, str | None]:
    where = str(path)
    sampled = sample(
        draft.energies,
        draft.epsilon,
        where,
        rounding=draft.energy_rounding,
        step=options.step,
    )
    epsilon, noise = _without_noise(sampled.values, draft.rounding)
    remark = "; ".join(part for part in (sampled.note, noise) if part)
    provenance = ", ".join(part for part in (path.name, source, draft.origin, remark) if part)
    identifier = options.material_id or material_id
    try:
        spectrum = OpticalSpectrum(
            sampled.grid,
            epsilon,
            level,
            options.broadening or draft.broadening,
            identifier,
            provenance,
        )
    except SpectrumError as error:
        raise SpectrumError(
            error.problem,
            where=f"{where}, {draft.origin or level}",
            expected=error.expected,
            cure=error.cure,
        ) from error
    return spectrum, remark or None


def _is_vacuum(epsilon: np.ndarray) -> bool:
    """Whether ε is 1 everywhere, as VASP writes a tensor that it has not computed."""
    identity = np.eye(3) if epsilon.ndim == 3 else 1.0
    return bool((epsilon == identity).all())


def _without_noise(epsilon: np.ndarray, rounding: float) -> tuple[np.ndarray, str | None]:
    """Set small negative eigenvalues of Im ε to zero; return ε and what was done.

    Rounding to a few digits and the tails of transforms make them. Larger ones stay, for the checks
    of :class:`OpticalSpectrum` to refuse.
    """
    imaginary = epsilon.imag
    if epsilon.ndim == 1:
        lowest = float(imaginary.min())
    else:
        imaginary = 0.5 * (imaginary + imaginary.swapaxes(1, 2))
        lowest = float(np.linalg.eigvalsh(imaginary).min())
    # Three elements in a row of the tensor, each rounded.
    allowed = max(3.0 * rounding, NEGATIVE_NOISE * float(np.abs(imaginary).max()))
    if lowest >= 0.0 or lowest < -allowed:
        return epsilon, None
    if epsilon.ndim == 1:
        settled = epsilon.real + 1j * np.maximum(imaginary, 0.0)
    else:
        values, vectors = np.linalg.eigh(imaginary)
        bad = values[:, 0] < 0.0
        positive = vectors * np.maximum(values, 0.0)[:, None, :] @ vectors.swapaxes(1, 2)
        settled = epsilon.copy()
        settled[bad] = epsilon[bad].real + 1j * positive[bad]
    if lowest > -1e-12:
        return settled, None
    return settled, f"negative Im ε down to {lowest:.2g} set to zero"
