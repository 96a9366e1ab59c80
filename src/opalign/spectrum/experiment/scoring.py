"""Computed or predicted spectra held against measured n and k.

A spectrum is scored where n and k were measured and nowhere else, for the orientation of the field
that was measured: the average over directions, or across or along the optic axis.

* SC of Im ε, the experiment in the denominator, after the computed spectrum was broadened by a
  Gaussian of σ = 0.1 eV (settable): measured lines have a width, computed ones have none.
* Onset: log₁₀ α = 2.5 of both, the computed one unbroadened. Ellipsometry sees a k of 0.005 at best
  and α = 10^2.5 cm⁻¹ is a k of 0.001 at 3 eV, so many measurements don't resolve it; each says
  whether it does. The edge at α = 10⁴ cm⁻¹ lies within reach of all methods and is given too.
* ε₁ at the lowest common energy in place of the static value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from opalign.errors import SpectrumError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.measured.measurement import LOWEST_ENERGY, Measurement, Orientation
from opalign.spectrum.onset import ONSET_THRESHOLD, onset_energy
from opalign.spectrum.optical import ONSET_BROADENING_LIMIT, OpticalSpectrum
from opalign.spectrum.similarity import similarity_coefficient

BROADENING = Broadening("gaussian", 0.1)
"""Of computed spectra before SC; about the width of measured structures at room temperature."""

EDGE_THRESHOLD = 4.0
"""log₁₀ of the absorption coefficient in cm⁻¹ at the edge that every method resolves."""

_CROSSING_SPACING = 0.1
"""eV; an onset between samples farther apart is not resolved."""

_LONGEST_RISE = 1.2
"""eV; slower rises from the onset to the edge are noise of k or defects, not the onset."""

_SMALLEST_SLOPE = 1.5
"""Decades of α per eV at an onset or edge, over 0.3 eV; less is a tail, as models of ε have below
the gap."""


@dataclass(frozen=True)
class Score:
    """How well a spectrum agrees with a measurement; energies in eV, NaN where undefined.

    ``onset_note`` tells why the measured onset is missing; ``note`` what was compared with what.
    """

    window: tuple[float, float]
    similarity: float
    onset_measured: float
    onset_computed: float
    edge_measured: float
    edge_computed: float
    low_energy: float
    permittivity_measured: float
    permittivity_computed: float
    onset_note: str = ""
    note: str = ""

    @property
    def onset_shift(self) -> float:
        """Computed minus measured onset."""
        return self.onset_computed - self.onset_measured

    @property
    def edge_shift(self) -> float:
        """Computed minus measured energy of α = 10⁴ cm⁻¹."""
        return self.edge_computed - self.edge_measured

    @property
    def permittivity_error(self) -> float:
        """Relative error of ε₁ at the lowest common energy."""
        return self.permittivity_computed / self.permittivity_measured - 1.0


def orient(
    spectrum: OpticalSpectrum,
    orientation: Orientation,
    optic_axis: Sequence[float] = (0.0, 0.0, 1.0),
) -> tuple[OpticalSpectrum, str]:
    """Return ``spectrum`` for the measured orientation of the field, and a note if it has only one.

    ``optic_axis`` is Cartesian; standard cells of uniaxial crystals have it along z. Across it ε is
    (trace ε − a·ε·a)/2.
    """
    if orientation == "mean":
        return spectrum.isotropic(), ""
    if not spectrum.is_tensor:
        side = "across" if orientation == "perpendicular" else "along"
        return spectrum, f"average over directions against the field {side} the optic axis"
    along = spectrum.along(optic_axis)
    if orientation == "parallel":
        return along, ""
    trace = np.trace(spectrum.epsilon, axis1=1, axis2=2)
    return replace(spectrum, epsilon=0.5 * (trace - along.epsilon)), ""


def score(
    spectrum: OpticalSpectrum,
    measurement: Measurement,
    *,
    broadening: Broadening = BROADENING,
    lowest: float = LOWEST_ENERGY,
    optic_axis: Sequence[float] = (0.0, 0.0, 1.0),
) -> Score:
    """Score ``spectrum`` on the window in which n and k were measured, from ``lowest`` eV on.

    Parameters
    ----------
    spectrum
        Isotropic or a tensor, from below its gap on.
    measurement
        The experiment.
    broadening
        What the spectrum is broadened to before SC and ε₁; a line already broader stays.
    lowest
        Below this energy in eV, lattice vibrations are measured too.
    optic_axis
        Of a tensor, Cartesian.

    Raises
    ------
    SpectrumError
        If n and k were both measured nowhere on the spectrum's grid.
    """
    one, note = orient(without_narrow_line(spectrum), measurement.orientation, optic_axis)
    measured = common_window(one, measurement, lowest)
    grid = measured.grid
    seen = broadened_to(one, broadening).resampled(grid)
    onset, onset_note = measured_onset(measurement, measured)
    edge, _ = measured_onset(measurement, measured, EDGE_THRESHOLD)
    sharp = one.broadening.shape == "none" or one.has_sharp_onset
    return Score(
        window=(grid.start, grid.stop),
        similarity=float(
            similarity_coefficient(seen.epsilon_imaginary, measured.epsilon_imaginary, grid)
        ),
        onset_measured=onset,
        onset_computed=_onset(one, ONSET_THRESHOLD) if sharp else math.nan,
        edge_measured=edge,
        edge_computed=_onset(one, EDGE_THRESHOLD) if sharp else math.nan,
        low_energy=grid.start,
        permittivity_measured=float(measured.epsilon_real[0]),
        permittivity_computed=float(seen.epsilon_real[0]),
        onset_note=onset_note,
        note=note,
    )


def common_window(
    spectrum: OpticalSpectrum, measurement: Measurement, lowest: float = LOWEST_ENERGY
) -> OpticalSpectrum:
    """Return the measured ε on that part of the spectrum's own grid where n and k were measured.

    Raises
    ------
    SpectrumError
        If there is no such part.
    """
    energies = spectrum.energies
    inside = energies >= lowest - 1e-9
    epsilon = np.full(energies.shape, np.nan, dtype=complex)
    epsilon[inside] = measurement.permittivity_at(energies[inside])
    edges = np.flatnonzero(np.diff(np.concatenate(([0], np.isfinite(epsilon).astype(int), [0]))))
    begin, end = max(
        zip(edges[::2], edges[1::2], strict=True), key=lambda run: run[1] - run[0], default=(0, 0)
    )
    if end - begin < 2:
        raise SpectrumError(
            "n and k were not both measured anywhere on this grid",
            where=f"{measurement.formula}, {measurement.source}",
            expected=f"some of {spectrum.grid}, above {lowest:g} eV",
        )
    return OpticalSpectrum(
        EnergyGrid(energies[begin], energies[end - 1], int(end - begin)),
        epsilon[begin:end],
        "experiment",
        material_id=measurement.formula,
        provenance=measurement.source or None,
    )


def measured_onset(
    measurement: Measurement,
    measured: OpticalSpectrum,
    threshold: float = ONSET_THRESHOLD,
) -> tuple[float, str]:
    """Return the measured energy of log₁₀ α = ``threshold`` in eV, or NaN and the reason why not.

    The crossing after which α stays above the threshold: there has to be a sample below it in the
    window, samples close enough around it, α has to rise there by 1.5 decades per eV, and it has to
    reach 10⁴ cm⁻¹ within 1.2 eV, as it does even at indirect gaps. A tail or noise that never falls
    below the threshold hides the onset, and then there is none.
    """
    logarithm = measured.log_absorption(floor=threshold - 2.5)
    below = np.flatnonzero(logarithm <= threshold)
    if below.size == 0:
        return math.nan, f"log₁₀ α is {logarithm.min():.1f} or more throughout the measured window"
    last = int(below[-1])
    if last == measured.grid.num - 1:
        return math.nan, f"log₁₀ α does not stay above {threshold:g} in the measured window"
    tail = measured.energies[last:]
    onset = onset_energy(tail, measured.absorption_coefficient[last:], threshold)
    if onset is None:
        return math.nan, f"log₁₀ α does not exceed {threshold:g}"
    for one in measurement.samples:
        place = int(np.searchsorted(one.energies, onset))
        if one.energies[place] - one.energies[place - 1] > _CROSSING_SPACING:
            return math.nan, f"samples at the onset are over {_CROSSING_SPACING:g} eV apart"
    around = np.clip([onset - 0.15, onset + 0.15], measured.grid.start, measured.grid.stop)
    low, high = np.interp(around, measured.energies, logarithm)
    if high - low < _SMALLEST_SLOPE * (around[1] - around[0]):
        return math.nan, f"α rises too slowly at {onset:.2f} eV for an edge: noise or a tail"
    rise = measured.energies[measured.energies > onset + _LONGEST_RISE]
    if threshold < EDGE_THRESHOLD and rise.size:
        strong = np.interp(rise[0], measured.energies, measured.absorption_coefficient)
        if strong < 10.0**EDGE_THRESHOLD:
            return (
                math.nan,
                f"α rises too slowly above {onset:.2f} eV for an onset: noise or a tail",
            )
    return float(onset), ""


def without_narrow_line(spectrum: OpticalSpectrum) -> OpticalSpectrum:
    """Return ``spectrum`` with a line narrower than a step of its grid counted as none."""
    if 0.0 < spectrum.broadening.width < spectrum.grid.step:
        return replace(spectrum, broadening=Broadening())
    return spectrum


def broadened_to(spectrum: OpticalSpectrum, broadening: Broadening) -> OpticalSpectrum:
    """Return ``spectrum`` broadened to ``broadening``, or as it is if its own line is wider."""
    own = spectrum.broadening
    if own.shape == broadening.shape and own.width >= broadening.width:
        return spectrum
    if own.shape not in ("none", broadening.shape):
        return spectrum
    return spectrum.broadened(broadening)


def _onset(spectrum: OpticalSpectrum, threshold: float) -> float:
    if spectrum.broadening.width > ONSET_BROADENING_LIMIT:
        return math.nan
    onset = onset_energy(spectrum.energies, spectrum.absorption_coefficient, threshold)
    return math.nan if onset is None else onset
