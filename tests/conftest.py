"""What every test stands on: one thread, fixed seeds, no network, data where there is some."""

from __future__ import annotations

import os

# Read when the libraries load: pytest-xdist fills the cores already, with one process on each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Else numba's first parallel loop, a UMAP, raises the number for torch as well.
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import functools
import ipaddress
import random
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.symmetry.groups import SpaceGroup

# pymatgen forgets a space group as soon as it has made a crystal of it, and takes a second to find
# the 192 operations of Fm-3m anew; most crystals of the tests are rock salts.
SpaceGroup.__new__ = functools.cache(SpaceGroup.__new__)

# A shell has what it starts in the background ignore Ctrl-C, and children would inherit that.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


class NetworkReachedError(RuntimeError):
    """A test tried to leave this machine."""


def is_local(host: object) -> bool:
    """Whether a host is this machine: its loopback interface, or none given."""
    if isinstance(host, bytes):
        host = host.decode()
    if host in (None, "", "localhost", "ip6-localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def refuse_unless_local(host: object) -> None:
    if not is_local(host):
        raise NetworkReachedError(f"a test reached for {host}: tests must not use the network")


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Refuse every connection and name lookup that leaves this machine."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    sendto, getaddrinfo = socket.socket.sendto, socket.getaddrinfo

    def check(sock: socket.socket, address: Any) -> None:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            refuse_unless_local(address[0])

    def guarded_connect(sock: socket.socket, address: Any) -> None:
        check(sock, address)
        connect(sock, address)

    def guarded_connect_ex(sock: socket.socket, address: Any) -> int:
        check(sock, address)
        return connect_ex(sock, address)

    def guarded_sendto(sock: socket.socket, data: Any, *arguments: Any) -> int:
        check(sock, arguments[-1])
        return sendto(sock, data, *arguments)

    def guarded_getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        refuse_unless_local(host)
        return getaddrinfo(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket.socket, "sendto", guarded_sendto)
        patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
        yield


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Start every test from the same random numbers, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def opalign_data() -> Path:
    """Folder of the first-principles data; skips where it is not at hand."""
    folder = os.environ.get("OPALIGN_DATA")
    if not folder:
        pytest.skip("OPALIGN_DATA is not set: it names the folder of first-principles data")
    path = Path(folder)
    if not path.is_dir():
        pytest.skip(f"OPALIGN_DATA names {path}, which is not a folder")
    return path
