"""Which computed spectra should not be learned from: checks, each with a number and a flag.

The limits were set on 142 spectra (71 oxides and chalcogenides, PBE, IPA and RPA, up to 20 eV, by
linear tetrahedra) that were looked at one by one; what they had is given with each.

The f-sum counts the electrons that absorb within the window, Kramers–Kronig holds ε₁ against ε₂
(F. Wooten, Optical Properties of Solids (1972), section 3.4 and chapter 6); a tensor is invariant
under its point group (J. F. Nye, Physical Properties of Crystals (1985), chapter I).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from opalign.errors import SpectrumError, StructureError
from opalign.firstprinciples.engine import EngineResult
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.sum_check import sum_rules, valence_electron_density
from opalign.spectrum.sum_rules import FITTED_SHARE
from opalign.spectrum.symmetry import project

CHECKS = ("negative", "symmetry", "f_sum", "causality", "onset")
"""Names of the checks; a flag is the level and the name, such as ``rpa_f_sum``."""


class QualityLimits(BaseModel):
    """Beyond what a spectrum is flagged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    negative: float = Field(
        default=1e-3, ge=0, description="−Im ε (lowest eigenvalue) relative to the largest |ε|"
    )
    symmetry: float = Field(
        default=0.02,
        gt=0,
        description="part of ε that the point group forbids, relative to the largest |ε|: below "
        "1e-15 but for one material with 0.05, whose cell stood in another frame",
    )
    most_electrons: float = Field(
        default=1.05, gt=0, description="f-sum over the window per electron: 0.16–0.94"
    )
    fewest_electrons: float = Field(
        default=0.2,
        ge=0,
        description="f-sum with the oscillator above the window per electron: 0.31–1.00",
    )
    causality: float = Field(
        default=0.05,
        gt=0,
        description="mean |ε₁ − Kramers–Kronig of ε₂| relative to the mean |ε₁ − 1|, over the "
        "lower three quarters of the window: 0.0004–0.025, and once 0.083",
    )
    early_onset: float = Field(
        default=0.1, gt=0, description="eV by which the onset may lie below the direct gap: 0.003"
    )
    late_onset: float = Field(
        default=1.2,
        gt=0,
        description="eV by which it may lie above, where the lowest transitions are forbidden: "
        "0.79 in SnO₂",
    )


@dataclass(frozen=True)
class Quality:
    """What the checks found.

    Parameters
    ----------
    flags
        ``{level}_{check}`` of every check that failed.
    measures
        ``{level}_{name}`` → the number that was checked, see :func:`check_result`; NaN where it
        cannot be told.
    """

    flags: tuple[str, ...]
    measures: dict[str, float]


MEASURES = {
    "lowest_imaginary": ("", "lowest eigenvalue of Im ε before negative ones were set to zero"),
    "asymmetry": ("", "largest part of ε that the point group forbids, relative to max |ε|"),
    "f_sum": ("", "electrons that absorb within the window, by the f-sum, per valence electron"),
    "completed_f_sum": ("", "the same with the oscillator that stands for what lies above"),
    "causality_error": ("", "mean |ε₁ − Kramers–Kronig of ε₂| relative to the mean |ε₁ − 1|"),
    "onset_eV": ("eV", "onset of absorption, log₁₀(α/cm⁻¹) > 2.5, of trace/3"),
    "static_epsilon": ("", "ε₁(0) of trace/3"),
}
"""Name of a measure → unit and meaning."""


def check_result(result: EngineResult, limits: QualityLimits | None = None) -> Quality:
    """Check every level of a result.

    Corrected levels (``…_corrected``) are held against the direct gap shifted as the gap was, by
    the scalars ``corrected_gap_eV``.
    """
    limits = limits or QualityLimits()
    flags: list[str] = []
    measures: dict[str, float] = {}
    for level in result.epsilon:
        found, failed = _check_level(result, level, limits)
        flags += [f"{level}_{name}" for name in failed]
        measures |= {f"{level}_{name}": value for name, value in found.items()}
    return Quality(tuple(flags), measures)


def clean_tensor(epsilon: np.ndarray) -> np.ndarray:
    """Return ε (n, 3, 3) symmetric, and with the eigenvalues of Im ε not negative.

    What is taken away, noise of integration and interpolation, the check ``negative`` measures.
    Components that vanish but for rounding become zero.
    """
    symmetric = 0.5 * (epsilon + epsilon.swapaxes(1, 2))
    scale = float(np.abs(symmetric).max())
    for part in (symmetric.real, symmetric.imag):
        rounding = np.abs(part).max(axis=0) < 1e-9 * scale
        part[:, rounding] = 0.0
    values, vectors = np.linalg.eigh(symmetric.imag)
    if values.min() < 0.0:
        bad = values[:, 0] < 0.0
        kept = vectors[bad] * np.maximum(values[bad], 0.0)[:, None, :]
        rebuilt = kept @ vectors[bad].swapaxes(1, 2)
        symmetric.imag[bad] = 0.5 * (rebuilt + rebuilt.swapaxes(1, 2))
    clean: np.ndarray = symmetric
    return clean


def _check_level(
    result: EngineResult, level: str, limits: QualityLimits
) -> tuple[dict[str, float], list[str]]:
    epsilon = np.asarray(result.epsilon[level])
    scale = max(float(np.abs(epsilon).max()), 1.0)
    lit = result.grid.values > 0.0
    lowest = float(np.linalg.eigvalsh(0.5 * (epsilon + epsilon.swapaxes(1, 2)).imag[lit]).min())
    found: dict[str, float] = dict.fromkeys(MEASURES, float("nan"))
    found["lowest_imaginary"] = lowest
    failed = ["negative"] if lowest < -limits.negative * scale else []
    asymmetry = float(np.abs(epsilon - epsilon.swapaxes(1, 2)).max()) / scale
    try:
        spectrum = OpticalSpectrum(result.grid, clean_tensor(epsilon), level)
        projection = project(spectrum, result.structure)
        asymmetry = max(asymmetry, float(projection.residual.max()))
    except (SpectrumError, StructureError):
        # Neither a spectrum nor a symmetry: nothing further can be told.
        return found | {"asymmetry": float("nan")}, [*failed, "symmetry"]
    found["asymmetry"] = asymmetry
    if asymmetry > limits.symmetry:
        failed.append("symmetry")
    _check_sums(result, spectrum, limits, found, failed)
    _check_onset(result, spectrum, limits, found, failed)
    return found, failed


def _check_sums(
    result: EngineResult,
    spectrum: OpticalSpectrum,
    limits: QualityLimits,
    found: dict[str, float],
    failed: list[str],
) -> None:
    try:
        rules = sum_rules(spectrum, electron_density=_electron_density(result))
    except StructureError:
        rules = sum_rules(spectrum)
    if rules.expected_sum:
        found["f_sum"] = rules.f_sum / rules.expected_sum
        found["completed_f_sum"] = (rules.f_sum + rules.oscillator_sum) / rules.expected_sum
        if (
            found["f_sum"] > limits.most_electrons
            or found["completed_f_sum"] < limits.fewest_electrons
        ):
            failed.append("f_sum")
    grid = spectrum.grid
    lower = grid.values <= grid.start + FITTED_SHARE * (grid.stop - grid.start)
    scale = float(np.abs(spectrum.isotropic().epsilon_real - 1.0)[lower].mean())
    found["causality_error"] = rules.real_error / max(scale, 1e-12)
    if not found["causality_error"] <= limits.causality:
        failed.append("causality")


def _check_onset(
    result: EngineResult,
    spectrum: OpticalSpectrum,
    limits: QualityLimits,
    found: dict[str, float],
    failed: list[str],
) -> None:
    mean = spectrum.isotropic()
    found["static_epsilon"] = float(mean.static_dielectric)
    onset = mean.onset_energy()
    shift = 0.0
    if spectrum.level.endswith("_corrected"):
        shift = result.scalars.get("corrected_gap_eV", result.band_gap) - result.band_gap
    late = float("inf") if onset is None else onset - (result.direct_gap + shift)
    if onset is not None:
        found["onset_eV"] = onset
    if not -limits.early_onset <= late <= limits.late_onset:
        failed.append("onset")


def _electron_density(result: EngineResult) -> float:
    """Valence electrons per Å³: those of the engine's potentials, or else of the periodic table."""
    electrons = result.provenance.get("electrons")
    if isinstance(electrons, int | float) and electrons > 0:
        return float(electrons) / float(result.structure.volume)
    return valence_electron_density(result.structure)
