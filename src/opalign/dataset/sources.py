"""What files a source offers: figshare's by its API, GitHub's as the archive of a commit.

Figshare's API is described at https://docs.figshare.com: ``/articles/{id}`` tells title, version,
licence and citation, ``/articles/{id}/files`` lists files with ``download_url``, ``size`` and MD5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import requests
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from opalign.dataset.catalog import FigshareArticle, GithubCommit
from opalign.dataset.download import RemoteFile
from opalign.dataset.lock import LOCK_NAME, StatedSource
from opalign.dataset.pickles import is_pickle_name
from opalign.dataset.unpack import safe_parts
from opalign.dataset.web import Retries, get_json
from opalign.errors import DatasetError

FIGSHARE_API = "https://api.figshare.com/v2"
GITHUB_ARCHIVES = "https://codeload.github.com"
PAGE_SIZE = 100
#: Files of one article; more than any set here has by far.
MOST_FILES = 10_000


@dataclass(frozen=True)
class Servers:
    """Base addresses: of figshare's API and of GitHub's archives."""

    figshare: str = FIGSHARE_API
    github: str = GITHUB_ARCHIVES


@dataclass(frozen=True)
class Offer:
    """What a source states of itself, its files, and those that are refused, with the reason."""

    stated: StatedSource
    files: tuple[RemoteFile, ...]
    refused: tuple[tuple[str, str], ...] = ()


class _Licence(BaseModel):
    name: str | None = None
    url: str | None = None


class _Article(BaseModel):
    model_config = ConfigDict(extra="ignore")

    title: str | None = None
    version: int | None = None
    citation: str | None = None
    license: _Licence | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str
    size: int = Field(ge=0)
    download_url: str
    is_link_only: bool = False
    computed_md5: str | None = None
    supplied_md5: str | None = None


_FILES = TypeAdapter(list[_File])


def look_up(
    source: FigshareArticle | GithubCommit,
    servers: Servers,
    session: requests.Session,
    retries: Retries,
) -> Offer:
    """Ask a source what it offers.

    Raises
    ------
    DatasetError
        The source cannot be reached, its answer is not what its API documents, or the name of a
        file could lead out of the folder that it goes to.
    """
    if isinstance(source, FigshareArticle):
        return _figshare(source, servers.figshare.rstrip("/"), session, retries)
    owner, _, repository = source.repository.partition("/")
    return Offer(
        stated=StatedSource(url=source.url, version=source.commit),
        files=(
            RemoteFile(
                name=f"{repository}-{source.commit[:12]}.tar.gz",
                url=f"{servers.github.rstrip('/')}/{owner}/{repository}/tar.gz/{source.commit}",
            ),
        ),
    )


def _figshare(
    source: FigshareArticle, base: str, session: requests.Session, retries: Retries
) -> Offer:
    url = f"{base}/articles/{source.article}"
    try:
        article = _Article.model_validate(get_json(session, url, retries))
        listed = [_File.model_validate(item) for item in _pages(f"{url}/files", session, retries)]
    except ValidationError as error:
        raise DatasetError(
            f"the answer is not what figshare's API documents: {error.errors()[0]['msg']}",
            where=url,
            cure="open the article's page in a browser and download its files there",
        ) from error
    files, refused, seen = [], [], set()
    for file in listed:
        parts = safe_parts(file.name, f"{url}, file {file.name!r}")
        if len(parts) != 1 or parts[0] in seen or parts[0] == LOCK_NAME:
            raise DatasetError(
                f"offers a file of the name {file.name!r}",
                where=url,
                expected="plain names, each once",
            )
        seen.add(parts[0])
        if file.is_link_only:
            refused.append((file.name, f"is kept elsewhere: {file.download_url}"))
        elif is_pickle_name(file.name):
            refused.append((file.name, "a pickle by its name: reading one can run code"))
        else:
            md5 = file.computed_md5 or file.supplied_md5 or None
            files.append(RemoteFile(file.name, file.download_url, file.size, md5))
    licence = article.license.name if article.license else None
    stated = StatedSource(
        url=source.url,
        title=article.title,
        version=None if article.version is None else str(article.version),
        licence=licence,
        citation=article.citation,
    )
    return Offer(stated, tuple(files), tuple(refused))


def _pages(url: str, session: requests.Session, retries: Retries) -> list[Any]:
    """All items of a list that the API hands out page by page."""
    items: list[Any] = []
    page = 1
    while len(items) <= MOST_FILES:
        answer = get_json(session, f"{url}?page={page}&page_size={PAGE_SIZE}", retries)
        if not isinstance(answer, list):
            raise DatasetError("the answer is no list of files", where=url, cure="try again later")
        items += answer
        if len(answer) < PAGE_SIZE:
            return items
        page += 1
    raise DatasetError(f"lists more than {MOST_FILES:,} files", where=url)
