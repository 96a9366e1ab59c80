from pathlib import Path

import pytest

from opalign.dataset.changes import SHOWN, require_offered, require_unchanged
from opalign.dataset.download import Digests, RemoteFile
from opalign.dataset.lock import Lock, LockedFile
from opalign.errors import DatasetError

HERE = Path("data/optimate")
OLD, NEW = "a" * 32, "b" * 32


def lock_of(*names: str, md5: str | None = OLD) -> Lock:
    locked = LockedFile(url="u", size=3, sha256="0" * 64, md5_of_source=md5, retrieved="now")
    return Lock(name="optimate", files=dict.fromkeys(names, locked))


@pytest.mark.parametrize(
    ("size", "md5", "recorded"),
    [(3, OLD, OLD), (3, OLD.upper(), OLD), (None, None, OLD), (3, None, OLD), (3, NEW, None)],
)
def test_what_is_the_same_or_not_stated_is_no_change(size, md5, recorded):
    require_unchanged([RemoteFile("a.zip", "v", size, md5)], HERE, lock_of("a.zip", md5=recorded))


def test_what_was_never_recorded_is_no_change():
    require_unchanged([RemoteFile("a.zip", "v", 3, NEW)], HERE, lock_of())


@pytest.mark.parametrize(("size", "md5"), [(4, OLD), (4, None), (3, NEW), (None, NEW)])
def test_another_size_or_checksum_is_told(size, md5):
    with pytest.raises(DatasetError) as caught:
        require_unchanged([RemoteFile("a.zip", "u", size, md5)], HERE, lock_of("a.zip"))
    error = caught.value
    assert error.where == str(HERE)
    assert "a.zip is another now" in error.problem
    assert error.expected == f"a.zip: 3 bytes, MD5 {OLD}, as first downloaded (opalign-lock.json)"
    assert "--offline" in str(error.cure)
    assert "remove these files" in str(error.cure)


def test_many_changes_are_told_in_one_message():
    names = [f"{n}.zip" for n in range(SHOWN + 1200)]
    with pytest.raises(DatasetError, match="1,200 more") as caught:
        require_unchanged([], HERE, lock_of(*names))
    assert str(caught.value).count("is not offered any more") == SHOWN


def test_a_file_is_held_against_what_its_source_states():
    found = Digests(size=3, sha256="0" * 64, md5=OLD)
    require_offered(RemoteFile("a.zip", "u", 3, OLD.upper()), found, HERE)
    require_offered(RemoteFile("a.zip", "u"), found, HERE)
    with pytest.raises(DatasetError, match="is another now"):
        require_offered(RemoteFile("a.zip", "u", 3, NEW), found, HERE)
