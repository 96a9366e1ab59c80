"""A worker process: one model, one thread, chunks on standard input, results on standard output."""

from __future__ import annotations

import sys

from opalign.messages import receive, send, take_output, unpack_json
from opalign.screening.batches import pack_batch, unpack_batch
from opalign.screening.config import ScreenConfig


def main() -> None:
    """Serve until standard input ends, which it also does when the coordinator is killed."""
    output = take_output()
    job = receive(sys.stdin.buffer)
    if job is None:
        return
    import torch

    from opalign.screening.screener import Screener, load_predictor

    torch.set_num_threads(1)
    content = unpack_json(job)
    config = ScreenConfig.model_validate(content["config"])
    screener = Screener(config, load_predictor(config, content["device"]))
    send(output, b"ready")
    while (chunk := receive(sys.stdin.buffer)) is not None:
        send(output, pack_batch(screener.screen(unpack_batch(chunk))))


if __name__ == "__main__":
    main()
