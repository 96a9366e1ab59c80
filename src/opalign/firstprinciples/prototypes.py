"""Charge-balanced oxides, sulphides and selenides on the common structure types."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from opalign.errors import ConfigurationError, StructureError
from opalign.firstprinciples.candidates import Candidate
from opalign.firstprinciples.criteria import CHALCOGENS
from opalign.firstprinciples.geometry import estimate_geometry
from opalign.firstprinciples.ions import ANIONS, OXIDES_ONLY, Ion, cations
from opalign.firstprinciples.plausibility import PlausibilityRules, is_plausible, strain
from opalign.firstprinciples.structure_types import (
    StructureType,
    structure_type,
    structure_types,
)

ANION_ROLES = frozenset(("X", "Y"))
SITE_PRICE = 0.4
# Difference of Pauling electronegativities above which a semi-local gap is likely.
POLAR = 1.0
HYPOTHETICAL_PRICE = 1.5


@dataclass(frozen=True)
class Compound:
    """A structure type with an ion for every role."""

    kind: StructureType
    ions: tuple[tuple[str, Ion], ...]

    @cached_property
    def composition(self) -> frozenset[tuple[str, int]]:
        """Element and number in a formula unit."""
        return frozenset((ion.symbol, self.kind.stoichiometry[role]) for role, ion in self.ions)

    @property
    def formula(self) -> str:
        """Formula in the order of the roles, anions last: ``"CuAlO2"``."""
        amounts = self.kind.stoichiometry
        return "".join(
            ion.symbol + (str(amounts[role]) if amounts[role] > 1 else "")
            for role, ion in sorted(self.ions)
        )

    @property
    def identifier(self) -> str:
        """Stable name, such as ``rocksalt-MgO``."""
        return f"{self.kind.name}-{self.formula}"

    @property
    def known(self) -> bool:
        """Whether the catalogue lists the compound as known in this structure type."""
        return self.composition in self.kind.known_compositions

    @cached_property
    def strain(self) -> float:
        """How far, relative, radius ratios lie outside Pauling's windows, summed."""
        return strain(self.kind, dict(self.ions))

    @property
    def elements(self) -> tuple[str, ...]:
        """Symbols of its elements."""
        return tuple(sorted({ion.symbol for _, ion in self.ions}))

    def candidate(self, rules: PlausibilityRules | None = None) -> Candidate:
        """Estimate its structure.

        Raises
        ------
        StructureError
            Radii and structure type do not go together: bonds off by more than the rules allow,
            ions of like charge too close, or another symmetry.
        """
        rules = rules or PlausibilityRules()
        geometry = estimate_geometry(self.kind, dict(self.ions))
        if geometry.misfit > rules.maximum_misfit:
            raise StructureError(
                f"bonds miss the sums of radii by {geometry.misfit:.1%}",
                where=self.identifier,
                expected=f"at most {rules.maximum_misfit:.1%}",
            )
        if geometry.clash < rules.minimum_separation:
            raise StructureError(
                f"like-charged ions come {1 - geometry.clash:.0%} closer than in the type",
                where=self.identifier,
                expected=f"at most {1 - rules.minimum_separation:.0%}",
            )
        charges = ", ".join(str(ion) for _, ion in self.ions)
        standing = "known in this type" if self.known else "hypothetical in this type"
        return Candidate(
            self.identifier,
            geometry.structure,
            "prototype generator",
            f"{self.kind.title}; {charges}; {standing}; geometry estimated from radii",
        )


def enumerate_compounds(
    types: Iterable[str] | None = None,
    *,
    rules: PlausibilityRules | None = None,
    maximum_sites: int = 40,
    elements: Iterable[str] | None = None,
) -> Iterator[Compound]:
    """Enumerate the charge-balanced, plausible compounds of the structure types.

    Parameters
    ----------
    types
        Names of structure types; all of the catalogue where None.
    maximum_sites
        Atoms in the primitive cell.
    elements
        Elements that may occur, chalcogens included; all where None.

    Raises
    ------
    ConfigurationError
        A structure type is not known.
    """
    rules = rules or PlausibilityRules()
    allowed = None if elements is None else frozenset(elements)
    for kind in _chosen(types):
        if kind.num_sites > maximum_sites:
            continue
        # Of two assignments with one composition, such as A and B exchanged, one counts.
        best: dict[frozenset[tuple[str, int]], Compound] = {}
        for ions in _assignments(kind, allowed):
            compound = Compound(kind, ions)
            if rules.known_only and not compound.known:
                continue
            other = best.get(compound.composition)
            if other is None or _preference(compound) < _preference(other):
                best[compound.composition] = compound
        yield from (
            each
            for each in best.values()
            if each.known or is_plausible(kind, dict(each.ions), rules)
        )


def plan_compounds(
    compounds: Iterable[Compound],
    count: int,
    *,
    rules: PlausibilityRules | None = None,
    diversity: float = 0.35,
) -> list[Candidate]:
    """Choose compounds in the order in which to compute them, and estimate their structures.

    Greedy: next comes the compound of the smallest price, where every atom of the cell costs, being
    hypothetical costs, and so does every earlier compound of the same structure type or with the
    same elements, times ``diversity``. Compounds whose radii do not fit their type are passed over.

    Parameters
    ----------
    count
        How many are wanted at most.
    diversity
        0: by size and standing alone; larger: more even over elements and structure types.
    """
    if count < 1 or diversity < 0:
        raise ConfigurationError("count must be at least 1 and diversity not negative")
    waiting = sorted(
        ((base_price(compound), compound.identifier, compound) for compound in compounds),
        key=lambda entry: entry[:2],
    )
    element_uses: Counter[str] = Counter()
    type_uses: Counter[str] = Counter()
    chosen: list[Candidate] = []

    def price(place: int) -> float:
        base, _, compound = waiting[place]
        return base + diversity * _repetition(compound, element_uses, type_uses)

    while waiting and len(chosen) < count:
        compound = waiting.pop(min(range(len(waiting)), key=price))[2]
        try:
            chosen.append(compound.candidate(rules))
        except StructureError:
            continue
        element_uses.update(compound.elements)
        type_uses[compound.kind.name] += 1
    return chosen


def default_campaign(
    count: int = 250, *, maximum_sites: int = 6, rules: PlausibilityRules | None = None
) -> list[Candidate]:
    """Plan the campaign of the open set: small cells first, all structure types that have them."""
    compounds = enumerate_compounds(rules=rules, maximum_sites=maximum_sites)
    return plan_compounds(compounds, count, rules=rules)


def base_price(compound: Compound) -> float:
    """Price of a compound in the plan before any other is chosen; no unit.

    Atoms of the cell cost, because they cost time; so does a small difference of electronegativity,
    because it means a small gap and maybe none; so does being hypothetical.
    """
    ions = dict(compound.ions).values()
    anion = min(_electronegativity(ion.symbol) for ion in ions if ion.charge < 0)
    cation = max(_electronegativity(ion.symbol) for ion in ions if ion.charge > 0)
    price = SITE_PRICE * compound.kind.num_sites + max(0.0, POLAR - (anion - cation))
    return price if compound.known else price + HYPOTHETICAL_PRICE + compound.strain


def _chosen(types: Iterable[str] | None) -> list[StructureType]:
    return [structure_type(name) for name in (types if types is not None else structure_types())]


def _assignments(
    kind: StructureType, elements: frozenset[str] | None
) -> Iterator[tuple[tuple[str, Ion], ...]]:
    """Neutral choices of ions for the roles, with no element twice and an anion of the study."""
    amounts = kind.stoichiometry
    roles = list(amounts)
    choices = {
        role: [ion for ion in _choices(kind, role) if elements is None or ion.symbol in elements]
        for role in roles
    }
    *others, last = sorted(roles, key=lambda role: len(choices[role]))
    for picked in itertools.product(*(choices[role] for role in others)):
        charge = sum(amounts[role] * ion.charge for role, ion in zip(others, picked, strict=True))
        for ion in choices[last]:
            if charge + amounts[last] * ion.charge:
                continue
            ions = dict(zip((*others, last), (*picked, ion), strict=True))
            symbols = {each.symbol for each in ions.values()}
            if len(symbols) == len(roles) and symbols & CHALCOGENS and _is_compatible(ions):
                yield tuple((role, ions[role]) for role in roles)


def _choices(kind: StructureType, role: str) -> Sequence[Ion]:
    if role in kind.species:
        return [Ion.parse(text) for text in kind.species[role]]
    return [Ion.parse(text) for text in ANIONS] if role in ANION_ROLES else cations()


def _is_compatible(ions: dict[str, Ion]) -> bool:
    """No cation that would oxidise the anions, and none more electronegative than an anion."""
    positive = [ion for ion in ions.values() if ion.charge > 0]
    negative = {ion.symbol for ion in ions.values() if ion.charge < 0 and ion.symbol in CHALCOGENS}
    if negative & {"S", "Se"} and any(str(ion) in OXIDES_ONLY for ion in positive):
        return False
    weakest = min(_electronegativity(symbol) for symbol in negative)
    return all(_electronegativity(ion.symbol) <= weakest for ion in positive)


@lru_cache(maxsize=128)
def _electronegativity(symbol: str) -> float:
    from pymatgen.core.periodic_table import Element

    return float(Element(symbol).X)


def _preference(compound: Compound) -> tuple[bool, float, list[int]]:
    """Smaller for the better assignment: as listed, less strained, low charges first."""
    charges = [ion.charge for _, ion in sorted(compound.ions)]
    return compound.formula not in compound.kind.known, compound.strain, charges


def _repetition(compound: Compound, element_uses: Counter[str], type_uses: Counter[str]) -> float:
    elements = [math.log1p(element_uses[symbol]) for symbol in compound.elements]
    return sum(elements) / len(elements) + math.log1p(type_uses[compound.kind.name])
