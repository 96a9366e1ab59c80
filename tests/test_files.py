import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from opalign.errors import StorageError
from opalign.files import atomic_path, sha256, write_atomically, write_text


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_target_appears_only_after_the_block(tmp_path):
    target = tmp_path / "made" / "on the way" / "spectrum.csv"
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.suffix == ".csv"
    assert target.read_text() == "whole"
    assert names(target.parent) == {"spectrum.csv"}


def test_failure_leaves_what_was_there(tmp_path):
    target = tmp_path / "table.json"
    target.write_text("before")

    def fail_halfway():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise ValueError("the writer failed")

    with pytest.raises(ValueError, match="the writer failed"):
        fail_halfway()
    assert target.read_text() == "before"
    assert names(tmp_path) == {"table.json"}


def test_a_reader_never_sees_half_of_the_new_file(tmp_path):
    target = write_text(tmp_path / "table.json", "before")
    with target.open() as reader:
        write_text(target, "after, and longer")
        assert reader.read() == "before"
    assert target.read_text() == "after, and longer"


def test_full_disk_is_a_storage_error_that_names_the_file(tmp_path):
    target = tmp_path / "table.parquet"

    def full_disk(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageError, match="No space left") as caught:
        write_atomically(target, full_disk)
    assert caught.value.where == str(target)
    assert names(tmp_path) == set()


def test_folder_in_the_way_is_a_storage_error(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError):
        write_text(tmp_path / "taken", "text")
    assert names(tmp_path) == {"taken"}
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_text(tmp_path / "file" / "below.txt", "text")


def test_writer_that_replaces_the_temporary_file_is_allowed(tmp_path):
    def replace(path: Path) -> None:
        path.unlink()
        path.write_bytes(b"anew")

    assert write_atomically(tmp_path / "a.bin", replace).read_bytes() == b"anew"


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        written = write_text(tmp_path / "shared.txt", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE(written.stat().st_mode) == 0o640


def test_text_is_utf8(tmp_path):
    assert write_text(tmp_path / "a.txt", "ε₂ ≥ 0").read_bytes() == "ε₂ ≥ 0".encode()


def test_sha256_of_more_than_one_block(tmp_path):
    content = os.urandom((1 << 20) + 17)
    path = tmp_path / "blob"
    path.write_bytes(content)
    assert sha256(path) == hashlib.sha256(content).hexdigest()


def test_a_target_without_a_name_is_refused():
    with pytest.raises(StorageError, match="names a folder"):
        write_text(Path("."), "text")
