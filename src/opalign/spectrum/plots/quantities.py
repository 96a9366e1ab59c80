"""One figure per quantity: ε, n and k, log α with its onset, R, the loss function.

All take the same arguments; see :func:`plot_dielectric_function`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from opalign.spectrum.onset import ONSET_THRESHOLD
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

PathLike = str | os.PathLike[str]
Spectra = OpticalSpectrum | Sequence[OpticalSpectrum]


def plot_dielectric_function(
    spectrum: Spectra,
    path: PathLike | None = None,
    reference: OpticalSpectrum | None = None,
    *,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    max_energy: float | None = None,
    bands: Bands | None = None,
) -> Figure:
    """Draw ε₁ and ε₂ of one or several spectra; tensors by their isotropic average.

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
    bands
        Uncertainty of the first spectrum: name of a quantity, as properties of
        :class:`~opalign.spectrum.optical.OpticalSpectrum` have it or ``log_absorption``, to its
        lower and upper bounds, (n,) each. What is not drawn here is left out.

    Raises
    ------
    ConfigurationError
        If the suffix, the number of spectra or labels, or a band is not supported.
    StorageError
        If the file cannot be written.
    """
    return _single(
        panels.draw_dielectric_function, spectrum, path, reference, labels, title, max_energy, bands
    )


def plot_refractive_index(
    spectrum: Spectra,
    path: PathLike | None = None,
    reference: OpticalSpectrum | None = None,
    *,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    max_energy: float | None = None,
    bands: Bands | None = None,
) -> Figure:
    """Draw n and k; arguments and errors as for :func:`plot_dielectric_function`."""
    return _single(
        panels.draw_refractive_index, spectrum, path, reference, labels, title, max_energy, bands
    )


def plot_absorption(
    spectrum: Spectra,
    path: PathLike | None = None,
    reference: OpticalSpectrum | None = None,
    *,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    max_energy: float | None = None,
    bands: Bands | None = None,
    threshold: float = ONSET_THRESHOLD,
    onsets: Sequence[float | None] | None = None,
) -> Figure:
    """Draw log₁₀ α over the colours of visible light, with each onset of absorption marked.

    ``threshold`` is the log₁₀(α/cm⁻¹) of the onset. ``onsets`` in eV, first that of the reference
    if there is one, then one per spectrum, stand in for those read from the spectra, such as where
    a broadened spectrum had its tail below the gap removed. Otherwise as
    :func:`plot_dielectric_function`.
    """

    def draw(panel: Any, curves: Any, end: float) -> None:
        panels.check_onsets(onsets, curves)
        panels.draw_absorption(panel, curves, end, threshold, onsets)

    return _single(draw, spectrum, path, reference, labels, title, max_energy, bands)


def plot_reflectivity(
    spectrum: Spectra,
    path: PathLike | None = None,
    reference: OpticalSpectrum | None = None,
    *,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    max_energy: float | None = None,
    bands: Bands | None = None,
) -> Figure:
    """Draw R at normal incidence over the colours of visible light.

    Arguments and errors as for :func:`plot_dielectric_function`.
    """

    def draw(panel: Any, curves: Any, end: float) -> None:
        panels.draw_visible(panel)
        panels.draw_reflectivity(panel, curves, end)

    return _single(draw, spectrum, path, reference, labels, title, max_energy, bands)


def plot_loss(
    spectrum: Spectra,
    path: PathLike | None = None,
    reference: OpticalSpectrum | None = None,
    *,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    max_energy: float | None = None,
    bands: Bands | None = None,
) -> Figure:
    """Draw Im(−1/ε); arguments and errors as for :func:`plot_dielectric_function`."""
    return _single(panels.draw_loss, spectrum, path, reference, labels, title, max_energy, bands)


def _single(
    draw: Callable[[Any, Any, float], None],
    spectrum: Spectra,
    path: PathLike | None,
    reference: OpticalSpectrum | None,
    labels: Sequence[str] | None,
    title: str | None,
    max_energy: float | None,
    bands: Bands | None,
) -> Figure:
    check_suffix(path)
    spectra = as_list(spectrum)
    curves = curves_of(spectra, reference, labels, bands)
    end = max_energy or max(curve.spectrum.grid.stop for curve in curves)
    figure = new_figure(6.8, 5.0)
    panel = figure.subplots()
    draw(panel, curves, end)
    style_axes(panel)
    panel.set_xlim(0.0, end)
    panel.set_xlabel("Photon energy (eV)")
    head(figure, curves, title, any(one.is_tensor for one in [*spectra, reference] if one))
    fit_below_head(figure)
    return save(figure, path)


def fit_below_head(figure: Figure) -> None:
    """Place the axes below title and legend, however many lines these take."""
    width, height = figure.get_size_inches()
    top = 1.0 - 0.86 / height
    for legend in figure.legends:
        box = legend.get_window_extent()
        top = min(top, figure.transFigure.inverted().transform((0.0, box.y0))[1])
    figure.subplots_adjust(
        left=0.78 / width, right=1.0 - 0.2 / width, bottom=0.62 / height, top=top - 0.02
    )
