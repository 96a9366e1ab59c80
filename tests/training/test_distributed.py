"""Two processes on the CPU, as torchrun starts them, beside one."""

import json
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from opalign.errors import ConfigurationError
from opalign.model.checkpoint import load_checkpoint
from opalign.model.network import SpectrumModel
from opalign.training import distributed
from opalign.training.batches import EpochBatches
from opalign.training.config_file import parse_config, write_config
from opalign.training.data import load_materials, loader, open_tables
from opalign.training.run import build_model_config, train

from ..forked import Forked
from .conftest import tiny_settings
from .test_run import interrupt  # noqa: F401

#: Sums over a batch are made in another order, some 1e-7 in single precision; 3e-7 was measured.
LOSS = {"rtol": 1e-5, "atol": 1e-6}
#: AdamW divides gradients by their size: where they are nearly nothing, rounding decides the way.
#: A quarter of one step of the learning rate 2e-3; the largest difference measured is 1.4e-4.
WEIGHTS = {"rtol": 0.0, "atol": 5e-4}


def torchrun(config: Path, out: Path) -> Forked:
    return Forked(
        "torch.distributed.run",
        ["--nproc_per_node", 2, "--standalone", "-m", "opalign.training", config, out],
        config.parent / "torchrun",
        environment={"OMP_NUM_THREADS": "1"},
    )


def two_processes(config: Path, out: Path) -> list[Forked]:
    """Start what torchrun starts, with the variables that it sets."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
    }  # fmt: skip
    return [
        Forked(
            "opalign.training",
            [config, out],
            config.parent / f"process_{rank}",
            environment=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in (0, 1)
    ]


@pytest.mark.parametrize("work", [None, np.array([900, 5, 40, 300, 20, 80, 7])])
def test_shares_make_up_the_batches_of_one_process(work):
    whole = EpochBatches(7, 3, 0, work)
    shares = [list(EpochBatches(7, 3, 0, work, process, 2)) for process in (0, 1)]
    for index, batch in enumerate(whole):
        parts = [row for share in shares for row in share[index] if row >= 0]
        assert sorted(parts) == sorted(batch)
        assert whole.rows_in(index) == len(batch)
        # A process without a row of its own keeps the others company.
        assert all(len(share[index]) >= 1 for share in shares)


def test_a_row_that_keeps_company_counts_for_nothing(tiny, monkeypatch):
    config = tiny()
    tables = open_tables(config.data.tables)
    model = build_model_config(config, tables)
    materials = load_materials(tables, model, config.data, config.loss)
    monkeypatch.setattr("opalign.training.distributed.count", lambda: 2)
    monkeypatch.setattr("opalign.training.distributed.own", lambda: 1)
    batch = next(iter(loader(materials, 1, shuffle_seed=0)))
    assert all(torch.isnan(values).all() for values in batch["targets"].values())
    assert not any(torch.isnan(values).any() for values in materials.targets.values())


def assert_same_training(one: Path, two: Path) -> None:
    first, second = (
        pd.read_csv(folder / "state" / "history.csv").sort_index(axis=1) for folder in (one, two)
    )
    np.testing.assert_allclose(second, first, **LOSS)
    ours, theirs = (
        load_checkpoint(folder / "checkpoint").model.state_dict() for folder in (one, two)
    )
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, **WEIGHTS, msg=name)
    assert json.loads((two / "result.json").read_text())["epochs"] == len(first)


@pytest.mark.slow
def test_two_processes_train_what_one_does(spectra_path, scalars_path, tmp_path, silent):
    # Batches of three: one process has two rows and the other one; pretraining leaves a part of the
    # network out.
    config = parse_config(
        tiny_settings(
            spectra_path, batch_size=3, early_stopping=4,
            pretraining={"table": str(scalars_path), "epochs": 1, "batch_size": 3},
        )
    )  # fmt: skip
    train(config, tmp_path / "one", console=silent)
    path = write_config(tmp_path / "run.yaml", config)
    done = torchrun(path, tmp_path / "two")
    assert done.wait() == 0, done.stderr
    assert done.stdout.count("materials: ") == 1  # one process reports
    assert_same_training(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_go_on_where_one_was_stopped(
    spectra_path,
    tmp_path,
    silent,
    interrupt,  # noqa: F811
):
    config = parse_config(tiny_settings(spectra_path, batch_size=2, batching="angles"))
    train(config, tmp_path / "one", console=silent)
    interrupt(2)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "two", console=silent)
    path = write_config(tmp_path / "run.yaml", config)
    for process in two_processes(path, tmp_path / "two"):
        assert process.wait() == 0, process.stderr
    assert_same_training(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_what_one_process_is_refused_ends_both(spectra_path, tmp_path):
    path = write_config(tmp_path / "run.yaml", parse_config(tiny_settings(spectra_path)))
    out = tmp_path / "two"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    first, second = two_processes(path, out)
    assert (first.wait(), second.wait()) == (2, 2)
    assert "Error: " in first.stderr
    assert "the folder holds other things" in first.stderr
    assert "another process of this run failed" in second.stderr
    assert [entry.name for entry in out.iterdir()] == ["thesis.txt"]


def test_batch_norm_is_refused(tiny, monkeypatch):
    config = tiny(model__encoder__norm="batch")
    network = SpectrumModel(build_model_config(config, open_tables(config.data.tables)))
    distributed.check_network(network)  # in one process all is well
    monkeypatch.setattr("opalign.training.distributed.count", lambda: 2)
    with pytest.raises(ConfigurationError, match="norm: layer"):
        distributed.check_network(network)
