"""Commands in processes of their own that need not import anything first.

A fresh interpreter imports torch and Lightning for ten seconds before it trains for one. The
processes here are forked from one interpreter that has imported them, once for all tests (Python's
own `forkserver`), and are otherwise as if started anew: own arguments, environment, output and
signals. That a command starts from nothing is tested where it is typed as a user does.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import runpy
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: What takes long to import; a name that is not there is left to the command to miss.
HEAVY = ["opalign.training.run", "opalign.prediction", "opalign.cli.main"]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(HEAVY)


class Forked:
    """A running command, in a process group of its own.

    Parameters
    ----------
    command
        A module to run as ``python -m`` does, or ``module:function`` to call.
    folder
        Where the files with its output go; of its own for each process.
    environment
        Variables that it has beyond those of the tests.
    """

    def __init__(
        self,
        command: str,
        arguments: Sequence[object],
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._outputs = folder / "stdout", folder / "stderr"
        request = {
            "command": command,
            "arguments": list(map(str, arguments)),
            "environment": {**os.environ, **(environment or {})},
            "outputs": list(map(str, self._outputs)),
        }
        # By path: the process need not know how the tests were imported.
        self._process = _context.Process(
            target=runpy.run_path, args=(__file__, {"REQUEST": request}, "__main__")
        )
        self._process.start()
        self.pid = self._process.pid

    @property
    def stdout(self) -> str:
        return self._outputs[0].read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return self._outputs[1].read_text(encoding="utf-8")

    def poll(self) -> int | None:
        """Exit status, that of a signal negative; None while it runs."""
        return self._process.exitcode

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill_group(self) -> None:
        """End it and all that it has started, and wait for it."""
        os.killpg(self.pid, signal.SIGKILL)
        self._process.join()

    def wait(self, seconds: float = 240.0) -> int:
        """Return the exit status; a process that does not end in time is killed and an error."""
        self._process.join(seconds)
        status = self.poll()
        if status is None:
            self.kill_group()
            raise TimeoutError(f"still running after {seconds} s:\n{self.stdout}{self.stderr}")
        return status

    def wait_until(self, reached: Any, seconds: float = 120.0) -> None:
        """Return when ``reached()`` is true; AssertionError if the process ends before."""
        deadline = time.monotonic() + seconds
        while not reached():
            if self.poll() is not None or time.monotonic() > deadline:
                if self.poll() is None:
                    self.kill_group()
                raise AssertionError(f"it did not get that far:\n{self.stdout}{self.stderr}")
            time.sleep(0.01)


def opalign(arguments: Sequence[object], folder: Path, **options: Any) -> Forked:
    """Start the command `opalign`."""
    return Forked("opalign.cli.main:main", arguments, folder, **options)


def _become(request: dict[str, Any]) -> None:
    """Run a command in this process, which was made for it."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, path in enumerate(request["outputs"], start=1):
        with open(path, "wb", buffering=0) as stream:
            os.dup2(stream.fileno(), number)
    module, _, function = request["command"].partition(":")
    sys.argv = [module, *request["arguments"]]
    try:
        if function:
            getattr(importlib.import_module(module), function)()
        else:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__" and "REQUEST" in globals():
    _become(globals()["REQUEST"])
