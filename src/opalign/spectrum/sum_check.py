"""Sum rules of one spectrum, each with what it should give.

With E_p the plasma energy of the electrons that take part,

    ∫ E·ε₂ dE          = (π/2)·E_p²            f-sum
    ∫ E·Im(−1/ε) dE    = (π/2)·E_p²            loss-sum
    1 + (2/π) ∫ ε₂/E dE      = ε₁(0)           static limit of Kramers–Kronig
    1 − (2/π) ∫ Im(−1/ε)/E dE = 1/ε₁(0)        the same of the loss function

Over a finite window the first two fall short by what lies above it; the loss-sum, whose weight sits
at the plasma energy, by more than the f-sum.
Source: F. Wooten, Optical Properties of Solids (1972), section 3.4;
D. Y. Smith in E. D. Palik (ed.), Handbook of Optical Constants of Solids (1985), chapter 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opalign.errors import SpectrumError, StructureError
from opalign.spectrum.kramers_kronig import Oscillator, real_from_imaginary
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.sum_rules import FITTED_SHARE, f_sum, fit_oscillator, plasma_energy

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure


@dataclass(frozen=True)
class SumRules:
    """What the sum rules say of one spectrum, of trace/3 for a tensor.

    Parameters
    ----------
    f_sum, loss_sum
        The integrals over the window, in eV².
    oscillator
        What was put above the window; None where no oscillator makes ε₁ agree.
    oscillator_sum
        Its share of the f-sum in eV².
    expected_sum
        (π/2)·E_p² in eV² of the given electron density; None where none was given.
    static, static_from_imaginary
        ε₁(0) as given; and by Kramers–Kronig of ε₂, with the oscillator.
    static_from_loss
        ε₁(0) by Kramers–Kronig of the loss function over the window.
    real_error
        Mean |ε₁(Kramers–Kronig with the oscillator) − ε₁| over the lower three quarters of the
        window.
    """

    f_sum: float
    loss_sum: float
    oscillator: Oscillator | None
    oscillator_sum: float
    expected_sum: float | None
    static: float
    static_from_imaginary: float
    static_from_loss: float
    real_error: float

    @property
    def f_sum_error(self) -> float | None:
        """Relative error of the f-sum over the window; None without an expected value."""
        return self._relative(self.f_sum)

    @property
    def completed_f_sum_error(self) -> float | None:
        """The same with the oscillator's share added."""
        return self._relative(self.f_sum + self.oscillator_sum)

    @property
    def loss_sum_error(self) -> float | None:
        """Relative error of the loss-sum over the window; None without an expected value."""
        return self._relative(self.loss_sum)

    @property
    def static_error(self) -> float:
        """Relative error of the static limit by Kramers–Kronig of ε₂."""
        return self.static_from_imaginary / self.static - 1.0

    @property
    def static_loss_error(self) -> float:
        """Relative error of the static limit by Kramers–Kronig of the loss function."""
        return self.static_from_loss / self.static - 1.0

    def _relative(self, value: float) -> float | None:
        return value / self.expected_sum - 1.0 if self.expected_sum else None


def sum_rules(
    spectrum: OpticalSpectrum,
    *,
    electron_density: float | None = None,
    oscillator: Oscillator | None = None,
) -> SumRules:
    """Check ``spectrum`` against its sum rules.

    Parameters
    ----------
    spectrum
        A tensor is reduced to trace/3 first.
    electron_density
        Electrons per Å³ that take part, such as :func:`valence_electron_density`, for what the
        sums should give.
    oscillator
        What stands above the window; by default fitted to the given ε₁. ``Oscillator(energy, 0.0)``
        for nothing.

    Raises
    ------
    ConfigurationError
        If the density is negative or the oscillator stands within the window.
    """
    mean, grid = spectrum.isotropic(), spectrum.grid
    if oscillator is None:
        try:
            oscillator = fit_oscillator(
                mean.epsilon_imaginary, grid, epsilon_real=mean.epsilon_real
            )
        except SpectrumError:
            oscillator = None
    computed = real_from_imaginary(mean.epsilon_imaginary, grid, oscillator)
    lower = grid.values <= grid.start + FITTED_SHARE * (grid.stop - grid.start)
    rebuilt = OpticalSpectrum(
        grid, computed + 1j * mean.epsilon_imaginary, spectrum.level, spectrum.broadening
    )
    positive = grid.values > 0.0
    loss = np.where(positive, mean.loss_function, 0.0)
    per_energy = np.where(positive, loss / np.where(positive, grid.values, 1.0), 0.0)
    inverse = 1.0 - 2.0 / np.pi * float(per_energy @ grid.weights)
    return SumRules(
        f_sum=float(f_sum(mean.epsilon_imaginary, grid)),
        loss_sum=float(f_sum(loss, grid)),
        oscillator=oscillator,
        oscillator_sum=(
            0.5 * np.pi * oscillator.strength * oscillator.energy**2 if oscillator else 0.0
        ),
        expected_sum=(
            0.5 * np.pi * plasma_energy(electron_density) ** 2
            if electron_density is not None
            else None
        ),
        static=float(mean.static_dielectric),
        static_from_imaginary=float(rebuilt.static_dielectric),
        static_from_loss=1.0 / inverse if inverse > 0.0 else float("inf"),
        real_error=float(np.abs(computed - mean.epsilon_real)[lower].mean()),
    )


def valence_electron_density(structure: Structure) -> float:
    """Return the valence electrons per Å³: those of the outermost s, p and open d shells.

    An atom of group 1–11 has as many as its group says, one of group 12 two, one of group 13–18 ten
    less than its group. Filled d shells (Zn, Ga, …) and semi-core states are left out, though they
    may lie within a window up to 20 eV.

    Raises
    ------
    StructureError
        If there is a lanthanide but La, or an actinide: no such count is agreed on for them.
    """
    electrons = 0.0
    for element, amount in structure.composition.element_composition.items():
        # Lanthanum itself has no f electron.
        if (element.is_lanthanoid and element.symbol != "La") or element.is_actinoid:
            raise StructureError(
                f"the valence electrons of {element.symbol} cannot be told from its group",
                expected="elements outside the f block",
                cure="give the electron density yourself",
            )
        group = element.group
        electrons += amount * (group if group <= 11 else group - 10)
    return float(electrons / structure.volume)
