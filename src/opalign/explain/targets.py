"""What spectra a table is explained by: absorption, or any list of numbers on a grid.

Nothing else in this room knows that a spectrum is one of absorption. A table of densities of states
or of X-ray absorption comes in through :func:`list_target`; it has no onset and no edge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opalign.errors import DatasetError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.onset import absorption_edge_integral
from opalign.training.spectra import read_spectra

if TYPE_CHECKING:
    from opalign.dataset.table import SpectraTable

Array = NDArray[np.float64]

#: eV: the onset is sharp, and lines of a coarse mesh do not scatter it.
ONSET_BROADENING = Broadening("gaussian", 0.1)
#: eV above the onset over which the edge is integrated.
EDGE_WINDOW = 1.0
#: eV over which the states at a band edge are counted.
EDGE_STATES = 1.0


@dataclass(frozen=True)
class Curve:
    """One quantity of all materials on one grid."""

    values: Array
    """(M, n)"""
    x: Array
    """(n,)"""
    label: str
    """With its unit, for axes."""
    x_label: str


@dataclass(frozen=True, eq=False)
class Target:
    """The spectra of M materials as they are compared and shown."""

    name: str
    ids: tuple[str, ...]
    curves: Mapping[str, Curve]
    """By name, the one that matters most first."""
    numbers: Mapping[str, Array] = field(default_factory=dict)
    """Numbers read off the spectra, (M,), NaN where there is none."""


def absorption_target(table: SpectraTable, level: str) -> Target:
    """Return Im ε̄ and log₁₀ α of a level, with onset, edge integral and static ε₁.

    Raises
    ------
    DatasetError, SpectrumError
        As :func:`opalign.training.spectra.read_spectra`.
    """
    stored = table.levels.get(level)
    # What is broader already stays as it is.
    wider = stored is not None and stored.broadening.width > ONSET_BROADENING.width
    spectra = read_spectra(table, level, None if wider else ONSET_BROADENING)
    energies = spectra.grid.values
    numbers: dict[str, Array] = {}
    if spectra.has_sharp_onset:
        onsets = spectra.onsets
        numbers["onset_eV"] = onsets
        numbers["edge_integral_eV_per_cm"] = np.array(
            [
                absorption_edge_integral(energies, alpha, onset, EDGE_WINDOW)
                for alpha, onset in zip(spectra.absorption, onsets, strict=True)
            ]
        )
    if spectra.real_known:
        numbers["static_dielectric"] = np.array(spectra.static_dielectric)
    x_label = "photon energy (eV)"
    curves = {
        "log_absorption": Curve(spectra.log_absorption(), energies, "log₁₀(α / cm⁻¹)", x_label),
        "imaginary": Curve(np.array(spectra.imaginary), energies, "Im ε", x_label),
    }
    return Target(level, spectra.ids, curves, numbers)


def list_target(
    table: SpectraTable, column: str, start: float, stop: float, *, label: str, x_label: str
) -> Target:
    """Return a list column, one value per point of a uniform grid, as what is explained.

    Parameters
    ----------
    start, stop
        First and last point of the grid, in the unit that ``x_label`` names.

    Raises
    ------
    DatasetError
        If a material lacks it, its lists differ in length, or a value is not finite.
    """
    rows = [table.list_value(index, column) for index in range(len(table))]
    return matrix_target(table.ids, rows, start, stop, column, label=label, x_label=x_label)


def pdos_target(table: SpectraTable, start: float = -10.0, stop: float = 10.0) -> Target:
    """Return the sum of the projected densities of states per atom, from ``start`` to ``stop`` eV.

    From the columns ``pdos_channels`` and ``pdos_per_eV``; energies count from the valence-band
    maximum.
    """
    rows = []
    for index in range(len(table)):
        channels = _channels(table, index)
        total = np.sum(list(channels.values()), axis=0) if channels else None
        rows.append(None if total is None else total / len(table.arrays(index).atomic_numbers))
    return matrix_target(
        table.ids,
        rows,
        start,
        stop,
        "sum of projected densities of states",
        label="density of states (1/eV per atom)",
        x_label="energy from the valence-band maximum (eV)",
    )


def matrix_target(
    ids: Sequence[str],
    rows: Sequence[Sequence[float] | Array | None],
    start: float,
    stop: float,
    name: str,
    *,
    label: str,
    x_label: str,
) -> Target:
    """Return rows of numbers on a uniform grid as a target; errors as :func:`list_target`."""
    size = len(rows[0]) if len(rows) and rows[0] is not None else 0
    for material_id, row in zip(ids, rows, strict=True):
        if row is None or len(row) != size or size < 2 or not np.isfinite(row).all():
            raise DatasetError(
                f"{name} of {material_id} is missing, of another length, or not finite",
                expected="finite numbers, equally many for every material",
                cure="leave this material out",
            )
    values = np.array(rows, dtype=np.float64)
    curve = Curve(values, np.linspace(start, stop, size), label, x_label)
    return Target(name, tuple(ids), {"values": curve})


def band_edge_shares(
    table: SpectraTable,
    anions: Mapping[str, str | None],
    gap_column: str = "band_gap_eV",
    start: float = -10.0,
    stop: float = 10.0,
) -> dict[str, Array]:
    """Say which orbitals the states at the band edges belong to, where a table has them.

    Of the projected states within :data:`EDGE_STATES` eV below the valence-band maximum and above
    the conduction-band minimum, the share of s, p and d states of anions and of cations:
    ``valence_edge_anion_p``, ``conduction_edge_cation_d``, … (M,), NaN where it is not known. Empty
    for a table without ``pdos_channels`` and ``pdos_per_eV``.

    Parameters
    ----------
    anions
        Material id → its anion elements joined by ``+``.
    """
    if not {"pdos_channels", "pdos_per_eV"} <= set(table.schema.lists):
        return {}
    if gap_column not in table.schema.scalars:
        return {}
    gaps = table.scalar(gap_column)
    names = [
        f"{edge}_edge_{kind}_{orbital}"
        for edge in ("valence", "conduction")
        for kind in ("anion", "cation")
        for orbital in "spd"
    ]
    found = {name: np.full(len(table), np.nan) for name in names}
    for index, material_id in enumerate(table.ids):
        channels = _channels(table, index)
        anion = anions.get(material_id)
        if not channels or anion is None or not np.isfinite(gaps[index]):
            continue
        energies = np.linspace(start, stop, len(next(iter(channels.values()))))
        windows = {
            "valence": (energies >= -EDGE_STATES) & (energies <= 0.0),
            "conduction": (energies >= gaps[index]) & (energies <= gaps[index] + EDGE_STATES),
        }
        for edge, window in windows.items():
            weights: dict[str, float] = {}
            for channel, values in channels.items():
                element, orbital = channel.rsplit("-", 1)
                kind = "anion" if element in anion.split("+") else "cation"
                key = f"{edge}_edge_{kind}_{orbital}"
                weights[key] = weights.get(key, 0.0) + float(values[window].sum())
            total = sum(weights.values())
            for key in names if total > 0.0 else ():
                if key.startswith(edge):
                    found[key][index] = weights.get(key, 0.0) / total
    return found


def _channels(table: SpectraTable, index: int) -> dict[str, Array]:
    names = table.list_value(index, "pdos_channels")
    values = table.list_value(index, "pdos_per_eV")
    if not names or not values or len(values) % len(names):
        return {}
    matrix = np.array(values, dtype=np.float64).reshape(len(names), -1)
    return dict(zip(names, matrix, strict=True))
