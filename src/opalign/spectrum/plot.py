"""One figure with all of a spectrum: ε, n and k, absorption with its onset, reflectivity.

Figures of one quantity are in :mod:`opalign.spectrum.plots`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from opalign.errors import ConfigurationError
from opalign.spectrum.arrays import require_grid_length
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.plots import panels
from opalign.spectrum.plots.style import (
    Bands,
    as_list,
    check_suffix,
    curves_of,
    head,
    new_figure,
    save,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_spectrum(
    spectrum: OpticalSpectrum | Sequence[OpticalSpectrum],
    path: str | os.PathLike[str] | None = None,
    reference: OpticalSpectrum | None = None,
    *,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    max_energy: float | None = None,
    sites: Mapping[str, np.ndarray] | None = None,
    bands: Bands | None = None,
    onsets: Sequence[float | None] | None = None,
) -> Figure:
    """Draw one or several spectra in four panels; tensors by their isotropic average.

    Parameters
    ----------
    spectrum
        One spectrum, or up to six to be overlaid.
    path
        File to write, atomically: ``.png``, ``.svg`` or ``.pdf``. None writes nothing.
    reference
        A spectrum to compare with, drawn in dark grey.
    labels
        One name per spectrum for the legend; by default material id, level and broadening.
    title
        By default the material ids.
    max_energy
        End of the energy axis in eV; by default the largest energy of any spectrum.
    sites
        Contributions (n,) to ε₂ by name, such as those of the elements, that add up to it; drawn as
        stacked areas. Only with a single spectrum.
    bands
        Uncertainty of the first spectrum: name of a quantity, as properties of
        :class:`~opalign.spectrum.optical.OpticalSpectrum` have it or ``log_absorption``, to its
        lower and upper bounds, (n,) each.
    onsets
        In eV, first that of the reference if there is one, then one per spectrum: in place of those
        read from the spectra.

    Raises
    ------
    ConfigurationError
        If the suffix, the number of spectra or labels, or ``sites`` with several spectra is not
        supported.
    StorageError
        If the file cannot be written.
    """
    check_suffix(path)
    spectra = as_list(spectrum)
    curves = curves_of(spectra, reference, labels, bands)
    panels.check_onsets(onsets, curves)
    _check_sites(spectra, sites)
    end = max_energy or max(curve.spectrum.grid.stop for curve in curves)

    figure = new_figure(10.0, 7.2)
    axes = figure.subplots(2, 2, sharex=True)
    figure.subplots_adjust(left=0.075, right=0.98, bottom=0.085, top=0.875, wspace=0.18, hspace=0.1)
    panels.draw_dielectric_function(axes[0, 0], curves, end)
    panels.draw_sites(axes[0, 0], spectra[0], sites)
    panels.draw_refractive_index(axes[0, 1], curves, end)
    panels.draw_absorption(axes[1, 0], curves, end, onsets=onsets)
    panels.draw_reflectivity(axes[1, 1], curves, end)
    for panel in axes.flat:
        style_axes(panel)
        panel.set_xlim(0.0, end)
    for panel in axes[1]:
        panel.set_xlabel("Photon energy (eV)")
    figure.align_ylabels(axes)
    head(figure, curves, title, any(one.is_tensor for one in [*spectra, reference] if one))
    return save(figure, path)


def _check_sites(spectra: list[OpticalSpectrum], sites: Mapping[str, np.ndarray] | None) -> None:
    if sites is None:
        return
    if len(spectra) > 1:
        raise ConfigurationError(
            "contributions of sites cannot be told apart in several spectra",
            expected="one spectrum with sites",
        )
    for name, contribution in sites.items():
        require_grid_length(contribution, spectra[0].grid, f"contributions of {name}")
