import re

import pytest
from typer.testing import CliRunner

from opalign.cli.dataset import app
from opalign.dataset.catalog import (
    CATALOGUE,
    UNKNOWN,
    FigshareArticle,
    GithubCommit,
    find_entry,
)
from opalign.errors import DatasetError


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=CATALOGUE)
def test_every_entry_says_where_it_lies_and_what_it_is(entry):
    assert re.fullmatch(r"[a-z0-9-]+", entry.name)
    assert entry.title
    assert entry.contents
    assert entry.sources
    for source in entry.sources:
        if isinstance(source, GithubCommit):
            assert re.fullmatch(r"[0-9a-f]{40}", source.commit)
            assert source.url.endswith(source.commit)
        else:
            assert source.url == f"https://doi.org/10.6084/m9.figshare.{source.article}"
    # GitHub states no licence when it is asked for an archive: it is known, or said to be unknown.
    if not any(isinstance(source, FigshareArticle) for source in entry.sources):
        assert entry.licence or any(text.startswith("licence") for text in entry.unknown)


def test_the_articles_that_the_readers_are_for():
    articles = {
        entry.name: {source.article for source in entry.sources}
        for entry in CATALOGUE.values()
        if isinstance(entry.sources[0], FigshareArticle)
    }
    assert articles == {
        "optimate": {27440652},
        "optimate3b": {30257551},
        "optimate3b-rpa": {30257689},
        "optimetal": {31112554},
        "optimetal-full": {31111798, 31112491},
    }


def test_a_misspelt_name_is_answered_with_the_right_one():
    assert find_entry("optimate") is CATALOGUE["optimate"]
    with pytest.raises(DatasetError, match="did you mean 'optimate3b'"):
        find_entry("optimate3")
    with pytest.raises(DatasetError, match="dataset catalog"):
        find_entry("zzz")


def test_the_list_shows_what_is_unknown():
    result = CliRunner().invoke(app, ["catalog"])
    assert result.exit_code == 0, result.output
    for entry in CATALOGUE.values():
        assert f"{entry.name}: {entry.title}" in result.stdout
    assert "licence: CC BY 4.0" in result.stdout
    assert "size: unknown" in result.stdout


@pytest.mark.parametrize("name", CATALOGUE)
def test_one_entry_in_full(name):
    entry = CATALOGUE[name]
    result = CliRunner().invoke(app, ["catalog", name])
    assert result.exit_code == 0, result.output
    for text in (entry.contents, entry.sources[0].url, f"cite: {entry.citation or UNKNOWN}"):
        assert text in result.stdout
    for question in entry.unknown:
        assert f"unknown: {question}" in result.stdout
