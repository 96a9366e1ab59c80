from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

import opalign.training.cross_validation as module
from opalign.cli.main import app
from opalign.spectrum.broadening import Broadening

runner = CliRunner()


@pytest.fixture
def configs(tmp_path):
    paths = []
    for folder, name in (("a", "alignn"), ("a", "optimate"), ("b", "alignn")):
        path = tmp_path / folder / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump({"data": {"tables": "t.parquet"}}), encoding="utf-8")
        paths.append(str(path))
    return paths


def test_methods_are_named_after_their_files(configs, tmp_path, monkeypatch):
    seen = {}

    def cross_validate(methods, table, out, **options):
        seen.update(options, methods=methods, table=table)
        (out / "summary.md").write_text("| method |\n", encoding="utf-8")
        report = out / "uncertainty_alignn.md"
        report.write_text("# Uncertainty\n", encoding="utf-8")
        calibrations = (SimpleNamespace(files=(out / "calibration_alignn.json", report)),)
        return SimpleNamespace(predictions={}, calibrations=calibrations)

    monkeypatch.setattr(module, "cross_validate", cross_validate)
    arguments = [*configs[:2], "--out", str(tmp_path), "--folds", "3", "--validation", "0"]
    arguments += ["--members", "4", "--calibrate"]
    result = runner.invoke(app, ["crossvalidate", *arguments])
    assert result.exit_code == 0, result.output
    assert list(seen["methods"]) == ["alignn", "optimate"]
    assert seen["folds"] == 3
    assert (seen["members"], seen["calibrate"]) == (4, True)
    assert "# Uncertainty" in result.output
    assert "calibration_alignn.json" in result.output
    assert seen["validation_fraction"] == 0.0
    assert seen["broadenings"] == (Broadening("gaussian", 0.1), Broadening("gaussian", 0.3))
    assert "| method |" in result.output


def test_two_files_of_one_name(configs, tmp_path):
    result = runner.invoke(app, ["crossvalidate", configs[0], configs[2], "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "same file name" in result.output


def test_ctrl_c(configs, tmp_path, monkeypatch):
    def cross_validate(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "cross_validate", cross_validate)
    result = runner.invoke(app, ["crossvalidate", configs[0], "--out", str(tmp_path)])
    assert result.exit_code == 130
    assert "goes on" in result.output
