"""Recorded steps: plain steps whose gradients appear when their loss is followed.

Without a GPU nothing is recorded, but all else is the same; with one these tests record.
"""

import pandas as pd
import pytest
import torch

from opalign.model.network import SpectrumModel
from opalign.training.config import AugmentationConfig, CurriculumConfig
from opalign.training.data import batch_of, load_materials, moved, open_tables
from opalign.training.light import fit_steps
from opalign.training.losses import training_loss
from opalign.training.recorded import RecordedStep, can_record
from opalign.training.resident import ResidentMaterials
from opalign.training.run import build_model_config
from opalign.training.stage import fit_stage

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture
def prepared(tiny):
    config = tiny(averaging=0.9)
    tables = open_tables(config.data.tables)
    model = build_model_config(config, tables)
    materials = load_materials(tables, model, config.data, config.loss)
    torch.manual_seed(3)
    return config, SpectrumModel(model), training_loss(model, config.loss), materials


@pytest.mark.parametrize("device", DEVICES)
def test_steps_are_those_of_plain_training(prepared, device):
    _, network, loss, materials = prepared
    network = network.to(device).train()
    recorded = RecordedStep(network, loss, ResidentMaterials(materials, device), 3)
    # The second is larger than the first, the third has fewer rows.
    for rows in ([0, 1, 2], [5, 4, 3], [2, 0]):
        network.zero_grad(set_to_none=True)
        batch = moved(batch_of(materials, rows), torch.device(device))
        expected = loss(network(batch["graph"]), batch["targets"])
        expected["loss"].backward()
        wanted = [None if w.grad is None else w.grad.clone() for w in network.parameters()]
        network.zero_grad(set_to_none=True)
        terms = recorded(rows)
        assert all(weight.grad is None for weight in network.parameters())
        terms["loss"].backward()
        assert terms.keys() == expected.keys()
        for name, value in expected.items():
            # Single precision, sums in another order.
            torch.testing.assert_close(terms[name], value, rtol=1e-5, atol=1e-6)
        # Some gradients are nothing but rounding of the largest.
        largest = max(float(gradient.abs().max()) for gradient in wanted if gradient is not None)
        for weight, gradient in zip(network.parameters(), wanted, strict=True):
            if gradient is not None:
                torch.testing.assert_close(weight.grad, gradient, rtol=1e-4, atol=1e-6 * largest)


def test_terms_stay_what_they_were(prepared):
    """The next step must not change what a caller keeps of the last."""
    _, network, loss, materials = prepared
    recorded = RecordedStep(network, loss, ResidentMaterials(materials, "cpu"), 2)
    first = recorded([0, 1])
    kept = {name: float(value.detach()) for name, value in first.items()}
    recorded([2, 3])
    assert {name: float(value.detach()) for name, value in first.items()} == kept


def test_frozen_weights_get_no_gradient(prepared):
    _, network, loss, materials = prepared
    for name, weight in network.named_parameters():
        weight.requires_grad_(not name.startswith("encoder."))
    recorded = RecordedStep(network, loss, ResidentMaterials(materials, "cpu"), 2)
    recorded([0, 1])["loss"].backward()
    for name, weight in network.named_parameters():
        if name.startswith("encoder."):
            assert weight.grad is None
    assert any(weight.grad is not None for weight in network.parameters())


def test_what_differs_from_step_to_step_is_not_recorded(prepared, monkeypatch):
    config, network, loss, materials = prepared
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 10**9))
    assert can_record(network, loss, materials, None, cuda)
    assert not can_record(network, loss, materials, None, cpu)
    assert not can_record(network, loss, materials, AugmentationConfig(strain=0.01), cuda)
    curriculum = config.loss.model_copy(update={"curriculum": CurriculumConfig()})
    changing = training_loss(network.config, curriculum)
    assert not can_record(network, changing, materials, None, cuda)
    network.add_module("norm", torch.nn.BatchNorm1d(2))
    assert not can_record(network, loss, materials, None, cuda)


def test_large_sets_stay_where_they_are(prepared, monkeypatch):
    _, network, loss, materials = prepared
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 10**9))
    assert not can_record(network, loss, materials, None, torch.device("cuda"))


def test_a_run_with_recorded_steps_ends_where_a_plain_one_does(prepared, monkeypatch):
    """On the CPU, where both take the same operations: the same weights but for rounding."""
    config, network, loss, materials = prepared
    options = {"optimizer": config.optimizer, "steps": 6, "batch_size": 3, "averaging": 0.9,
               "seed": 0}  # fmt: skip
    start = {name: value.clone() for name, value in network.state_dict().items()}
    plain = fit_steps(network, loss, materials, **options)
    expected = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(start)
    monkeypatch.setattr("opalign.training.light.can_record", lambda *arguments: True)
    result = fit_steps(network, loss, materials, **options)
    assert result.seen == plain.seen
    assert result.loss == pytest.approx(plain.loss, rel=1e-3)
    changes = [float((expected[n] - start[n]).abs().max()) for n in expected]
    left = [float((expected[n] - v).abs().max()) for n, v in network.state_dict().items()]
    # Adam divides by gradients that may be all rounding: a share of the way, not of the weight.
    assert max(left) < 0.05 * max(changes)


def test_a_stage_goes_on_with_recorded_steps(prepared, monkeypatch, tmp_path, silent):
    """All of a full run but the recording, which needs a GPU: same losses, epoch by epoch."""
    taken = []

    class Watched(RecordedStep):
        def __call__(self, rows):
            taken.extend(rows)
            return super().__call__(rows)

    monkeypatch.setattr("opalign.training.stage.RecordedStep", Watched)
    config, network, loss, materials = prepared
    start = {name: value.clone() for name, value in network.state_dict().items()}
    losses = {}
    for name in ("plain", "recorded"):
        network.load_state_dict(start)
        if name == "recorded":
            monkeypatch.setattr("opalign.training.stage.can_record", lambda *arguments: True)
        fit_stage(
            network, loss, materials, materials, run=config, optimizer=config.optimizer,
            epochs=3, batch_size=3, title="epoch", state=tmp_path / name / "state",
            logs=tmp_path / name / "logs", console=silent,
        )  # fmt: skip
        losses[name] = pd.read_csv(tmp_path / name / "state" / "history.csv")
    assert sorted(taken) == sorted(3 * list(range(len(materials))))
    columns = ["training/loss", "validation/loss", "learning_rate"]
    for column in columns:
        assert losses["recorded"][column].to_numpy() == pytest.approx(
            losses["plain"][column].to_numpy(), rel=1e-3
        )
