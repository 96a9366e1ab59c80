"""What coordinator and workers say to each other: Arrow streams, each with its length in front."""

from __future__ import annotations

import json
import struct
from typing import IO, Any

import pyarrow as pa

_LENGTH = struct.Struct("<Q")


def pack_batch(batch: pa.RecordBatch) -> bytes:
    """Return a batch as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def unpack_batch(content: bytes) -> pa.RecordBatch:
    """Return the batch in an Arrow stream."""
    with pa.ipc.open_stream(pa.py_buffer(content)) as reader:
        return reader.read_next_batch()


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


def pack_json(content: Any) -> bytes:
    """Return plain values as JSON."""
    return json.dumps(content).encode()


def unpack_json(content: bytes) -> Any:
    """Return the values in JSON."""
    return json.loads(content)
