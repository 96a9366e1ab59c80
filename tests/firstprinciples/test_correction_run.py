import json
import signal
import subprocess
import sys
import time

import pytest

from opalign.errors import ConfigurationError, MissingExtraError
from opalign.firstprinciples import correction_run
from opalign.firstprinciples.campaign_run import run_campaign
from opalign.firstprinciples.correction import load_corrected
from opalign.firstprinciples.correction_run import correct_campaign
from opalign.firstprinciples.gpaw import GpawEngine
from opalign.firstprinciples.hybrid import HybridSettings

from .conftest import planned


def computed(folder, **options):
    """A campaign whose jobs are done, and the journal of its engine."""
    journal = folder / "journal"
    campaign = planned(folder, journal=str(journal), **options)
    run_campaign(campaign)
    journal.write_text("", encoding="utf-8")
    return campaign, journal


def corrected(journal):
    """Numbers of the materials that were worked on, in order."""
    lines = journal.read_text(encoding="utf-8").splitlines()
    return [line.split()[1] for line in lines if line.startswith("correct")]


def correcting(campaign, processes=1):
    """The same in a process of its own, which can be stopped."""
    order = (
        "import sys; from opalign.firstprinciples.correction_run import correct_campaign;"
        f"correct_campaign(sys.argv[1], processes={processes})"
    )
    return subprocess.Popen([sys.executable, "-c", order, str(campaign.folder)])


@pytest.mark.usefixtures("fake_engine")
def test_a_campaign_is_corrected_once_and_failures_are_kept(tmp_path):
    campaign, journal = computed(
        tmp_path,
        count=4,
        troubles=("none", "none", "none", "metal"),
        corrections=("none", "raise", "none", "none"),
    )
    heard = []
    found = correct_campaign(campaign.folder, report=heard.append)
    assert heard == found
    assert [each.identifier for each in found] == ["m0", "m1", "m2"], "cheapest first, no metal"
    assert [each.scalars is None for each in found] == [False, True, False]
    assert "of all things" in found[1].failure
    folder = campaign.job_folder(campaign.plan.jobs[1])
    kept = json.loads((folder / "hybrid" / "failure.json").read_text(encoding="utf-8"))
    assert "of all things" in kept["failure"]

    again = correct_campaign(campaign.folder)
    assert corrected(journal) == ["0", "1", "2"]
    assert [each.failure for each in again] == [each.failure for each in found]
    correct_campaign(campaign.folder, retry_failed=True)
    assert corrected(journal) == ["0", "1", "2", "1"]
    chosen = correct_campaign(campaign.folder, retry_failed=True, identifiers=frozenset(["m1"]))
    assert [each.identifier for each in chosen] == ["m1"]
    assert corrected(journal) == ["0", "1", "2", "1", "1"]
    loaded = load_corrected(campaign.job_folder(campaign.plan.jobs[2]))
    assert loaded.scalars["hybrid_shift_eV"] == found[2].scalars["hybrid_shift_eV"]

    correct_campaign(campaign.folder, HybridSettings(tolerance=0.02), identifiers=frozenset(["m0"]))
    assert corrected(journal)[5:] == ["0"], "other settings are another correction"


@pytest.mark.usefixtures("fake_engine")
def test_crash_hang_and_memory_cost_one_correction_each(tmp_path):
    troubles = ("killed", "hang", "greedy", "none", "exit zero")
    campaign, _ = computed(tmp_path, count=5, corrections=troubles)
    found = correct_campaign(
        campaign.folder,
        processes=2,
        limits=["limits.time_seconds=6", "limits.memory_gb=0.6"],
    )
    failures = {each.identifier: each.failure.partition(":")[0] for each in found}
    assert failures == {
        "m0": "crashed",
        "m1": "time limit",
        "m2": "out of memory",
        "m3": "",
        "m4": "crashed",
    }
    assert [state.status for state in campaign.states()] == ["done"] * 5, "results stay"


@pytest.mark.usefixtures("fake_engine")
def test_stopped_in_the_middle_it_goes_on_where_it_was(tmp_path):
    campaign, journal = computed(tmp_path, count=6, seconds=0.4)
    started = correcting(campaign, processes=2)
    while len(corrected(journal)) < 3:
        time.sleep(0.02)
    started.send_signal(signal.SIGINT)
    assert started.wait(timeout=30) != 0
    before = corrected(journal)
    time.sleep(0.6)
    assert corrected(journal) == before, "nothing was begun after the stop"
    assert len(before) < 6
    finished = [
        job for job in campaign.plan.jobs if load_corrected(campaign.job_folder(job)) is not None
    ]
    found = correct_campaign(campaign.folder, processes=2)
    assert {each.identifier for each in found} == {f"m{number}" for number in range(6)}
    assert all(each.scalars for each in found)
    assert len(corrected(journal)) == len(before) + 6 - len(finished), "nothing twice"


@pytest.mark.usefixtures("fake_engine")
def test_two_at_a_time_correct_each_job_once(tmp_path):
    campaign, journal = computed(tmp_path, count=4, seconds=0.2)
    both = [correcting(campaign), correcting(campaign)]
    assert [each.wait(timeout=60) for each in both] == [0, 0]
    assert sorted(corrected(journal)) == ["0", "1", "2", "3"]


@pytest.mark.usefixtures("fake_engine")
def test_a_missing_code_is_no_failure_of_the_materials(tmp_path, monkeypatch):
    campaign, journal = computed(tmp_path, count=2)
    jobs = [(job, campaign.job_folder(job)) for job in campaign.plan.jobs]

    def missing(self):
        raise MissingExtraError("GPAW cannot be imported", cure="install it")

    monkeypatch.setattr(GpawEngine, "require", missing)
    gpaw = [(_of_gpaw(job), folder) for job, folder in jobs]
    with pytest.raises(MissingExtraError):
        correction_run.correct_jobs(
            gpaw,
            HybridSettings(),
            workers=1,
            limits=campaign.config.limits,
            log=tmp_path / "log",
            report=print,
        )
    assert corrected(journal) == []
    assert not list(tmp_path.rglob("failure.json"))


def _of_gpaw(job):
    from dataclasses import replace

    return replace(job, engine="gpaw", settings={})


@pytest.mark.usefixtures("fake_engine")
def test_a_result_that_is_gone_is_told(tmp_path):
    campaign, _ = computed(tmp_path, count=1)
    job = campaign.plan.jobs[0]
    folder = campaign.job_folder(job)
    (folder / "result" / "result.json").unlink()
    known = correction_run.known_correction(job, folder, HybridSettings())
    assert known.scalars is None
    assert "no result" in known.failure


def test_no_processes_and_no_campaign(tmp_path):
    with pytest.raises(ConfigurationError, match="processes"):
        correct_campaign(tmp_path, processes=0)
    with pytest.raises(ConfigurationError, match="campaign"):
        correct_campaign(tmp_path)
