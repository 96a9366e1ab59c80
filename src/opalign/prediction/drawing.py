"""Figures of predictions, drawn by processes beside the one that predicts.

A figure takes half a second, many times what its prediction does, and the drawing library as long
to import as a whole batch to compute. ``python -m opalign.prediction.drawing`` is such a process.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from opalign.errors import OpalignError
from opalign.messages import pack_json, receive, send, take_output, unpack_json
from opalign.spectrum.broadening import Broadening
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.optical import OpticalSpectrum

COMMAND = (sys.executable, "-m", "opalign.prediction.drawing")
#: More processes would draw faster than any one predicts; each takes some 150 MB.
MOST_PROCESSES = 8
#: Figures that wait per process: what waits takes memory, 0.1 MB each.
WAITING = 8
_DONE, _FAILED = b"done", b"failed"
_BOUNDS = "bounds of "


@dataclass(frozen=True, eq=False)
class Drawing:
    """What one figure shows, and the file it goes to."""

    path: Path
    spectra: tuple[OpticalSpectrum, ...]
    labels: tuple[str, ...]
    title: str
    bands: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
    """Bands of the first spectrum, as :func:`opalign.spectrum.plot_spectrum` takes them."""

    def draw(self) -> None:
        """Draw and write it; raises as :func:`opalign.spectrum.plot_spectrum` does."""
        from opalign.spectrum.plot import plot_spectrum

        plot_spectrum(
            self.spectra,
            self.path,
            labels=self.labels,
            title=self.title,
            bands=dict(self.bands),
        )

    def pack(self) -> bytes:
        """Return it as a message."""
        described = {
            "path": str(self.path),
            "labels": self.labels,
            "title": self.title,
            "spectra": [
                {
                    "grid": one.grid.model_dump(),
                    "broadening": one.broadening.model_dump(),
                    "level": one.level,
                    "material_id": one.material_id,
                }
                for one in self.spectra
            ],
        }
        arrays: dict[str, Any] = {
            f"epsilon of {i}": one.epsilon for i, one in enumerate(self.spectra)
        }
        arrays |= {_BOUNDS + name: np.stack(bounds) for name, bounds in self.bands.items()}
        memory = io.BytesIO()
        np.savez(memory, description=np.frombuffer(pack_json(described), np.uint8), **arrays)
        return memory.getvalue()

    @classmethod
    def unpack(cls, content: bytes) -> Drawing:
        """Return what :meth:`pack` was called on."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            described = unpack_json(arrays["description"].tobytes())
            spectra = [
                OpticalSpectrum(
                    EnergyGrid(**one["grid"]),
                    arrays[f"epsilon of {i}"],
                    one["level"],
                    Broadening(**one["broadening"]),
                    one["material_id"],
                )
                for i, one in enumerate(described["spectra"])
            ]
            bands = {
                name.removeprefix(_BOUNDS): (arrays[name][0], arrays[name][1])
                for name in arrays.files
                if name.startswith(_BOUNDS)
            }
        return cls(
            Path(described["path"]),
            tuple(spectra),
            tuple(described["labels"]),
            described["title"],
            bands,
        )


class FigureProcesses:
    """Processes that draw; a context, at whose end all is drawn.

    What a process cannot draw, or dies of, is drawn by the caller: so is everything where there are
    no processes. Ctrl-C on the terminal does not reach them, so that no figure is left out.

    Parameters
    ----------
    processes
        At most so many, started as figures wait; by default one less than this process may use
        cores, up to :data:`MOST_PROCESSES`. 0 draws in this process.
    """

    def __init__(self, processes: int | None = None) -> None:
        if processes is None:
            processes = min(_cores() - 1, MOST_PROCESSES)
        self.processes = processes
        self._room = threading.Semaphore(WAITING * processes)
        self._place = threading.local()
        self._running: list[_Process] = []
        self._waiting: list[tuple[Drawing, Future[bool]]] = []
        self._threads = ThreadPoolExecutor(processes) if processes else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            if self._threads is not None:
                self._threads.shutdown(cancel_futures=True)
            for process in self._running:
                process.end()

    def start(self) -> None:
        """Start one process now, whose imports then run while this one is busy."""
        if self._threads is not None:
            self._threads.submit(self._process)

    def draw(self, drawing: Drawing) -> None:
        """Have a figure drawn, some time before :meth:`finish` returns.

        Raises
        ------
        ConfigurationError, StorageError
            This figure, or one asked for earlier, cannot be drawn or written.
        """
        if self._threads is None:
            drawing.draw()
            return
        self._room.acquire()
        self._waiting.append((drawing, self._threads.submit(self._drawn, drawing.pack())))
        while self._waiting and self._waiting[0][1].done():
            self._settle()

    def finish(self) -> None:
        """Wait until all figures are drawn; raises as :meth:`draw` does."""
        while self._waiting:
            self._settle()

    def _settle(self) -> None:
        drawing, drawn = self._waiting.pop(0)
        if not drawn.result():
            drawing.draw()

    def _drawn(self, message: bytes) -> bool:
        """Have the process of this thread draw a figure; False if it did not."""
        try:
            return self._process().draw(message)
        finally:
            self._room.release()

    def _process(self) -> _Process:
        process: _Process | None = getattr(self._place, "process", None)
        if process is None:
            process = self._place.process = _Process()
            self._running.append(process)
        return process


class _Process:
    """One process that draws, and the pipes to it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._input = cast(IO[bytes], self._process.stdin)
        self._output = cast(IO[bytes], self._process.stdout)

    def draw(self, message: bytes) -> bool:
        try:
            send(self._input, message)
            return receive(self._output) == _DONE
        except (OSError, ValueError):
            return False

    def end(self) -> None:
        # It has drawn whatever it was asked to, atomically; its own way out would take a while.
        self._process.kill()
        with contextlib.suppress(OSError):
            self._input.close()
        self._process.wait()
        self._output.close()


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def main() -> None:
    """Draw what comes on standard input, until it ends."""
    output = take_output()
    from opalign.spectrum.plot import plot_spectrum

    # The first figure brings in fonts and what else is needed, while nobody waits for it yet.
    grid = EnergyGrid(0.0, 1.0, 11)
    plot_spectrum(OpticalSpectrum(grid, np.ones(grid.num), "none")).savefig(io.BytesIO())
    while (message := receive(sys.stdin.buffer)) is not None:
        try:
            Drawing.unpack(message).draw()
        except (OpalignError, OSError):
            # The other side tries it itself, and has somebody to tell.
            send(output, _FAILED)
        else:
            send(output, _DONE)


if __name__ == "__main__":
    main()
