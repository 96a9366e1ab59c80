"""What can be asked of a predicted spectrum, by name: each for all materials of a batch at once.

A name may hold a number and its unit, as in ``refractive_index_589nm`` or
``absorption_2.5eV_per_cm``; it is the name of the column and the word for conditions as well.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from opalign.errors import ConfigurationError
from opalign.screening.spectra import Rows, SpectraRows
from opalign.spectrum.applications import VISIBLE_WAVELENGTHS
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.onset import onset_energies
from opalign.spectrum.optical import ONSET_BROADENING_LIMIT
from opalign.spectrum.relations import loss_function, reflectivity
from opalign.spectrum.slab import slab_response
from opalign.spectrum.solar import DEFAULT_THICKNESS, NEEDED_WINDOW
from opalign.spectrum.units import HC, visible


@dataclass(frozen=True)
class Abilities:
    """What a model can tell: quantities beyond that are refused before a run starts."""

    grid: EnergyGrid
    broadening: Broadening = field(default_factory=Broadening)
    band_gap: bool = True
    reference: bool = True
    """Whether it knows its training materials."""
    uncertainty: bool = False


@dataclass(frozen=True)
class Quantity:
    """A number of a material: ``evaluate`` gives (B,) of a batch, NaN where it does not exist."""

    name: str
    unit: str
    description: str
    evaluate: Callable[[SpectraRows], Rows]
    refusal: Callable[[Abilities], str | None]
    """Why a model cannot give it, or None."""


@dataclass(frozen=True)
class _Family:
    """Quantities whose name holds a number: ``pattern`` is the name with ``{}`` in its place."""

    pattern: str
    make: Callable[[str, float], Quantity]

    def match(self, name: str) -> Quantity | None:
        before, _, after = self.pattern.partition("{}")
        found = re.fullmatch(re.escape(before) + r"(\d+(?:\.\d+)?)" + re.escape(after), name)
        return self.make(name, float(found.group(1))) if found else None


def quantity(name: str) -> Quantity:
    """Return the quantity of this name; ConfigurationError says which one was probably meant."""
    if name in _FIXED:
        return _FIXED[name]
    for family in _FAMILIES:
        if found := family.match(name):
            return found
    known = quantity_names()
    # Of a family the numbers must not decide what looks alike.
    shape = re.sub(r"\d+(?:\.\d+)?", "{}", name)
    guess = difflib.get_close_matches(shape, known, n=1)
    example = guess[0].replace("{}", _number_in(name)) if guess else None
    raise ConfigurationError(
        f"there is no quantity {name!r}",
        expected=", ".join(one.replace("{}", "<number>") for one in known),
        cure=f"did you mean {example!r}?" if example else "choose one of these",
    )


def quantity_names() -> list[str]:
    """Names of all quantities; ``{}`` stands for a number."""
    return [*_FIXED, *(family.pattern for family in _FAMILIES)]


def standard_quantities(abilities: Abilities) -> list[str]:
    """Those of the summary of `opalign predict` that the model can give."""
    return [name for name in _STANDARD if quantity(name).refusal(abilities) is None]


def checked_quantities(names: Iterable[str], abilities: Abilities) -> list[Quantity]:
    """Return the quantities of these names, each once.

    Raises
    ------
    ConfigurationError
        If there is no such quantity, or the model cannot give it.
    """
    found = [quantity(name) for name in dict.fromkeys(names)]
    for one in found:
        if reason := one.refusal(abilities):
            raise ConfigurationError(
                f"the model cannot give {one.name}: {reason}",
                expected=", ".join(standard_quantities(abilities)) + ", …",
                cure="leave it out, or choose another model with --model",
            )
    return found


def _number_in(name: str) -> str:
    found = re.search(r"\d+(?:\.\d+)?", name)
    return found.group() if found else "589"


def _always(_: Abilities) -> str | None:
    return None


def _needs_energy(energy: float, abilities: Abilities) -> str | None:
    grid = abilities.grid
    # Rounding must not throw out the grid's own ends.
    slack = 1e-9 * grid.stop
    if grid.start - slack <= energy <= grid.stop + slack:
        return None
    return f"{energy:.4g} eV lies outside its spectra ({grid})"


def _needs_visible(abilities: Abilities) -> str | None:
    reasons = (_needs_energy(HC / edge, abilities) for edge in VISIBLE_WAVELENGTHS[[0, -1]])
    return next((reason for reason in reasons if reason), None)


def _needs_sharp_onset(abilities: Abilities) -> str | None:
    shape, width = abilities.broadening.shape, abilities.broadening.width
    if shape == "none" or (shape == "gaussian" and width <= ONSET_BROADENING_LIMIT):
        return None
    return f"with {abilities.broadening} an onset shows the broadening and not the material"


def _needs_static(abilities: Abilities) -> str | None:
    return None if abilities.grid.start == 0.0 else "its spectra do not start at 0 eV"


def _needs_gap(abilities: Abilities) -> str | None:
    return None if abilities.band_gap else "it predicts no band gap"


def _needs_sun(abilities: Abilities) -> str | None:
    if abilities.grid.stop < NEEDED_WINDOW:
        return f"its spectra end below {NEEDED_WINDOW:g} eV"
    return _needs_gap(abilities)


def _needs_reference(abilities: Abilities) -> str | None:
    return None if abilities.reference else "it does not know its training materials"


def _needs_uncertainty(abilities: Abilities) -> str | None:
    return (
        None if abilities.uncertainty else "it is not calibrated, so that it gives no uncertainty"
    )


def _known(values: Rows | None, rows: SpectraRows) -> Rows:
    return np.full(len(rows), np.nan) if values is None else values


def _largest_visible(rows: SpectraRows) -> Rows:
    inside = visible(rows.grid.values)
    return np.asarray(rows.absorption[:, inside].max(axis=1))


def _loss_peak(rows: SpectraRows) -> Rows:
    with np.errstate(divide="ignore", invalid="ignore"):
        loss = np.nan_to_num(loss_function(rows.epsilon_real, rows.epsilon_imaginary), nan=-1.0)
    return np.asarray(rows.grid.values[loss.argmax(axis=1)])


def _transmittance(thickness: float, rows: SpectraRows) -> Rows:
    index, extinction = rows.index_at(VISIBLE_WAVELENGTHS)
    return np.asarray(
        slab_response(VISIBLE_WAVELENGTHS, index, extinction, thickness).transmittance.mean(axis=1)
    )


def _slme(thickness: float, rows: SpectraRows) -> Rows:
    from opalign.spectrum.solar_rows import slme_rows

    gaps = _known(rows.band_gap, rows)
    return slme_rows(rows.grid, rows.absorption, gaps, thickness=thickness)


def _solar(name: str, thickness: float) -> Quantity:
    return Quantity(
        name,
        "%",
        f"spectroscopic limited maximum efficiency of {thickness:g} nm, from the predicted gap on",
        partial(_slme, thickness),
        lambda abilities: "a slab needs a thickness" if not thickness > 0.0 else
        _needs_sun(abilities),
    )  # fmt: skip


_FIXED = {
    one.name: one
    for one in (
        Quantity(
            "onset_eV", "eV", "lowest energy at which log10(alpha / cm^-1) exceeds 2.5",
            lambda rows: onset_energies(rows.grid.values, rows.absorption), _needs_sharp_onset,
        ),
        Quantity(
            "band_gap_eV", "eV", "energy at which the predicted absorption begins",
            lambda rows: _known(rows.band_gap, rows), _needs_gap,
        ),
        Quantity(
            "static_dielectric", "", "real part of epsilon at E = 0, electrons only",
            lambda rows: rows.epsilon_real[:, 0], _needs_static,
        ),
        Quantity(
            "largest_visible_absorption_per_cm", "cm^-1", "between 1.65 and 3.26 eV",
            _largest_visible, _needs_visible,
        ),
        Quantity(
            "loss_peak_eV", "eV", "energy at which the energy-loss function is greatest",
            _loss_peak, _always,
        ),
        _solar("slme_percent", DEFAULT_THICKNESS),
        Quantity(
            "relative_distance", "",
            "novelty: distance to the nearest training material over the median of that within "
            "the training set",
            lambda rows: _known(rows.relative_distance, rows), _needs_reference,
        ),
        Quantity(
            "unseen_elements", "", "how many of its elements no training material has",
            lambda rows: _known(rows.unseen_elements, rows), _always,
        ),
        Quantity(
            "expected_error", "",
            "uncertainty: calibrated expectation of 1 - SC of Im epsilon, 0 is perfect",
            lambda rows: _known(rows.expected_error, rows), _needs_uncertainty,
        ),
    )
}  # fmt: skip


def _optical(base: str, unit: str, what: str, values: Callable[[SpectraRows], Rows],
             suffix: str = "") -> list[_Family]:  # fmt: skip
    """Return the families of one optical constant: at a wavelength in nm, at an energy in eV."""

    def make(to_energy: Callable[[float], float], at: str, name: str, number: float) -> Quantity:
        energy = to_energy(number) if number > 0.0 or at == "eV" else float("inf")
        return Quantity(
            name,
            unit,
            f"{what} at {number:g} {at}",
            lambda rows: rows.at(values(rows), energy)[:, 0],
            partial(_needs_energy, energy),
        )

    return [
        _Family(f"{base}_{{}}nm{suffix}", partial(make, lambda number: HC / number, "nm")),
        _Family(f"{base}_{{}}eV{suffix}", partial(make, lambda number: number, "eV")),
    ]


def _pane(name: str, thickness: float) -> Quantity:
    return Quantity(
        name,
        "",
        f"mean transmittance of {thickness:g} nm between 380 and 780 nm, both faces, incoherent",
        partial(_transmittance, thickness),
        _needs_visible,
    )


_FAMILIES = (
    *_optical("refractive_index", "", "refractive index n", lambda rows: rows.index),
    *_optical("extinction", "", "extinction coefficient k", lambda rows: rows.extinction),
    *_optical("absorption", "cm^-1", "absorption coefficient", lambda rows: rows.absorption,
              "_per_cm"),
    *_optical("reflectivity", "", "reflectivity at normal incidence",
              lambda rows: np.asarray(reflectivity(rows.index, rows.extinction))),
    _Family("visible_transmittance_{}nm", _pane),
    _Family("slme_{}nm_percent", _solar),
)  # fmt: skip

_STANDARD = (
    "onset_eV",
    "band_gap_eV",
    "static_dielectric",
    "refractive_index_589nm",
    "largest_visible_absorption_per_cm",
    "relative_distance",
    "unseen_elements",
)
