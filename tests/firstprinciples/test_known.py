import json

import pytest
import yaml

from opalign.dataset.table import SpectraTable, concatenate
from opalign.errors import DatasetError
from opalign.firstprinciples.campaign import KNOWN_RULE, open_campaign, plan_campaign
from opalign.firstprinciples.campaign_config import read_campaign, write_campaign
from opalign.firstprinciples.campaign_run import retry
from opalign.firstprinciples.card import FAILURES_FILE, write_card
from opalign.firstprinciples.export import export_campaign
from opalign.firstprinciples.job_state import Attempt, JobState, write_state
from opalign.firstprinciples.known import failures_of, known_keys, write_failures

from .conftest import find_engines
from .engines.fake_engine import result_of
from .test_export import finished

pytestmark = pytest.mark.usefixtures("fake_engine")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A campaign of four materials: two done, one failed, one not begun; its table and its card."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        find_engines(patch)
        campaign = finished(folder, [result_of, result_of, None, None])
    failed = Attempt("", 1.0, "failed", "metal", "no gap\nat all", cpu_seconds=3.0)
    write_state(
        campaign.job_folder(campaign.plan.jobs[2]),
        JobState("failed", "metal", "no gap\nat all", (failed,)),
    )
    table = folder / "first.parquet"
    export_campaign(campaign, table)
    write_card(SpectraTable.open(table), folder / "card", campaigns=[campaign])
    return campaign, table, folder / "card" / FAILURES_FILE


def test_what_is_known_is_not_planned_again(elsewhere, tmp_path):
    campaign, table, failures = elsewhere
    config = campaign.config.model_copy(update={"known": (table, failures)})
    planned = plan_campaign(config, tmp_path / "again")
    assert [job.identifier for job in planned.plan.jobs] == ["m3"]
    step = planned.plan.funnel["steps"][-1]
    assert (step["rule"], step["entered"], step["passed"]) == (KNOWN_RULE, 4, 1)
    reasons = {
        entry["id"]: entry["reason"]
        for entry in planned.plan.funnel["rejections"]
        if entry["rule"] == KNOWN_RULE
    }
    assert reasons == {
        "m0": "in first.parquet",
        "m1": "in first.parquet",
        "m2": f"in {FAILURES_FILE}",
    }


def test_other_settings_are_another_calculation(elsewhere, tmp_path):
    campaign, table, failures = elsewhere
    config = campaign.config.model_copy(
        update={"known": (table, failures), "settings": {"seconds": 0.5}}
    )
    assert len(plan_campaign(config, tmp_path / "again").plan.jobs) == 4


def test_failures_travel_from_campaign_to_campaign(elsewhere, tmp_path):
    campaign, table, failures = elsewhere
    config = campaign.config.model_copy(update={"known": (table, failures)})
    later = plan_campaign(config, tmp_path / "again")
    (entry,) = failures_of(later)
    assert (entry["material_id"], entry["reason"], entry["detail"]) == ("m2", "metal", "no gap")
    card = write_card(SpectraTable.open(table), tmp_path / "second", campaigns=[later])
    assert "| metal | 1 | m2 |" in card.read_text(encoding="utf-8")
    assert set(known_keys([card.parent / FAILURES_FILE])) == {entry["key"]}


def test_what_was_tried_again_with_other_settings_is_known_as_planned(tmp_path):
    campaign = finished(tmp_path, [result_of, None, None])
    for settings in ("settings.strength=2", "settings.strength=3"):
        for job in campaign.plan.jobs[1:]:
            write_state(campaign.job_folder(job), JobState("failed", "not converged"))
        retry(campaign, "all", [settings])
        campaign = open_campaign(campaign.folder)
    _, done, failed = campaign.plan.jobs
    result_of(job_structure(done)).save(campaign.job_folder(done) / "result")
    write_state(campaign.job_folder(done), JobState("done"))
    write_state(campaign.job_folder(failed), JobState("failed", "metal"))
    table = tmp_path / "first.parquet"
    export_campaign(campaign, table)
    write_card(SpectraTable.open(table), tmp_path / "card", campaigns=[campaign])
    failures = tmp_path / "card" / FAILURES_FILE

    config = campaign.config.model_copy(update={"known": (table, failures)})
    for strength in (1.0, 2.0):
        again = config.model_copy(update={"settings": {"strength": strength}})
        left = [job.identifier for job in plan_campaign(again, tmp_path / "again").plan.jobs]
        # The first material was computed with the planned settings alone.
        assert left == ([] if strength == 1.0 else ["m0"])
    # A plan that is made again in the same folder keeps what was tried before.
    same = plan_campaign(campaign.config, campaign.folder).plan.jobs
    assert [(job.key, job.retry_of) for job in same] == [
        (job.key, job.retry_of) for job in campaign.plan.jobs
    ]
    # The list goes on to a third campaign.
    third = plan_campaign(config, tmp_path / "again")
    write_failures(failures_of(third), tmp_path / "third.json")
    assert known_keys([tmp_path / "third.json"]) == dict.fromkeys(
        known_keys([failures]), "third.json"
    )


def test_parts_of_a_set_are_joined_with_their_keys(elsewhere, tmp_path):
    campaign, table, _ = elsewhere
    config = campaign.config.model_copy(update={"known": (table,)})
    later = plan_campaign(config, tmp_path / "again")
    for job in later.plan.jobs:
        result_of(job_structure(job)).save(later.job_folder(job) / "result")
        write_state(later.job_folder(job), JobState("done"))
    second = tmp_path / "second.parquet"
    export_campaign(later, second)
    joined = concatenate(tmp_path / "all.parquet", [SpectraTable.open(t) for t in (table, second)])
    assert set(known_keys([joined])) == {job.key for job in campaign.plan.jobs}


def job_structure(job):
    from pymatgen.core import Structure

    return Structure.from_dict(job.structure)


def test_paths_of_known_are_relative_to_the_campaigns_file(elsewhere):
    campaign, table, _ = elsewhere
    path = write_campaign(table.with_name("c.yaml"), campaign.config)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(content | {"known": ["first.parquet"]}), encoding="utf-8")
    assert read_campaign(path).known == (table.resolve(),)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"version": 9, "failures": []}',
        '{"version": 1, "failures": [{"key": 7}]}',
        '{"version": 1, "failures": [{"key": "a", "material_id": "b", "reason": "c"}]}',
        '{"version": 1, "failures": [{"key": "a", "material_id": "b", "reason": "c", "detail": "",'
        ' "retry_of": "d"}]}',
    ],
)
def test_a_list_that_is_none_is_named(tmp_path, content):
    path = tmp_path / "failures.json"
    path.write_text(content)
    with pytest.raises(DatasetError, match=r"(?s)failures\.json.*opalign compute export"):
        known_keys([path])


def test_a_table_without_keys_is_named(elsewhere, tmp_path):
    _, table, _ = elsewhere
    from opalign.dataset.write import write_table

    opened = SpectraTable.open(table)
    rows = [row | {"provenance": json.dumps({"engine": "abacus"})} for row in opened.rows()]
    other = write_table(tmp_path / "other.parquet", opened.schema, rows)
    with pytest.raises(DatasetError, match="row 0 does not say which job made it"):
        known_keys([other])
