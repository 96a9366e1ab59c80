import os
import signal
import sys
import time
from pathlib import Path

import pytest

from opalign.errors import MissingExtraError
from opalign.screening import Execution, ScreenConfig, cluster, screen
from opalign.screening.batches import pack_batch, unpack_batch
from opalign.screening.cluster import Actor
from opalign.screening.pool import WORKER_DIED


def config_of(path, model, **settings):
    return ScreenConfig(
        input=path, model=str(model), rows_per_chunk=2, rows_per_part=6, precision="double",
        **settings,
    )  # fmt: skip


def descendants(name):
    """Ids of the processes below this one whose name begins with ``name``."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
            names[int(folder.name)] = (folder / "cmdline").read_text()
        except OSError:
            continue

    def below(process):
        while process in parents:
            process = parents[process]
            if process == os.getpid():
                return True
        return False

    return [process for process in parents if names.get(process, "").startswith(name)
            and below(process)]  # fmt: skip


def rows_of(folder):
    import pyarrow.parquet as pq

    paths = sorted((folder / "parts").glob("part-*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
def test_two_actors_one_of_which_is_killed(tiny_model, write_rows, crystal_rows, tmp_path):
    pytest.importorskip("ray")
    path = write_rows(crystal_rows * 2)
    screen(config_of(path, tiny_model), tmp_path / "alone")
    killed = []

    def kill_one(tally):
        if not killed and tally.done >= 6:
            actors = descendants("ray::Actor")
            assert len(actors) == 2
            os.kill(actors[0], signal.SIGKILL)
            killed.append(actors[0])

    execution = Execution(engine="ray", processes=2)
    report = screen(config_of(path, tiny_model), tmp_path / "ray", execution, on_progress=kill_one)
    assert killed
    assert report.tally.counts == {"ok": 48, "filtered": 0, "failed": 0}
    found, expected = rows_of(tmp_path / "ray"), rows_of(tmp_path / "alone")
    assert [row["row"] for row in found] == list(range(48))
    for row, known in zip(found, expected, strict=True):
        assert row["material_id"] == known["material_id"]
        # Here graphs may come from compiled loops, if another test has loaded them; not there.
        assert row["static_dielectric"] == pytest.approx(known["static_dielectric"], abs=1e-8)
    deadline = time.monotonic() + 10.0
    while descendants("ray::Actor") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert descendants("ray::Actor") == []


class FakeRay:
    """As much of Ray as the driver uses, in this process; actors die when told to."""

    class exceptions:  # noqa: N801
        class RayActorError(Exception):
            pass

        class RayTaskError(Exception):
            pass

    def __init__(self, deadly=(), starts=True):
        self.deadly, self.starts, self.actors, self.options = set(deadly), starts, 0, None

    def is_initialized(self):
        return True

    def put(self, value):
        return value

    def get(self, ref):
        return ref()

    def wait(self, refs, num_returns):
        return refs[:1], refs[1:]

    def kill(self, actor):
        actor.dead = True

    def remote(self, **options):
        self.options = options
        ray = self

        class Method:
            def __init__(self, function):
                self.remote = lambda *given: lambda: function(*given)

        class Handle:
            def __init__(self, actor):
                self.dead = False

                def screen(chunk):
                    ids = set(unpack_batch(chunk).column("material_id").to_pylist())
                    if self.dead or ids & ray.deadly:
                        self.dead = True
                        raise ray.exceptions.RayActorError("gone")
                    return actor.screen(chunk)

                def process():
                    if not ray.starts:
                        raise ray.exceptions.RayActorError("no torch on this node")
                    return 1

                self.screen, self.process = Method(screen), Method(process)

        def make(kind):
            class Maker:
                @staticmethod
                def remote(*given):
                    ray.actors += 1
                    return Handle(kind(*given))

            return Maker

        return make


def test_an_actor_that_dies_twice_of_a_chunk_fails_its_rows(
    tiny_model, write_rows, crystal_rows, tmp_path, monkeypatch
):
    ray = FakeRay(deadly={"c-5"})
    monkeypatch.setattr(cluster, "_ray", lambda: ray)
    path = write_rows(crystal_rows[:10])
    execution = Execution(engine="ray", processes=2, num_gpus=0.5, device="cpu")
    report = screen(config_of(path, tiny_model), tmp_path / "out", execution)
    assert report.tally.counts == {"ok": 8, "filtered": 0, "failed": 2}
    failed = [row for row in rows_of(tmp_path / "out") if row["status"] == "failed"]
    assert [row["material_id"] for row in failed] == ["c-4", "c-5"]
    assert all(WORKER_DIED in row["reason"] for row in failed)
    assert ray.actors == 4
    assert ray.options == {"num_cpus": 1, "num_gpus": 0.5, "max_restarts": 0}


def test_actors_that_cannot_start_fail_no_row(
    tiny_model, write_rows, crystal_rows, tmp_path, monkeypatch
):
    from opalign.errors import StorageError

    monkeypatch.setattr(cluster, "_ray", lambda: FakeRay(starts=False))
    path = write_rows(crystal_rows[:4])
    with pytest.raises(StorageError, match="no torch on this node"):
        screen(config_of(path, tiny_model), tmp_path / "out", Execution(engine="ray"))
    assert not list((tmp_path / "out").glob("parts/*"))


def test_the_model_travels_in_the_message(tiny_model, write_rows, crystal_rows, tmp_path):
    from opalign.screening.chunk import UniqueIds, numbered_chunks
    from opalign.screening.sources import open_source

    config = config_of(write_rows(crystal_rows[:2]), tiny_model)
    files = {path.name: path.read_bytes() for path in tiny_model.iterdir()}
    elsewhere = {**config.model_dump(mode="json"), "model": str(tmp_path / "not" / "tiny")}
    actor = Actor(elsewhere, "cpu", files)
    (chunk,) = numbered_chunks(open_source(config.input).batches(), 2, UniqueIds())
    result = unpack_batch(actor.screen(pack_batch(chunk)))
    assert result.column("status").to_pylist() == ["ok", "ok"]
    assert actor.process() == os.getpid()


def test_without_ray(monkeypatch, tiny_model, write_rows, crystal_rows, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    path = write_rows(crystal_rows[:2])
    with pytest.raises(MissingExtraError, match="not installed") as caught:
        screen(config_of(path, tiny_model), tmp_path / "out", Execution(engine="ray"))
    assert "opalign[scale]" in caught.value.cure
