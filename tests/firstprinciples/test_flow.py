import errno
import json

import pytest

from opalign.errors import MissingExtraError, StorageError
from opalign.firstprinciples import flow as flow_module
from opalign.firstprinciples.campaign_run import run_campaign
from opalign.firstprinciples.correction import load_corrected
from opalign.firstprinciples.flow import (
    campaign_flows,
    check_material,
    compute_material,
    material_flow,
)

from .conftest import planned

pytest.importorskip("jobflow", reason="jobflow is not installed: pip install 'opalign[dft]'")

pytestmark = pytest.mark.usefixtures("fake_engine")


@pytest.fixture
def store():
    from jobflow import JobStore
    from maggma.stores import MemoryStore

    return JobStore(MemoryStore())


def run(flow, store):
    from jobflow import run_locally

    done = run_locally(flow, store=store, ensure_success=True, log=False)
    return done[flow.jobs[-1].uuid][1].output


def test_one_flow_per_material_cheapest_first(tmp_path):
    campaign = planned(tmp_path, count=3)
    flows = campaign_flows(campaign)
    assert [flow.name for flow in flows] == ["m0", "m1", "m2"]
    assert [job.name for job in flows[0].jobs] == ["compute m0", "check m0"]
    assert [flow.name for flow in campaign_flows(campaign, {"m1"})] == ["m1"]
    # The check waits for the calculation.
    assert list(flows[0].graph.edges) == [(flows[0].jobs[0].uuid, flows[0].jobs[1].uuid)]


def test_flows_survive_serialisation_as_runners_do_it(tmp_path, store):
    from jobflow import Flow
    from monty.json import MontyDecoder, MontyEncoder

    campaign = planned(tmp_path, count=1)
    text = json.dumps(material_flow(campaign, campaign.plan.jobs[0]), cls=MontyEncoder)
    flow = json.loads(text, cls=MontyDecoder)
    assert isinstance(flow, Flow)
    # What the runner takes out of a database is what it runs.
    output = run(flow, store)
    assert output["status"] == "done"
    assert output["material_id"] == "m0"
    assert output["key"] == campaign.plan.jobs[0].key
    assert output["quality_flags"] == []
    assert output["band_gap_eV"] == 3.5
    assert campaign.states()[0].status == "done"


def test_what_gpaw_computes_is_corrected_on_the_way(tmp_path, store, monkeypatch):
    monkeypatch.setattr(flow_module, "CORRECTED_ENGINE", "fake_engine:make")
    campaign = planned(tmp_path, count=2, corrections=("none", "raise"))
    first, second = campaign_flows(campaign)
    assert [job.name for job in first.jobs] == ["compute m0", "correct m0", "check m0"]
    assert len(material_flow(campaign, campaign.plan.jobs[0], correct=False).jobs) == 2
    output = run(first, store)
    assert output["corrected_gap_eV"] > output["band_gap_eV"]
    assert output["quality_flags"] == []
    assert "of all things" in run(second, store)["correction_failure"]
    assert campaign_flows(campaign) == [], "a correction that fails is not repeated"

    # What one machine computed and did not correct still waits for that.
    (tmp_path / "other").mkdir()
    other = planned(tmp_path / "other", count=1)
    run_campaign(other)
    assert campaign_flows(other, correct=False) == []
    (waiting,) = campaign_flows(other)
    assert "corrected_gap_eV" in run(waiting, store)
    assert load_corrected(other.job_folder(other.plan.jobs[0])) is not None


def test_fireworks_take_the_flow_if_they_are_installed(tmp_path):
    pytest.importorskip("fireworks", reason="fireworks is not installed")
    from jobflow.managers.fireworks import flow_to_workflow

    campaign = planned(tmp_path, count=1)
    workflow = flow_to_workflow(material_flow(campaign, campaign.plan.jobs[0]))
    assert len(workflow.fws) == 2
    assert json.loads(json.dumps(workflow.to_dict(), default=str))


def test_a_failure_is_an_outcome_and_not_repeated(tmp_path, store):
    journal = tmp_path / "journal"
    campaign = planned(tmp_path, count=1, troubles=("metal",), journal=str(journal))
    output = run(campaign_flows(campaign)[0], store)
    assert (output["status"], output["reason"]) == ("failed", "metal")
    assert "quality_flags" not in output
    assert campaign_flows(campaign) == []


def test_a_node_without_locks_is_no_failure_of_the_material(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    campaign = planned(tmp_path, count=1)
    job = campaign.plan.jobs[0]
    monkeypatch.setattr("opalign.firstprinciples.job_state.fcntl.flock", flock)
    with pytest.raises(StorageError, match="No locks available"):
        compute_material(
            str(campaign.job_folder(job)), json.dumps(job.to_dict()), time_seconds=9, memory_gb=1
        )
    assert campaign.states()[0].status == "waiting"


def test_a_flow_of_what_is_done_computes_nothing(tmp_path, store):
    journal = tmp_path / "journal"
    campaign = planned(tmp_path, count=1, journal=str(journal))
    flow = campaign_flows(campaign)[0]
    run_campaign(campaign)
    assert run(flow, store)["status"] == "done"
    assert journal.read_text(encoding="utf-8").count("start") == 1


def test_a_result_damaged_on_the_way_is_reported(tmp_path):
    summary = {"status": "done", "folder": str(tmp_path), "material_id": "m0"}
    checked = check_material(summary)
    assert (checked["status"], checked["reason"]) == ("failed", "bad output")


def test_without_jobflow_the_extra_is_named(tmp_path, monkeypatch):
    import sys

    campaign = planned(tmp_path, count=1)
    monkeypatch.setitem(sys.modules, "jobflow.core.flow", None)
    with pytest.raises(MissingExtraError, match=r"opalign\[dft\]"):
        campaign_flows(campaign)
