import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from pymatgen.core import Lattice, Structure

from opalign.errors import ConfigurationError, DatasetError, StorageError, StructureError
from opalign.firstprinciples.materials_project import KEY_VARIABLE, MaterialsProject

KEY = "a-key-of-the-test"


def document(number, **changes):
    structure = Structure(Lattice.cubic(4 + 0.1 * number), ["Mg", "O"], [[0] * 3, [0.5] * 3])
    return {
        "material_id": f"mp-{number}",
        "structure": json.loads(structure.to_json()),
        "energy_above_hull": 0.0125,
        **changes,
    }


class Server(ThreadingHTTPServer):
    """A server of the documented layout; what it does wrong is set by the test."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.documents = [document(number) for number in range(5)]
        self.questions = []
        self.statuses = []
        self.headers = {}
        self.body = None
        self.total = None

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server = self.server
        parts = urlsplit(self.path)
        question = {name: values[0] for name, values in parse_qs(parts.query).items()}
        server.questions.append(question)
        status = server.statuses.pop(0) if server.statuses else 200
        if self.headers["X-API-KEY"] != KEY:
            status = 401
        if parts.path != "/materials/summary/":
            status = 404
        skip, limit = int(question["_skip"]), int(question["_limit"])
        total = len(server.documents) if server.total is None else server.total
        answer = {"data": server.documents[skip : skip + limit], "meta": {"total_doc": total}}
        body = server.body if server.body is not None else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(server, *, key=KEY, retries=2, timeout=5.0, **question):
    with MaterialsProject(
        key, endpoint=server.address, retries=retries, pause=0.0, timeout=timeout
    ) as project:
        return list(project.candidates(elements=["O"], **question))


@pytest.mark.parametrize("page_size", [1, 2, 5, 100])
def test_all_pages_come_in_their_order(server, page_size):
    found = ask(server, page_size=page_size)
    assert [each.identifier for each in found] == [f"mp-{number}" for number in range(5)]
    assert found[3].structure.lattice.a == pytest.approx(4.3)
    assert [site.specie.symbol for site in found[3].structure] == ["Mg", "O"]
    assert "Materials Project" in found[3].source
    assert "0.013 eV/atom" in found[3].notes or "0.012 eV/atom" in found[3].notes
    assert len(server.questions) == -(-5 // page_size)


def test_question_is_that_of_the_documentation(server):
    ask(server, excluded=["F", "Cl"], maximum_sites=8, criteria={"band_gap_min": 0.3})
    question = server.questions[0]
    assert question["elements"] == "O"
    assert question["exclude_elements"] == "F,Cl"
    assert question["nsites_max"] == "8"
    assert question["energy_above_hull_max"] == "0.0"
    assert question["band_gap_min"] == "0.3"
    assert question["deprecated"] == "false"
    assert "structure" in question["_fields"].split(",")


def test_limits_that_are_not_wanted_are_not_sent(server):
    ask(server, maximum_hull_energy=None)
    assert not {"energy_above_hull_max", "exclude_elements"} & set(server.questions[0])


def test_key_is_taken_from_the_environment_and_never_from_elsewhere(server, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    assert len(ask(server, key=None)) == 5
    monkeypatch.delenv(KEY_VARIABLE)
    with pytest.raises(ConfigurationError, match="no key"):
        MaterialsProject()


def test_refused_key_says_where_to_get_one_and_does_not_show_it(server):
    with pytest.raises(ConfigurationError, match=r"refused \(401\)") as raised:
        ask(server, key="wrong-key")
    assert "materialsproject.org" in str(raised.value)
    assert "wrong-key" not in str(raised.value)
    assert len(server.questions) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_server_is_asked_again(server, status):
    server.statuses = [status, status]
    assert len(ask(server)) == 5
    assert len(server.questions) == 3


def test_pause_that_the_server_asks_for_is_kept(server):
    import time

    server.statuses, server.headers = [429], {"Retry-After": "1"}
    start = time.monotonic()
    assert len(ask(server)) == 5
    assert time.monotonic() - start >= 1.0


@pytest.mark.parametrize(("status", "words"), [(429, "fewer requests"), (503, "trouble")])
def test_server_that_stays_busy_is_given_up(server, status, words):
    server.statuses = [status] * 10
    with pytest.raises(StorageError, match=words):
        ask(server)
    assert len(server.questions) == 3


def test_question_not_understood_is_shown(server):
    server.statuses, server.body = [422], b'{"detail": "elements too long"}'
    with pytest.raises(ConfigurationError, match="elements too long"):
        ask(server)


def test_silent_server_runs_into_the_time_limit(server):
    release = threading.Event()
    server.finish_request = lambda *_: release.wait(5)
    try:
        with pytest.raises(StorageError, match="no answer"):
            ask(server, retries=0, timeout=0.1)
    finally:
        release.set()


def test_absent_server_is_told():
    with pytest.raises(StorageError, match="no answer"):
        list(
            MaterialsProject(KEY, endpoint="http://127.0.0.1:9", retries=0).candidates(
                elements=["O"]
            )
        )


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data": []}', b'{"data": [], "meta": {}}'])
def test_answer_of_another_layout_is_refused(server, body):
    server.body = body
    with pytest.raises(DatasetError, match="answer"):
        ask(server)


def test_missing_pages_are_noticed(server):
    server.total = 9
    with pytest.raises(DatasetError, match="5 of 9"):
        ask(server, page_size=2)


def test_material_that_moves_to_the_next_page_is_given_once(server):
    server.documents.insert(3, server.documents[2])
    found = ask(server, page_size=2)
    assert [each.identifier for each in found] == [f"mp-{number}" for number in range(5)]


def test_structure_that_cannot_be_used_is_named_and_can_be_passed_over(server):
    server.documents[1] = document(1, structure={"sites": []})
    del server.documents[2]["structure"]
    with pytest.raises(StructureError, match="mp-1"):
        ask(server)
    failures = {}
    found = ask(server, on_failure=failures.__setitem__)
    assert [each.identifier for each in found] == ["mp-0", "mp-3", "mp-4"]
    assert set(failures) == {"mp-1", "mp-2"}
