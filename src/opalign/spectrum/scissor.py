"""The scissor correction: absorption moved rigidly to the right gap, and ε₁ made to follow.

With Δ the change of the band gap,

    ε₂′(E) = ε₂(E − Δ)·(E − Δ)/E   for E ≥ E_g + Δ, zero below,

and ε₁′ follows by Kramers–Kronig. In terms of E·ε₂ this is a translation, so the f-sum
∫ E ε₂ dE, which counts electrons, stays what it was; the static dielectric constant falls with a
rising gap. Between grid points E·ε₂ is taken as linear, which conserves its sum on the grid too.

What lies above the window takes part: the oscillator that explains ε₁ of the given spectrum moves
by Δ with its share of the f-sum kept, and absorption that leaves the window through its upper end
still counts in ε₁. Excitons, phonon-assisted transitions and defects stay missing.

The power of (E − Δ)/E decides what is kept: one, as above and by default, the oscillator strengths;
none the dipoles (Z. H. Levine and D. C. Allan, Phys. Rev. Lett. 63, 1719 (1989)), which moves ε₂
rigidly, raises the f-sum with the gap and lowers ε₁(0) less; two the momentum matrix elements.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from opalign.errors import ConfigurationError, SpectrumError
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import Beyond, Oscillator, real_from_imaginary
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.sum_rules import f_sum, fit_oscillator, oscillator_strengths

PADDING = 1.0
"""The grid grows by whole multiples of this, in eV, so that few Kramers–Kronig matrices serve."""


@dataclass(frozen=True)
class ScissorReport:
    """A shifted spectrum and what the shift did to its sums; sums of tensors are of trace/3.

    Parameters
    ----------
    spectrum
        The result.
    shift, gap
        Δ and the uncorrected gap in eV; no gap where nothing was cut.
    oscillator_before, oscillator_after
        What stands above the window, of the isotropic average; None where ε₂ goes on as E⁻³.
    window_sum_before, window_sum_after
        ∫ E ε₂ dE in eV² over the window of each spectrum.
    f_sum_before, f_sum_after
        The same over all energies that take part: with the oscillator, and with what has left the
        window. Equal, with a power of one, but for what was cut below the gap.
    static_before, static_after
        ε₁(0).
    """

    spectrum: OpticalSpectrum
    shift: float
    gap: float | None
    oscillator_before: Oscillator | None
    oscillator_after: Oscillator | None
    window_sum_before: float
    window_sum_after: float
    f_sum_before: float
    f_sum_after: float
    static_before: float
    static_after: float

    @property
    def f_sum_change(self) -> float:
        """Relative change of the f-sum, zero for an ideal shift with a power of one."""
        return self.f_sum_after / self.f_sum_before - 1.0 if self.f_sum_before > 0.0 else 0.0


def scissor_shift(
    spectrum: OpticalSpectrum,
    shift: float,
    *,
    gap: float | None = None,
    level: str = "corrected",
    oscillator: Oscillator | None = None,
    beyond: Beyond = "zero",
    power: float = 1.0,
) -> OpticalSpectrum:
    """Return ``spectrum``, isotropic or tensor, with its gap changed by ``shift`` in eV.

    Parameters
    ----------
    spectrum
        What is to be corrected, from below the gap on.
    shift
        Δ = new gap − old gap in eV. With a negative Δ the result ends |Δ| below the given
        spectrum, since what would enter from above its end is unknown.
    gap
        E_g before the shift in eV, the lowest energy of direct absorption: the result is zero below
        E_g + Δ. None cuts nothing, as suits a broadened spectrum.
    level
        Level of theory of the result.
    oscillator
        What stands above the window in the given spectrum, for isotropic absorption. By default
        fitted to the given ε₁, component by component for a tensor; ``Oscillator(energy, 0.0)`` for
        nothing at all.
    beyond
        ``"zero"``, or ``"cubic"`` for an ε₂ that goes on above the window as E⁻³; then no
        oscillator is fitted.
    power
        Of (E − Δ)/E, from 0 to 2: 1 keeps the f-sum, 0 shifts ε₂ rigidly.

    Raises
    ------
    ConfigurationError
        If the shift is no finite number, closes the gap, or needs a ``gap`` that is not given; or
        if the power is out of range.
    SpectrumError
        If the window is too short for the shift, or no oscillator explains the given ε₁.
    """
    return scissor_report(
        spectrum, shift, gap=gap, level=level, oscillator=oscillator, beyond=beyond, power=power
    ).spectrum


def scissor_report(
    spectrum: OpticalSpectrum,
    shift: float,
    *,
    gap: float | None = None,
    level: str = "corrected",
    oscillator: Oscillator | None = None,
    beyond: Beyond = "zero",
    power: float = 1.0,
) -> ScissorReport:
    """Shift as :func:`scissor_shift` does, and say what became of the sums."""
    _check(spectrum, shift, gap, power)
    grid = spectrum.grid
    strengths: np.ndarray | float = 0.0
    if oscillator is None and beyond == "zero":
        oscillator = _fitted(spectrum)
        strengths = oscillator_strengths(spectrum.epsilon, grid, oscillator.energy)
    elif oscillator is not None:
        strengths = oscillator.strength * (np.eye(3) if spectrum.is_tensor else 1.0)

    wide = _padded(grid, shift)
    imaginary = shifted_imaginary(spectrum.epsilon_imaginary, grid, shift, gap, wide, power)
    rows = np.moveaxis(imaginary, 0, -1)
    susceptibility = np.moveaxis(real_from_imaginary(rows, wide, beyond=beyond) - 1.0, -1, 0)
    moved = None
    if oscillator is not None:
        # ∫ ε₂ dE of the line, (π/2)·strength·energy, changes by the power of the factor; with a
        # power of one its share of the f-sum stays.
        factor = (oscillator.energy / (oscillator.energy + shift)) ** (1.0 + power)
        moved = Oscillator(oscillator.energy + shift, oscillator.strength * factor)
    kept = _kept(grid, shift)
    susceptibility = susceptibility[: kept.num]
    if moved is not None:
        shape = Oscillator(moved.energy, 1.0).real_part(kept.values)
        susceptibility = susceptibility + np.multiply.outer(shape, factor * np.asarray(strengths))
    unity = np.eye(3) if spectrum.is_tensor else 1.0
    result = replace(
        spectrum,
        grid=kept,
        epsilon=unity + susceptibility + 1j * imaginary[: kept.num],
        level=level,
        provenance=_provenance(spectrum, shift, gap, power),
    )
    before, after = f_sum(_mean(spectrum.epsilon_imaginary), grid), f_sum(_mean(imaginary), wide)
    above = 0.5 * np.pi * oscillator.strength * oscillator.energy**2 if oscillator else 0.0
    return ScissorReport(
        spectrum=result,
        shift=shift,
        gap=gap,
        oscillator_before=oscillator,
        oscillator_after=moved,
        window_sum_before=float(before),
        window_sum_after=float(f_sum(_mean(result.epsilon_imaginary), kept)),
        f_sum_before=float(before + above),
        f_sum_after=float(after + above),
        static_before=float(spectrum.isotropic().static_dielectric),
        static_after=float(result.isotropic().static_dielectric),
    )


def shifted_imaginary(
    epsilon_imaginary: np.ndarray,
    grid: EnergyGrid,
    shift: float,
    gap: float | None,
    target: EnergyGrid,
    power: float = 1.0,
) -> np.ndarray:
    """Return ε₂′, (m,) or (m, 3, 3) on ``target``, from ε₂, (n,) or (n, 3, 3) on ``grid``.

    Zero where ``grid`` has nothing to say, and below ``gap + shift`` unless ``gap`` is None.
    """
    weighted = grid.values**power * epsilon_imaginary.reshape(grid.num, -1).T
    energies = target.values
    source = energies - shift
    moved = np.stack([np.interp(source, grid.values, row, 0.0, 0.0) for row in weighted], axis=-1)
    allowed = energies > 0.0
    if gap is not None:
        allowed &= energies >= gap + shift - 1e-9 * grid.step
    moved = np.where(allowed, np.where(allowed, energies, 1.0) ** -power, 0.0)[:, None] * moved
    shifted: np.ndarray = moved.reshape(target.num, *epsilon_imaginary.shape[1:])
    return shifted


def rescale(
    spectrum: OpticalSpectrum, *, factor: float | None = None, static: float | None = None
) -> OpticalSpectrum:
    """Return the spectrum with its susceptibility, ε − 1, multiplied by a number.

    ε₁ and ε₂ stay related by Kramers–Kronig and every sum rule scales with the number.

    Parameters
    ----------
    factor
        The number, not negative.
    static
        In its place: the ε₁(0), of the isotropic average, that the result is to have.

    Raises
    ------
    ConfigurationError
        Unless exactly one is given and leads to a factor that is finite and not negative.
    """
    if (factor is None) == (static is None):
        raise ConfigurationError(
            "one number is needed to rescale", expected="either a factor or a static ε₁"
        )
    if static is not None:
        polarizability = float(spectrum.isotropic().static_dielectric) - 1.0
        factor = (static - 1.0) / polarizability if polarizability else float("nan")
    if factor is None or not (np.isfinite(factor) and factor >= 0.0):
        raise ConfigurationError(
            f"ε − 1 cannot be multiplied by {factor}", expected="a finite factor, not negative"
        )
    unity = np.eye(3) if spectrum.is_tensor else 1.0
    return replace(
        spectrum,
        epsilon=unity + factor * (spectrum.epsilon - unity),
        provenance=_joined(spectrum.provenance, f"ε − 1 multiplied by {factor:.6g}"),
    )


def _check(spectrum: OpticalSpectrum, shift: float, gap: float | None, power: float) -> None:
    where = spectrum.material_id
    if not 0.0 <= power <= 2.0:
        raise ConfigurationError(
            f"a power of {power:g} of (E − Δ)/E is impossible", where=where, expected="0 to 2"
        )
    if not np.isfinite(shift):
        raise ConfigurationError(
            f"a shift of {shift} eV is impossible", where=where, expected="a finite energy"
        )
    if gap is None and shift < 0.0:
        raise ConfigurationError(
            f"a shift of {shift:g} eV needs the gap",
            where=where,
            expected="gap in eV, so that nothing is moved to E = 0 or below",
        )
    if gap is not None and not (np.isfinite(gap) and gap >= 0.0 and gap + shift > 0.0):
        raise ConfigurationError(
            f"a gap of {gap:g} eV cannot be shifted by {shift:g} eV",
            where=where,
            expected="a gap that is open afterwards: metals have no scissor correction",
        )
    if -shift >= spectrum.grid.stop - spectrum.grid.start - spectrum.grid.step:
        raise SpectrumError(
            f"nothing of {spectrum.grid} is left after a shift of {shift:g} eV",
            where=where,
            expected="a shift well within the window",
        )


def _fitted(spectrum: OpticalSpectrum) -> Oscillator:
    mean = spectrum.isotropic()
    try:
        return fit_oscillator(mean.epsilon_imaginary, spectrum.grid, epsilon_real=mean.epsilon_real)
    except SpectrumError as error:
        raise SpectrumError(
            error.problem,
            where=spectrum.material_id,
            expected=error.expected,
            cure="pass the oscillator above the window, Oscillator(energy, 0.0) for none",
        ) from error


def _padded(grid: EnergyGrid, shift: float) -> EnergyGrid:
    """Return the grid with room above for what an upward ``shift`` moves out of it."""
    if shift <= 0.0:
        return grid
    more = int(np.ceil(np.ceil(shift / PADDING) * PADDING / grid.step - 1e-9))
    return EnergyGrid(grid.start, grid.stop + more * grid.step, grid.num + more)


def _kept(grid: EnergyGrid, shift: float) -> EnergyGrid:
    """Return the part of the grid in which ε₂′ is known."""
    if shift >= 0.0:
        return grid
    fewer = int(np.ceil(-shift / grid.step - 1e-9))
    return EnergyGrid(grid.start, grid.stop - fewer * grid.step, grid.num - fewer)


def _mean(imaginary: np.ndarray) -> np.ndarray:
    return np.trace(imaginary, axis1=1, axis2=2) / 3.0 if imaginary.ndim == 3 else imaginary


def _provenance(spectrum: OpticalSpectrum, shift: float, gap: float | None, power: float) -> str:
    text = f"scissor shift of {shift:+g} eV on {spectrum.level}"
    if power != 1.0:
        text += f", power {power:g} of (E − Δ)/E"
    return _joined(spectrum.provenance, text if gap is None else f"{text}, gap {gap:g} eV before")


def _joined(provenance: str | None, step: str) -> str:
    return f"{provenance}; {step}" if provenance else step
