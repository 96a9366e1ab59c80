"""One folder for a climb: what stands there is kept, what is another's is refused."""

import json

import pytest

import opalign.ladder.workers as workers
from opalign.errors import ConfigurationError
from opalign.ladder.climb import climb, open_climb
from opalign.ladder.config_file import parse_ladder_config
from opalign.ladder.jobs import plan
from opalign.ladder.store import read_fit
from opalign.training.config_file import to_yaml

from ..forked import opalign

FEW = {"transfer": {"kind": "transfer"}, "delta": {"kind": "delta", "hidden_features": [8]}}


@pytest.fixture
def counted(monkeypatch):
    done = []
    original = workers.run_job

    def run_job(job, data, folder):
        done.append(job)
        original(job, data, folder)

    monkeypatch.setattr(workers, "run_job", run_job)
    return done


def test_what_is_finished_is_not_done_again(small, tmp_path, silent, counted):
    config = small(strategies=FEW, steps=4)
    data = open_climb(config, tmp_path / "climb")
    climb(data, tmp_path / "climb", ["size-1"], list(FEW), processes=1, console=silent)
    first = list(counted)
    assert first == plan(config, ["size-1"], list(FEW))
    lost = first[-1].path(tmp_path / "climb")
    before = {job: job.path(tmp_path / "climb").read_bytes() for job in first}
    lost.unlink()
    climb(data, tmp_path / "climb", ["size-1"], list(FEW), processes=1, console=silent)
    assert counted[len(first) :] == [first[-1]]
    kept = [job for job in first if job.stage == "cheap"]
    assert all(job.path(tmp_path / "climb").read_bytes() == before[job] for job in kept)


def test_more_may_join_and_another_is_refused(small, tmp_path):
    out = tmp_path / "climb"
    open_climb(small(strategies=FEW), out)
    more = FEW | {"multi_fidelity": {"kind": "multi_fidelity"}}
    open_climb(small(strategies=more, sizes=[0.25], seeds=[0, 1]), out)
    kept = json.loads((out / "plan.json").read_text(encoding="utf-8"))["config"]
    assert kept["sizes"] == [0.5, 1.0, 0.25]
    assert kept["seeds"] == [0, 1]
    # Whoever asks for less takes nothing away, and is told of all.
    assert list(open_climb(small(strategies=FEW), out).config.strategies) == list(more)
    kept = json.loads((out / "plan.json").read_text(encoding="utf-8"))["config"]
    assert set(kept["strategies"]) == set(more)
    for changes, message in (
        ({"steps": 11}, "another steps"),
        ({"seeds": [1, 0]}, "first seed"),
        ({"strategies": {"delta": {"kind": "delta"}}}, "strategies.delta"),
        ({"folds": 3}, "folds"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            open_climb(small(**{"strategies": FEW} | changes), out)


def test_scalars_may_join(small, scalars_path, levels_path, tmp_path):
    out = tmp_path / "climb"
    open_climb(small(strategies=FEW), out)
    late = {"late": {"kind": "direct", "tuning": None, "scalars": True}}
    scalars = {"table": str(scalars_path)}
    open_climb(small(strategies=late, pretraining=scalars), out)
    assert list(open_climb(small(strategies=FEW), out).config.strategies) == list(FEW)
    kept = json.loads((out / "plan.json").read_text(encoding="utf-8"))
    assert kept["config"]["pretraining"]["max_sites"] is None
    assert set(kept["config"]["strategies"]) == {*FEW, "late"}
    for other in ({"table": str(levels_path)}, scalars | {"max_sites": 3}):
        with pytest.raises(ConfigurationError, match="another pretraining"):
            open_climb(small(strategies=late, pretraining=other), out)


def test_a_folder_of_an_older_version_goes_on_where_new_settings_have_their_default(
    small, tmp_path
):
    """What an older version did not write: a key at the top, in the model and in a strategy."""
    out = tmp_path / "climb"
    open_climb(small(strategies=FEW), out)
    path = out / "plan.json"
    whole = path.read_text(encoding="utf-8")
    older = json.loads(whole)
    del older["config"]["averaging"]
    del older["config"]["model"]["encoder"]["attention_heads"]
    del older["config"]["strategies"]["transfer"]["layer_decay"]
    written = json.dumps(older)

    encoder = {**small().model.encoder.model_dump(mode="json")}
    del encoder["attention_heads"]
    model = {**small().model.model_dump(mode="json"), "encoder": encoder}
    path.write_text(written, encoding="utf-8")
    open_climb(small(strategies=FEW, model=model), out)
    joined = json.loads(path.read_text(encoding="utf-8"))["config"]
    assert joined["averaging"] == small().averaging
    assert joined["strategies"]["transfer"]["layer_decay"] == 1.0
    for changes, message in (
        ({"averaging": 0.5}, "another averaging"),
        ({"model": model | {"encoder": encoder | {"attention_heads": 3}}}, "another model"),
        (
            {"strategies": {"transfer": {"kind": "transfer", "layer_decay": 0.5}}},
            r"strategies\.transfer",
        ),
    ):
        path.write_text(written, encoding="utf-8")
        with pytest.raises(ConfigurationError, match=message):
            open_climb(small(**{"strategies": FEW, "model": model} | changes), out)
        assert path.read_text(encoding="utf-8") == written


def test_a_folder_of_something_else_is_left_alone(small, tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="holds other things"):
        open_climb(small(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_failure_names_the_training(small, tmp_path, silent):
    config = small(strategies=FEW, optimizer={"learning_rate": 1e30, "gradient_clip": None})
    data = open_climb(config, tmp_path / "climb")
    with pytest.raises(ConfigurationError, match=r"training cheap/.* failed: .*no finite number"):
        climb(data, tmp_path / "climb", ["size-1"], list(FEW), processes=1, console=silent)


@pytest.mark.slow
@pytest.mark.long
def test_processes_give_what_one_gives_and_outlive_a_kill(small, tmp_path, silent):
    config = small(strategies=FEW, steps=6, seeds=[0, 1])
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    data = open_climb(config, alone)
    fits = climb(data, alone, ["size-1"], list(FEW), processes=1, console=silent)

    path = tmp_path / "climb.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    process = opalign(
        ["ladder", "curve", path, "-o", killed, "--set", "sizes=[1.0]"], tmp_path / "output"
    )
    process.wait_until(lambda: list(killed.rglob("*.parquet")))
    process.kill_group()
    done = {p for p in killed.rglob("runs/**/*") if p.is_file() and not p.name.startswith(".")}
    # What a cheap stage predicts is written before its weights, which say that it is finished.
    done -= {p for p in done if "cheap" in p.parts and p.with_suffix(".safetensors") not in done}
    before = {p: p.read_bytes() for p in done}
    data = open_climb(config, killed)
    climb(data, killed, ["size-1"], list(FEW), processes=2, console=silent)
    assert all(p.read_bytes() == content for p, content in before.items())
    for job in fits:
        spectra = [read_fit(job.path(out), data.reference("rpa")) for out in (alone, killed)]
        assert (spectra[0].imaginary == spectra[1].imaginary).all(), job


def test_a_table_that_moved_is_the_same_table(small, levels_path, tmp_path):
    out = tmp_path / "climb"
    open_climb(small(strategies=FEW), out)
    moved = tmp_path / "moved.parquet"
    moved.write_bytes(levels_path.read_bytes())
    config = small(strategies=FEW).model_dump(mode="json") | {"tables": [str(moved)]}
    open_climb(parse_ladder_config(config), out)
