"""From what a head gives to optical spectra, whichever head it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from opalign.errors import ConfigurationError, SpectrumError
from opalign.model.config import ModelConfig, ScalarHeadConfig, VectorHeadConfig
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.units import LOG_ABSORPTION_FLOOR

if TYPE_CHECKING:
    from torch import Tensor

#: Decimals kept of ε. What lies beyond depends on the order of summation, so that without rounding
#: a file would depend on which structures share a batch; 1e-9 is far below any onset.
DECIMALS = 9

RowSpectrum = Callable[[int, str, str, str], OpticalSpectrum]


def require_spectra(config: ModelConfig) -> None:
    """Raise ConfigurationError for a network that predicts a number, not spectra."""
    if isinstance(config.head, ScalarHeadConfig):
        raise ConfigurationError(
            f"this model predicts the {config.head.name} of two levels, no spectra",
            cure="choose a model of spectra",
        )


def batch_spectra(config: ModelConfig, output: Mapping[str, Tensor | Any]) -> RowSpectrum:
    """Return the function (row, level, id, provenance) → spectrum of a batch's output.

    The physical head gives ε whole. A free vector gives Im ε or log₁₀ α, from which the rest
    follows by Kramers–Kronig with an E⁻³ decay above the window; negative values, which it may
    have, mean zero.

    The function raises SpectrumError for numbers that are not finite.

    Raises
    ------
    ConfigurationError
        The network predicts a number, not spectra.
    """
    require_spectra(config)
    places = {level: place for place, level in enumerate(config.levels)}

    def values(name: str, row: int, level: str) -> np.ndarray:
        found = output[name][row, places[level]].cpu().numpy().astype(np.float64)
        if not np.isfinite(found).all():
            raise SpectrumError("its numbers are not finite")
        return np.round(found, DECIMALS)

    def spectrum(row: int, level: str, material_id: str, provenance: str) -> OpticalSpectrum:
        common: dict[str, Any] = {
            "level": level,
            "broadening": config.broadening,
            "material_id": material_id,
            "provenance": provenance,
        }
        head = config.head
        if not isinstance(head, VectorHeadConfig):
            real = values("epsilon_real", row, level)
            # Convolution may leave a zero at minus a rounding error.
            imaginary = np.maximum(values("epsilon_imaginary", row, level), 0.0)
            return OpticalSpectrum(config.grid, real + 1j * imaginary, **common)
        target = values("target", row, level)
        if head.target == "epsilon_imaginary":
            imaginary = np.maximum(target, 0.0)
            return OpticalSpectrum.from_imaginary(config.grid, imaginary, beyond="cubic", **common)
        with np.errstate(over="ignore"):
            alpha = np.where(target > LOG_ABSORPTION_FLOOR, 10.0**target, 0.0)
        if not np.isfinite(alpha).all():
            raise SpectrumError("its absorption exceeds all numbers")
        return OpticalSpectrum.from_absorption(config.grid, alpha, **common)

    return spectrum
