"""From a campaign's configuration to its candidates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from opalign.dataset.funnel import Funnel, Rule
from opalign.errors import ConfigurationError, StructureError
from opalign.firstprinciples.campaign_config import (
    CampaignConfig,
    FileSource,
    MaterialsProjectSource,
    PrototypeSource,
)
from opalign.firstprinciples.candidates import Candidate, OnFailure, read_candidates
from opalign.firstprinciples.criteria import (
    filter_candidates,
    is_small,
    is_unique,
    study_criteria,
)


@dataclass(frozen=True)
class Selection:
    """What passed the filters, and what could not even be read."""

    funnel: Funnel[Candidate]
    unreadable: tuple[tuple[str, str], ...]
    """Id and reason."""

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """What is to be computed."""
        return self.funnel.kept


def select_candidates(config: CampaignConfig) -> Selection:
    """Read the source of a campaign and filter it.

    Raises
    ------
    ConfigurationError
        A material that is asked for by its id is not there.
    StructureError, DatasetError, StorageError
        The source cannot be read.
    """
    unreadable: list[tuple[str, str]] = []

    def fail(identifier: str, error: StructureError) -> None:
        unreadable.append((identifier, str(error)))

    candidates = list(_candidates(config, fail))
    filters = config.filters
    rules: list[Rule[Candidate]] = []
    if filters.identifiers is not None:
        wanted = frozenset(filters.identifiers)
        if missing := wanted - {candidate.identifier for candidate in candidates}:
            raise ConfigurationError(
                f"no candidate is called {', '.join(sorted(missing)[:5])}",
                where="filters.identifiers",
                cure="take ids of the source",
            )
        rules.append(
            Rule(
                "identifiers",
                "asked for by id",
                lambda each: None if each.identifier in wanted else "not asked for",
            )
        )
    if filters.study:
        rules += study_criteria(filters.maximum_sites)
    else:
        rules.append(is_small(filters.maximum_sites))
    funnel = filter_candidates(candidates, rules)
    if filters.unique:
        # Only among what is left are duplicates worth the search.
        funnel = _then(funnel, is_unique(funnel.kept))
    return Selection(funnel, tuple(unreadable))


def _then(funnel: Funnel[Candidate], rule: Rule[Candidate]) -> Funnel[Candidate]:
    after = filter_candidates(funnel.kept, [rule])
    return Funnel(
        after.kept, (*funnel.steps, *after.steps), (*funnel.rejections, *after.rejections)
    )


def _candidates(config: CampaignConfig, fail: OnFailure) -> Iterator[Candidate]:
    source = config.source
    if isinstance(source, FileSource):
        yield from read_candidates(source.path, fail)
    elif isinstance(source, PrototypeSource):
        yield from _prototypes(source)
    else:
        yield from _materials_project(source, fail)


def _prototypes(source: PrototypeSource) -> list[Candidate]:
    from opalign.firstprinciples.plausibility import PlausibilityRules
    from opalign.firstprinciples.prototypes import enumerate_compounds, plan_compounds

    rules = PlausibilityRules(known_only=source.known_only)
    compounds = enumerate_compounds(
        source.types,
        rules=rules,
        maximum_sites=source.maximum_sites,
        elements=source.elements,
    )
    return plan_compounds(compounds, source.count, rules=rules)


def _materials_project(source: MaterialsProjectSource, fail: OnFailure) -> Iterator[Candidate]:
    from opalign.firstprinciples.materials_project import ENDPOINT, MaterialsProject

    seen: set[str] = set()
    with MaterialsProject(endpoint=source.endpoint or ENDPOINT) as project:
        for elements in source.elements:
            for candidate in project.candidates(
                elements=elements,
                excluded=source.excluded,
                maximum_sites=source.maximum_sites,
                maximum_hull_energy=source.maximum_hull_energy,
                criteria=source.criteria,
                on_failure=fail,
            ):
                if candidate.identifier not in seen:
                    seen.add(candidate.identifier)
                    yield candidate
