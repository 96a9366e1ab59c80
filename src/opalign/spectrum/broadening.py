"""Gaussian and Lorentzian broadening of spectra, as one cached matrix on the grid.

**Kernels.** Both are made for the grid: they sum to one, are never negative, tend to the identity
as the width goes to zero, and their widths add as they should. The Gaussian is sampled with a width
chosen so that its variance on the grid is σ² exactly (σ itself from about 0.7 steps up). The
Lorentzian is the inverse Fourier transform of exp(−γ|q|) up to the Nyquist frequency,
g(1 − (−1)^m e^(−πg)) / (π(g² + m²)) for m steps and g = γ/step.

**Lower end.** ε₁ is continued as even and ε₂ as odd through E = 0. On a grid that does not start at
zero the missing piece is zero for odd values, and their first value for even ones; its mirror image
is placed to half a step.

**Upper end.** What lies above the window is unknown. Odd values (ε₂) go on from the last one
as E⁻³, the decay above all transitions, so the edge neither drops nor feeds absorption into the
window from far above; even values (ε₁) keep the last one. Near the upper end, within some widths,
the result depends on this.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from opalign.errors import SpectrumError
from opalign.spectrum.arrays import ArrayT, apply_operator, require_grid_length
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.positional import PositionalModel

Parity = Literal["even", "odd"]

GAUSSIAN_REACH = 12.0
"""Widths after which a Gaussian is zero in double precision."""


class Broadening(PositionalModel):
    """Line shape and width in eV: σ of a Gaussian, half width at half maximum of a Lorentzian."""

    shape: Literal["none", "gaussian", "lorentzian"] = "none"
    width: float = Field(default=0.0, ge=0.0, allow_inf_nan=False, description="eV")

    if TYPE_CHECKING:

        def __init__(self, shape: str = "none", width: float = 0.0) -> None: ...

    @model_validator(mode="after")
    def _consistent(self) -> Broadening:
        if (self.shape == "none") != (self.width == 0.0):
            raise ValueError(
                f"shape {self.shape!r} with a width of {self.width} eV; expected a positive width "
                "for a Gaussian or Lorentzian, and none without a shape"
            )
        return self

    def combined(self, other: Broadening) -> Broadening:
        """Return what a spectrum with this broadening has after ``other`` was applied on top.

        Variances of Gaussians add, and so do widths of Lorentzians. A mixture of both, a Voigt
        profile, raises :class:`SpectrumError`.
        """
        if "none" in (self.shape, other.shape):
            return other if self.shape == "none" else self
        self._require_same_shape(other)
        if self.shape == "gaussian":
            return Broadening("gaussian", float(np.hypot(self.width, other.width)))
        return Broadening("lorentzian", self.width + other.width)

    def remaining(self, target: Broadening) -> Broadening:
        """Return what must be applied on top of this broadening to arrive at ``target``.

        Raises
        ------
        SpectrumError
            If ``target`` is narrower, or of another shape: broadening cannot be undone.
        """
        if self == target or self.shape == "none":
            return Broadening() if self == target else target
        if target.shape != "none":
            self._require_same_shape(target)
        if target.width < self.width:
            raise SpectrumError(
                f"a spectrum broadened by {self} cannot be brought to {target}",
                expected=f"at least {self.width:g} eV",
                cure="start from the unbroadened spectrum: broadening cannot be undone",
            )
        if self.shape == "gaussian":
            width = np.sqrt((target.width - self.width) * (target.width + self.width))
            return Broadening("gaussian", float(width))
        return Broadening("lorentzian", target.width - self.width)

    def _require_same_shape(self, other: Broadening) -> None:
        if self.shape != other.shape:
            raise SpectrumError(
                f"{self} and {other} broadening do not combine into either shape",
                expected=f"a {self.shape} broadening",
                cure="start from the unbroadened spectrum",
            )

    def __str__(self) -> str:
        if self.shape == "none":
            return "unbroadened"
        symbol = "σ" if self.shape == "gaussian" else "HWHM"
        return f"{self.shape.capitalize()} {symbol} = {self.width:g} eV"


def broaden(values: ArrayT, grid: EnergyGrid, broadening: Broadening, parity: Parity) -> ArrayT:
    """Convolve ``values`` (..., n) on ``grid`` with the line shape; energy is the last axis.

    NumPy in, NumPy out; torch in, torch out, differentiable. ``parity`` is ``"odd"`` for ε₂ and
    ``"even"`` for ε₁. A spectrum without broadening to be applied is returned as it is.

    Raises
    ------
    SpectrumError
        If the last axis does not fit the grid or ``parity`` is unknown.
    """
    require_grid_length(values, grid)
    if parity not in ("even", "odd"):
        raise SpectrumError(f"parity {parity!r} is unknown", expected="'even' (ε₁) or 'odd' (ε₂)")
    if broadening.shape == "none":
        return values
    return apply_operator(values, broadening_matrix, grid, broadening, parity)


@lru_cache(maxsize=16)
def broadening_matrix(grid: EnergyGrid, broadening: Broadening, parity: Parity) -> np.ndarray:
    """Return the matrix (n, n), read-only and cached, that :func:`broaden` applies."""
    last = grid.num - 1
    offset = round(2.0 * grid.start / grid.step)  # steps between the first point and its mirror
    beyond = _points_beyond(grid, broadening)
    weights = _kernel(broadening, grid.step, 2 * last + offset + beyond + 1)

    rows = np.arange(last + 1)
    direct = weights[np.abs(rows[:, None] - rows)]
    mirrored = weights[offset + rows[:, None] + rows]
    if parity == "odd":
        matrix = direct - mirrored
        distance = np.arange(1, beyond + 1)
        decay = (grid.stop / (grid.stop + distance * grid.step)) ** 3
        for row in rows:
            above = weights[last - row + 1 : last - row + beyond + 1]
            below = weights[last + row + offset + 1 : last + row + offset + beyond + 1]
            matrix[row, -1] += (above - below) @ decay
    else:
        if offset == 0:
            mirrored[:, 0] = 0.0  # E = 0 is its own mirror image
        matrix = direct + mirrored
        # Weights of all points farther than m steps on one side; the kernel sums to one.
        cumulative = np.cumsum(weights) - weights[0]
        farther = 0.5 * (1.0 - weights[0]) - cumulative
        matrix[:, -1] += farther[last - rows] + farther[last + rows + offset]
        if offset > 1:
            matrix[:, 0] += cumulative[rows + offset - 1] - cumulative[rows]
    matrix.flags.writeable = False
    return matrix


def _points_beyond(grid: EnergyGrid, broadening: Broadening) -> int:
    """Points above the window that can matter to it."""
    if broadening.shape == "gaussian":
        return int(np.ceil(GAUSSIAN_REACH * broadening.width / grid.step)) + 1
    # E⁻³ times the E⁻² of a Lorentzian: what lies beyond four times the window is below 1e-4 of a
    # correction that is itself small.
    return int(np.ceil(3.0 * grid.stop / grid.step))


def _kernel(broadening: Broadening, step: float, count: int) -> np.ndarray:
    """Weights at 0, 1, …, ``count`` − 1 steps; with both sides they sum to one."""
    steps = np.arange(count, dtype=float)
    width = broadening.width / step
    if broadening.shape == "lorentzian":
        sign = np.where(steps % 2 == 0, 1.0, -1.0)
        return width * (1.0 - sign * np.exp(-np.pi * width)) / (np.pi * (width**2 + steps**2))
    return _gaussian(_sampling_width(width), steps)


def _gaussian(width: float, steps: np.ndarray) -> np.ndarray:
    reach = np.arange(1.0, np.ceil(GAUSSIAN_REACH * width) + 2.0)
    norm = 1.0 + 2.0 * np.exp(-0.5 * (reach / width) ** 2).sum()
    return np.exp(-0.5 * (steps / width) ** 2) / norm


def _sampling_width(width: float) -> float:
    """Width in steps whose sampled Gaussian has the variance ``width``² on the grid."""
    if width > 1.0:
        return width  # the variance of the samples is then right to 1e-6
    from scipy.optimize import brentq

    def excess(candidate: float) -> float:
        steps = np.arange(0.0, np.ceil(GAUSSIAN_REACH * candidate) + 2.0)
        return float(2.0 * (_gaussian(candidate, steps) @ steps**2) - width**2)

    # Below about 0.03 steps the exponentials underflow and the kernel is the identity.
    return float(brentq(excess, 0.03, 1.5)) if excess(0.03) < 0.0 else 0.03
