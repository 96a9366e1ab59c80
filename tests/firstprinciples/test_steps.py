import json
import time

import pytest

from opalign.firstprinciples.steps import Steps


class Counter:
    def __init__(self, value):
        self.value = value
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"value": self.value}


def test_a_finished_step_is_not_computed_again(tmp_path):
    compute = Counter(3)
    assert Steps(tmp_path, "key").run("bands", compute) == {"value": 3}
    again = Steps(tmp_path, "key")
    assert again.run("bands", Counter(4)) == {"value": 3}
    assert compute.calls == 1
    assert set(again.seconds) == {"bands"}


def test_steps_of_another_key_are_worth_nothing(tmp_path):
    first = Steps(tmp_path, "one")
    first.run("bands", Counter(3))
    first.file("bands.gpw").write_text("waves")
    (tmp_path / "result.json").write_text("{}")
    other = Steps(tmp_path, "two")
    assert not other.file("bands.gpw").exists()
    assert (tmp_path / "result.json").exists()
    assert other.run("bands", Counter(4)) == {"value": 4}


def test_a_damaged_step_is_computed_again(tmp_path):
    steps = Steps(tmp_path, "key")
    steps.run("bands", Counter(3))
    steps.file("bands.json").write_text('{"result": {"val')
    assert steps.run("bands", Counter(5)) == {"value": 5}
    steps.file("bands.json").write_text(json.dumps({"other": 1}))
    assert steps.run("bands", Counter(6)) == {"value": 6}


def test_a_failed_step_leaves_nothing(tmp_path):
    def fail():
        raise ValueError("no")

    steps = Steps(tmp_path, "key")
    with pytest.raises(ValueError, match="no"):
        steps.run("bands", fail)
    assert not steps.file("bands.json").exists()
    assert steps.seconds == {}


def test_files_are_removed_by_pattern(tmp_path):
    steps = Steps(tmp_path, "key")
    for name in ("a.gpw", "b.gpw", "a.log"):
        steps.file(name).write_text("")
    steps.remove("*.gpw")
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-a.log"]


def test_a_step_whose_file_is_gone_is_computed_again_where_the_file_is_needed(tmp_path):
    steps = Steps(tmp_path, "key")
    waves = steps.file("bands.gpw")
    steps.run("bands", Counter(3))
    assert steps.run("bands", Counter(4)) == {"value": 3}
    assert steps.run("bands", Counter(5), needs=waves) == {"value": 5}
    waves.write_text("waves")
    assert steps.run("bands", Counter(6), needs=waves) == {"value": 5}


def test_time_of_a_step_inside_another_counts_once(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "process_time", lambda: clock[0])
    steps = Steps(tmp_path, "key")

    def work(seconds):
        clock[0] += seconds
        return {}

    def outer():
        work(2.0)
        steps.run("inner", lambda: work(5.0))
        return {}

    steps.run("outer", outer)
    assert steps.seconds == {"inner": 5.0, "outer": 2.0}
