import pytest
import yaml
from typer.testing import CliRunner

from opalign.cli.main import app

runner = CliRunner()


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"data": {"tables": "absent.parquet"}}), encoding="utf-8")
    return path


def test_help_names_the_options():
    text = runner.invoke(app, ["train", "--help"], terminal_width=100).output
    for word in ("config", "--out", "--resume", "--set"):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x"], "no configuration is given"),
        (["--out", "x", "--resume"], "no run to resume"),
        (["--out", "x", "--resume", "--set", "epochs=1"], "keeps its own"),
    ],
)
def test_what_is_missing_is_told(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["train", *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_wrong_key_and_a_missing_table_are_told(config, tmp_path):
    out = str(tmp_path / "run")
    result = runner.invoke(app, ["train", str(config), "--out", out, "--set", "epoch=3"])
    assert result.exit_code == 2
    assert "did you mean 'epochs'" in result.output
    result = runner.invoke(app, ["train", str(config), "--out", out])
    assert result.exit_code == 2
    assert "absent.parquet" in result.output


def test_a_run_says_what_it_wrote_and_what_comes_next(config, tmp_path, monkeypatch):
    import opalign.training.run as run

    seen = {}

    def train(description, out, *, resume, console):
        seen.update(description=description, resume=resume)
        (out / "predictions_test.parquet").parent.mkdir()
        (out / "predictions_test.parquet").touch()
        return run.RunResult(out, {})

    monkeypatch.setattr(run, "train", train)
    out = tmp_path / "run"
    result = runner.invoke(app, ["train", str(config), "--out", str(out), "--set", "epochs=7"])
    assert result.exit_code == 0, result.output
    assert seen["description"].epochs == 7
    assert not seen["resume"]
    text = result.output.replace("\n", "")
    assert f"{out}/checkpoint" in text
    assert "predictions_test.parquet" in text
    assert "predictions_validation.parquet" not in text
    assert "opalign evaluate" in text
    result = runner.invoke(app, ["train", "--out", str(out), "--resume"])
    assert seen["resume"]
    assert seen["description"] is None


def test_ctrl_c_says_how_to_go_on(config, tmp_path, monkeypatch):
    import opalign.training.run as run

    def train(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "train", train)
    result = runner.invoke(app, ["train", str(config), "--out", str(tmp_path / "run")])
    assert result.exit_code == 130
    assert "--resume" in result.output


def test_an_ensemble_is_trained_and_resumed_by_the_same_command(config, tmp_path, monkeypatch):
    import opalign.training.ensemble_run as ensemble_run

    out, seen = tmp_path / "run", {}

    def train_ensemble(description, out, **options):
        seen.update(options, description=description)
        (out / ensemble_run.ENSEMBLE_FILE).parent.mkdir(exist_ok=True)
        (out / ensemble_run.ENSEMBLE_FILE).write_text('{"members": 5}')
        return ensemble_run.RunResult(out, {})

    monkeypatch.setattr(ensemble_run, "train_ensemble", train_ensemble)
    arguments = ["train", str(config), "--out", str(out), "--members", "5", "--processes", "1"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert (seen["members"], seen["processes"], seen["resume"]) == (5, 1, False)
    assert f"{out / 'members'}/" in result.output
    result = runner.invoke(app, ["train", "--out", str(out), "--resume"])
    assert result.exit_code == 0, result.output
    assert (seen["members"], seen["resume"], seen["description"]) == (None, True, None)


def test_advice_goes_along_with_an_ensemble_alone(config, tmp_path):
    arguments = ["train", str(config), "--out", str(tmp_path / "run"), "--advice", str(tmp_path)]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert "add --members" in result.output
