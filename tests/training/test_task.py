"""The traps of public training code, each with a test that would fall into it."""

import pytest
import torch

import opalign.training.task as task_module
from opalign.training.callbacks import BestWeights
from opalign.training.run import train
from opalign.training.task import RunningMeans, SpectrumTask


@pytest.fixture
def seen(monkeypatch):
    """Everything a run shows of itself: its task, best weights and mode in each step."""
    record: dict = {"validating": [], "training": [], "sizes": []}
    validation, training = SpectrumTask.validation_step, SpectrumTask.training_step
    end = BestWeights.on_train_epoch_end

    def validation_step(self, batch, index):
        record["validating"] += [module.training for module in self.evaluated.modules()]
        record["sizes"].append(len(batch["targets"]["epsilon_imaginary"]))
        return validation(self, batch, index)

    def training_step(self, batch, index):
        record["task"] = self
        record["training"].append(self.network.training)
        return training(self, batch, index)

    def on_train_epoch_end(self, trainer, pl_module):
        end(self, trainer, pl_module)
        record["best"] = self
        record.setdefault("losses", []).append(self.history[-1].get("validation/loss"))
        record.setdefault("weights", []).append(
            {k: v.clone() for k, v in pl_module.evaluated.state_dict().items()}
        )

    monkeypatch.setattr(SpectrumTask, "validation_step", validation_step)
    monkeypatch.setattr(SpectrumTask, "training_step", training_step)
    monkeypatch.setattr(BestWeights, "on_train_epoch_end", on_train_epoch_end)
    return record


@pytest.mark.parametrize("averaging", [None, 0.9])
def test_validation_is_in_evaluation_mode_and_training_is_not(
    tiny, tmp_path, silent, seen, averaging
):
    config = tiny(averaging=averaging, model__head__dropout=0.5, model__encoder__norm="batch")
    train(config, tmp_path / "run", console=silent)
    assert seen["validating"]
    assert not any(seen["validating"])
    assert all(seen["training"])


def test_validation_leaves_batch_statistics_alone(tiny, tmp_path, silent, seen, monkeypatch):
    inside = SpectrumTask.validation_step
    changes = []

    def validation_step(self, batch, index):
        before = [buffer.clone() for buffer in self.network.buffers()]
        inside(self, batch, index)
        changes.extend(
            not torch.equal(a, b) for a, b in zip(before, self.network.buffers(), strict=True)
        )

    monkeypatch.setattr(SpectrumTask, "validation_step", validation_step)
    config = tiny(averaging=None, model__encoder__norm="batch", epochs=2)
    train(config, tmp_path / "run", console=silent)
    assert changes
    assert not any(changes)


def test_no_validation_material_is_dropped(tiny, tmp_path, silent, seen):
    config = tiny(
        epochs=1,
        batch_size=2,
        data__split={"method": "fractions", "fractions": [0.5, 0.4, 0.1], "seed": 0},
    )
    train(config, tmp_path / "run", console=silent)
    lines = [line for line in silent.file.getvalue().splitlines() if line.startswith("materials")]
    validation = int(lines[0].split(" validation")[0].split()[-1])
    assert validation % 2 == 1, "an odd number, so that the last batch is not full"
    assert sum(seen["sizes"]) == validation


@pytest.mark.parametrize("schedule", ["one_cycle", "plateau"])
def test_the_schedule_moves_the_rate_of_the_optimizer_that_steps(
    tiny, tmp_path, silent, seen, schedule, monkeypatch
):
    rates, stepped = [], []
    inside = SpectrumTask.optimizer_step

    def optimizer_step(self, epoch, batch_idx, optimizer, *arguments, **options):
        rates.append(optimizer.param_groups[0]["lr"])
        before = next(self.network.parameters()).detach().clone()
        inside(self, epoch, batch_idx, optimizer, *arguments, **options)
        stepped.append(not torch.equal(before, next(self.network.parameters())))

    monkeypatch.setattr(SpectrumTask, "optimizer_step", optimizer_step)
    if schedule == "plateau":  # a loss that never improves
        zero = {"loss": torch.tensor(1.0)}
        monkeypatch.setattr(
            SpectrumTask,
            "validation_step",
            lambda self, b, i: self._log_terms("validation", zero, b),
        )
    config = tiny(epochs=6, optimizer={"schedule": schedule, "plateau_patience": 1})
    train(config, tmp_path / "run", console=silent)
    assert any(stepped)
    if schedule == "one_cycle":
        peak = rates.index(max(rates))
        assert rates[: peak + 1] == sorted(rates[: peak + 1])
        assert rates[peak:] == sorted(rates[peak:], reverse=True)
        assert max(rates) == pytest.approx(2e-3, rel=0.05)
        assert rates[-1] < 1e-5
    else:
        # The first epoch sets the mark; every second one after it halves the rate.
        steps = len(rates) // 6
        assert [rates[epoch * steps] for epoch in range(6)] == pytest.approx(
            [2e-3, 2e-3, 2e-3, 1e-3, 1e-3, 5e-4]
        )


@pytest.mark.parametrize("averaging", [None, 0.9])
def test_the_best_model_is_a_copy_and_not_the_last(
    tiny, tmp_path, silent, seen, averaging, monkeypatch
):
    """Validation losses are made to be lowest in the second of four epochs."""
    losses = iter([3.0, 1.0, 2.0, 4.0])
    current: dict = {}

    def validation_step(self, batch, index):
        if index == 0:
            current["loss"] = next(losses)
        self._log_terms("validation", {"loss": torch.tensor(current["loss"])}, batch)

    monkeypatch.setattr(SpectrumTask, "validation_step", validation_step)
    result = train(tiny(averaging=averaging), tmp_path / "run", console=silent)
    assert result.metrics["best_epoch"] == 2
    best, after = seen["best"].weights, seen["weights"]
    assert all(torch.equal(best[name], after[1][name]) for name in best)
    assert not all(torch.equal(best[name], after[3][name]) for name in best)
    from opalign.model.checkpoint import load_checkpoint

    kept = load_checkpoint(result.checkpoint).model.state_dict()
    assert all(torch.equal(kept[name], after[1][name]) for name in kept)


def test_without_validation_the_last_epoch_is_kept(tiny, tmp_path, silent, seen):
    config = tiny(data__split={"method": "fold", "fold": 1, "folds": 3, "validation_fraction": 0.0})
    result = train(config, tmp_path / "run", console=silent)
    assert result.metrics["best_epoch"] == 4
    assert "validation" not in result.metrics
    assert all(
        torch.equal(value, seen["weights"][3][name]) for name, value in seen["best"].weights.items()
    )


def test_early_stopping(tiny, tmp_path, silent, seen, monkeypatch):
    worse = iter(range(1, 100))
    monkeypatch.setattr(
        SpectrumTask,
        "validation_step",
        lambda self, b, i: self._log_terms(
            "validation", {"loss": torch.tensor(float(next(worse)))}, b
        ),
    )
    result = train(tiny(epochs=20, early_stopping=3), tmp_path / "run", console=silent)
    assert result.metrics["epochs"] == 4
    assert result.metrics["best_epoch"] == 1


def test_the_average_and_not_the_network_is_validated_and_kept(
    tiny, tmp_path, silent, seen, monkeypatch
):
    ends = []
    inside = BestWeights.on_train_epoch_end

    def on_train_epoch_end(self, trainer, pl_module):
        inside(self, trainer, pl_module)
        networks = pl_module.network, pl_module.averaged.module
        ends.append([{k: v.clone() for k, v in n.state_dict().items()} for n in networks])

    monkeypatch.setattr(BestWeights, "on_train_epoch_end", on_train_epoch_end)
    train(tiny(averaging=0.99), tmp_path / "run", console=silent)
    best = seen["best"]
    network, averaged = ends[best.epoch]
    assert all(torch.equal(best.weights[name], averaged[name]) for name in averaged)
    assert not all(torch.equal(network[name], averaged[name]) for name in averaged)


def test_training_lowers_the_loss(tiny, tmp_path, silent, seen):
    train(tiny(epochs=30, optimizer__learning_rate=0.02), tmp_path / "run", console=silent)
    history = [row["training/loss"] for row in seen["best"].history]
    assert history[-1] < 0.85 * history[0]


def test_monitor_is_what_is_logged(tiny, tmp_path, silent, seen):
    train(tiny(epochs=1), tmp_path / "run", console=silent)
    assert task_module.MONITOR in seen["best"].history[0]


def test_means_weigh_materials_and_not_batches():
    means = RunningMeans()
    means.add({"training/loss": torch.tensor(1.0), "training/gap": torch.tensor(3.0)}, 8)
    means.add({"validation/loss": torch.tensor(5.0)}, 2)
    means.add({"training/loss": torch.tensor(4.0)}, 1)
    taken = means.take("training")
    assert float(taken["training/loss"][0]) == pytest.approx((8 * 1.0 + 4.0) / 9)
    assert taken["training/loss"][1] == 9
    assert float(taken["training/gap"][0]) == 3.0
    assert means.take("training") == {}
    assert set(means.take("validation")) == {"validation/loss"}


def test_the_learning_curve_is_the_mean_over_an_epoch(tiny, tmp_path, silent, seen, monkeypatch):
    """The last batch is smaller than the others, and counts for less."""
    inside = SpectrumTask._log_terms
    losses: list = []

    def log_terms(self, stage, terms, batch, size=None):
        if stage == "training":
            losses.append((terms["loss"].item(), len(batch["targets"]["epsilon_imaginary"])))
        inside(self, stage, terms, batch, size)

    monkeypatch.setattr(SpectrumTask, "_log_terms", log_terms)
    train(tiny(epochs=1, batch_size=3), tmp_path / "run", console=silent)
    assert len({size for _, size in losses}) == 2
    mean = sum(loss * size for loss, size in losses) / sum(size for _, size in losses)
    assert seen["best"].history[0]["training/loss"] == pytest.approx(mean, rel=1e-6)


def test_what_is_alike_is_learned_as_if_it_were_not(tiny, tmp_path, silent, seen):
    losses = []
    for reduced in (True, False):
        config = tiny(data__symmetry_reduced=reduced)
        train(config, tmp_path / str(reduced), console=silent)
        losses.append([row["validation/loss"] for row in seen["best"].history])
    # Rounding in single precision, carried on over the steps.
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
