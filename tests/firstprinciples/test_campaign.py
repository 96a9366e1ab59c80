import errno
import itertools
import json
import os
import shutil
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from opalign.cli.main import app
from opalign.errors import ConfigurationError, StorageError
from opalign.firstprinciples.campaign import Campaign, open_campaign, plan_campaign
from opalign.firstprinciples.campaign_config import (
    parse_campaign,
    read_campaign,
    with_overrides,
    with_spin_check,
    write_campaign,
)
from opalign.firstprinciples.campaign_run import retry, run_campaign
from opalign.firstprinciples.campaign_status import campaign_status
from opalign.firstprinciples.job_state import LOCK_FILE, JobState, job_lock, read_state, write_state
from opalign.firstprinciples.jobs import content_key

from ..forked import opalign
from .conftest import find_engines, magnesia, planned, table_of
from .engines.fake_engine import OUTCOMES

pytestmark = pytest.mark.usefixtures("fake_engine")


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        find_engines(patch)
        campaign = planned(folder, count=1, journal=str(folder / "journal"))
        run_campaign(campaign)
    return campaign


@pytest.fixture
def finished(finished_once, tmp_path):
    """A copy of a campaign whose only job is done, and the journal that all copies write to."""
    shutil.copytree(finished_once.folder, tmp_path / "campaign")
    return open_campaign(tmp_path / "campaign"), Path(finished_once.config.settings["journal"])


def states_of(campaign: Campaign) -> dict[str, JobState]:
    jobs = campaign.plan.jobs
    return {job.identifier: s for job, s in zip(jobs, campaign.states(), strict=True)}


def journal_of(path: Path, word: str) -> Counter[int]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return Counter(int(line.split()[1]) for line in lines if line.startswith(word))


def is_alive(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_a_campaign_runs_once(tmp_path):
    journal = tmp_path / "journal"
    campaign = planned(tmp_path, journal=str(journal))
    reports = []
    assert run_campaign(campaign, report=reports.append) == 0
    assert {state.status for state in campaign.states()} == {"done"}
    assert [each.finished for each in reports] == [1, 2, 3, 4, 5, 6]
    assert reports[-1].seconds_left == pytest.approx(0.0, abs=1e-6)
    assert not any((campaign.job_folder(job) / "work").exists() for job in campaign.plan.jobs)

    again = []
    assert run_campaign(open_campaign(campaign.folder), report=again.append) == 0
    assert again == []
    assert set(journal_of(journal, "start").values()) == {1}


def test_the_queue_is_in_the_order_asked_for(tmp_path):
    for order, expected in (("cheapest", [0, 1, 2]), ("dearest", [2, 1, 0]), ("plan", [1, 2, 0])):
        folder = tmp_path / order
        folder.mkdir()
        journal = folder / "journal"
        campaign = planned(folder, count=3, workers=1, journal=str(journal))
        # The plan lists them neither from the cheapest nor from the dearest on.
        first, second, third = campaign.plan.jobs
        plan = replace(campaign.plan, jobs=(second, third, first))
        config = campaign.config.model_copy(update={"order": order})
        run_campaign(replace(campaign, config=config, plan=plan))
        assert list(journal_of(journal, "start")) == expected, order


def test_other_settings_are_other_jobs_and_the_old_ones_stay(tmp_path):
    journal = tmp_path / "journal"
    first = planned(tmp_path, count=2, journal=str(journal))
    run_campaign(first)
    other = planned(tmp_path, count=2, journal=str(journal), strength=2.0)
    assert {state.status for state in other.states()} == {"waiting"}
    run_campaign(other)
    assert set(journal_of(journal, "start").values()) == {2}
    back = planned(tmp_path, count=2, journal=str(journal))
    assert {state.status for state in back.states()} == {"done"}


def test_the_key_is_of_what_decides_about_the_result():
    structure = magnesia(0).as_dict()
    key = content_key(structure, "gpaw", {"cutoff": 400.0})
    assert key == content_key(magnesia(0).as_dict(), "gpaw", {"cutoff": 400.0})
    noise = magnesia(0).translate_sites([0], [1e-11, 0, 0]).as_dict()
    assert key == content_key(noise, "gpaw", {"cutoff": 400.0})
    assert key != content_key(magnesia(1).as_dict(), "gpaw", {"cutoff": 400.0})
    assert key != content_key(structure, "vasp", {"cutoff": 400.0})
    assert key != content_key(structure, "gpaw", {"cutoff": 401.0})
    swapped = magnesia(0).replace_species({"Mg": "Ca"}).as_dict()
    assert key != content_key(swapped, "gpaw", {"cutoff": 400.0})


DAMAGE = {
    "empty": "",
    "cut": '{"status": "do',
    "no object": "[1, 2]",
    "other status": '{"status": "lost", "reason": null, "detail": "", "attempts": []}',
    "other reason": '{"status": "failed", "reason": "bad luck", "detail": "", "attempts": []}',
    "attempts of text": '{"status": "done", "reason": null, "detail": "", "attempts": ["x"]}',
    "attempts missing": '{"status": "done", "reason": null, "detail": ""}',
    "binary": "\x00\x01\x02",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_state_of_a_finished_job_is_made_anew_from_its_result(finished, damage):
    campaign, journal = finished
    before = journal_of(journal, "start")
    assert before[0] > 0
    state_file = campaign.job_folder(campaign.plan.jobs[0]) / "state.json"
    state_file.write_text(DAMAGE[damage], encoding="utf-8")
    told = []
    run_campaign(open_campaign(campaign.folder), message=told.append)
    assert states_of(campaign)["m0"].status == "done"
    assert journal_of(journal, "start") == before
    assert len(told) == 1
    assert "m0" in told[0]
    assert "counts as done" in told[0]
    assert json.loads(state_file.read_text(encoding="utf-8"))["status"] == "done"


def test_a_damaged_state_without_a_result_is_computed_again(tmp_path):
    campaign = planned(tmp_path, count=1)
    folder = campaign.job_folder(campaign.plan.jobs[0])
    folder.mkdir(parents=True)
    (folder / "state.json").write_bytes(b"\xff\xfe\x00")
    told = []
    run_campaign(campaign, message=told.append)
    assert "is computed again" in told[0]
    assert states_of(campaign)["m0"].status == "done"


@pytest.mark.parametrize("file", ["result.json", "arrays.npz"])
def test_a_lost_result_is_computed_again(finished, file):
    campaign, _ = finished
    (campaign.job_folder(campaign.plan.jobs[0]) / "result" / file).unlink()
    assert states_of(campaign)["m0"].status == "waiting"
    told = []
    run_campaign(campaign, message=told.append)
    assert "result is gone" in told[0]
    assert states_of(campaign)["m0"].status == "done"


def test_a_damaged_plan_is_made_again_and_nothing_is_computed_twice(tmp_path):
    journal = tmp_path / "journal"
    campaign = planned(tmp_path, count=2, journal=str(journal))
    run_campaign(campaign)
    (campaign.folder / "plan.json").write_text('{"version": 1, "jobs": [', encoding="utf-8")
    opened = open_campaign(campaign.folder)
    assert "plan.json was made anew" in opened.problems[0]
    assert opened.plan.jobs == campaign.plan.jobs
    run_campaign(opened)
    assert set(journal_of(journal, "start").values()) == {1}


def test_a_job_that_was_cut_off_goes_on(tmp_path):
    journal = tmp_path / "journal"
    campaign = planned(tmp_path, count=1, journal=str(journal))
    folder = campaign.job_folder(campaign.plan.jobs[0])
    (folder / "work").mkdir(parents=True)
    (folder / "work" / "step.txt").write_text("done", encoding="utf-8")
    write_state(folder, JobState("running"))
    assert campaign_status(campaign).states["waiting"] == 1
    told = []
    run_campaign(campaign, message=told.append)
    assert "cut off" in told[0]
    assert journal_of(journal, "step")[0] == 0
    assert states_of(campaign)["m0"].status == "done"


def test_a_result_whose_process_died_before_it_could_report_counts(finished):
    campaign, journal = finished
    before = journal_of(journal, "start")
    write_state(campaign.job_folder(campaign.plan.jobs[0]), JobState("running"))
    run_campaign(campaign)
    assert states_of(campaign)["m0"].status == "done"
    assert journal_of(journal, "start") == before


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    campaign = planned(tmp_path, count=1)
    with job_lock(campaign.folder / LOCK_FILE) as free:
        assert free
        with pytest.raises(StorageError, match="another run"):
            run_campaign(campaign)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EWOULDBLOCK, "another run is at work"), (errno.ENOLCK, "cannot be locked.*flock")],
)
def test_no_locks_on_a_file_system_are_told_from_a_lock_that_is_held(
    tmp_path, monkeypatch, number, words
):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    campaign = planned(tmp_path, count=1)
    monkeypatch.setattr("opalign.firstprinciples.job_state.fcntl.flock", flock)
    with pytest.raises(StorageError, match=f"(?s){words}"):
        run_campaign(campaign)


def test_failures_are_retried_by_reason(tmp_path):
    campaign = planned(tmp_path, count=4, troubles=("none", "metal", "raise", "metal"))
    run_campaign(campaign)
    reasons = {name: state.reason for name, state in states_of(campaign).items()}
    assert reasons == {"m0": None, "m1": "metal", "m2": "crashed", "m3": "metal"}
    assert "ZeroDivisionError: of all things" in states_of(campaign)["m2"].detail

    assert retry(campaign, "metal") == 2
    campaign = open_campaign(campaign.folder)
    assert campaign_status(campaign).states == {"done": 1, "failed": 1, "running": 0, "waiting": 2}
    run_campaign(campaign)
    assert len(states_of(campaign)["m1"].attempts) == 2
    assert len(states_of(campaign)["m2"].attempts) == 1

    assert retry(campaign, "crashed", ["settings.troubles=[none]"]) == 1
    opened = open_campaign(campaign.folder)
    run_campaign(opened)
    assert states_of(opened)["m2"].status == "done"
    assert opened.plan.jobs[2].key != campaign.plan.jobs[2].key
    # The old job keeps its record, and a new plan knows of the retry.
    assert read_state(campaign.job_folder(campaign.plan.jobs[2])).reason == "crashed"
    again = plan_campaign(opened.config, opened.folder)
    assert [job.key for job in again.plan.jobs] == [job.key for job in opened.plan.jobs]
    used = sum(state.seconds for state in [*opened.states(), *campaign.states()[2:3]])
    assert campaign_status(opened).wall_hours == pytest.approx(used / 3600)


def test_a_retry_changes_settings_of_the_engine_alone(tmp_path):
    campaign = planned(tmp_path, count=1, troubles=("metal",))
    run_campaign(campaign)
    with pytest.raises(ConfigurationError, match="only settings"):
        retry(campaign, "metal", ["workers=3"])
    with pytest.raises(ConfigurationError, match="strenght"):
        retry(campaign, "metal", ["settings.strenght=3"])


def test_a_longer_time_limit_lets_a_job_go_on(tmp_path):
    journal = tmp_path / "journal"
    limits = {"time_seconds": 0.4}
    campaign = planned(tmp_path, count=1, limits=limits, seconds=0.7, journal=str(journal))
    run_campaign(campaign)
    assert states_of(campaign)["m0"].reason == "time limit"
    retry(campaign, "time limit")
    campaign = open_campaign(campaign.folder)
    run_campaign(campaign, limits=["limits.time_seconds=30"])
    state = states_of(campaign)["m0"]
    assert [attempt.outcome for attempt in state.attempts] == ["failed", "done"]
    assert journal_of(journal, "step")[0] == 1, "the step of the first attempt was repeated"


def test_no_job_is_started_after_the_time_given(tmp_path):
    campaign = planned(tmp_path, count=5, workers=1, seconds=0.5)
    left = run_campaign(campaign, hours=0.1 / 3600)
    counts = campaign_status(campaign).states
    assert left == counts["waiting"] > 0
    assert counts["done"] + counts["waiting"] == 5


def test_only_the_materials_named(tmp_path):
    campaign = planned(tmp_path, count=3)
    run_campaign(campaign, identifiers={"m1"})
    assert [state.status for state in campaign.states()] == ["waiting", "done", "waiting"]


def test_filters_count_and_cost_limits(tmp_path):
    config = parse_campaign(
        {
            "source": {"kind": "prototypes", "count": 30, "maximum_sites": 4},
            "filters": {"maximum_sites": 3},
            "engine": "fake_engine:make",
            "limits": {"expected_seconds": 4.0},
        }
    )
    campaign = plan_campaign(config, tmp_path)
    steps = campaign.plan.funnel["steps"]
    assert steps[0]["entered"] == 30
    for before, after in itertools.pairwise(steps):
        assert before["passed"] == after["entered"]
    assert steps[-1]["rule"] == "expected cost"
    assert steps[-1]["passed"] == len(campaign.plan.jobs) == campaign.plan.funnel["kept"]
    assert {"size", "expected cost"} <= {
        each["rule"] for each in campaign.plan.funnel["rejections"]
    }


def test_the_size_limit_holds_without_the_criteria_of_the_study(tmp_path):
    table = str(table_of(tmp_path / "in.parquet", 3))
    for sites, kept in ((2, 3), (1, 0)):
        config = parse_campaign(
            {
                "source": {"kind": "table", "path": table},
                "filters": {"study": False, "unique": False, "maximum_sites": sites},
                "engine": "fake_engine:make",
            }
        )
        funnel = plan_campaign(config, tmp_path / "campaign").plan.funnel
        (step,) = funnel["steps"]
        assert (step["rule"], step["entered"], step["passed"]) == ("size", 3, kept)
        assert len(funnel["rejections"]) == 3 - kept


@pytest.mark.parametrize(
    ("changes", "checked"),
    [
        ({}, True),
        ({"engine": "vasp"}, True),
        ({"settings": {"spin_check": False}}, False),
        ({"filters": {"study": False}}, False),
        # The keys of what was computed of prototypes stay what they are.
        ({"source": {"kind": "prototypes", "count": 1, "types": ["rocksalt"]}}, False),
    ],
)
def test_the_studys_criteria_ask_for_a_spin_polarised_run(tmp_path, changes, checked):
    table = str(table_of(tmp_path / "in.parquet", 1))
    content = {"source": {"kind": "table", "path": table}, "engine": "gpaw", **changes}
    config = parse_campaign(content)
    campaign = plan_campaign(config, tmp_path / "campaign")
    (job,) = campaign.plan.jobs
    assert job.settings["spin_check"] is checked
    assert campaign.config == (with_spin_check(config) if checked else config)
    assert open_campaign(campaign.folder).config == campaign.config


def test_a_campaign_without_spin_check_keeps_its_jobs_when_its_plan_is_made_anew(tmp_path):
    table = str(table_of(tmp_path / "in.parquet", 1))
    config = parse_campaign({"source": {"kind": "table", "path": table}, "engine": "gpaw"})
    write_campaign(tmp_path / "campaign" / "campaign.yaml", config)
    (job,) = open_campaign(tmp_path / "campaign").plan.jobs
    assert job.settings["spin_check"] is False


def test_an_engine_of_the_users_own_is_not_asked_for_spin(tmp_path):
    table = str(table_of(tmp_path / "in.parquet", 1))
    source = {"kind": "table", "path": table}
    config = parse_campaign({"source": source, "engine": "fake_engine:make"})
    assert len(plan_campaign(config, tmp_path / "campaign").plan.jobs) == 1


def test_what_the_engine_refuses_is_counted_and_stops_nothing(tmp_path):
    campaign = planned(tmp_path, count=3, refused=(1,))
    assert [job.identifier for job in campaign.plan.jobs] == ["m0", "m2"]
    assert campaign.plan.funnel["rejections"] == [
        {"id": "m1", "rule": "expected cost", "reason": "no potential for it"}
    ]
    assert campaign.plan.funnel["steps"][-1]["entered"] == 3


def test_configurations_round_trip(tmp_path):
    config = parse_campaign(
        {"source": {"kind": "materials_project"}, "settings": {"cutoff": 500.0}, "workers": 3}
    )
    assert read_campaign(write_campaign(tmp_path / "c.yaml", config)) == config
    (tmp_path / "d.yaml").write_text("source: {kind: folder, path: cifs}\n", encoding="utf-8")
    overridden = read_campaign(tmp_path / "d.yaml", ["limits.time_seconds=1e2", "settings.a=[1]"])
    assert overridden.source.path == tmp_path.resolve() / "cifs"
    assert overridden.limits.time_seconds == 100.0
    assert overridden.settings == {"a": [1]}


def test_paths_of_overrides_are_relative_to_the_working_directory(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    text = "source: {kind: folder, path: cifs}\nknown: [first.parquet]\n"
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(here)
    place = here.resolve()
    config = read_campaign("../c.yaml", ["known=[a.json, ../b.parquet]", "source.path=mine"])
    assert config.known == (place / "a.json", place.parent / "b.parquet")
    assert config.source.path == place / "mine"
    other = read_campaign("../c.yaml", ["source={kind: table, path: t.parquet}"])
    assert other.source.path == place / "t.parquet"
    assert other.known == (place.parent / "first.parquet",)
    # Kept in the folder of a campaign and read from anywhere else, they stay what they are.
    kept = write_campaign(tmp_path / "campaign" / "campaign.yaml", config)
    monkeypatch.chdir(tmp_path)
    assert read_campaign(kept) == config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no keys"),
        ("source: {kind: prototypes}\nworker: 2\n", "workers"),
        ("source: {kind: moon}\n", "moon"),
        ("source: {kind: folder, path: 3}\n", "source.folder.path"),
        ("source: {kind: prototypes}\nknown: [1]\n", "known.0"),
        ("source: {kind: prototypes}\nlimits: {time_second: 2}\n", "time_seconds"),
        ("source: {kind: prototypes}\nworkers: 0\n", "workers"),
        ("source: [", "cannot be read"),
    ],
)
def test_wrong_configurations_say_what_is_wrong(tmp_path, text, words):
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=words):
        read_campaign(tmp_path / "c.yaml")


def test_overrides_leave_what_they_are_given(tmp_path):
    content = {"settings": {"a": 1}}
    assert with_overrides(content, ["settings.b=2"]) == {"settings": {"a": 1, "b": 2}}
    assert content == {"settings": {"a": 1}}
    for wrong in ("settings", "=3", "settings.a.b=1"):
        with pytest.raises(ConfigurationError):
            with_overrides(content, [wrong])


def test_wrong_engines_are_named(tmp_path):
    table = str(table_of(tmp_path / "in.parquet", 1))
    for engine, words in (("gpaww", "did you mean 'gpaw'"), ("nowhere:make", "nowhere")):
        config = parse_campaign({"source": {"kind": "table", "path": table}, "engine": engine})
        with pytest.raises(ConfigurationError, match=words):
            plan_campaign(config, tmp_path / "campaign")
    with pytest.raises(ConfigurationError, match="is no folder of a campaign"):
        open_campaign(tmp_path / "nothing")


@pytest.mark.slow
def test_two_hundred_jobs_with_every_trouble_are_all_accounted_for(tmp_path):
    journal = tmp_path / "journal"
    kinds = ("metal", "raise", "exit", "exit zero", "segmentation fault", "killed")
    rare = ("hang", "greedy", "hang with child", "one great allocation", "greedy")
    garbage = ("not a number", "wrong shape", "wrong type", "binary output", "unsupported")
    troubles = [("none", *kinds, *garbage, "none")[number % 13] for number in range(200)]
    for place, trouble in zip(range(5, 105, 20), rare, strict=True):
        troubles[place] = trouble
    troubles[150] = "stubborn hang"
    # Enough time for what does not hang, and to fill the memory, on a machine that is busy.
    limits = {"time_seconds": 8.0, "memory_gb": 0.25}
    campaign = planned(tmp_path, 200, 2, limits, troubles=tuple(troubles), journal=str(journal))
    assert run_campaign(campaign) == 0

    found = states_of(campaign)
    expected = {f"m{number}": OUTCOMES[trouble] for number, trouble in enumerate(troubles)}
    wrong = {
        name: (troubles[int(name[1:])], state.status, state.reason, state.detail)
        for name, state in found.items()
        if (state.status, state.reason)
        != (("done", None) if expected[name] is None else ("failed", expected[name]))
    }
    assert wrong == {}
    assert all(state.detail for state in found.values() if state.status == "failed")
    assert set(journal_of(journal, "start").values()) == {1}
    assert len(journal_of(journal, "start")) == 200
    # What a hanging job has started goes with it.
    assert not any(is_alive(child) for child in journal_of(journal, "child"))
    status = campaign_status(campaign)
    assert sum(status.reasons.values()) == status.states["failed"]
    assert status.states["done"] + status.states["failed"] == status.total == 200


@pytest.mark.slow
@pytest.mark.parametrize("victims", ["pool", "everything", "SIGTERM", "SIGINT"])
def test_a_campaign_killed_in_mid_run_resumes(tmp_path, victims):
    journal = tmp_path / "journal"
    campaign = planned(tmp_path, count=16, seconds=0.3, journal=str(journal))
    run = opalign(["compute", "run", campaign.folder], tmp_path / "output")
    run.wait_until(lambda: sum(state.status == "done" for state in campaign.states()) >= 4, 60)
    if victims == "everything":
        workers = children_of(run.pid)
        assert len(workers) == 2
        processes = [*workers, *(job for worker in workers for job in children_of(worker))]
        os.kill(run.pid, signal.SIGKILL)
        for process in processes:
            os.kill(process, signal.SIGKILL)
    else:
        run.send(signal.SIGKILL if victims == "pool" else getattr(signal, victims))
    status = run.wait(30)
    if victims.startswith("SIG"):
        assert status == 130
        assert "go on with" in run.stdout + run.stderr
    starts = [line.split() for line in journal.read_text(encoding="utf-8").splitlines()]
    jobs = [int(words[2]) for words in starts if words[0] == "start"]
    deadline = time.monotonic() + 10
    while any(is_alive(job) for job in jobs):
        assert time.monotonic() < deadline, "a job outlives its campaign"
        time.sleep(0.05)

    before = journal_of(journal, "start")
    done = {int(name[1:]) for name, state in states_of(campaign).items() if state.status == "done"}
    assert 4 <= len(done) < 16
    result = CliRunner().invoke(app, ["compute", "run", str(campaign.folder)])
    assert result.exit_code == 0, result.output
    assert {state.status for state in campaign.states()} == {"done"}
    after = journal_of(journal, "start")
    assert all(after[name] == before[name] == 1 for name in done), "computed twice"
    assert set(after) == set(range(16)), "lost"
    # A step that was finished before the end came is not repeated either.
    assert set(journal_of(journal, "step").values()) == {1}


def children_of(process: int) -> list[int]:
    path = Path(f"/proc/{process}/task/{process}/children")
    if not path.exists():
        pytest.skip("this system does not tell the children of a process")
    return [int(child) for child in path.read_text(encoding="utf-8").split()]
