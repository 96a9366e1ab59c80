"""A number of an analysis with its unit, or the reason why it does not exist."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from opalign.errors import OpalignError
from opalign.spectrum.optical import OpticalSpectrum

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

    from opalign.spectrum.analysis import OpticsConfig

Value = float | str | None


@dataclass(frozen=True)
class Quantity:
    """One number (or word): what it is, its unit, and what has to be known about it."""

    key: str
    """Name in files, with the unit at its end."""
    label: str
    value: Value
    unit: str = ""
    note: str | None = None
    """Why there is no value, or how it is meant."""

    def as_dict(self) -> dict[str, Any]:
        """Return value, unit, label and note, as JSON holds them."""
        return {"value": self.value, "unit": self.unit, "label": self.label, "note": self.note}

    @property
    def shown(self) -> str:
        """The value as it is read: four digits and the unit, or a dash."""
        if self.value is None:
            return "–"
        if isinstance(self.value, str):
            return self.value
        large = abs(self.value) >= 1e5 or 0.0 < abs(self.value) < 1e-3
        number = f"{self.value:.2e}" if large else f"{self.value:.4g}"
        return " ".join(filter(None, (number.replace("-", "−"), self.unit)))


@dataclass(frozen=True, eq=False)
class Subject:
    """What is measured: the spectrum as it was prepared, and its gaps in eV where known."""

    spectrum: OpticalSpectrum
    direct_gap: float | None
    fundamental_gap: float | None
    config: OpticsConfig
    structure: Structure | None = None

    @property
    def isotropic(self) -> OpticalSpectrum:
        """The isotropic average."""
        return self.spectrum.isotropic()

    @property
    def tail_removed(self) -> bool:
        """Whether the tail of a Lorentzian was cut off below the gap."""
        return self.direct_gap is not None and self.spectrum.broadening.shape == "lorentzian"


def measured(
    key: str, label: str, unit: str, compute: Callable[[], Value], note: str | None = None
) -> Quantity:
    """Return the quantity that ``compute`` gives, or the reason why it cannot."""
    try:
        value = compute()
    except OpalignError as error:
        return Quantity(key, label, None, unit, error.problem)
    if isinstance(value, float) and not np.isfinite(value):
        return Quantity(key, label, None, unit, note or "not defined for this spectrum")
    return Quantity(key, label, value, unit, note)
