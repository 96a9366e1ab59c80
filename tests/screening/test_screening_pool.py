import os
import signal
import sys
import textwrap
import time
from pathlib import Path

import pyarrow as pa
import pytest

from opalign.errors import DatasetError, StorageError
from opalign.screening import Execution, ScreenConfig, pool
from opalign.screening.chunk import Structure, UniqueIds, numbered_chunks, structure_batch
from opalign.screening.pool import ATTEMPTS, STARTS, WORKER_DIED, run_processes
from opalign.screening.results import Layout

LAYOUT = Layout({"x": {"unit": "", "description": ""}}, {}, {})

#: A worker without a network, whose fate is in the ids: it dies of those that say so.
WORKER = """
    import os, sys, time
    import pyarrow as pa
    from opalign.messages import receive, send
    from opalign.screening.batches import pack_batch, unpack_batch
    from opalign.screening.results import Layout

    layout = Layout({"x": {"unit": "", "description": ""}}, {}, {})
    receive(sys.stdin.buffer)
    print("loaded", file=sys.stderr, flush=True)
    send(sys.stdout.buffer, b"ready")
    while (content := receive(sys.stdin.buffer)) is not None:
        chunk = unpack_batch(content)
        ids = chunk.column("material_id").to_pylist()
        if "deadly" in ids:
            os.kill(os.getpid(), 9)
        if "once" in ids and not os.path.exists("died"):
            open("died", "w").close()
            os.kill(os.getpid(), 9)
        time.sleep(0.05 if "slow" in ids else 0.0)
        given = {"row": chunk.column("row"), "material_id": chunk.column("material_id"),
                 "status": pa.array(["ok"] * len(chunk)), "x": pa.array([1.0] * len(chunk))}
        columns = [given.get(f.name, pa.nulls(len(chunk), f.type)) for f in layout.schema]
        result = pa.RecordBatch.from_arrays(columns, schema=layout.schema)
        send(sys.stdout.buffer, pack_batch(result))
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Run chunks of two rows with these ids through workers; gives rows in any order."""
    script = tmp_path / "worker.py"
    script.write_text(textwrap.dedent(WORKER))
    monkeypatch.setattr(pool, "COMMAND", (sys.executable, str(script)))
    monkeypatch.setenv("PYTHONPATH", str(Path(pool.__file__).parents[2]))
    monkeypatch.chdir(tmp_path)

    def run(ids, processes=2, source=None):
        batch = structure_batch([Structure(one, None, None, None, None) for one in ids])
        chunks = numbered_chunks(source or [batch], 2, UniqueIds())
        config = ScreenConfig(input=tmp_path / "input")
        execution = Execution(engine="processes", processes=processes)
        return run_processes(chunks, config, execution, LAYOUT, tmp_path / "workers.log")

    return run


def rows_of(results):
    rows = [row for result in results for row in result.to_pylist()]
    return sorted(rows, key=lambda row: row["row"])


@pytest.mark.parametrize("processes", [1, 3])
def test_every_row_comes_back_once(start, processes, tmp_path):
    rows = rows_of(start([f"m-{k}" for k in range(15)], processes))
    assert [row["material_id"] for row in rows] == [f"m-{k}" for k in range(15)]
    assert {row["status"] for row in rows} == {"ok"}
    assert (tmp_path / "workers.log").read_text().count("loaded") <= processes


def test_a_chunk_whose_worker_died_is_tried_once_more(start, tmp_path):
    rows = rows_of(start(["a", "b", "once", "c", "d"]))
    assert (tmp_path / "died").exists()
    assert [row["material_id"] for row in rows] == ["a", "b", "once", "c", "d"]
    assert {row["status"] for row in rows} == {"ok"}


def test_a_chunk_that_kills_every_worker_has_failed(start, tmp_path):
    rows = rows_of(start(["a", "b", "c", "deadly", "d", "e", "f"], processes=1))
    status = {row["material_id"]: row["status"] for row in rows}
    assert [name for name in status if status[name] == "failed"] == ["c", "deadly"]
    assert len(rows) == 7
    failed = next(row for row in rows if row["material_id"] == "c")
    assert WORKER_DIED in failed["reason"]
    assert failed["x"] is None
    # The first worker, the one for the second attempt, and one that goes on.
    assert (tmp_path / "workers.log").read_text().count("loaded") == ATTEMPTS + 1


def children(name):
    """Ids of this process's children whose command line has ``name``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and name in (folder / "cmdline").read_text():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
def test_a_worker_that_is_killed_from_outside_is_replaced(start, tmp_path):
    results = start(["slow"] * 40)
    rows = next(results).to_pylist()
    os.kill(children("worker.py")[0], signal.SIGKILL)
    rows += [row for result in results for row in result.to_pylist()]
    assert sorted(row["row"] for row in rows) == list(range(40))
    assert {row["status"] for row in rows} == {"ok"}
    assert (tmp_path / "workers.log").read_text().count("loaded") == 3


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
def test_a_run_that_is_left_leaves_no_process(start):
    results = start(["slow"] * 40)
    next(results)
    assert len(children("worker.py")) == 2
    began = time.monotonic()
    results.close()
    assert children("worker.py") == []
    # Far less than the chunks that are left would take, and no waiting for a grace period.
    assert time.monotonic() - began < 3.0


def test_trouble_of_the_input_comes_out(start):
    def source():
        yield structure_batch([Structure(one, None, None, None, None) for one in "abcd"])
        raise DatasetError("is damaged")

    with pytest.raises(DatasetError, match="is damaged"):
        rows_of(start([], source=source()))


def test_workers_that_cannot_start_fail_no_row(start, tmp_path, monkeypatch):
    script = tmp_path / "worker.py"
    script.write_text("import sys; sys.exit('no memory for the model')")
    with pytest.raises(StorageError, match="cannot start") as caught:
        rows_of(start(["a", "b"], processes=1))
    log = Path(caught.value.where).read_text()
    assert log.count("no memory for the model") == STARTS


def test_rows_that_had_a_problem_keep_it(start):
    rows = [Structure("deadly", None, None, None, None), Structure("b", *[None] * 3, "no atoms")]
    found = rows_of(start([], source=[structure_batch(rows)], processes=1))
    assert found[1]["reason"] == "no atoms"
    assert WORKER_DIED in found[0]["reason"]
    assert isinstance(found[0]["row"], int)


def test_messages_that_are_cut_off_are_none():
    import io

    from opalign.messages import receive, send
    from opalign.screening.batches import pack_batch, unpack_batch

    stream = io.BytesIO()
    batch = pa.RecordBatch.from_pydict({"a": [1, 2]})
    send(stream, pack_batch(batch))
    whole = stream.getvalue()
    assert unpack_batch(receive(io.BytesIO(whole))).equals(batch)
    for length in (0, 3, 8, len(whole) - 1):
        assert receive(io.BytesIO(whole[:length])) is None
