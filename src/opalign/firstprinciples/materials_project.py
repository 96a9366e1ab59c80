"""Candidates from the Materials Project, through its REST interface.

A thin client of the documented endpoint ``/materials/summary/`` (https://api.materialsproject.org/
docs) on requests, whose retries it uses. It asks for pages by offset and checks that all came.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opalign.crystal.read import read_structure
from opalign.errors import (
    ConfigurationError,
    DatasetError,
    MissingExtraError,
    StorageError,
    StructureError,
)
from opalign.firstprinciples.candidates import Candidate, OnFailure

if TYPE_CHECKING:
    from requests import Response, Session

ENDPOINT = "https://api.materialsproject.org"
KEY_VARIABLE = "MP_API_KEY"
FIELDS = ("material_id", "structure", "energy_above_hull", "database_version")
PAGE_SIZE = 500
RETRIED = (429, 500, 502, 503, 504)
GET_A_KEY = f"get a key at https://materialsproject.org/api and put it into {KEY_VARIABLE}"


class MaterialsProject:
    """A session with the Materials Project.

    Parameters
    ----------
    key
        API key; None takes it from the environment variable ``MP_API_KEY``.
    endpoint
        Address of the interface.
    timeout
        Seconds to wait for an answer.
    retries
        How often to ask again when the server is busy (429, 5xx) or the connection breaks; pauses
        double from ``pause`` seconds, or are as long as the server asks for.

    Raises
    ------
    ConfigurationError
        There is no key.
    MissingExtraError
        requests is not installed.
    """

    def __init__(
        self,
        key: str | None = None,
        *,
        endpoint: str = ENDPOINT,
        timeout: float = 60.0,
        retries: int = 5,
        pause: float = 1.0,
    ) -> None:
        key = key or os.environ.get(KEY_VARIABLE, "")
        if not key:
            raise ConfigurationError("no key for the Materials Project", cure=GET_A_KEY)
        self.endpoint = endpoint.rstrip("/")
        self.timeout = timeout
        self._session = _session(key, retries, pause)

    def __enter__(self) -> MaterialsProject:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def candidates(
        self,
        *,
        elements: Sequence[str],
        excluded: Sequence[str] = (),
        maximum_sites: int = 40,
        maximum_hull_energy: float | None = 0.0,
        criteria: Mapping[str, str | int | float | bool] | None = None,
        page_size: int = PAGE_SIZE,
        on_failure: OnFailure | None = None,
    ) -> Iterator[Candidate]:
        """Ask for structures, page by page.

        Parameters
        ----------
        elements
            Elements that must all occur; for oxides, sulphides and selenides ask three times.
        excluded
            Elements that may not occur. The interface takes at most 60 characters of them, too few
            for all that the study leaves out: those are left to the criteria.
        maximum_hull_energy
            eV/atom; None for all.
        criteria
            Further parameters of the endpoint, such as ``{"band_gap_min": 0.3}``.
        on_failure
            Called with id and error of a structure that cannot be used; None raises it.

        Raises
        ------
        ConfigurationError
            The key was refused, or the server does not understand the question.
        StorageError
            No connection, or the server stays busy.
        DatasetError
            The answer is not what the documentation says, or pages are missing.
        """
        question: dict[str, Any] = {
            "elements": ",".join(elements),
            **({"exclude_elements": ",".join(excluded)} if excluded else {}),
            "nsites_max": maximum_sites,
            "deprecated": False,
            **(
                {}
                if maximum_hull_energy is None
                else {"energy_above_hull_max": maximum_hull_energy}
            ),
            **(criteria or {}),
        }
        seen: set[str] = set()
        for entry in self._entries(question, page_size):
            identifier = str(entry.get("material_id"))
            if identifier in seen:
                continue
            seen.add(identifier)
            candidate = _candidate(identifier, entry)
            if isinstance(candidate, Candidate):
                yield candidate
            elif on_failure is None:
                raise candidate
            else:
                on_failure(identifier, candidate)

    def _entries(self, question: dict[str, Any], page_size: int) -> Iterator[dict[str, Any]]:
        address = f"{self.endpoint}/materials/summary/"
        received, total = 0, None
        while total is None or received < total:
            page = {"_fields": ",".join(FIELDS), "_limit": page_size, "_skip": received}
            answer = self._ask(address, _plain(question | page))
            try:
                entries, total = answer["data"], int(answer["meta"]["total_doc"])
            except (KeyError, TypeError, ValueError) as error:
                raise DatasetError(
                    "the answer lacks data or meta.total_doc", where=address
                ) from error
            if not entries and received < total:
                raise DatasetError(
                    f"only {received} of {total} materials came", where=address, cure="ask again"
                )
            received += len(entries)
            yield from entries

    def _ask(self, address: str, question: dict[str, str]) -> dict[str, Any]:
        import requests

        try:
            response = self._session.get(address, params=question, timeout=self.timeout)
        except requests.RequestException as error:
            raise StorageError(
                f"no answer ({type(error).__name__})",
                where=address,
                cure="check the connection, or ask later",
            ) from error
        _check_status(response, address)
        try:
            answer: dict[str, Any] = response.json()
        except requests.JSONDecodeError as error:
            raise DatasetError(
                f"the answer is no JSON: {response.text[:80]!r}", where=address
            ) from error
        return answer


def _session(key: str, retries: int, pause: float) -> Session:
    try:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry
    except ImportError as error:
        raise MissingExtraError(
            "the Materials Project is asked through requests",
            cure="pip install requests",
        ) from error
    retry = Retry(
        total=retries,
        status_forcelist=RETRIED,
        allowed_methods=("GET",),
        backoff_factor=pause,
        respect_retry_after_header=True,
        raise_on_status=False,
    )
    session = requests.Session()
    session.headers.update({"X-API-KEY": key, "Accept": "application/json"})
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def _check_status(response: Response, address: str) -> None:
    status = response.status_code
    if status == 200:
        return
    if status in (401, 403):
        raise ConfigurationError(f"the key was refused ({status})", where=address, cure=GET_A_KEY)
    if status in RETRIED:
        busy = "asks for fewer requests" if status == 429 else "is in trouble"
        raise StorageError(f"the server {busy} ({status})", where=address, cure="ask later")
    raise ConfigurationError(
        f"the question was not understood ({status}): {response.text[:200]}",
        where=address,
        cure="check the criteria against https://api.materialsproject.org/docs",
    )


def _candidate(identifier: str, entry: Mapping[str, Any]) -> Candidate | StructureError:
    try:
        structure = read_structure(entry["structure"])
    except KeyError:
        return StructureError("came without structure", where=identifier)
    except StructureError as error:
        return StructureError(
            error.problem, where=identifier, expected=error.expected, cure=error.cure
        )
    notes = []
    if (above := entry.get("energy_above_hull")) is not None:
        notes.append(f"{float(above):.3f} eV/atom above the hull of the Materials Project")
    if version := entry.get("database_version"):
        notes.append(f"database {version}")
    return Candidate(identifier, structure, "Materials Project, CC BY 4.0", "; ".join(notes))


def _plain(question: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in question.items()
    }
