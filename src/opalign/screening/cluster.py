"""Workers as Ray actors, on this machine or on the nodes of a cluster, with or without GPUs.

Actors, and not a Ray Dataset, because the parts of the output are ranges of rows that must come
out the same whoever computes them, and because a chunk that kills its worker is tried once more and
then given up. Parts are written here and not by the actors: the nodes need neither the input nor a
shared folder, and the model travels to them.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from opalign.errors import ConfigurationError, MissingExtraError, StorageError
from opalign.screening.batches import pack_batch, unpack_batch
from opalign.screening.config import Execution, ScreenConfig
from opalign.screening.pool import ATTEMPTS, STARTS, WORKER_DIED
from opalign.screening.results import Layout, failed_rows

#: Bytes of shared memory on this machine; a chunk and its results take some megabytes.
OBJECT_STORE = 256_000_000


class Actor:
    """One model in a process of Ray's."""

    def __init__(self, config: dict[str, Any], device: str, checkpoint: dict[str, bytes]) -> None:
        import torch

        from opalign.screening.screener import Screener, load_predictor

        if device == "cpu":
            torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / Path(config["model"]).name
            folder.mkdir()
            for name, content in checkpoint.items():
                (folder / name).write_bytes(content)
            own = ScreenConfig.model_validate({**config, "model": str(folder)})
            self._screener = Screener(own, load_predictor(own, device))

    def process(self) -> int:
        """Id of the process, which is there once the model is loaded."""
        return os.getpid()

    def screen(self, chunk: bytes) -> bytes:
        """Screen one chunk, an Arrow stream in, an Arrow stream out."""
        return pack_batch(self._screener.screen(unpack_batch(chunk)))


def run_ray(
    chunks: Iterator[pa.RecordBatch],
    config: ScreenConfig,
    execution: Execution,
    layout: Layout,
    checkpoint: Path,
) -> Iterator[pa.RecordBatch]:
    """Screen ``chunks`` in actors of Ray; results come in any order.

    An actor that dies is replaced and its chunk given out once more; if that kills the next one
    too, the rows of the chunk have failed.

    Raises
    ------
    MissingExtraError
        Ray is not installed.
    ConfigurationError
        The cluster cannot be reached.
    StorageError
        Actors cannot start.
    """
    ray = _ray()
    started = _connect(ray, execution)
    try:
        yield from _run(ray, chunks, config, execution, layout, checkpoint)
    finally:
        if started:
            ray.shutdown()


def _run(
    ray: Any,
    chunks: Iterator[pa.RecordBatch],
    config: ScreenConfig,
    execution: Execution,
    layout: Layout,
    checkpoint: Path,
) -> Iterator[pa.RecordBatch]:
    files = ray.put({path.name: path.read_bytes() for path in checkpoint.iterdir()})
    kind = ray.remote(num_cpus=1, num_gpus=execution.num_gpus, max_restarts=0)(Actor)
    device = execution.device
    if device == "auto":
        device = "cuda" if execution.num_gpus else "cpu"
    died = (ray.exceptions.RayActorError, ray.exceptions.RayTaskError)

    def new_actor() -> Any:
        for _ in range(STARTS):
            actor = kind.remote(config.model_dump(mode="json"), device, files)
            try:
                ray.get(actor.process.remote())
            except died as error:
                problem = error
                continue
            return actor
        raise StorageError(
            f"actors of Ray cannot start: {str(problem).strip().splitlines()[-1]}",
            cure="install the same Opalign on all nodes, and see the logs of Ray",
        )

    idle = [new_actor() for _ in range(execution.processes)]
    at_work: dict[Any, tuple[Any, pa.RecordBatch, int]] = {}
    while True:
        while idle and (chunk := next(chunks, None)) is not None:
            actor = idle.pop()
            at_work[actor.screen.remote(pack_batch(chunk))] = (actor, chunk, 1)
        if not at_work:
            return
        (ready, *_), _ = ray.wait(list(at_work), num_returns=1)
        actor, chunk, attempt = at_work.pop(ready)
        try:
            result = unpack_batch(ray.get(ready))
        except died:
            with contextlib.suppress(Exception):
                ray.kill(actor)
            actor = new_actor()
            if attempt < ATTEMPTS:
                again = actor.screen.remote(pack_batch(chunk))
                at_work[again] = (actor, chunk, attempt + 1)
                continue
            result = failed_rows(chunk, layout, f"{WORKER_DIED}; the logs of Ray may say why")
        idle.append(actor)
        yield result


def _connect(ray: Any, execution: Execution) -> bool:
    """Connect to the cluster, or start Ray here; tell whether that was needed."""
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if execution.address is None:
        ray.init(
            num_cpus=execution.processes,
            object_store_memory=OBJECT_STORE,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            # Nobody else need reach it.
            _node_ip_address="127.0.0.1",
        )
        return True
    try:
        ray.init(address=execution.address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigurationError(
            f"there is no Ray cluster at {execution.address!r}: {error}",
            expected="auto on a node of the cluster, or HOST:PORT of its head",
        ) from error
    return True


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            "Ray, which the workers of a cluster need, is not installed",
            cure="pip install 'opalign[scale]', or leave out --ray: --processes needs no Ray",
        ) from error
    return ray
