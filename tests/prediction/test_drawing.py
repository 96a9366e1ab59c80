import os
import signal
import time

import numpy as np
import pytest

from opalign.errors import StorageError
from opalign.prediction import drawing
from opalign.prediction.drawing import Drawing, FigureProcesses
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum

GRID = EnergyGrid(0.0, 10.0, 101)


def spectrum(level):
    return OpticalSpectrum(
        GRID, 2.0 + 1j * np.clip(GRID.values - 3.0, 0.0, 2.0), level, Broadening("gaussian", 0.1)
    )


@pytest.fixture
def drawings(tmp_path):
    height = np.ones(GRID.num)
    return [
        Drawing(
            tmp_path / f"figure {number}.png",
            (spectrum("rpa"), spectrum("ipa")),
            ("RPA", "IPA"),
            f"Figure {number}",
            {"epsilon_imaginary": (0.0 * height, (1.0 + number) * height)},
        )
        for number in range(3)
    ]


def pictures(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def test_a_message_holds_all_of_a_drawing(drawings):
    first = drawings[0]
    copy = Drawing.unpack(first.pack())
    assert (copy.path, copy.labels, copy.title) == (first.path, first.labels, first.title)
    for ours, theirs in zip(copy.spectra, first.spectra, strict=True):
        assert (ours.grid, ours.level, ours.broadening) == (
            theirs.grid,
            theirs.level,
            theirs.broadening,
        )
        np.testing.assert_array_equal(ours.epsilon, theirs.epsilon)
    np.testing.assert_array_equal(copy.bands["epsilon_imaginary"], first.bands["epsilon_imaginary"])


def test_processes_draw_what_the_caller_would(drawings, tmp_path):
    for one in drawings:
        one.draw()
    here = pictures(tmp_path)
    for path in tmp_path.glob("*.png"):
        path.unlink()
    with FigureProcesses(2) as processes:
        processes.start()
        for one in drawings:
            processes.draw(one)
    assert pictures(tmp_path) == here
    assert len(here) == 3


def test_without_processes_the_caller_draws(drawings, tmp_path, monkeypatch):
    monkeypatch.setattr(drawing.subprocess, "Popen", None)
    with FigureProcesses(0) as processes:
        processes.start()
        processes.draw(drawings[0])
        assert set(pictures(tmp_path)) == {"figure 0.png"}


def test_what_a_dead_process_leaves_is_drawn(drawings, tmp_path):
    with FigureProcesses(1) as processes:
        processes.start()
        while not processes._running:
            time.sleep(0.01)
        os.kill(processes._running[0]._process.pid, signal.SIGKILL)
        for one in drawings:
            processes.draw(one)
    assert len(pictures(tmp_path)) == 3


def test_a_figure_that_cannot_be_written_is_an_error(drawings, tmp_path):
    (tmp_path / "figure 1.png").mkdir()

    def draw_all():
        with FigureProcesses(1) as processes:
            for one in drawings:
                processes.draw(one)

    with pytest.raises(StorageError):
        draw_all()


def test_processes_end_with_the_context(drawings):
    with FigureProcesses(1) as processes:
        processes.draw(drawings[0])
        processes.finish()
        (process,) = processes._running
        assert process._process.poll() is None
    assert process._process.poll() is not None
