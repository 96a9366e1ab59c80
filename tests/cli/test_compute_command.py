import json
import os
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from opalign.cli.main import app
from opalign.dataset.table import SpectraTable

ENGINES = Path(__file__).parents[1] / "firstprinciples" / "engines"
runner = CliRunner()


@pytest.fixture(autouse=True)
def fake_engine(monkeypatch):
    monkeypatch.syspath_prepend(ENGINES)
    monkeypatch.setenv("PYTHONPATH", str(ENGINES), prepend=os.pathsep)


@pytest.fixture
def config(tmp_path):
    return written(tmp_path / "campaign.yaml")


def written(path, **changes):
    content = {
        "source": {"kind": "prototypes", "count": 3, "types": ["rocksalt"], "maximum_sites": 2},
        "engine": "fake_engine:make",
    }
    path.write_text(yaml.safe_dump(content | changes), encoding="utf-8")
    return path


def compute(*arguments):
    return runner.invoke(app, ["compute", *map(str, arguments)])


def test_from_plan_to_table(config, tmp_path):
    out = tmp_path / "campaign"
    plan = compute("plan", config, "--out", out)
    assert plan.exit_code == 0, plan.output
    assert "3  candidates" in plan.output
    assert "3  no crystal twice" in plan.output
    assert "3 jobs" in plan.output
    assert f"opalign compute run {out}" in plan.output

    run = compute("run", out, "--workers", "1")
    assert run.exit_code == 0, run.output
    assert "[3/3" in run.output
    assert "3 jobs: 3 done, 0 failed, 0 running, 0 waiting" in run.output

    status = compute("status", out, "--json")
    assert json.loads(status.output)["states"]["done"] == 3

    table = tmp_path / "t.parquet"
    export = compute("export", out, table, "--card", tmp_path / "card", "--licence", "MIT")
    assert export.exit_code == 0, export.output
    assert "3 materials, levels ipa, rpa" in export.output
    assert (tmp_path / "card" / "README.md").is_file()
    assert len(SpectraTable.open(table)) == 3
    assert SpectraTable.open(table).licence == "MIT"

    again = compute("plan", config, "--out", out)
    assert "3 of them are done already" in again.output

    card = compute("card", table, tmp_path / "alone")
    assert card.exit_code == 0, card.output
    assert (tmp_path / "alone" / "README.md").is_file()

    known = compute("plan", config, "--out", tmp_path / "next", "--set", f"known=[{table}]")
    assert "0  not computed elsewhere with these settings" in known.output
    assert "0 jobs" in known.output


def test_corrections_are_told_one_by_one(config, tmp_path, monkeypatch):
    from opalign.firstprinciples.correction_run import Correction

    compute("plan", config, "-o", tmp_path / "out")
    name = json.loads((tmp_path / "out" / "plan.json").read_text())["jobs"][0]["identifier"]

    def correct(folder, settings=None, *, processes, retry_failed, identifiers, limits, report):
        assert (processes, retry_failed, identifiers) == (2, True, frozenset([name]))
        assert limits == ["limits.time_seconds=9"]
        found = [
            Correction("rocksalt-MgO", {"corrected_gap_eV": 7.7}),
            Correction("rocksalt-CdO", None, "narrows the gap"),
        ]
        for each in found:
            report(each)
        return found

    unknown = compute("correct", tmp_path / "out", "--only", "rocksalt-XyO")
    assert unknown.exit_code == 2
    assert "no job of this campaign is called 'rocksalt-XyO'" in unknown.output
    monkeypatch.setattr("opalign.firstprinciples.correction_run.correct_campaign", correct)
    set_limit = ("--set", "limits.time_seconds=9")
    result = compute("correct", tmp_path / "out", "-w", "2", "--retry", "--only", name, *set_limit)
    assert result.exit_code == 0, result.output
    assert "rocksalt-MgO  gap 7.70 eV" in result.output
    assert "rocksalt-CdO  not corrected: narrows the gap" in result.output
    assert "1 corrected, 1 not" in result.output
    assert "Next:" in result.output


def test_failures_are_shown_and_retried(tmp_path):
    config = written(tmp_path / "c.yaml", settings={"troubles": ["metal"]})
    out = tmp_path / "campaign"
    compute("plan", config, "-o", out)
    run = compute("run", out)
    assert run.exit_code == 0, run.output
    assert "3 failed: metal" in run.output
    assert "3 × no gap" in run.output
    names = [
        each["identifier"]
        for each in json.loads(compute("status", out, "--json").output)["failures"]
    ]
    assert all(name in run.output for name in names)

    retried = compute("run", out, "--retry", "metal", "--set", "settings.troubles=[none]")
    assert retried.exit_code == 0, retried.output
    assert "3 failed jobs wait again" in retried.output
    assert "3 jobs: 3 done" in retried.output


def test_one_failure_alone_is_retried(tmp_path):
    config = written(tmp_path / "c.yaml", settings={"troubles": ["metal"]})
    out = tmp_path / "campaign"
    compute("plan", config, "-o", out)
    compute("run", out)
    name = json.loads((out / "plan.json").read_text())["jobs"][1]["identifier"]
    retried = compute(
        *("run", out, "--retry", "metal", "--only", name, "--set", "settings.troubles=[none]")
    )
    assert retried.exit_code == 0, retried.output
    assert "1 failed jobs wait again" in retried.output
    assert "3 jobs: 1 done, 2 failed, 0 running, 0 waiting" in retried.output
    troubles = {
        job["identifier"]: job["settings"]["troubles"]
        for job in json.loads((out / "plan.json").read_text())["jobs"]
    }
    assert troubles.pop(name) == ["none"]
    assert set(map(tuple, troubles.values())) == {("metal",)}


def test_time_over_leaves_jobs_waiting(config, tmp_path):
    compute("plan", config, "-o", tmp_path / "out")
    run = compute("run", tmp_path / "out", "--hours", "0")
    assert run.exit_code == 0, run.output
    assert "3 jobs still wait" in run.output


def test_one_material_alone(config, tmp_path):
    compute("plan", config, "-o", tmp_path / "out")
    name = json.loads((tmp_path / "out" / "plan.json").read_text())["jobs"][1]["identifier"]
    run = compute("run", tmp_path / "out", "--only", name)
    assert "3 jobs: 1 done, 0 failed, 0 running, 2 waiting" in run.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "{out}", "--set", "settings.seconds=2"], "--retry"),
        (["run", "{out}", "--retry", "bad luck"], "time limit"),
        (["run", "{out}", "--only", "unobtainium"], "unobtainium"),
        (["run", "{out}", "--set", "limits.time_second=2"], "time_seconds"),
        (["run", "{nothing}"], "no folder of a campaign"),
        (["status", "{nothing}"], "opalign compute plan"),
        (["export", "{out}", "{nothing}/t.parquet"], "no job of this campaign is finished"),
        (["plan", "{nothing}.yaml", "--out", "{out}"], "cannot be read"),
        (["plan", "{config}", "--out", "{out}", "--set", "engine=gpaww"], "did you mean 'gpaw'"),
        (["plan", "{config}", "--out", "{out}", "--set", "source.types=[rocksalz]"], "rocksalt"),
    ],
)
def test_mistakes_are_told_with_a_cure(config, tmp_path, arguments, words):
    out = tmp_path / "out"
    compute("plan", config, "-o", out)
    places = {"out": out, "nothing": tmp_path / "nothing", "config": config}
    result = compute(*(argument.format(**places) for argument in arguments))
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert "Traceback" not in result.output


def test_ctrl_c_says_how_to_go_on(config, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    compute("plan", config, "-o", tmp_path / "out")
    monkeypatch.setattr("opalign.firstprinciples.campaign_run.run_pool", interrupted)
    result = compute("run", tmp_path / "out")
    assert result.exit_code == 130
    assert f"opalign compute run {tmp_path / 'out'}" in result.output
