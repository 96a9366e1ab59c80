"""The numbers of an analysis, group by group: each with its unit, or why it does not exist."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from opalign.errors import MissingExtraError, OpalignError
from opalign.spectrum.applications import Weighting, abbe_number, visible_transmittance
from opalign.spectrum.birefringence import birefringence
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.colour import Colour, powder_colour, slab_colour, specular_colour
from opalign.spectrum.edge import EdgeReport, edge_report
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.quantity import Quantity, Subject, measured
from opalign.spectrum.solar import photocurrent, photocurrent_limit, slme
from opalign.spectrum.sum_check import sum_rules, valence_electron_density
from opalign.spectrum.tauc import TaucFit
from opalign.spectrum.units import energy_from_wavelength
from opalign.spectrum.urbach import urbach_fit

if TYPE_CHECKING:
    from opalign.spectrum.scissor import ScissorReport

_WEIGHTINGS: tuple[tuple[str, str, Weighting, str], ...] = (
    ("visible", "Mean visible transmittance", "flat", "every wavelength alike"),
    ("luminous", "Luminous transmittance", "photopic", "as the eye sees D65"),
)


def edge_of(subject: Subject) -> EdgeReport:
    """Return the absorption edge of the isotropic average.

    A Lorentzian whose tail below a known gap has been removed counts as sharp: the onset then lies
    at the gap, up to a step of the grid, or above it.
    """
    config, spectrum = subject.config, subject.isotropic
    if not subject.tail_removed:
        return edge_report(spectrum, threshold=config.threshold, window=config.edge_window)
    sharp = replace(spectrum, broadening=Broadening())
    edge = edge_report(sharp, threshold=config.threshold, window=config.edge_window)
    # What is left of the line above the gap would pass for a tail of Urbach's.
    tail = urbach_fit(spectrum.energies, spectrum.absorption_coefficient, spectrum.broadening)
    return replace(edge, urbach=tail)


def edge_quantities(subject: Subject, edge: EdgeReport) -> list[Quantity]:
    """Onset, strength and steepness of the edge, Tauc gaps, Urbach energy."""
    config = subject.config
    marked = f"log₁₀(α/cm⁻¹) = {config.threshold:g}"
    if subject.tail_removed:
        marked += "; after the tail below the gap was removed"
    window = f"over {config.edge_window:g} eV above the onset"
    rows = [
        Quantity("onset_eV", "Onset of absorption", edge.onset.value, "eV",
                 edge.onset.reason or marked),
        Quantity("edge_integral_eV_per_cm", "Absorption-edge integral", edge.integral.value,
                 "eV/cm", edge.integral.reason or f"∫ α dE {window}"),
        Quantity("edge_steepness_decades_per_eV", "Steepness of the edge", edge.steepness.value,
                 "decades/eV", edge.steepness.reason or f"of log₁₀ α {window}"),
    ]  # fmt: skip
    for fit in (edge.direct, edge.indirect):
        rows.append(
            Quantity(
                f"tauc_{fit.transition}_gap_eV",
                f"Tauc gap, {fit.transition}",
                fit.gap,
                "eV",
                fit.reason or _tauc_note(fit),
            )
        )
    tail = edge.urbach
    found = tail.reason
    if tail.window is not None and tail.decades is not None:
        found = f"over {tail.decades:.1f} decades, {tail.window[0]:.3g}–{tail.window[1]:.3g} eV"
    rows.append(Quantity("urbach_energy_eV", "Urbach energy", tail.energy, "eV", found))
    return rows


def _tauc_note(fit: TaucFit) -> str | None:
    if fit.window is None or fit.r_squared is None:
        return None
    return (
        f"±{fit.standard_error:.2g} eV of the line alone; fitted over {fit.window[0]:.3g}–"
        f"{fit.window[1]:.3g} eV, R² = {fit.r_squared:.4f}; an exponent that fits does not prove "
        "the kind of transition"
    )


def index_quantities(subject: Subject) -> list[Quantity]:
    """ε₁(0), n and k at the wavelengths, the Abbe number."""
    spectrum = subject.isotropic
    static = "of the electrons alone: the lattice is not in ε"
    found = [
        measured(
            "static_dielectric", "ε₁(0)", "", lambda: float(spectrum.static_dielectric), static
        )
    ]
    for wavelength in subject.config.wavelengths:
        for place, (name, label) in enumerate((("refractive_index", "n"), ("extinction", "k"))):
            found.append(
                measured(
                    f"{name}_{wavelength:g}nm",
                    f"{label} at {wavelength:g} nm",
                    "",
                    partial(_at_wavelength, spectrum, wavelength, place),
                )
            )
    try:
        abbe = abbe_number(spectrum)
        found.append(Quantity("abbe_number", "Abbe number V_d", abbe.value, "", abbe.note))
    except OpalignError as error:
        found.append(Quantity("abbe_number", "Abbe number V_d", None, "", error.problem))
    return found


def _at_wavelength(spectrum: OpticalSpectrum, wavelength: float, place: int) -> float:
    return float(spectrum.at_wavelength(wavelength)[place])


def tensor_quantities(subject: Subject) -> list[Quantity]:
    """Optical class and birefringence; with the reason where there is no tensor or structure."""
    wavelength = subject.config.wavelengths[0]
    names = (
        ("optical_class", "Optical class", ""),
        (f"birefringence_{wavelength:g}nm", f"Birefringence Δn at {wavelength:g} nm", ""),
        (f"optic_angle_{wavelength:g}nm_deg", f"Optic angle 2V at {wavelength:g} nm", "°"),
    )
    missing = None
    if not subject.spectrum.is_tensor:
        missing = "an isotropic average has no direction"
    elif subject.structure is None:
        missing = "needs the crystal structure beside the tensor"
    if missing is not None or subject.structure is None:
        return [Quantity(key, label, None, unit, missing) for key, label, unit in names]
    try:
        found = birefringence(subject.spectrum, subject.structure)
    except OpalignError as error:
        return [Quantity(key, label, None, unit, error.problem) for key, label, unit in names]
    energy = energy_from_wavelength(wavelength)
    energies = subject.spectrum.energies
    within = bool(energies[0] <= energy <= energies[-1])

    def at(values: np.ndarray) -> float:
        return float(np.interp(energy, energies, values)) if within else float("nan")

    sign = {
        "uniaxial": "n_e − n_o",
        "isotropic": "zero by symmetry",
    }.get(found.optical_class, "largest minus smallest principal index")
    angle_note = (
        "only biaxial crystals have two optic axes, where they are transparent"
        if np.isnan(at(found.optic_angle))
        else "between the optic axes"
    )
    return [
        Quantity(*names[0][:2], found.optical_class),
        measured(
            *names[1], lambda: 0.0 if found.optical_class == "isotropic" else at(found.delta), sign
        ),
        measured(*names[2], lambda: at(found.optic_angle), angle_note),
    ]


def application_quantities(subject: Subject, onset: float | None) -> list[Quantity]:
    """SLME, photocurrents, visible transmittance of the slab."""
    config, spectrum = subject.config, subject.isotropic
    direct, fundamental = subject.direct_gap, subject.fundamental_gap
    if direct is None:
        direct, fundamental = onset, onset
        source = "gap taken from the onset of absorption, and as direct"
    else:
        source = f"direct gap {direct:.4g} eV as given"
        if fundamental is not None and fundamental < direct:
            source += f", fundamental gap {fundamental:.4g} eV"
    cell = f"{config.thickness:g} nm, {config.temperature:g} K"
    keys = (
        ("slme_percent", "SLME", "%"),
        ("photocurrent_mA_per_cm2", "Photocurrent of the slab", "mA/cm²"),
        ("photocurrent_limit_mA_per_cm2", "Photocurrent limit of the gap", "mA/cm²"),
    )
    if direct is None:
        reason = "no gap is known: none was given, and there is no onset to take it from"
        solar = [Quantity(key, label, None, unit, reason) for key, label, unit in keys]
    else:
        gap = direct
        solar = [
            measured(
                *keys[0],
                lambda: slme(
                    spectrum,
                    gap,
                    fundamental,
                    thickness=config.thickness,
                    temperature=config.temperature,
                ),
                f"{cell}; {source}",
            ),
            measured(
                *keys[1],
                lambda: photocurrent(spectrum, config.thickness, direct_gap=gap),
                f"AM1.5G, {config.thickness:g} nm, one pass, no reflection; {source}",
            ),
            measured(*keys[2], lambda: photocurrent_limit(fundamental or gap), f"AM1.5G; {source}"),
        ]
    pane = f"{config.thickness:g} nm, both faces, {config.coherence}; without free carriers"
    return solar + [
        measured(
            f"{name}_transmittance",
            label,
            "",
            partial(
                visible_transmittance,
                spectrum,
                config.thickness,
                weighting=weighting,
                coherence=config.coherence,
            ),
            f"380–780 nm, {how}; {pane}",
        )
        for name, label, weighting, how in _WEIGHTINGS
    ]


def colour_quantities(subject: Subject) -> tuple[dict[str, Colour], list[Quantity]]:
    """Colours of a polished face, a slab and a powder, under D65 for the 2° observer."""
    config, spectrum = subject.config, subject.isotropic
    ways: tuple[tuple[str, str, Callable[[], Colour]], ...] = (
        ("polished", "Polished face", lambda: specular_colour(spectrum)),
        (
            "slab",
            f"Slab of {config.thickness:g} nm",
            lambda: slab_colour(spectrum, config.thickness, config.coherence),
        ),
        (
            "powder",
            f"Powder, S = {config.scattering:g} cm⁻¹",
            lambda: powder_colour(spectrum, config.scattering),
        ),
    )
    colours: dict[str, Colour] = {}
    rows = []
    for key, name, compute in ways:
        try:
            colour = compute()
        except OpalignError as error:
            cure = f"; {error.cure}" if isinstance(error, MissingExtraError) else ""
            rows.append(Quantity(f"colour_{key}", name, None, "", f"{error.problem}{cure}"))
            continue
        colours[name] = colour
        lab = ", ".join(f"{value:.1f}" for value in colour.lab)
        note = f"sRGB; L*a*b* {lab}; D65, 2°" + ("; outside sRGB" if colour.clipped else "")
        rows.append(Quantity(f"colour_{key}", name, colour.hex, "", note))
    return colours, rows


def consistency_quantities(subject: Subject, scissor: ScissorReport | None) -> list[Quantity]:
    """Sum rules, how well ε₁ agrees with ε₂ by Kramers–Kronig, and what a shift did to the sum."""
    spectrum = subject.isotropic
    density = None
    counted = "needs the crystal structure, to count electrons"
    if subject.structure is not None:
        try:
            density = valence_electron_density(subject.structure)
            counted = "over the window, against the valence electrons"
        except OpalignError as error:
            counted = error.problem
    found = sum_rules(spectrum, electron_density=density)
    window = f"∫ over {spectrum.grid.start:g}–{spectrum.grid.stop:g} eV"
    tail = (
        f"with an oscillator at {found.oscillator.energy:.3g} eV for what lies above the window"
        if found.oscillator
        else "no oscillator above the window makes ε₁ agree"
    )
    rows = [
        Quantity("f_sum_eV2", "f-sum", found.f_sum, "eV²", f"{window} of E ε₂"),
        Quantity("loss_sum_eV2", "Loss-sum", found.loss_sum, "eV²", f"{window} of E Im(−1/ε)"),
        Quantity("f_sum_error", "f-sum, relative error", found.f_sum_error, "", counted),
        Quantity("loss_sum_error", "Loss-sum, relative error", found.loss_sum_error, "", counted),
        Quantity(
            "kramers_kronig_error",
            "Mean |ε₁(Kramers–Kronig) − ε₁|",
            found.real_error,
            "",
            f"lower three quarters of the window, {tail}",
        ),
        Quantity(
            "static_kramers_kronig_error",
            "ε₁(0) by Kramers–Kronig, relative error",
            found.static_error,
            "",
            tail,
        ),
    ]
    if scissor is not None:
        rows.append(
            Quantity(
                "scissor_f_sum_change",
                "f-sum, relative change by the scissor shift",
                scissor.f_sum_change,
                "",
                f"{scissor.f_sum_before:.4g} eV² before, {scissor.f_sum_after:.4g} eV² after, all "
                f"energies; ε₁(0) {scissor.static_before:.3g} before, {scissor.static_after:.3g} "
                "after",
            )
        )
    return rows
