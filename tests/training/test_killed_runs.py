"""Runs that are killed or interrupted from outside, in processes of their own."""

import signal
from pathlib import Path

import pytest
import torch

from opalign.model.checkpoint import load_checkpoint
from opalign.training.config_file import write_config
from opalign.training.run import train

from ..forked import Forked, opalign

pytestmark = pytest.mark.slow

#: More epochs than a process gets through before the signal, and few enough to go through twice.
EPOCHS = 30


@pytest.fixture(scope="module")
def case(spectra_path, tmp_path_factory):
    """A configuration file and the weights of its uninterrupted run."""
    import io

    from rich.console import Console

    from opalign.training.config_file import parse_config

    from .conftest import tiny_settings

    folder = tmp_path_factory.mktemp("killed")
    config = parse_config(tiny_settings(spectra_path, epochs=EPOCHS, model__head__dropout=0.2))
    whole = train(config, folder / "whole", console=Console(file=io.StringIO()))
    path = write_config(folder / "run.yaml", config)
    return path, load_checkpoint(whole.checkpoint).model.state_dict()


def begun(process: Forked, out: Path) -> Forked:
    """Wait for the first state of a run."""
    process.wait_until((out / "state" / "history.csv").is_file)
    return process


def assert_resumes_to(out: Path, expected: dict[str, torch.Tensor], silent) -> None:
    assert not (out / "result.json").exists(), "the signal came too late to test anything"
    resumed = train(None, out, resume=True, console=silent)
    found = load_checkpoint(resumed.checkpoint).model.state_dict()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


def test_sigkill(case, tmp_path, silent):
    config, expected = case
    out = tmp_path / "run"
    process = begun(Forked("opalign.training", [config, out], tmp_path / "output"), out)
    process.send(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert_resumes_to(out, expected, silent)


def test_ctrl_c_on_the_command_line(case, tmp_path, silent):
    config, expected = case
    out = tmp_path / "run"
    process = begun(opalign(["train", config, "--out", out], tmp_path / "output"), out)
    process.send(signal.SIGINT)
    assert process.wait(60) == 130
    text = process.stdout + process.stderr
    assert f"opalign train --out {out} --resume" in text
    assert "Traceback" not in text
    assert_resumes_to(out, expected, silent)
