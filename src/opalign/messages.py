"""What processes of ours say to each other through pipes: bytes, each with its length in front."""

from __future__ import annotations

import json
import os
import struct
import sys
from typing import IO, Any

_LENGTH = struct.Struct("<Q")


def send(stream: IO[bytes], content: bytes) -> None:
    """Write one message."""
    stream.write(_LENGTH.pack(len(content)) + content)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """Read one message; None where the other side is gone, even in the middle of one."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    content = stream.read(length)
    return content if len(content) == length else None


def take_output() -> IO[bytes]:
    """Return standard output for messages alone; what libraries print goes to standard error."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return output


def pack_json(content: Any) -> bytes:
    """Return plain values as JSON."""
    return json.dumps(content).encode()


def unpack_json(content: bytes) -> Any:
    """Return the values in JSON."""
    return json.loads(content)
