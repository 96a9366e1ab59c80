import csv

import pytest

from opalign.errors import ConfigurationError
from opalign.spectrum.experiment import compare, compare_statics
from opalign.spectrum.experiment.report import by_crystal, markdown, write_experiment_report
from opalign.spectrum.plots.experiment import plot_experiment, plot_experiment_sheet


@pytest.fixture
def results(crystal, experiment, gap):
    return compare([crystal], [experiment], gaps=[gap])


def test_the_folder_holds_tables_and_a_figure_per_crystal(tmp_path, results, crystal, static, gap):
    statics = compare_statics([crystal], statics=[static], gaps=[gap])
    files = write_experiment_report(results, statics, tmp_path / "out")
    assert all(path.stat().st_size > 0 for path in files)
    names = {path.relative_to(tmp_path / "out").as_posix() for path in files}
    assert {"experiment.csv", "static.csv", "plots/ZnS-216.png", "plots/sheet.png"} <= names
    with (tmp_path / "out" / "experiment.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["scissor_eV"] for row in rows] == ["", "1.5", "1.5"]
    text = (tmp_path / "out" / "experiment.md").read_text(encoding="utf-8")
    assert "measured over a sufficient range, 1 spectra" in text
    assert "| ZnS, zinc blende | made-1 |" in text
    assert "| 2.20 |" in text
    assert "scissor | rigid shift |" in text


def test_both_corrections_stand_in_the_tables(results, crystal, static, gap):
    (one,) = results
    scores = (one.score, one.corrected_score, one.rigid_score)
    text = markdown(results, compare_statics([crystal], statics=[static], gaps=[gap]))
    before, after, rigid = (f"{score.similarity:.2f}" for score in scores)
    assert f"| {before} → {after} / {rigid} |" in text
    assert f"| median SC | 1 | {before} | {after} | {rigid} |" in text
    assert "after a rigid shift (median" in text


def test_a_short_measurement_is_listed_apart_with_its_reason(results):
    from dataclasses import replace

    text = markdown([replace(results[0], sufficient=False, reason="ends early")], [])
    assert "measured over a sufficient range, 0 spectra" in text
    assert "- ZnS, zinc blende: ends early." in text


def test_levels_of_one_crystal_share_a_figure(results):
    groups = by_crystal([*results, *results])
    assert {name: len(group) for name, group in groups.items()} == {"ZnS-216": 1}


def test_figures_show_what_was_measured_on_top(results):
    figure = plot_experiment(results)
    panels = figure.axes
    assert len(panels) == 3
    measured = panels[0].lines[-1]
    assert measured.get_label().startswith("measured")
    window = results[0].score.window
    assert measured.get_xdata()[[0, -1]] == pytest.approx(window)
    sheet = plot_experiment_sheet([results])
    assert [text.get_text() for text in sheet.legends[0].get_texts()] == [
        "RPA",
        "RPA, scissor",
        "measured",
    ]


def test_figures_of_nothing_or_of_two_measurements_are_refused(results, crystal, experiment, gap):
    from dataclasses import replace

    with pytest.raises(ConfigurationError, match="0 levels"):
        plot_experiment([])
    other = compare([crystal], [replace(experiment, source="else")], gaps=[gap])
    with pytest.raises(ConfigurationError, match="several measurements"):
        plot_experiment([*results, *other])
    with pytest.raises(ConfigurationError, match="no comparison"):
        plot_experiment_sheet([])
    with pytest.raises(ConfigurationError, match="cannot be written"):
        plot_experiment(results, "figure.doc")
