"""`opalign ladder` as a user types it."""

import yaml
from typer.testing import CliRunner

import opalign.ladder.curve as curve_module
from opalign.cli.main import app

runner = CliRunner()


def test_a_misspelt_key_is_told(tmp_path):
    path = tmp_path / "climb.yaml"
    path.write_text("tables: t.parquet\nstrategys: {}\n", encoding="utf-8")
    result = runner.invoke(app, ["ladder", "curve", str(path), "-o", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "did you mean 'strategies'" in result.output
    assert not (tmp_path / "out").exists()


def test_a_missing_table_is_told(tmp_path):
    path = tmp_path / "climb.yaml"
    path.write_text(yaml.safe_dump({"tables": "t.parquet"}), encoding="utf-8")
    result = runner.invoke(app, ["ladder", "curve", str(path), "-o", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "t.parquet" in result.output


def test_ctrl_c(tmp_path, monkeypatch):
    def curve(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(curve_module, "curve", curve)
    path = tmp_path / "climb.yaml"
    path.write_text(yaml.safe_dump({"tables": "t.parquet"}), encoding="utf-8")
    result = runner.invoke(app, ["ladder", "curve", str(path), "-o", str(tmp_path / "out")])
    assert result.exit_code == 130
    assert "goes on" in result.output
