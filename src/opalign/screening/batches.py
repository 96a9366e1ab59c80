"""Batches of rows between coordinator and workers, as Arrow streams."""

from __future__ import annotations

import pyarrow as pa


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
