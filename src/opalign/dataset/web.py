"""Asking servers for things: sessions, retries, and answers in words a user can act on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from requests import exceptions

from opalign.errors import DatasetError

#: Seconds to connect, and between two bytes.
TIMEOUT = (20.0, 60.0)
#: Statuses that may pass: too many requests, and trouble of the server's own.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT = 120.0
AGENT = "opalign (dataset fetch)"
#: Of a connection that could not be made or broke off, after which to try again.
BROKEN = (
    exceptions.ConnectionError,
    exceptions.ChunkedEncodingError,
    exceptions.ContentDecodingError,
    exceptions.Timeout,
)


@dataclass(frozen=True)
class Retries:
    """How often to try in a row, and how long to wait: ``first`` seconds, doubled each time."""

    attempts: int = 6
    first: float = 1.0

    def wait(self, attempt: int, asked: float | None = None) -> None:
        """Sleep after a try that failed, counted from 1; as long as the server asked for, if so."""
        time.sleep(min(self.first * 2 ** (attempt - 1) if asked is None else asked, LONGEST_WAIT))


class BusyError(Exception):
    """The server cannot answer now; ``wait`` (s) is how long it asks to be left alone."""

    def __init__(self, status: int, wait: float | None) -> None:
        super().__init__(f"the server answers with status {status}")
        self.wait = wait


def new_session() -> requests.Session:
    """Open a session that asks for files as they are, not compressed on the way."""
    session = requests.Session()
    session.headers.update({"User-Agent": AGENT, "Accept-Encoding": "identity"})
    return session


def get(
    session: requests.Session, url: str, headers: dict[str, str] | None = None
) -> requests.Response:
    """Ask once; the body is streamed.

    Raises
    ------
    BusyError
        Too many requests, or trouble of the server's own, that may pass.
    DatasetError
        Any other status than success or 416 (nothing left to send), or no encryption any more.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise DatasetError("is no web address", where=url, expected="https://…")
    try:
        answer = session.get(url, headers=headers, stream=True, timeout=TIMEOUT)
    except BROKEN:
        raise
    except exceptions.RequestException as error:
        raise unreachable(url, error) from error
    if answer.status_code in (200, 206, 416) and (
        not url.startswith("https:") or answer.url.startswith("https:")
    ):
        return answer
    answer.close()
    if answer.status_code in PASSING:
        raise BusyError(answer.status_code, _asked_wait(answer.headers.get("Retry-After", "")))
    if answer.status_code in (200, 206, 416):
        raise DatasetError(
            "the server leads on to an address without encryption",
            where=answer.url,
            cure="do not trust what comes from there; try again later",
        )
    words = {
        401: "asks for a login",
        403: "refuses access",
        404: "knows no such file",
        410: "says that the file is gone",
    }
    raise DatasetError(
        f"the server {words.get(answer.status_code, 'does not send the file')} "
        f"(status {answer.status_code})",
        where=url,
        cure="open the address in a browser; if the set has moved, its DOI leads to the new place",
    )


def get_json(session: requests.Session, url: str, retries: Retries | None = None) -> Any:
    """Ask for a JSON document, with retries; DatasetError if none comes."""
    plan = retries or Retries()
    for attempt in range(1, plan.attempts + 1):
        asked: float | None = None
        try:
            with get(session, url) as answer:
                return answer.json()
        except BusyError as busy:
            reason: Exception = busy
            asked = busy.wait
        except BROKEN as error:
            reason = error
        except ValueError as error:
            raise DatasetError(
                f"the answer is no JSON: {error}", where=url, cure="try again later"
            ) from error
        if attempt == plan.attempts:
            raise unreachable(url, reason) from reason
        plan.wait(attempt, asked)
    raise DatasetError("was not asked for", where=url, expected="at least one attempt")


def unreachable(url: str, reason: Exception) -> DatasetError:
    """Return what to tell the user once all tries have failed."""
    return DatasetError(
        f"could not be fetched: {_in_a_line(reason)}",
        where=url,
        cure="check the connection to the internet (a proxy is taken from HTTPS_PROXY) and fetch "
        "again: what was downloaded is kept and goes on from there",
    )


def _asked_wait(text: str) -> float | None:
    """Seconds that a Retry-After header asks for: a number, or a date."""
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _in_a_line(reason: Exception) -> str:
    """Say in a line what requests wraps in three exceptions."""
    inner: Any = reason
    while inner.args and isinstance(inner.args[0], Exception):
        inner = inner.args[0]
    inner = getattr(inner, "reason", None) or inner
    return str(inner).partition("\n")[0][:200] or type(reason).__name__
