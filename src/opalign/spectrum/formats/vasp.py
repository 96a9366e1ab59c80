"""What vasprun.xml and OUTCAR have in common: levels of theory, band gaps, structures.

**Levels.** A run with LOPTICS writes two tensors of independent particles. The density–density one
is the usual choice and is called ``ipa``; the current–current one, ``ipa current-current``, differs
from it through the incomplete basis and can go far astray at low energies. ALGO = CHI adds local
fields: ``rpa`` (LRPA) or ``tddft`` (with exchange and correlation). ALGO = BSE gives ``bse``, or
what is left of it where LADDER or LHARTREE are switched off; ALGO = TDHF and TIMEEV give ``tdhf``
and ``time-propagation``.

**Broadening.** CSHIFT is the imaginary part of the frequency: a Lorentzian of that half width at
half maximum, in both parts of ε. Smearing of occupations (ISMEAR, SIGMA) is in the metadata.

Source: the VASP manual, https://www.vasp.at/wiki, pages LOPTICS, CSHIFT, and of the algorithms.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from opalign.errors import SpectrumError
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.formats.columns import MAXIMUM_ROWS

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

LEVEL_DENSITY = "ipa"
LEVEL_CURRENT = "ipa current-current"

# Beginnings of the labels, as VASP writes them; its "INVERSE MACROSCOPIC" tensors are ε itself.
_LEVELS = (
    ("density-density", LEVEL_DENSITY),
    ("current-current", LEVEL_CURRENT),
    ("HEAD OF MICROSCOPIC DIELECTRIC TENSOR (INDEPENDENT PARTICLE)", "ipa"),
    ("INVERSE MACROSCOPIC DIELECTRIC TENSOR (including local field effects in RPA", "rpa"),
    ("INVERSE MACROSCOPIC DIELECTRIC TENSOR (test charge-test charge", "tddft"),
    ("time-propagation", "time-propagation"),
)
# Not dielectric functions, though they stand in the same place.
_OTHERS = ("1 + v P", "screened Coulomb potential")

OCCUPIED = 0.5
"""Share of the largest occupation above which a state counts as occupied."""


def level_of_label(label: str) -> str | None:
    """Return the level of theory of a tensor with this label, or None if it is not ε.

    An unknown label is its own level.
    """
    label = label.strip()
    if label.startswith(_OTHERS):
        return None
    return next((level for start, level in _LEVELS if label.startswith(start)), label)


def level_without_label(settings: Mapping[str, Any], position: int) -> str:
    """Return the level of the tensor at ``position`` among those without label.

    Older versions write density–density first, then current–current; Bethe–Salpeter and
    time-dependent Hartree–Fock runs write one.
    """
    algorithm = str(settings.get("ALGO", "")).strip().upper()
    if algorithm in ("BSE", "TDHF"):
        if not settings.get("LHARTREE", True):
            return "ipa" if not settings.get("LADDER", True) else f"{algorithm.lower()} triplet"
        return algorithm.lower() if settings.get("LADDER", True) else "rpa"
    if position > 1:
        return f"unlabelled {position + 1}"
    return (LEVEL_DENSITY, LEVEL_CURRENT)[position]


def broadening_of(settings: Mapping[str, Any]) -> Broadening:
    """Return the broadening by CSHIFT; none where it is zero, negative or unknown."""
    width = settings.get("CSHIFT")
    if not isinstance(width, float) or width <= 0.0:
        return Broadening()
    return Broadening("lorentzian", width)


def check_claim(settings: Mapping[str, Any], where: str) -> None:
    """Raise :class:`SpectrumError` if the header claims more energies than fit a spectrum."""
    claimed = settings.get("NEDOS")
    if isinstance(claimed, int) and claimed > MAXIMUM_ROWS:
        raise SpectrumError(
            f"the header claims NEDOS = {claimed} energies",
            where=where,
            expected=f"at most {MAXIMUM_ROWS}",
        )


def structure_of(
    lattice: Sequence[Sequence[float]],
    species: Sequence[str],
    positions: Sequence[Sequence[float]],
    *,
    cartesian: bool = False,
) -> Structure | None:
    """Return the structure with these row vectors in Å, or None if they make none."""
    if len(lattice) != 3 or not species or len(species) != len(positions):
        return None
    from pymatgen.core.structure import Structure

    # VASP pads symbols and marks some of them: "Zr_sv" is zirconium.
    symbols = [symbol.strip().split("_")[0] for symbol in species]
    try:
        return Structure(lattice, symbols, positions, coords_are_cartesian=cartesian)
    except Exception:  # whatever pymatgen raises for cells and symbols that mean nothing
        return None


def formula_of(structure: Structure | None) -> str | None:
    """Return the reduced formula, or None without a structure."""
    if structure is None:
        return None
    with warnings.catch_warnings():
        # pymatgen warns of noble gases, which have no electronegativity to sort by.
        warnings.simplefilter("ignore")
        return str(structure.composition.reduced_formula)


@dataclass
class BandEdges:
    """Band edges from eigenvalues, met one by one.

    States of one k-point and spin are given together; edges over all of them make the gap.
    """

    highest_occupied: float = -np.inf
    lowest_empty: float = np.inf
    direct: float = np.inf
    _states: list[tuple[float, float]] = field(default_factory=list)

    def add(self, energy: float, occupation: float) -> None:
        """Add a state of the current k-point, in eV."""
        if len(self._states) < MAXIMUM_ROWS:
            self._states.append((energy, occupation))

    def finish(self, full: float) -> None:
        """Close the current k-point; ``full`` is the occupation of a full state, 1 or 2."""
        threshold = OCCUPIED * full
        occupied = [energy for energy, occupation in self._states if occupation > threshold]
        empty = [energy for energy, occupation in self._states if occupation <= threshold]
        self._states = []
        if not occupied or not empty:
            return
        self.highest_occupied = max(self.highest_occupied, *occupied)
        self.lowest_empty = min(self.lowest_empty, *empty)
        self.direct = min(self.direct, min(empty) - max(occupied))

    def gaps(self) -> dict[str, float]:
        """Return ``band_gap`` and ``direct_band_gap`` in eV, zero for a metal; empty if unknown."""
        if not np.isfinite(self.highest_occupied) or not np.isfinite(self.lowest_empty):
            return {}
        gap = max(0.0, self.lowest_empty - self.highest_occupied)
        direct = max(0.0, self.direct) if gap > 0.0 else 0.0
        return {"band_gap": gap, "direct_band_gap": direct}
