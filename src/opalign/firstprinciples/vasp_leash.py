"""Run a command that ends with the process that started it: ``python -m … PARENT COMMAND …``.

custodian gives VASP a session of its own, so that signals to the group of a job never reach it.
Without this a job that is killed, at its time limit or by kill -9, would leave VASP running.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
"""Of Linux, see prctl(2); it outlives exec."""
MODULE = "opalign.firstprinciples.vasp_leash"


def leashed(command: str) -> str:
    """Return the shell command that runs ``command`` on the leash of this process."""
    if sys.platform != "linux":
        return command
    return f"{sys.executable} -m {MODULE} {os.getpid()} {command}"


def main(arguments: Sequence[str]) -> None:
    """Become the command.

    SIGTERM rather than SIGKILL, so that mpirun and srun can take their ranks along.
    """
    parent, *command = arguments
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        # It died before the leash was on.
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
