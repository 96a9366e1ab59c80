"""Figures of spectra, one function each; nothing here touches pyplot or global settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opalign.lazy import lazy_names

if TYPE_CHECKING:
    from opalign.spectrum.plots.quantities import (
        plot_absorption,
        plot_dielectric_function,
        plot_loss,
        plot_reflectivity,
        plot_refractive_index,
    )
    from opalign.spectrum.plots.swatches import plot_colours
    from opalign.spectrum.plots.tauc import plot_tauc
    from opalign.spectrum.plots.tensor import plot_tensor

_HOMES = {
    "plot_absorption": "quantities",
    "plot_colours": "swatches",
    "plot_dielectric_function": "quantities",
    "plot_loss": "quantities",
    "plot_reflectivity": "quantities",
    "plot_refractive_index": "quantities",
    "plot_tauc": "tauc",
    "plot_tensor": "tensor",
}

__all__ = [
    "plot_absorption",
    "plot_colours",
    "plot_dielectric_function",
    "plot_loss",
    "plot_reflectivity",
    "plot_refractive_index",
    "plot_tauc",
    "plot_tensor",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
