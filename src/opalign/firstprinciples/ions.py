"""Closed-shell ions: which element takes which charge, and how long its bonds are."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from opalign.errors import ConfigurationError

# Filled or empty shells only (s⁰, d⁰, d¹⁰, d¹⁰s², and low-spin d⁶ of Pt), of the elements of the
# study: no Mn–Ni, Tc–Rh, Os–Ir, no lanthanides but La and Ce, no actinides. Ions that close a shell
# in one coordination alone, such as square-planar d⁸ of Pd and Pt, stand with their types.
# The charges are the common ones of Greenwood and Earnshaw, Chemistry of the Elements (2nd ed.).
CATIONS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("Li", "Na", "K", "Rb", "Cs", "Cu", "Ag", "Au"), (1,)),
    **dict.fromkeys(("Be", "Mg", "Ca", "Sr", "Ba", "Zn", "Cd", "Hg"), (2,)),
    **dict.fromkeys(("B", "Al", "Ga", "In", "Sc", "Y", "La", "Bi"), (3,)),
    **dict.fromkeys(("C", "Si", "Ti", "Zr", "Hf", "Ce", "Pt"), (4,)),
    **dict.fromkeys(("N", "V", "Nb", "Ta"), (5,)),
    **dict.fromkeys(("Cr", "Mo", "W"), (6,)),
    **dict.fromkeys(("P", "As", "Sb"), (3, 5)),
    **dict.fromkeys(("Ge", "Sn", "Pb"), (2, 4)),
    "Tl": (1, 3),
    "Te": (4, 6),
    "S": (6,),
    "Se": (6,),
    "Re": (7,),
}
ANIONS = ("O2-", "S2-", "Se2-")
# So oxidising that a sulphide or selenide of them is not known, or is one of another charge.
OXIDES_ONLY = frozenset(
    ("N5+", "S6+", "Se6+", "Te4+", "Te6+", "Tl3+", "Pb4+", "Ce4+", "Cr6+", "Re7+")
)
_ION = re.compile(r"([A-Z][a-z]?)(\d+)([+-])")
_ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6, "VII": 7, "VIII": 8, "IX": 9}
_ROMAN |= {"X": 10, "XI": 11, "XII": 12, "XIV": 14}
# How a bond lengthens with the number of bonds that share the charge, d = d₀ − b ln(charge/number):
# Brese and O'Keeffe, Acta Cryst. B47, 192 (1991).
BOND_VALENCE_SOFTNESS = 0.37
# Half the length of the single bond between two anions, Å; O: of peroxides.
DUMBBELL_RADIUS = {"O": 0.745, "S": 1.04, "Se": 1.18, "Ga": 1.23, "In": 1.39}


@dataclass(frozen=True, order=True)
class Ion:
    """An element with a charge, written ``"Ti4+"`` or ``"O2-"``."""

    symbol: str
    charge: int

    def __str__(self) -> str:
        return f"{self.symbol}{abs(self.charge)}{'+' if self.charge > 0 else '-'}"

    @classmethod
    def parse(cls, text: str) -> Ion:
        """Read ``"Ti4+"``; ConfigurationError if the text is not of this form."""
        if not (found := _ION.fullmatch(text)):
            raise ConfigurationError(f"{text!r} is not an ion", expected="for example Ti4+ or O2-")
        symbol, number, sign = found.groups()
        return cls(symbol, int(number) if sign == "+" else -int(number))


def cations() -> tuple[Ion, ...]:
    """All closed-shell cations, by element and charge."""
    return tuple(
        Ion(symbol, charge) for symbol in sorted(CATIONS) for charge in sorted(CATIONS[symbol])
    )


@cache
def coordination_numbers(ion: Ion) -> frozenset[int]:
    """Coordination numbers for which Shannon lists a radius; not the square or pyramidal ones."""
    return frozenset(_ROMAN[label] for label in _shannon(ion) if label in _ROMAN)


@cache
def tabulated_radii(ion: Ion) -> dict[int, float]:
    """Coordination number → Shannon's ionic radius, Å; empty for an ion he does not list.

    Of several geometries or spin states of one number the smallest radius counts, which is that of
    the low spin. Source: Shannon, Acta Cryst. A32, 751 (1976), as tabulated by pymatgen.
    """
    radii: dict[int, float] = {}
    for label, spins in _shannon(ion).items():
        number = _ROMAN[label.removesuffix("SQ").removesuffix("PY")]
        smallest = min(entry["ionic_radius"] for entry in spins.values())
        radii[number] = min(smallest, radii.get(number, math.inf))
    return radii


def _shannon(ion: Ion) -> dict[str, Any]:
    from pymatgen.core.periodic_table import Element

    # One of a pair of anions, as in O₂²⁻, is about as large as one alone.
    charge = ion.charge if ion.charge > 0 else -2
    listed: dict[str, Any] = Element(ion.symbol).data.get("Shannon radii", {}).get(str(charge), {})
    return listed


@cache
def bond_length(cation: Ion, number: int, anion: Ion, anion_number: int) -> float:
    """Length, Å, of a bond from a cation of coordination ``number`` to an anion.

    The sum of Shannon's radii; between the numbers he lists linearly interpolated, beyond them
    scaled by bond valence. For ions he does not list (Sn²⁺, P³⁺ …) the bond-valence length of
    O'Keeffe and Brese, J. Am. Chem. Soc. 113, 3226 (1991), as tabulated by pymatgen.

    Raises
    ------
    ConfigurationError
        Neither table knows the ion.
    """
    if cation.symbol == anion.symbol:
        return 2 * DUMBBELL_RADIUS[cation.symbol]
    radii = tabulated_radii(cation)
    if not radii:
        return _bond_valence_length(cation, number, anion)
    reach = radius(anion, anion_number)
    return reach + _radius(radii, number, reach)


@cache
def radius(anion: Ion, number: int) -> float:
    """Shannon's radius of an anion, Å, interpolated; ConfigurationError if it has none."""
    if not (radii := tabulated_radii(anion)):
        raise ConfigurationError(f"there is no radius for {anion}", expected="O2-, S2- or Se2-")
    return _radius(radii, number, 0.0)


def _radius(radii: dict[int, float], number: int, other: float) -> float:
    """Radius at a coordination number; ``other`` is that of the partner, zero for an anion."""
    import numpy as np

    known = sorted(radii)
    inside = min(max(number, known[0]), known[-1])
    radius = float(np.interp(inside, known, [radii[k] for k in known]))
    if other and inside != number:
        radius += BOND_VALENCE_SOFTNESS * math.log(number / inside)
    return radius


def _bond_valence_length(cation: Ion, number: int, anion: Ion) -> float:
    from pymatgen.analysis.bond_valence import BV_PARAMS
    from pymatgen.core.periodic_table import Element

    try:
        one, two = BV_PARAMS[Element(cation.symbol)], BV_PARAMS[Element(anion.symbol)]
    except KeyError as error:
        raise ConfigurationError(
            f"no radius and no bond-valence parameter for {cation}",
            expected="an ion of Shannon's table",
        ) from error
    spread = (math.sqrt(one["c"]) - math.sqrt(two["c"])) ** 2
    single = one["r"] + two["r"]
    single -= one["r"] * two["r"] * spread / (one["c"] * one["r"] + two["c"] * two["r"])
    return float(single) - BOND_VALENCE_SOFTNESS * math.log(cation.charge / number)
