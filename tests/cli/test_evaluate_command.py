import re
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from opalign.cli.main import app
from opalign.spectrum.broadening import Broadening

runner = CliRunner()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_arguments_reach_the_evaluation(tmp_path, monkeypatch):
    import opalign.training.evaluate as module

    seen = {}

    def evaluate(source, table, out, **options):
        seen.update(options, source=source, table=table)
        (out / "summary.md").write_text("| level |\n", encoding="utf-8")
        return SimpleNamespace(files=(out / "summary.md",))

    monkeypatch.setattr(module, "evaluate", evaluate)
    arguments = ["model", "t.parquet", "--out", str(tmp_path), "--split", "all"]
    result = runner.invoke(app, ["evaluate", *arguments, "--broadening", "0.3"])
    assert result.exit_code == 0, result.output
    assert seen["part"] == "all"
    assert seen["broadenings"] == (Broadening("gaussian", 0.3),)
    assert seen["band_gap_column"] == "direct_gap_eV"
    assert "| level |" in result.output
    assert "summary.md" in result.output


def test_what_is_no_checkpoint_and_no_table(tmp_path):
    (tmp_path / "empty").mkdir()
    arguments = [str(tmp_path / "empty"), "t.parquet", "--out", str(tmp_path / "out")]
    result = runner.invoke(app, ["evaluate", *arguments])
    assert result.exit_code == 2
    assert "t.parquet" in result.output


@pytest.mark.parametrize("command", ["evaluate", "crossvalidate"])
def test_help(command):
    text = plain(runner.invoke(app, [command, "--help"], terminal_width=100).output)
    assert "--out" in text
