"""Groups in plain sentences, written by rule; each phrase rests on listed statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from opalign.explain.groups import Labels

if TYPE_CHECKING:
    import pandas as pd

#: Phrases of one kind in a sentence; the strongest come first.
MOST_PHRASES = 3
#: Difference between shares of states at a band edge that is worth a phrase.
SMALLEST_SHARE = 0.05
#: Difference between medians of an order parameter that is worth a phrase.
SMALLEST_MOTIF = 0.1

_NUMBERS = {
    "onset_eV": ("absorbs from {} energies on", "onset {:.2f} eV, elsewhere {:.2f} eV"),
    "edge_integral_eV_per_cm": (
        "has a {} absorption edge",
        "edge integral {:.2g} eV/cm, elsewhere {:.2g}",
    ),
    "static_dielectric": ("has a {} static ε₁", "{:.2f}, elsewhere {:.2f}"),
    "highest_oxidation_state": (
        "has cations of {} oxidation state",
        "highest state {:+g}, elsewhere {:+g}",
    ),
}
_COMPARATIVES = {
    "edge_integral_eV_per_cm": ("stronger", "weaker"),
    "static_dielectric": ("larger", "smaller"),
}
_EDGES = {"valence": "top of the valence band", "conduction": "bottom of the conduction band"}


@dataclass(frozen=True)
class Sentence:
    """A sentence about a group."""

    text: str
    evidence: tuple[int, ...]
    """Rows of the table of enrichments that it rests on."""
    tested: bool
    """Whether all of them passed a corrected test; otherwise the sentence describes."""


def group_sentences(
    enrichments: pd.DataFrame, labels: Labels, formulas: Sequence[str]
) -> dict[int, list[Sentence]]:
    """Describe each group by what passed its test, and by what it is made of.

    Parameters
    ----------
    enrichments
        From :func:`opalign.explain.enrichment.enrichments`.
    labels, formulas
        (M,) groups and formulas of the materials.
    """
    found: dict[int, list[Sentence]] = {}
    for group in range(int(labels.max()) + 1):
        own = enrichments[enrichments["group"] == group]
        members = np.flatnonzero(labels == group)
        sentences = [_made_of(own, members, formulas)]
        significant = own[own["significant"]]
        structural = significant[~significant["family"].isin(["spectrum", "band edge"])]
        electronic = significant[significant["family"].isin(["spectrum", "band edge"])]
        for rows, start in ((structural, "It stands out because it"), (electronic, "It")):
            if sentence := _compose(rows, start):
                sentences.append(sentence)
        if significant.empty:
            untested = own[own["basis"] == "tested"].empty
            text = (
                "It has too few formulas for any test."
                if untested
                else "Nothing that was tested sets it apart."
            )
            sentences.append(Sentence(text, (), not untested))
        found[group] = sentences
    return found


def _made_of(own: pd.DataFrame, members: Labels, formulas: Sequence[str]) -> Sentence:
    """Say how large a group is and which given properties most of it has and few others have."""
    names = sorted({formulas[row] for row in members})
    size = f"{len(members)} material{'s' if len(members) != 1 else ''}"
    if len(names) < len(members):
        size += f" of {len(names)} formula{'s' if len(names) != 1 else ''}"
    given = own[
        (own["basis"] == "given to the network")
        & (own["kind"] == "categorical")
        & (own["inside"] >= 0.5)
        & (own["effect"] > 1.0)
    ].sort_values("effect", ascending=False)
    if given.empty:
        return Sentence(f"{size}: {_listed(names)}.", (), False)
    # An element may be named twice, as one and as the anion; equal counts are one fact, too.
    chosen = given.drop_duplicates("property")
    chosen = chosen.drop_duplicates(["count_inside", "count_outside"]).head(MOST_PHRASES)
    parts = [
        f"{row['property']} in {row['count_inside']:.0f} of {row['formulas_inside']} formulas "
        f"(elsewhere {row['count_outside']:.0f} of {row['formulas_outside']})"
        for _, row in chosen.iterrows()
    ]
    return Sentence(f"{size}, with {_joined(parts)}.", tuple(map(int, chosen.index)), False)


def _compose(rows: pd.DataFrame, start: str) -> Sentence | None:
    phrases: list[str] = []
    evidence: list[int] = []
    used: set[tuple[float, float]] = set()
    for index, row in rows.iterrows():
        if len(phrases) == MOST_PHRASES:
            break
        phrase = _phrase(row)
        # A prototype and its space group are the same formulas again.
        key = (row["p_value"], row["effect"])
        if phrase is None or key in used:
            continue
        used.add(key)
        phrases.append(f"{phrase} [q = {row['q_value']:.2g}]")
        evidence.append(int(index))  # type: ignore[call-overload]
    if not phrases:
        return None
    return Sentence(f"{start} {_joined(phrases)}.", tuple(evidence), True)


def _phrase(row: Any) -> str | None:
    """Say what a significant row says; None for what is hard to put in words."""
    name, inside, outside = row["property"], row["inside"], row["outside"]
    more = row["effect"] > 0.0
    if row["kind"] == "categorical":
        if not more:
            return None
        counts = (
            f"{row['count_inside']:.0f} of {row['formulas_inside']} formulas, elsewhere "
            f"{row['count_outside']:.0f} of {row['formulas_outside']}"
        )
        what = {
            "oxidation state": f"contains {name}",
            "coordination number": f"has {name} cations",
            "coordination motif": f"has {name} cations",
            "prototype": f"is of the structure type {name}",
            "space group": f"has the space group {name}",
            "crystal system": f"is {name}",
        }.get(row["family"], f"has {name}")
        return f"{what} ({counts})"
    if name in _NUMBERS:
        text, values = _NUMBERS[name]
        word = _COMPARATIVES.get(name, ("higher", "lower"))[0 if more else 1]
        return f"{text.format(word)} ({values.format(inside, outside)})"
    if row["family"] == "coordination motif":
        if abs(inside - outside) < SMALLEST_MOTIF:
            return None
        amount = "more" if more else "less"
        return (
            f"has cations that are {amount} {name} (median {inside:.2f}, elsewhere {outside:.2f})"
        )
    if row["family"] == "band edge":
        # A tail of a few percent may rank materials well, but makes no sentence.
        if abs(inside - outside) < SMALLEST_SHARE:
            return None
        edge, _, kind, orbital = name.split("_")
        return (
            f"has {'more' if more else 'fewer'} {kind} {orbital} states at the {_EDGES[edge]} "
            f"({inside:.0%}, elsewhere {outside:.0%})"
        )
    return None


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _listed(names: Sequence[str], most: int = 6) -> str:
    if len(names) <= most:
        return _joined(names)
    more = len(names) - most
    return f"{', '.join(names[:most])} and {more} other{'s' if more > 1 else ''}"
