"""What each strategy trains on, with how many steps, and that no test material is among it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import opalign.training.light as light
from opalign.ladder.data import LadderData
from opalign.ladder.jobs import Job, plan
from opalign.ladder.scores import out_of_fold
from opalign.ladder.store import read_fit, read_record
from opalign.ladder.strategies import layer_rates, load_matching, run_job
from opalign.model.config import AlignnConfig, OptimateConfig
from opalign.model.network import SpectrumModel
from opalign.spectrum.similarity import similarity_coefficient

SCALARS = {
    "direct": {"kind": "direct", "tuning": {"learning_rates": [1e-3, 4e-3]}},
    "late": {"kind": "transfer", "scalars": True},
    "multi_fidelity": {"kind": "multi_fidelity", "level_embedding": 3, "scalars": True},
    "delta": {"kind": "delta", "hidden_features": [8], "scalars": True},
}


@pytest.fixture
def watched(monkeypatch):
    """Every material that is made part of a batch, by job: what no record can hide."""
    found: dict[Job, set[str]] = {}
    now = SimpleNamespace(job=None)
    original = light.batch_of

    def batch_of(materials, rows):
        found.setdefault(now.job, set()).update(materials.ids[row] for row in rows)
        return original(materials, rows)

    monkeypatch.setattr(light, "batch_of", batch_of)
    return found, now


def test_no_test_formula_is_seen_at_any_level_or_stage(small, scalars_path, tmp_path, watched):
    found, now = watched
    data = LadderData(
        small(strategies=SCALARS, pretraining={"table": str(scalars_path)}, sizes=[0.5], steps=30)
    )
    jobs = plan(data.config, ["size-0.5"], list(SCALARS))
    for job in jobs:
        now.job = job
        run_job(job, data, tmp_path)
    assert set(found) == set(jobs)

    def formula(material_id):
        return data.formula_of[material_id.removeprefix("scalar-")]

    for job in jobs:
        split = data.splits[job.fold - 1]
        tested = {formula(m) for m in split.test}
        assert not tested & {formula(m) for m in found[job]}, job
        record = read_record(job.path(tmp_path))
        # The record says the same as what was watched, and holds all stages before it.
        own = {"scalars": "scalars", "cheap": "cheap", "trial": "trial", "fit": "fit"}[job.stage]
        assert set(record["trained_on"][own]) == found[job]
        for stage, ids in record["trained_on"].items():
            assert not tested & {formula(m) for m in ids}, (job, stage)
        if job.stage == "trial":
            judged = {formula(m) for m in record["judged_on"]}
            assert not judged & {formula(m) for m in found[job]}
            assert not judged & tested
        if job.stage == "fit":
            labelled = set(data.labelled(job.subset, job.fold, job.seed))
            assert set(record["trained_on"]["fit rpa"]) <= labelled
            assert sum(record["steps"].values()) == 30, "budgets differ"
    both = read_record(Job("fit", "multi_fidelity", "size-0.5", 1, 0).path(tmp_path))
    assert set(both["trained_on"]["fit ipa"]) > set(both["trained_on"]["fit rpa"])
    late = read_record(Job("fit", "late", "size-0.5", 1, 0).path(tmp_path))
    assert set(late["steps"]) == {"scalars", "cheap", "fit"}


def test_predictions_are_of_the_test_materials_alone(data, tmp_path):
    for job in plan(data.config, ["size-1"], ["transfer", "delta"]):
        run_job(job, data, tmp_path)
        if job.stage != "fit":
            continue
        found = read_fit(job.path(tmp_path), data.reference("rpa"))
        assert list(found.ids) == data.splits[job.fold - 1].test
        assert (found.imaginary >= 0.0).all()
    jobs = [Job("fit", "delta", "size-1", fold, 0) for fold in (1, 2)]
    assert list(out_of_fold(data, tmp_path, jobs, "rpa").ids) == data.ids


def test_the_same_seed_gives_the_same_numbers(data, tmp_path):
    job = Job("fit", "multi_fidelity", "size-1", 1, 0)
    spectra = []
    for name in ("first", "second"):
        run_job(job, data, tmp_path / name)
        spectra.append(read_fit(job.path(tmp_path / name), data.reference("rpa")).imaginary)
    assert (spectra[0] == spectra[1]).all()


def test_the_tuning_takes_its_best(data, tmp_path):
    jobs = [j for j in plan(data.config, ["size-1"], ["direct"]) if j.fold == 1]
    for job in jobs:
        run_job(job, data, tmp_path)
    *trials, fit = (read_record(job.path(tmp_path)) for job in jobs)
    best = max(trials, key=lambda record: record["similarity_mean"])
    assert len({record["similarity_mean"] for record in trials}) == 2
    assert fit["learning_rate"] == best["learning_rate"]
    assert [t["learning_rate"] for t in fit["trials"]] == [1e-3, 4e-3]


def test_transfer_begins_where_the_cheap_level_ended(small, tmp_path):
    """With all but the head frozen, the encoder of the fit is that of the cheap stage."""
    from opalign.ladder.store import read_weights

    strategies = {"frozen": {"kind": "transfer", "frozen_layers": 9}}
    data = LadderData(small(strategies=strategies))
    kept = {}
    original = light.fit_steps

    def fit_steps(network, *arguments, **options):
        result = original(network, *arguments, **options)
        kept["state"] = {n: v.clone() for n, v in network.state_dict().items()}
        return result

    import opalign.ladder.strategies as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "fit_steps", fit_steps)
        jobs = [j for j in plan(data.config, ["size-1"], ["frozen"]) if j.fold == 1]
        for job in jobs:
            run_job(job, data, tmp_path)
    state, _ = read_weights(jobs[0].path(tmp_path))
    for name, value in kept["state"].items():
        learned = name.startswith(("head.", "encoder.pooling"))
        if not learned:
            torch.testing.assert_close(value, state[name])
    weight = "head.spectrum_network.0.weight"
    assert not torch.equal(kept["state"][weight], state[weight])


@pytest.mark.parametrize(
    ("encoder", "depths"),
    [
        (
            OptimateConfig(),
            {
                "encoder.node_network.0.weight": 0,
                "encoder.attention_layers.0.bias": 1,
                "encoder.attention_layers.1.bias": 2,
                "encoder.pooling.gate.weight": 3,
                "head.gap_network.0.weight": 3,
            },
        ),
        (
            AlignnConfig(alignn_layers=2, gcn_layers=1),
            {
                "encoder.atom_embedding.0.weight": 0,
                "encoder.bond_embedding.1.0.weight": 0,
                "encoder.alignn_bond_convolutions.0.edge_gate.bias": 1,
                "encoder.alignn_angle_convolutions.1.edge_gate.bias": 2,
                "encoder.graph_convolutions.0.edge_gate.bias": 3,
                "head.tail_energy": 4,
            },
        ),
    ],
)
def test_learning_rates_by_layer(encoder, depths):
    last = max(depths.values())
    rates = layer_rates(encoder, 2, 0.5)
    for name, depth in depths.items():
        expected = 0.0 if depth < 2 else 0.5 ** (last - depth)
        assert rates(name) == pytest.approx(expected), name
    assert layer_rates(encoder, 99, 1.0)("head.tail_energy") == 1.0, "the head is never frozen"


def test_every_parameter_of_a_network_has_its_layer(data):
    model = data.model_config(("rpa",), data.config.model.head)
    rates = layer_rates(model.encoder, 0, 0.5)
    found = {rates(name) for name, _ in SpectrumModel(model).named_parameters()}
    # Embedding, two layers of messages, head.
    assert found == {1.0, 0.5, 0.25, 0.125}


def test_weights_that_do_not_fit_stay_random(data):
    head = data.config.model.head
    one = SpectrumModel(data.model_config(("rpa",), head))
    both = SpectrumModel(data.model_config(("ipa", "rpa"), head))
    left = load_matching(both, one.state_dict())
    assert left
    assert all(name.startswith(("head.spectrum_network", "head.tail_network")) for name in left)
    torch.testing.assert_close(both.encoder.state_dict(), one.encoder.state_dict())


@pytest.mark.slow
@pytest.mark.long
def test_transfer_beats_direct_learning_where_levels_are_alike(small, near_levels, tmp_path):
    """A costly level that is the cheap one, moved a little, and two materials that have it."""
    strategies = {
        "direct": {"kind": "direct", "tuning": None},
        "transfer": {"kind": "transfer"},
        "multi_fidelity": {"kind": "multi_fidelity", "level_embedding": 4},
    }
    data = LadderData(
        small(
            tables=str(near_levels), strategies=strategies, sizes=[0.3], steps=250,
            optimizer={"learning_rate": 1e-2},
        )
    )  # fmt: skip
    for job in plan(data.config, ["size-0.3"], list(strategies)):
        run_job(job, data, tmp_path)
    reference = data.reference("rpa").imaginary
    found = {}
    for name in strategies:
        jobs = [Job("fit", name, "size-0.3", fold, 0) for fold in (1, 2)]
        spectra = out_of_fold(data, tmp_path, jobs, "rpa")
        found[name] = float(
            np.mean(similarity_coefficient(spectra.imaginary, reference, data.grid))
        )
    assert found["transfer"] > found["direct"] + 0.05
    assert found["multi_fidelity"] > found["direct"] + 0.05
