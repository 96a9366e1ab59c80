import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from opalign.dataset import download as module
from opalign.dataset.download import RemoteFile, digests, download
from opalign.dataset.web import Retries, get_json, new_session
from opalign.errors import DatasetError, StorageError

CONTENT = bytes(os.urandom(700_000))
QUICK = Retries(attempts=3, first=0.001)


@pytest.fixture
def fetch(tmp_path, file_server):
    """Download /set.zip of the server; keywords are those of the remote file, or sha256."""
    file_server.files["/set.zip"] = CONTENT

    def run(sha256=None, progress=None, path="/set.zip", **stated):
        remote = RemoteFile("set.zip", file_server.url + path, **stated)
        with new_session() as session:
            return download(
                remote,
                tmp_path / "set.zip",
                session=session,
                retries=QUICK,
                sha256=sha256,
                progress=progress,
            )

    return run


def left_behind(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def test_a_file_comes_whole_and_with_its_checksums(tmp_path, fetch):
    seen = []
    found = fetch(progress=lambda done, whole: seen.append((done, whole)))
    assert (tmp_path / "set.zip").read_bytes() == CONTENT
    assert found.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert (found.size, found.md5) == (len(CONTENT), md5(CONTENT))
    assert left_behind(tmp_path) == {"set.zip"}
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_cut_connection_goes_on_where_it_stopped(tmp_path, fetch, file_server):
    file_server.cuts = [300_000, 100, 200_000]
    fetch(size=len(CONTENT), md5=md5(CONTENT))
    assert (tmp_path / "set.zip").read_bytes() == CONTENT
    ranges = [headers.get("Range") for _, headers in file_server.asked]
    # Whole chunks of 64 KiB are kept.
    assert ranges == [None, "bytes=262144-", "bytes=262144-", "bytes=458752-"]
    assert {h.get("If-Range") for _, h in file_server.asked[1:]} == {'"one"'}


def test_another_process_goes_on_too(tmp_path, fetch, file_server):
    file_server.cuts = [300_000, 0, 0, 0]
    with pytest.raises(DatasetError, match="could not be fetched"):
        fetch()
    assert left_behind(tmp_path) == {".set.zip.part", ".set.zip.part.json"}
    file_server.cuts, file_server.asked = [], []
    fetch()
    assert (tmp_path / "set.zip").read_bytes() == CONTENT
    assert [headers.get("Range") for _, headers in file_server.asked] == ["bytes=262144-"]


def test_a_file_that_has_changed_since_is_not_spliced(tmp_path, fetch, file_server):
    file_server.cuts = [300_000, 0, 0, 0]
    with pytest.raises(DatasetError):
        fetch()
    other = CONTENT[::-1]
    file_server.files["/set.zip"], file_server.etag, file_server.cuts = other, '"two"', []
    fetch()
    assert (tmp_path / "set.zip").read_bytes() == other


def test_a_server_without_ranges_or_validators_starts_over(tmp_path, fetch, file_server):
    file_server.etag = None
    file_server.cuts = [300_000, 500_000]
    fetch(size=len(CONTENT))
    assert (tmp_path / "set.zip").read_bytes() == CONTENT
    assert {headers.get("Range") for _, headers in file_server.asked} == {None}
    (tmp_path / "set.zip").unlink()
    file_server.etag, file_server.ranges = '"one"', False
    file_server.cuts = [300_000]
    fetch(size=len(CONTENT))
    assert (tmp_path / "set.zip").read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_thrown_away(tmp_path, fetch, file_server):
    (tmp_path / ".set.zip.part").write_bytes(b"x" * (len(CONTENT) + 5))
    notes = {"url": file_server.url + "/set.zip", "size": None, "validator": '"one"'}
    (tmp_path / ".set.zip.part.json").write_text(json.dumps(notes))
    fetch()
    assert (tmp_path / "set.zip").read_bytes() == CONTENT


@pytest.mark.parametrize("notes", ["", "[]", '{"url": "http://elsewhere/set.zip"}'])
def test_a_part_of_something_else_is_not_used(tmp_path, fetch, notes):
    (tmp_path / ".set.zip.part").write_bytes(b"x" * 1000)
    (tmp_path / ".set.zip.part.json").write_text(notes)
    fetch()
    assert (tmp_path / "set.zip").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("stated", "named"),
    [
        ({"md5": md5(b"other")}, "MD5"),
        ({"size": len(CONTENT) + 1}, "700,000 bytes"),
        ({"size": len(CONTENT) - 1}, "700,000 bytes"),
        ({"sha256": "0" * 64}, "SHA-256"),
    ],
)
def test_a_file_other_than_stated_is_refused_and_not_kept(tmp_path, fetch, stated, named):
    with pytest.raises(DatasetError, match=named):
        fetch(**stated)
    assert not (tmp_path / "set.zip").exists()
    assert not (tmp_path / ".set.zip.part").exists()


def test_trouble_that_passes_is_waited_for(tmp_path, fetch, file_server):
    file_server.statuses = [(503, {}), (429, {"Retry-After": "0"})]
    fetch()
    assert len(file_server.asked) == 3
    assert (tmp_path / "set.zip").read_bytes() == CONTENT


def test_trouble_that_stays_is_told(fetch, file_server):
    file_server.statuses = [(503, {})] * 3
    with pytest.raises(DatasetError, match=r"status 503(.|\n)*goes on from there"):
        fetch()
    assert len(file_server.asked) == 3


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "login"), (403, "refuses"), (404, "no such"), (410, "gone"), (202, "202")],
)
def test_what_no_retry_changes_is_told_at_once(fetch, file_server, status, words):
    file_server.statuses = [(status, {})]
    with pytest.raises(DatasetError, match=words):
        fetch()
    assert len(file_server.asked) == 1


def test_no_connection(tmp_path):
    remote = RemoteFile("a", "http://127.0.0.1:9/a")
    with new_session() as session, pytest.raises(DatasetError, match=r"127\.0\.0\.1") as caught:
        download(remote, tmp_path / "a", session=session, retries=QUICK)
    assert "check the connection" in str(caught.value)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "set.zip"])
def test_other_addresses_are_not_followed(tmp_path, url):
    with new_session() as session, pytest.raises(DatasetError, match="no web address"):
        download(RemoteFile("a", url), tmp_path / "a", session=session, retries=QUICK)


def test_pickles_and_web_pages_are_refused(tmp_path, fetch, file_server):
    file_server.files["/p"] = b"\x80\x04\x95" + CONTENT
    with pytest.raises(DatasetError, match="pickle"):
        fetch(path="/p")
    file_server.headers["/set.zip"] = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(DatasetError, match="web page"):
        fetch()
    assert left_behind(tmp_path) == set()


def test_a_full_disk_is_told_before_and_while_writing(tmp_path, fetch, file_server, monkeypatch):
    usage = module.shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(StorageError, match=r"GiB to come(.|\n)*free some space"):
            fetch(size=len(CONTENT))

    def full(self, *arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module._Transfer, "begin", full)
        with pytest.raises(StorageError, match="No space left"):
            fetch()
    fetch()
    assert (tmp_path / "set.zip").read_bytes() == CONTENT


def test_an_empty_file(tmp_path, fetch, file_server):
    file_server.files["/empty"] = b""
    assert fetch(path="/empty").size == 0
    assert (tmp_path / "set.zip").read_bytes() == b""


def test_json_answers(file_server):
    file_server.files |= {"/good": b'{"a": [1]}', "/bad": b"{"}
    file_server.statuses = [(502, {})]
    with new_session() as session:
        assert get_json(session, file_server.url + "/good", QUICK) == {"a": [1]}
        with pytest.raises(DatasetError, match="no JSON"):
            get_json(session, file_server.url + "/bad", QUICK)
        with pytest.raises(DatasetError, match="404"):
            get_json(session, file_server.url + "/none", QUICK)
        file_server.statuses = [(500, {})] * 3
        with pytest.raises(DatasetError, match="status 500"):
            get_json(session, file_server.url + "/good", QUICK)


def test_digests(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    found = digests(tmp_path / "a")
    # FIPS 180-2, appendix B.1, and RFC 1321, appendix A.5.
    assert found.sha256.startswith("ba7816bf8f01cfea414140de5dae2223")
    assert found.md5 == "900150983cd24fb0d6963f7d28e17f72"
