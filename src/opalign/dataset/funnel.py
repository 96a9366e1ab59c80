"""Filters in a row, with a count after each and a reason for everything that falls out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Rule(Generic[Item]):
    """A filter with a name: what it asks for, and why an item does not pass."""

    name: str
    description: str
    reason: Callable[[Item], str | None]
    """None for an item that passes."""


@dataclass(frozen=True)
class Rejection:
    """An item that fell out."""

    identifier: str
    rule: str
    reason: str


@dataclass(frozen=True)
class FunnelStep:
    """One rule and what it left."""

    rule: str
    description: str
    entered: int
    passed: int

    @property
    def rejected(self) -> int:
        """How many fell out here."""
        return self.entered - self.passed


@dataclass(frozen=True)
class Funnel(Generic[Item]):
    """What was kept, how many were left after each rule, and why the others fell out."""

    kept: tuple[Item, ...]
    steps: tuple[FunnelStep, ...]
    rejections: tuple[Rejection, ...]

    def reasons(self, rule: str) -> Counter[str]:
        """Count the reasons for which items fell out at a rule."""
        return Counter(each.reason for each in self.rejections if each.rule == rule)

    def to_dict(self) -> dict[str, Any]:
        """Return counts and rejections as JSON has them, without the items."""
        return {
            "kept": len(self.kept),
            "steps": [
                {
                    "rule": step.rule,
                    "description": step.description,
                    "entered": step.entered,
                    "passed": step.passed,
                }
                for step in self.steps
            ],
            "rejections": [
                {"id": each.identifier, "rule": each.rule, "reason": each.reason}
                for each in self.rejections
            ],
        }

    def __str__(self) -> str:
        """Write a table of counts, one line a rule."""
        entered = self.steps[0].entered if self.steps else len(self.kept)
        width = max([len(step.rule) for step in self.steps] + [len("candidates")])
        lines = [f"{'candidates':{width}}  {entered:7d}"]
        lines += [
            f"{step.rule:{width}}  {step.passed:7d}  (−{step.rejected}) {step.description}"
            for step in self.steps
        ]
        return "\n".join(lines)


def apply_rules(
    items: Iterable[Item], rules: Sequence[Rule[Item]], identify: Callable[[Item], str]
) -> Funnel[Item]:
    """Pass items through the rules in their order; each meets the first rule it fails, no other.

    Parameters
    ----------
    identify
        The id of an item, for the report.
    """
    kept: list[Item] = []
    rejections: list[Rejection] = []
    failed: Counter[int] = Counter()
    for item in items:
        for place, rule in enumerate(rules):
            if (reason := rule.reason(item)) is not None:
                rejections.append(Rejection(identify(item), rule.name, reason))
                failed[place] += 1
                break
        else:
            kept.append(item)
    left = len(kept) + len(rejections)
    steps = []
    for place, rule in enumerate(rules):
        steps.append(FunnelStep(rule.name, rule.description, left, left - failed[place]))
        left -= failed[place]
    return Funnel(tuple(kept), tuple(steps), tuple(rejections))
