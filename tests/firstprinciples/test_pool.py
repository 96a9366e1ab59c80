import os
import signal
import time
from pathlib import Path

import pytest

from opalign.firstprinciples.job_state import (
    Attempt,
    JobState,
    job_lock,
    read_state,
    settled_state,
    write_state,
)
from opalign.firstprinciples.jobs import write_job
from opalign.firstprinciples.pool import WORKER_DIED, run_pool

from .conftest import planned

pytestmark = pytest.mark.usefixtures("fake_engine")


def prepared(folder: Path, count: int, **settings) -> list[Path]:
    campaign = planned(folder, count=count, **settings)
    folders = [campaign.job_folder(job) for job in campaign.plan.jobs]
    for place, job in zip(folders, campaign.plan.jobs, strict=True):
        write_job(place, job)
    return folders


def run(folders, tmp_path, **options):
    reports = []
    given = {"workers": 1, "time_seconds": 60.0, "memory_gb": 2.0, "report": reports.append}
    run_pool(folders, log=tmp_path / "workers.log", **(given | options))
    return reports


def test_an_attempt_tells_its_cost(tmp_path):
    folders = prepared(tmp_path, 1, seconds=0.3)
    (report,) = run(folders, tmp_path)
    attempt = report.attempt
    assert report.folder == folders[0]
    assert attempt == read_state(folders[0]).attempts[-1]
    assert attempt.outcome == "done"
    assert attempt.seconds >= 0.3
    # Sleeping takes no processor.
    assert 0.0 < attempt.cpu_seconds < 0.3
    assert 0.01 < attempt.peak_gb < 1.0


def test_two_workers_work_at_the_same_time(tmp_path):
    journal = tmp_path / "journal"
    folders = prepared(tmp_path, 2, seconds=1.0, journal=str(journal))
    run(folders, tmp_path, workers=2)
    words = [line.split()[0] for line in journal.read_text(encoding="utf-8").splitlines()]
    assert words[:2] == ["start", "start"]


def test_workers_have_one_thread_each(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    folders = prepared(tmp_path, 1, seconds=0.6)

    def started(folder):
        time.sleep(0.1)
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if b"firstprinciples.worker" in (process / "cmdline").read_bytes():
                    environment = (process / "environ").read_bytes().split(b"\0")
                    parent = (process / "stat").read_text(encoding="utf-8").split()[3]
                    if int(parent) == os.getpid():
                        seen.update(entry.split(b"=", 1) for entry in environment if entry)
            except OSError:
                continue

    if not Path("/proc/self/environ").exists():
        pytest.skip("this system does not show the environment of a process")
    run(folders, tmp_path, started=started)
    assert seen[b"OMP_NUM_THREADS"] == b"1"


def test_output_of_a_job_goes_into_its_log(tmp_path):
    folders = prepared(tmp_path, 1, troubles=("binary output",))
    (report,) = run(folders, tmp_path)
    assert report.attempt.outcome == "done"
    assert (folders[0] / "log.txt").read_bytes().startswith(bytes(range(256)))


def test_a_killed_worker_costs_one_job_and_is_replaced(tmp_path):
    folders = prepared(tmp_path, 3, seconds=0.4)
    victims = []

    def started(folder):
        if folder == folders[1]:
            children = Path(f"/proc/self/task/{os.getpid()}/children")
            if not children.exists():
                pytest.skip("this system does not tell the children of a process")
            (worker,) = (
                int(child)
                for child in children.read_text(encoding="utf-8").split()
                if b"worker" in Path(f"/proc/{child}/cmdline").read_bytes()
            )
            victims.append(worker)
            os.kill(worker, signal.SIGKILL)

    reports = run(folders, tmp_path, started=started)
    assert len(victims) == 1
    states = [read_state(folder) for folder in folders]
    assert [state.status for state in states] == ["done", "failed", "done"]
    assert (states[1].reason, states[1].detail) == ("crashed", WORKER_DIED)
    assert len(reports) == 3


def test_a_job_that_another_process_is_at_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("opalign.firstprinciples.worker.LOCK_WAIT_SECONDS", 0.2)
    from opalign.firstprinciples.worker import Order, Orders, supervise

    folders = prepared(tmp_path, 1)
    with job_lock(folders[0] / "lock") as free:
        assert free
        readable, writable = os.pipe()
        attempt = supervise(Order(str(folders[0]), 10.0, 1.0), Orders(readable))
        os.close(readable)
        os.close(writable)
    assert attempt.outcome == "interrupted"
    assert "another process" in attempt.detail
    assert read_state(folders[0]).status == "waiting"


def test_what_is_done_already_is_not_computed(tmp_path):
    journal = tmp_path / "journal"
    folders = prepared(tmp_path, 1, journal=str(journal))
    run(folders, tmp_path)
    (report,) = run(folders, tmp_path)
    assert report.attempt.outcome == "done"
    assert journal.read_text(encoding="utf-8").count("start") == 1


def test_a_damaged_job_file_fails_that_job(tmp_path):
    folders = prepared(tmp_path, 2)
    (folders[0] / "job.json").write_text("{", encoding="utf-8")
    run(folders, tmp_path)
    assert read_state(folders[0]).reason == "bad output"
    assert read_state(folders[1]).status == "done"


def test_an_engine_that_cannot_be_imported_fails_the_job(tmp_path):
    folders = prepared(tmp_path, 1)
    text = (folders[0] / "job.json").read_text(encoding="utf-8")
    (folders[0] / "job.json").write_text(text.replace("fake_engine", "no_engine"), encoding="utf-8")
    (report,) = run(folders, tmp_path)
    assert report.attempt.reason == "unsupported"
    assert "no_engine" in report.attempt.detail


def test_states_add_up_attempts(tmp_path):
    state = JobState()
    state = state.after(Attempt("", 1.0, "interrupted"))
    assert state.status == "waiting"
    state = state.after(Attempt("", 2.0, "failed", "metal", "no gap"))
    assert (state.status, state.reason, state.detail) == ("failed", "metal", "no gap")
    state = state.after(Attempt("", 4.0, "done"))
    assert (state.status, state.reason, state.detail) == ("done", None, "")
    assert state.seconds == 7.0
    write_state(tmp_path, JobState("failed", "metal", "no gap", state.attempts))
    assert read_state(tmp_path) == JobState("failed", "metal", "no gap", state.attempts)
    assert settled_state(tmp_path) == read_state(tmp_path)
