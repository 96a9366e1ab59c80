import errno
import json
import os
from pathlib import Path

import lightning
import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from opalign.dataset.split import Split
from opalign.dataset.table import SpectraTable
from opalign.errors import ConfigurationError, DatasetError, StorageError
from opalign.model.checkpoint import load_checkpoint, save_checkpoint
from opalign.model.reference import Reference
from opalign.training.callbacks import BestWeights, StateWriter
from opalign.training.config_file import read_config
from opalign.training.data import load_materials, open_tables
from opalign.training.predictions import predict_materials
from opalign.training.run import train
from opalign.training.task import MONITOR, SpectrumTask

from .conftest import write_spectra


def weights(result) -> dict[str, torch.Tensor]:
    return load_checkpoint(result.checkpoint).model.state_dict()


def assert_same_weights(one, other) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    assert differing == []


@pytest.fixture
def interrupt(monkeypatch):
    """Let Ctrl-C arrive in the middle of an epoch, after some batches."""

    def at(epoch: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        inside = BestWeights.on_train_batch_start

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.current_epoch == epoch and batch_idx == 1:
                monkeypatch.setattr(BestWeights, "on_train_batch_start", inside)
                raise error
            inside(self, trainer, pl_module, batch, batch_idx)

        monkeypatch.setattr(BestWeights, "on_train_batch_start", on_train_batch_start)

    return at


class TestAFinishedRun:
    @pytest.fixture(scope="class")
    def result(self, spectra_path, tmp_path_factory):
        import io

        from rich.console import Console

        from opalign.training.config_file import parse_config

        from .conftest import tiny_settings

        config = parse_config(tiny_settings(spectra_path, data__levels=["rpa", "ipa"]))
        console = Console(file=io.StringIO(), width=120)
        return train(config, tmp_path_factory.mktemp("runs") / "run", console=console)

    def test_predictions_carry_the_ids_of_their_part(self, result):
        splits = load_checkpoint(result.checkpoint).splits
        for part in ("validation", "test"):
            table = SpectraTable.open(result.predictions(part))
            table.validate()
            assert table.ids == splits[part]
            assert set(table.levels) == {"rpa", "ipa"}
            assert str(table.levels["rpa"].broadening) == "Gaussian σ = 0.1 eV"

    def test_predictions_are_those_of_the_checkpoint(self, result):
        checkpoint = load_checkpoint(result.checkpoint)
        config = read_config(result.folder / "config.yaml")
        tables = open_tables(config.data.tables)
        materials = load_materials(tables, checkpoint.config, config.data, config.loss)
        table = SpectraTable.open(result.predictions("test"))
        output = predict_materials(checkpoint.model, materials.select(table.ids))
        np.testing.assert_allclose(
            table.isotropic_imaginary("ipa"),
            output["epsilon_imaginary"][:, 1],
            rtol=1e-6,
            atol=1e-7,
        )
        np.testing.assert_allclose(table.scalar("band_gap_eV"), output["band_gap"], rtol=1e-6)

    def test_the_checkpoint_says_what_it_knows(self, result):
        checkpoint = load_checkpoint(result.checkpoint)
        assert checkpoint.reference.ids == tuple(checkpoint.splits["train"])
        assert checkpoint.metrics["test"]["rpa"]["materials"] == len(checkpoint.splits["test"])
        assert checkpoint.training["config"]["data"]["tables"] == ["lorentz.parquet"]
        assert len(checkpoint.training["tables"][0]["sha256"]) == 64
        card = checkpoint.card
        for text in (
            "CC0",
            "Lorentz oscillators",
            "Gaussian σ = 0.1 eV",
            "No excitons",
            "| test |",
        ):
            assert text in card
        # A checkpoint travels: nothing in it names a folder of this machine.
        for path in result.checkpoint.glob("*.json"):
            assert str(result.folder.parent) not in path.read_text(encoding="utf-8")

    def test_logs(self, result):
        curve = pd.read_csv(result.folder / "state" / "history.csv")
        assert list(curve["epoch"]) == [0, 1, 2, 3]
        assert {"training/loss", "validation/loss", "validation/similarity"} <= set(curve)
        assert list((result.folder / "logs").glob("events.out.tfevents.*"))

    def test_resuming_it_does_nothing(self, result):
        before = (result.checkpoint / "config.json").stat().st_mtime_ns
        again = train(None, result.folder, resume=True)
        assert again.was_finished
        assert again.metrics == json.loads(json.dumps(result.metrics))
        assert (result.checkpoint / "config.json").stat().st_mtime_ns == before

    def test_its_folder_is_not_taken(self, result, tiny):
        with pytest.raises(ConfigurationError, match="--resume"):
            train(tiny(), result.folder)
        with pytest.raises(ConfigurationError, match=r"another.*epochs"):
            train(tiny(data__levels=["rpa", "ipa"], epochs=9), result.folder, resume=True)

    def test_the_same_configuration_gives_the_same_weights(self, result, tmp_path, tiny, silent):
        torch.manual_seed(99)  # whatever was drawn before
        again = train(tiny(data__levels=["rpa", "ipa"]), tmp_path / "again", console=silent)
        assert_same_weights(result, again)
        other = train(tiny(data__levels=["rpa", "ipa"], seed=1), tmp_path / "other", console=silent)
        with pytest.raises(AssertionError):
            assert_same_weights(result, other)


RESUMED = {
    "plain": {},
    "plateau, dropout, batch norm": {
        "optimizer": {"schedule": "plateau", "plateau_patience": 1, "learning_rate": 0.02},
        "model__head__dropout": 0.3,
        "model__encoder__norm": "batch",
    },
    "no average, early stopping": {
        "averaging": None,
        "early_stopping": 2,
        "optimizer": {"schedule": "constant", "learning_rate": 0.05},
    },
    "no validation": {
        "data__split": {"method": "fold", "fold": 1, "folds": 3, "validation_fraction": 0.0}
    },
}


@pytest.mark.parametrize("changes", RESUMED.values(), ids=RESUMED.keys())
def test_an_interrupted_run_ends_in_the_same_weights(tiny, tmp_path, silent, interrupt, changes):
    config = tiny(epochs=6, **changes)
    whole = train(config, tmp_path / "whole", console=silent)
    interrupt(2)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "parts", console=silent)
    assert not (tmp_path / "parts" / "result.json").exists()
    resumed = train(None, tmp_path / "parts", resume=True, console=silent)
    assert_same_weights(whole, resumed)
    assert resumed.metrics == whole.metrics
    histories = [
        pd.read_csv(tmp_path / name / "state" / "history.csv") for name in ("whole", "parts")
    ]
    pd.testing.assert_frame_equal(*histories)


def test_a_state_of_some_epochs_ago_serves_as_well(tiny, tmp_path, silent, interrupt, monkeypatch):
    config = tiny(epochs=6)
    whole = train(config, tmp_path / "whole", console=silent)
    inside = StateWriter.write
    monkeypatch.setattr(
        StateWriter,
        "write",
        lambda self, trainer: trainer.current_epoch in (0, 5) and inside(self, trainer),
    )
    interrupt(4)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "parts", console=silent)
    assert_same_weights(whole, train(None, tmp_path / "parts", resume=True, console=silent))


def test_a_crash_keeps_its_traceback_and_the_run_resumes(tiny, tmp_path, silent, interrupt):
    config = tiny(epochs=3)
    whole = train(config, tmp_path / "whole", console=silent)
    interrupt(1, OSError)
    with pytest.raises(OSError):  # noqa: PT011
        train(config, tmp_path / "parts", console=silent)
    assert_same_weights(whole, train(config, tmp_path / "parts", resume=True, console=silent))


def test_a_run_stopped_in_pretraining_resumes(tiny, tmp_path, silent, interrupt, scalars_path):
    config = tiny(epochs=2, pretraining={"table": str(scalars_path), "epochs": 4, "batch_size": 3})
    whole = train(config, tmp_path / "whole", console=silent)
    interrupt(2)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "parts", console=silent)
    assert not (tmp_path / "parts" / "state" / "last.ckpt").exists()
    assert_same_weights(whole, train(None, tmp_path / "parts", resume=True, console=silent))
    without = train(tiny(epochs=2), tmp_path / "without", console=silent)
    with pytest.raises(AssertionError):
        assert_same_weights(whole, without)


def test_states_are_read_without_running_code(tiny, tmp_path, silent, interrupt):
    """A state that holds more than tensors and plain values is refused, not executed."""
    config = tiny(epochs=3)
    interrupt(1)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", console=silent)
    path = tmp_path / "run" / "state" / "last.ckpt"
    state = torch.load(path, weights_only=True)
    torch.save({**state, "extra": Path("anything but a number")}, path)
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        train(None, tmp_path / "run", resume=True, console=silent)


def test_another_table_under_a_running_run_is_noticed(tiny, tmp_path, silent, interrupt):
    config = tiny(epochs=3)
    interrupt(1)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", console=silent)
    path = tmp_path / "run" / "split.json"
    split = json.loads(path.read_text(encoding="utf-8"))
    split["train"], split["test"] = split["test"], split["train"]
    path.write_text(json.dumps(split), encoding="utf-8")
    with pytest.raises(DatasetError, match="another split"):
        train(None, tmp_path / "run", resume=True, console=silent)


@pytest.mark.parametrize("target", ["epsilon_imaginary", "log_absorption"])
def test_a_free_vector_head(tiny, tmp_path, silent, target):
    config = tiny(
        model__head={"kind": "vector", "target": target},
        loss={
            "kind": "mse",
            "target": target,
            "band_gap_weight": 0,
            "static_dielectric_weight": 0,
        },
    )
    result = train(config, tmp_path / "run", console=silent)
    table = SpectraTable.open(result.predictions("test"))
    table.validate()
    assert table.isotropic_imaginary("rpa").min() >= 0.0
    assert result.metrics["test"]["rpa"]["log_absorption_mae"]["median"] > 0.0


def test_physical_head_on_log_absorption(tiny, tmp_path, silent):
    result = train(
        tiny(loss__target="log_absorption", loss__kind="l1"), tmp_path / "run", console=silent
    )
    assert np.isfinite(result.metrics["test"]["rpa"]["log_absorption_mae"]["median"])


class TestTransfer:
    @pytest.fixture
    def cheap(self, tiny, tmp_path, silent):
        return train(tiny(data__levels=["ipa"]), tmp_path / "ipa", console=silent)

    def test_it_starts_from_the_weights(self, cheap, tiny, tmp_path, silent):
        """With a rate of next to nothing the weights stay those it began with."""
        config = tiny(
            epochs=1,
            averaging=None,
            initial={"checkpoint": str(cheap.checkpoint)},
            optimizer={"learning_rate": 1e-12, "weight_decay": 0},
        )
        result = train(config, tmp_path / "rpa", console=silent)
        for name, value in weights(result).items():
            torch.testing.assert_close(value, weights(cheap)[name])
        assert load_checkpoint(result.checkpoint).config.levels == ("rpa",)

    def test_what_it_has_seen_is_not_tested(self, cheap, tiny, tmp_path, silent):
        changes = {
            "data__split": {"method": "fractions", "fractions": [0.4, 0.2, 0.4], "seed": 4},
            "initial": {"checkpoint": str(cheap.checkpoint)},
        }
        with pytest.raises(DatasetError, match="was trained on"):
            train(tiny(**changes), tmp_path / "rpa", console=silent)
        changes["initial"]["allow_seen"] = True
        train(tiny(epochs=1, **changes), tmp_path / "allowed", console=silent)

    def test_another_size_is_named(self, cheap, tiny, tmp_path, silent):
        config = tiny(
            model__head__hidden_features=[4], initial={"checkpoint": str(cheap.checkpoint)}
        )
        with pytest.raises(
            ConfigurationError, match=r"size mismatch(?s:.*)initial\.parts: encoder"
        ):
            train(config, tmp_path / "rpa", console=silent)

    def test_the_encoder_alone(self, cheap, tiny, tmp_path, silent):
        config = tiny(
            epochs=1,
            averaging=None,
            model__head__hidden_features=[4],
            initial={"checkpoint": str(cheap.checkpoint), "parts": "encoder"},
            optimizer={"learning_rate": 1e-12, "weight_decay": 0},
        )
        result = train(config, tmp_path / "rpa", console=silent)
        name = next(n for n in weights(result) if n.startswith("encoder"))
        torch.testing.assert_close(weights(result)[name], weights(cheap)[name])


def test_divergence_is_told_and_nothing_is_kept(tiny, tmp_path, silent):
    config = tiny(
        averaging=None,
        model__head={"kind": "vector"},
        loss={"kind": "mse", "band_gap_weight": 0, "static_dielectric_weight": 0},
        optimizer={"learning_rate": 1e30, "schedule": "constant", "gradient_clip": None},
    )
    with pytest.raises(ConfigurationError, match="learning_rate"):
        train(config, tmp_path / "run", console=silent)
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_a_folder_with_other_things_is_not_taken(tiny, tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ConfigurationError, match="other things"):
        train(tiny(), tmp_path)
    with pytest.raises(ConfigurationError, match="no run to resume"):
        train(None, tmp_path / "nowhere", resume=True)


def test_a_gpu_that_is_not_there(tiny, tmp_path, silent):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigurationError, match="accelerator"):
        train(tiny(accelerator="gpu"), tmp_path / "run", console=silent)


def test_random_numbers_and_threads_of_the_caller_are_left_alone(tiny, tmp_path, silent):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    train(tiny(epochs=1), tmp_path / "run", console=silent)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    "changes", [{"data__levels": ["gw"]}, {"loss__band_gap_column": "nowhere"}]
)
def test_a_run_that_could_not_begin_does_not_stand_in_the_way(tiny, tmp_path, silent, changes):
    out = tmp_path / "run"
    with pytest.raises(DatasetError):
        train(tiny(epochs=1, **changes), out, console=silent)
    assert not out.exists()
    train(tiny(epochs=1), out, console=silent)


def test_a_stopped_run_is_not_given_up_for_a_missing_table(tiny, tmp_path, silent, interrupt):
    table = tmp_path / "table.parquet"
    write_spectra(table)
    config = tiny(epochs=3, data__tables=str(table))
    interrupt(1)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", console=silent)
    table.rename(tmp_path / "away.parquet")
    with pytest.raises(DatasetError):
        train(None, tmp_path / "run", resume=True, console=silent)
    assert (tmp_path / "run" / "config.yaml").is_file()
    (tmp_path / "away.parquet").rename(table)
    train(None, tmp_path / "run", resume=True, console=silent)


@pytest.mark.parametrize("where", ["state", "logs", "checkpoint"])
def test_a_full_disk_is_told_and_the_run_resumes(tiny, tmp_path, silent, monkeypatch, where):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    config = tiny(epochs=3)
    whole = train(config, tmp_path / "whole", console=silent)
    with monkeypatch.context() as context:
        if where == "state":
            context.setattr(lightning.Trainer, "save_checkpoint", full)
        elif where == "logs":
            context.setattr(TensorBoardLogger, "log_metrics", full)
        else:
            context.setattr("opalign.model.checkpoint.save", full)
        with pytest.raises(StorageError, match="No space left"):
            train(config, tmp_path / "parts", console=silent)
        assert not (tmp_path / "parts" / "result.json").exists()
        assert not (tmp_path / "parts" / "checkpoint").exists()
        assert not [p for p in (tmp_path / "parts").rglob(".*") if p.is_file()], "half a file"
    resumed = train(config, tmp_path / "parts", resume=True, console=silent)
    assert_same_weights(whole, resumed)


def test_validation_that_is_never_finite_is_told(tiny, tmp_path, silent, monkeypatch):
    def validation_step(self, batch, index):
        self.log(MONITOR, float("nan"), batch_size=1)

    monkeypatch.setattr(SpectrumTask, "validation_step", validation_step)
    with pytest.raises(ConfigurationError, match="validation loss was no finite number"):
        train(tiny(epochs=2), tmp_path / "run", console=silent)


def test_a_damaged_result_is_named(tiny, tmp_path, silent):
    train(tiny(epochs=1), tmp_path / "run", console=silent)
    (tmp_path / "run" / "result.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"result\.json: cannot be read"):
        train(None, tmp_path / "run", resume=True, console=silent)


def test_what_a_first_stage_may_have_seen_is_not_tested(tiny, tmp_path, silent, scalars_path):
    """Pretraining left out only what its own run held out, and lists none of the rest."""
    first = train(
        tiny(epochs=1, pretraining={"table": str(scalars_path), "epochs": 1}),
        tmp_path / "first",
        console=silent,
    )
    kept = load_checkpoint(first.checkpoint).splits
    initial = {"checkpoint": str(first.checkpoint)}
    same = {"method": "file", "file": str(tmp_path / "first" / "split.json")}
    train(tiny(epochs=1, initial=initial, data__split=same), tmp_path / "same", console=silent)

    # Trained on little, so that the list of training materials alone raises no suspicion.
    little = load_checkpoint(first.checkpoint)
    train_ids = kept["train"]
    other = Split(train=kept["test"] + kept["validation"], validation=[], test=train_ids[:1])
    save_checkpoint(
        tmp_path / "little",
        little.model,
        elements=little.elements,
        metrics={},
        splits={"train": [], "validation": [], "test": []},
        card="",
        reference=Reference((), (), np.empty((0, little.reference.features.shape[1]), "float32")),
        training=little.training,
    )
    file = other.save(tmp_path / "other.json")
    changes = {
        "initial": {"checkpoint": str(tmp_path / "little")},
        "data__split": {"method": "file", "file": str(file)},
    }
    with pytest.raises(DatasetError, match="first stage"):
        train(tiny(epochs=1, **changes), tmp_path / "other", console=silent)


def test_the_card_names_the_source_and_licence_of_both_stages(tiny, tmp_path, silent, scalars_path):
    config = tiny(epochs=1, pretraining={"table": str(scalars_path), "epochs": 1})
    kept = load_checkpoint(train(config, tmp_path / "run", console=silent).checkpoint)
    for text in ("Lorentz oscillators", "CC0", "textbook scalars", "CC-BY-4.0", "A. Author, 2020"):
        assert text in kept.card
    assert kept.training["pretraining_table"]["licence"] == "CC-BY-4.0"
    assert len(kept.training["pretraining_table"]["sha256"]) == 64


def test_a_damaged_state_is_named(tiny, tmp_path, silent, interrupt):
    interrupt(2)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), tmp_path / "run", console=silent)
    state = tmp_path / "run" / "state" / "last.ckpt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(StorageError, match=r"last\.ckpt: the state of the run cannot be read"):
        train(None, tmp_path / "run", resume=True, console=silent)
