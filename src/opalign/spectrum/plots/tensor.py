"""The components of a dielectric tensor, equal ones drawn once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from opalign.errors import SpectrumError
from opalign.spectrum.formats.components import COMPONENTS
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.plots.panels import draw_visible
from opalign.spectrum.plots.style import (
    COLORS,
    check_suffix,
    describe,
    heading,
    new_figure,
    save,
    style_axes,
    subheading,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


EQUAL = 0.01
"""Components closer than this share of the largest |ε| cannot be told apart by eye."""


def plot_tensor(
    spectrum: OpticalSpectrum,
    path: str | os.PathLike[str] | None = None,
    *,
    title: str | None = None,
    max_energy: float | None = None,
) -> Figure:
    """Draw ε₂ above ε₁ of each Cartesian component of a tensor.

    Components that look the same are drawn once and named together (xx = yy); those that are zero
    throughout are left out.

    Raises
    ------
    SpectrumError
        If the spectrum is no tensor.
    ConfigurationError, StorageError
        If the suffix is not supported, or the file cannot be written.
    """
    check_suffix(path)
    if not spectrum.is_tensor:
        raise SpectrumError(
            "an isotropic spectrum has no components to draw",
            where=spectrum.material_id,
            expected="a dielectric tensor, (n, 3, 3)",
        )
    end = max_energy or spectrum.grid.stop
    shown = spectrum.energies <= end
    energies, epsilon = spectrum.energies[shown], spectrum.epsilon[shown]

    figure = new_figure(6.8, 6.6)
    axes = figure.subplots(2, 1, sharex=True)
    for (name, component), color in zip(distinct_components(epsilon).items(), COLORS, strict=False):
        for panel, values in zip(axes, (component.imag, component.real), strict=True):
            panel.plot(energies, values, color=color, linewidth=1.7, label=name)
    for panel, label in zip(axes, ("Im ε", "Re ε"), strict=True):
        limits = panel.get_ylim()
        draw_visible(panel)
        panel.set_ylim(limits)
        panel.axhline(0.0, color="#B0B0B0", linewidth=0.8, zorder=1)
        panel.set_ylabel(label)
        style_axes(panel)
        panel.set_xlim(0.0, end)
    axes[0].legend(loc="upper right", frameon=False, fontsize=11, handlelength=1.8)
    axes[1].set_xlabel("Photon energy (eV)")
    figure.align_ylabels(axes)
    figure.subplots_adjust(left=0.115, right=0.97, bottom=0.09, top=0.87, hspace=0.08)
    heading(figure, title or spectrum.material_id or "Dielectric tensor")
    subheading(figure, f"{describe(spectrum)} · Cartesian components")
    return save(figure, path)


def distinct_components(epsilon: np.ndarray) -> dict[str, np.ndarray]:
    """Return components (n,) of ``epsilon`` (n, 3, 3) by name; equal ones under ``xx = yy``."""
    tolerance = EQUAL * float(np.abs(epsilon).max())
    kinds: list[tuple[list[str], np.ndarray]] = []
    for name, (row, column) in COMPONENTS.items():
        component = epsilon[:, row, column]
        if row != column and np.abs(component).max() < tolerance:
            continue
        for names, values in kinds:
            if np.abs(component - values).max() < tolerance:
                names.append(name)
                break
        else:
            kinds.append(([name], component))
    return {" = ".join(names): values for names, values in kinds}
