"""What a structure has to be before it costs anything: elements, size, formula."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from opalign.screening.config import ScreenConfig

#: Formulas kept, by composition; polymorphs and repeated chemistries need not be worked out again.
_FORMULAS_KEPT = 50_000


class StructureFilter:
    """The conditions of a configuration on a structure itself, checked before the network runs."""

    def __init__(self, config: ScreenConfig) -> None:
        self._allowed = None if config.elements is None else _numbers(config.elements)
        self._required, self._excluded = _numbers(config.require), _numbers(config.exclude)
        self._least, self._most = config.min_sites, config.max_sites

    def refusal(self, atomic_numbers: NDArray[np.integer]) -> str | None:
        """Return why a structure of these atoms (N,) is left out, or None."""
        count = len(atomic_numbers)
        if count < self._least:
            return f"{count} sites, fewer than {self._least}"
        if self._most is not None and count > self._most:
            return f"{count} sites, more than {self._most}"
        present = set(atomic_numbers.tolist())
        if self._allowed is not None and (others := present - self._allowed):
            return f"{_symbols(others)} not among the allowed elements"
        if found := present & self._excluded:
            return f"{_symbols(found)} excluded"
        if missing := self._required - present:
            return f"without {_symbols(missing)}"
        return None


class Formulas:
    """Reduced formulas of cells, worked out once for each composition."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[tuple[int, int], ...], str] = OrderedDict()

    def __call__(self, atomic_numbers: NDArray[np.integer]) -> str:
        """Return the canonical reduced formula of atoms (N,)."""
        from ase.data import chemical_symbols
        from pymatgen.core.composition import Composition

        kinds, counts = np.unique(atomic_numbers, return_counts=True)
        counts = counts // np.gcd.reduce(counts)
        key = tuple(zip(kinds.tolist(), counts.tolist(), strict=True))
        if key not in self._known:
            # As opalign.dataset.formula has it, without the way through a text.
            amounts = {chemical_symbols[kind]: count for kind, count in key}
            self._known[key] = str(Composition(amounts).reduced_formula)
            if len(self._known) > _FORMULAS_KEPT:
                self._known.popitem(last=False)
        return self._known[key]


def _numbers(symbols: Iterable[str]) -> frozenset[int]:
    from ase.data import atomic_numbers

    return frozenset(atomic_numbers[symbol] for symbol in symbols)


def _symbols(numbers: Iterable[int]) -> str:
    from ase.data import chemical_symbols

    return ", ".join(chemical_symbols[number] for number in sorted(numbers))
