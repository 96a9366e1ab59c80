"""Equal budgets, and every stage once."""

from collections import Counter

import pytest

from opalign.ladder.jobs import Job, budget, cheap_variant, needs, plan, size_subset

STRATEGIES = {
    "direct": {"kind": "direct", "tuning": {"learning_rates": [1e-3, 2e-3, 4e-3]}},
    "untuned": {"kind": "direct", "tuning": None, "scalars": True},
    "transfer": {"kind": "transfer", "cheap_share": 0.35},
    "frozen": {"kind": "transfer", "cheap_share": 0.35, "frozen_layers": 2},
    "late": {"kind": "transfer", "cheap_share": 0.35, "scalars": True},
    "multi_fidelity": {"kind": "multi_fidelity"},
    "delta": {"kind": "delta", "scalars": True},
}


@pytest.fixture
def config(small, scalars_path):
    return small(
        strategies=STRATEGIES, steps=97, seeds=[3, 5], pretraining={"table": str(scalars_path)}
    )


def test_every_strategy_has_the_same_budget(config):
    assert {budget(config, strategy).total for strategy in config.strategies.values()} == {97}
    assert budget(config, config.strategies["late"]).scalars == 29
    assert budget(config, config.strategies["direct"]).cheap == 0


def test_each_job_stands_once_and_after_what_it_needs(config):
    subsets = [size_subset(share) for share in config.sizes]
    jobs = plan(config, subsets, list(config.strategies))
    assert len(set(jobs)) == len(jobs)
    place = {job: number for number, job in enumerate(jobs)}
    for job in jobs:
        assert all(place[other] < place[job] for other in needs(config, job))
    count = Counter(job.stage for job in jobs)
    folds, seeds, sizes = 2, 2, 2
    assert count["fit"] == len(STRATEGIES) * folds * seeds * sizes
    # Shared by sizes, and by strategies that differ in what comes after.
    assert count["cheap"] == 2 * folds * seeds
    assert count["scalars"] == folds * seeds
    assert count["trial"] == 3 * folds * sizes
    assert {job.seed for job in jobs if job.stage == "trial"} == {3}
    assert len({job.path(config.tables[0].parent) for job in jobs}) == len(jobs)


def test_what_a_fit_begins_with(config):
    fit = Job("fit", "late", "size-1", 1, 5)
    (cheap,) = needs(config, fit)
    assert cheap == Job("cheap", cheap_variant(config, config.strategies["late"]), "all", 1, 5)
    assert needs(config, cheap) == [Job("scalars", "", "all", 1, 5)]
    other = cheap_variant(config, config.strategies["transfer"])
    assert needs(config, Job("cheap", other, "all", 1, 5)) == []
