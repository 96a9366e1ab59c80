"""Training in memory: the task of a full run, without its files."""

import math

import pytest
import torch

from opalign.errors import ConfigurationError
from opalign.model.network import SpectrumModel
from opalign.training.data import load_materials, open_tables
from opalign.training.light import fit_steps
from opalign.training.losses import training_loss
from opalign.training.run import build_model_config
from opalign.training.stage import fit_stage


@pytest.fixture
def prepared(tiny):
    config = tiny(epochs=3, batch_size=3, averaging=0.9)
    tables = open_tables(config.data.tables)
    model = build_model_config(config, tables)
    materials = load_materials(tables, model, config.data, config.loss)

    def network():
        torch.manual_seed(4)
        return SpectrumModel(model)

    return config, model, materials, network


def fit(prepared, network, **changes):
    config, model, materials, _ = prepared
    options = {
        "optimizer": config.optimizer,
        "steps": 9,
        "batch_size": 3,
        "averaging": config.averaging,
        "seed": 0,
    } | changes
    return fit_steps(network, training_loss(model, config.loss), materials, **options)


@pytest.fixture
def one_thread():
    """As many threads as the runs have: sums over several are made in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_it_is_the_task_of_a_full_run(prepared, one_thread, tmp_path, silent):
    config, model, materials, network = prepared
    assert config.num_threads == 1
    ours, theirs = network(), network()
    result = fit(prepared, ours)
    assert result.steps == 3 * math.ceil(len(materials) / 3)
    fit_stage(
        theirs, training_loss(model, config.loss), materials, None, run=config,
        optimizer=config.optimizer, epochs=3, batch_size=3, title="epoch",
        state=tmp_path / "state", logs=tmp_path / "logs", console=silent,
    )  # fmt: skip
    for (name, value), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        # Same operations in the same order; room for fused ones that round otherwise.
        torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-6, msg=name)
    assert not ours.training


def test_it_counts_what_it_saw(prepared):
    _, _, materials, network = prepared
    result = fit(prepared, network(), steps=1)
    assert (result.passes, len(result.seen)) == (3, 3)
    result = fit(prepared, network(), steps=4)
    assert result.passes == len(materials) + 3
    assert result.seen == tuple(sorted(materials.ids))
    assert math.isfinite(result.loss)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_the_shortest_runs_have_a_schedule_too(prepared, steps):
    assert fit(prepared, prepared[3](), steps=steps).steps == steps


def test_frozen_parameters_stay(prepared):
    network = prepared[3]()
    before = {name: value.clone() for name, value in network.named_parameters()}
    fit(prepared, network, rate_of=lambda name: 0.0 if name.startswith("encoder.") else 1.0)
    for name, value in network.named_parameters():
        assert torch.equal(value, before[name]) == name.startswith("encoder."), name


def test_a_smaller_rate_moves_a_layer_less(prepared):
    def moved(factor):
        network = prepared[3]()
        before = network.encoder.atom_embedding[0].weight.detach().clone()
        fit(prepared, network, rate_of=lambda n: factor if n.startswith("encoder.") else 1.0)
        return float((network.encoder.atom_embedding[0].weight.detach() - before).norm())

    assert 0.0 < moved(0.01) < 0.2 * moved(1.0)


def test_nothing_to_train_on_and_divergence_are_told(prepared):
    _, _, materials, network = prepared
    with pytest.raises(ConfigurationError, match="no material"):
        fit_steps(
            network(), None, materials.select([]), optimizer=prepared[0].optimizer, steps=1,
            batch_size=1, averaging=None, seed=0,
        )  # fmt: skip
    spoiled = network()
    with torch.no_grad():
        spoiled.head.tail_energy.fill_(torch.nan)
    with pytest.raises(ConfigurationError, match="no finite number"):
        fit(prepared, spoiled)
