"""Everything that can be said of one spectrum, each number with its unit or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from opalign.errors import ConfigurationError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.colour import Colour
from opalign.spectrum.edge import EdgeReport
from opalign.spectrum.figures_of_merit import (
    application_quantities,
    colour_quantities,
    consistency_quantities,
    edge_of,
    edge_quantities,
    index_quantities,
    tensor_quantities,
)
from opalign.spectrum.onset import ONSET_THRESHOLD
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.quantity import Quantity, Subject
from opalign.spectrum.scissor import ScissorReport, scissor_report
from opalign.spectrum.slab import DEFAULT_SCATTERING, Coherence
from opalign.spectrum.solar import DEFAULT_TEMPERATURE, DEFAULT_THICKNESS

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

WAVELENGTHS = (589.3, 1064.0, 1550.0)
"""nm: the sodium D lines, a Nd:YAG laser, telecommunication."""


class OpticsConfig(BaseModel):
    """What an analysis assumes; written beside its results."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    direct_gap: float | None = Field(
        default=None, gt=0.0, allow_inf_nan=False,
        description="eV; lowest direct gap of the spectrum as given. A Lorentzian tail below it is "
        "removed",
    )  # fmt: skip
    fundamental_gap: float | None = Field(
        default=None, gt=0.0, allow_inf_nan=False, description="eV; where it is not the direct one"
    )
    scissor: float | None = Field(
        default=None, allow_inf_nan=False, description="eV; change of the gap, applied first"
    )
    broadening: float | None = Field(
        default=None, gt=0.0, allow_inf_nan=False,
        description="eV; Gaussian σ of the spectrum in all, applied after the scissor",
    )  # fmt: skip
    threshold: float = Field(
        default=ONSET_THRESHOLD, allow_inf_nan=False, description="log₁₀(α/cm⁻¹) of the onset"
    )
    edge_window: float = Field(
        default=1.0, gt=0.0, allow_inf_nan=False, description="eV above the onset"
    )
    wavelengths: tuple[float, ...] = Field(
        default=WAVELENGTHS,
        min_length=1,
        description="nm; where n and k are given, and of the first the birefringence",
    )
    thickness: float = Field(
        default=DEFAULT_THICKNESS, gt=0.0, allow_inf_nan=False, description="nm; of slab and cell"
    )
    coherence: Coherence = Field(default="incoherent", description="how the passes in a slab add")
    scattering: float = Field(
        default=DEFAULT_SCATTERING, gt=0.0, allow_inf_nan=False, description="cm⁻¹; of the powder"
    )
    temperature: float = Field(
        default=DEFAULT_TEMPERATURE, gt=0.0, allow_inf_nan=False, description="K; of the solar cell"
    )
    max_energy: float = Field(
        default=20.0, gt=0.0, allow_inf_nan=False, description="eV; end of the figures' axes"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.fundamental_gap is not None:
            if self.direct_gap is None:
                raise ValueError("a fundamental gap needs the direct one beside it")
            if self.fundamental_gap > self.direct_gap:
                raise ValueError(
                    f"the fundamental gap, {self.fundamental_gap:g} eV, lies above the direct one, "
                    f"{self.direct_gap:g} eV"
                )
        if not all(np.isfinite(one) and one > 0.0 for one in self.wavelengths):
            raise ValueError(f"wavelengths of {self.wavelengths} nm are not all positive")
        return self

    def with_gaps(self, direct: float | None, fundamental: float | None) -> OpticsConfig:
        """Return the same with these gaps in eV, unless it has gaps of its own.

        What is no gap (None, NaN, zero, negative) counts as unknown; a fundamental gap above the
        direct one, which only rounding makes, as equal to it.
        """
        if self.direct_gap is not None or not (direct is not None and direct > 0.0):
            return self
        known = fundamental is not None and fundamental > 0.0
        lowest = min(fundamental, direct) if fundamental is not None and known else None
        return OpticsConfig(
            **{**self.model_dump(), "direct_gap": direct, "fundamental_gap": lowest}
        )


@dataclass(frozen=True, eq=False)
class SpectrumReport:
    """An analysed spectrum.

    Parameters
    ----------
    name
        Of the spectrum in files and headings.
    given, spectrum
        As it came, and as it was analysed: shifted, cut, broadened.
    config
        What was assumed.
    quantities
        In the order in which they are to be read.
    colours
        By name; empty where they could not be had.
    notes
        What was done to the spectrum.
    scissor
        What the shift did to the sums, where there was one.
    edge
        The absorption edge of the isotropic average, with the fits.
    """

    name: str
    given: OpticalSpectrum
    spectrum: OpticalSpectrum
    config: OpticsConfig
    quantities: tuple[Quantity, ...]
    colours: dict[str, Colour]
    notes: tuple[str, ...]
    scissor: ScissorReport | None
    edge: EdgeReport

    def quantity(self, key: str) -> Quantity:
        """Return the quantity of this ``key``; ConfigurationError for one that is not there."""
        for one in self.quantities:
            if one.key == key:
                return one
        raise ConfigurationError(
            f"there is no quantity {key!r}",
            where=self.name,
            expected=", ".join(one.key for one in self.quantities),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold: name, level, broadening, notes and every quantity."""
        return {
            "name": self.name,
            "material_id": self.spectrum.material_id,
            "level": self.spectrum.level,
            "broadening": self.spectrum.broadening.model_dump(),
            "grid": self.spectrum.grid.model_dump(),
            "provenance": self.spectrum.provenance,
            "config": self.config.model_dump(mode="json"),
            "notes": list(self.notes),
            "quantities": {one.key: one.as_dict() for one in self.quantities},
        }


@dataclass(frozen=True, eq=False)
class Prepared:
    """A spectrum shifted, cut and broadened as a configuration demands.

    Gaps in eV after the shift, None where unknown; ``notes`` say what was done.
    """

    spectrum: OpticalSpectrum
    direct_gap: float | None
    fundamental_gap: float | None
    notes: tuple[str, ...]
    scissor: ScissorReport | None

    def subject(self, config: OpticsConfig, structure: Structure | None = None) -> Subject:
        """Return what the figures of merit are measured of."""
        return Subject(self.spectrum, self.direct_gap, self.fundamental_gap, config, structure)


def analyse(
    spectrum: OpticalSpectrum,
    config: OpticsConfig | None = None,
    *,
    structure: Structure | None = None,
    name: str | None = None,
    notes: Sequence[str] = (),
) -> SpectrumReport:
    """Return what optics can say of ``spectrum``, isotropic or tensor.

    Isotropic quantities of a tensor are those of its average; birefringence is added. Quantities
    that do not exist say why, and never stop the others.

    Parameters
    ----------
    config
        By default :class:`OpticsConfig` without a gap, shift or broadening.
    structure
        The crystal in the frame of the tensor, for its optical class and its electrons.
    name
        By default the material id.
    notes
        What is known of the spectrum already, such as from the file that it was read from.

    Raises
    ------
    SpectrumError, ConfigurationError
        If the spectrum cannot be shifted or broadened as the configuration demands.
    """
    config = config or OpticsConfig()
    prepared = prepare(spectrum, config)
    subject = prepared.subject(config, structure)
    edge = edge_of(subject)
    colours, colour_rows = colour_quantities(subject)
    quantities = (
        *edge_quantities(subject, edge),
        *index_quantities(subject),
        *tensor_quantities(subject),
        *application_quantities(subject, edge.onset.value),
        *colour_rows,
        *consistency_quantities(subject, prepared.scissor),
    )
    return SpectrumReport(
        name=name or spectrum.material_id or "spectrum",
        given=spectrum,
        spectrum=prepared.spectrum,
        config=config,
        quantities=quantities,
        colours=colours,
        notes=(*notes, *prepared.notes),
        scissor=prepared.scissor,
        edge=edge,
    )


def prepare(spectrum: OpticalSpectrum, config: OpticsConfig) -> Prepared:
    """Shift, cut below the gap, and broaden, in this order.

    Raises
    ------
    SpectrumError, ConfigurationError
        If that is not possible.
    """
    notes = []
    direct = config.direct_gap
    fundamental = config.fundamental_gap or direct
    report = None
    if config.scissor is not None:
        report = scissor_report(spectrum, config.scissor, gap=direct)
        spectrum = report.spectrum
        direct = None if direct is None else direct + config.scissor
        fundamental = None if fundamental is None else fundamental + config.scissor
        notes.append(f"Scissor shift of {config.scissor:+g} eV, which also moves the gap given.")
    if direct is not None and spectrum.broadening.shape == "lorentzian":
        below = spectrum.energies < direct
        removed = float(spectrum.isotropic().epsilon_imaginary[below].max(initial=0.0))
        epsilon = spectrum.epsilon.copy()
        epsilon[below] = epsilon[below].real
        spectrum = replace(spectrum, epsilon=epsilon)
        if removed > 0.0:
            notes.append(
                f"Im ε below the direct gap of {direct:.4g} eV was set to zero: the tail of "
                f"{spectrum.broadening} reached {removed:.2g} there."
            )
    if config.broadening is not None:
        target = Broadening("gaussian", config.broadening)
        if 0.0 < spectrum.broadening.width < spectrum.grid.step:
            notes.append(f"{spectrum.broadening} is less than a step of the grid and counts as 0.")
            spectrum = replace(spectrum, broadening=Broadening())
        spectrum = spectrum.broadened(target)
        notes.append(f"Broadened to {target} in all.")
    return Prepared(spectrum, direct, fundamental, tuple(notes), report)
