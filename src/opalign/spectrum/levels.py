"""The ladder of theory, and which rung a material needs.

How much a costly level changes the spectrum of a cheap one is one number, the similarity
coefficient SC[costly; cheap] = 1 − ∫|cheap − costly| dE / ∫|costly| dE of Im ε. For independent
particles (``ipa``) and the random-phase approximation (``rpa``) the difference is local fields.
"""

from __future__ import annotations

#: Levels of theory on the way up.
LADDER = ("ipa", "rpa")

#: SC from which on the cheap level will do: the share of the area that is then wrong, a tenth, is
#: what two careful calculations of one level differ by (meshes, broadening, pseudopotentials).
ENOUGH = 0.90
#: SC below which the cheap level misplaces what is seen by eye: a quarter of the area and more.
#: In between it has the right features with wrong heights.
NOT_ENOUGH = 0.75


def rungs(levels: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the lowest and the highest of ``levels`` on the ladder; None unless two are on it."""
    known = [level for level in LADDER if level in levels]
    return (known[0], known[-1]) if len(known) > 1 else None


def highest(levels: tuple[str, ...]) -> str:
    """Return the highest level on the ladder; one that is not on it counts as above."""
    rank = {level: place for place, level in enumerate(LADDER)}
    return max(levels, key=lambda level: rank.get(level, len(LADDER)))


def needed_level(similarity: float, cheap: str, costly: str) -> str:
    """Return the level of theory that a material with this SC[costly; cheap] needs.

    ``cheap`` from :data:`ENOUGH` on, ``costly`` below; the words for both and for what lies
    between them come from :func:`advice_sentence`.
    """
    return cheap if similarity >= ENOUGH else costly


def advice_class(similarity: float) -> int:
    """Return 2 where the cheap level will do, 1 where it does for the shape alone, else 0."""
    return int(similarity >= ENOUGH) + int(similarity >= NOT_ENOUGH)


def advice_sentence(similarity: float, cheap: str, costly: str) -> str:
    """Say in words which level a material with this SC[costly; cheap] needs."""
    cheap, costly = cheap.upper(), costly.upper()
    change = f"{cheap} and {costly} differ by {max(1.0 - similarity, 0.0):.0%} of the area"
    words = (
        f"{costly} is needed",
        f"{cheap} shows the shape, {costly} is needed for the heights of peaks",
        f"{cheap} will do",
    )
    return f"{words[advice_class(similarity)]}: {change}"
