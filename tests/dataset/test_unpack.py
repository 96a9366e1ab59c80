import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opalign.dataset import unpack as module
from opalign.dataset.pickles import is_pickle_name, is_pickle_start, refuse_pickle
from opalign.dataset.unpack import UnpackLimits, is_archive, safe_parts, unpack
from opalign.errors import DatasetError, StorageError

FILES = {"set/a.json": b'{"a": 1}', "set/deep/b.json": b"{}" * 50_000, "c d.txt": b""}


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, files: dict[str, bytes], *more: tarfile.TarInfo, mode="w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in more:
            archive.addfile(info)
    return path


def tar_member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def content_of(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def refused(archive: Path, match: str, limits: UnpackLimits | None = None) -> None:
    """An archive is refused, and nothing of it is left, inside the folder or outside."""
    before = set(archive.parent.rglob("*"))
    with pytest.raises(DatasetError, match=match):
        unpack(archive, archive.parent / "out", limits)
    assert set(archive.parent.rglob("*")) == before


@pytest.mark.parametrize("mode", ["zip", "w:", "w:gz", "w:bz2", "w:xz"])
def test_what_went_in_comes_out(tmp_path, mode):
    archive = tmp_path / "set.archive"
    make_zip(archive, FILES) if mode == "zip" else make_tar(archive, FILES, mode=mode)
    assert is_archive(archive)
    done = unpack(archive, tmp_path / "new" / "out")
    assert content_of(tmp_path / "new" / "out") == FILES
    assert (done.files, done.size, done.left) == (3, sum(map(len, FILES.values())), ())


def test_what_is_no_archive(tmp_path):
    for name, content in {
        "a.json": b'{"PK": 1}',
        "empty": b"",
        "b.json.gz": gzip.compress(b"{}" * 999),
        "c.bz2": bz2.compress(b"text"),
        "d.xz": lzma.compress(b"text"),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert not is_archive(tmp_path / name)
        refused(tmp_path / name, "no zip or tar archive")
    assert not is_archive(tmp_path / "absent")


@pytest.mark.parametrize(
    "name",
    [
        "/etc/cron.d/evil",
        "../evil",
        "a/../../evil",
        "..",
        "C:/evil",
        "C:evil",
        "a\\..\\evil",
        "a/new\nline",
        "right\u202eleft",
        "x" * 300,
    ],
)
def test_names_that_lead_out_are_refused(tmp_path, name):
    refused(make_tar(tmp_path / "t.tar.gz", {"fine": b"1", name: b"2"}), "leads out")
    if "\\" not in name:
        refused(make_zip(tmp_path / "z.zip", {"fine": b"1", name: b"2"}), "leads out")
    with pytest.raises(DatasetError):
        safe_parts(name, "here")


@given(st.text(max_size=40))
def test_names_that_are_taken_stay_inside(name):
    try:
        parts = safe_parts(name, "here")
    except DatasetError:
        return
    inside = Path("/folder/of/it")
    assert inside.joinpath(*parts).is_relative_to(inside)
    assert ".." not in parts


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "link"),
        (tarfile.LNKTYPE, "link"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
        (tarfile.FIFOTYPE, "device"),
    ],
)
def test_links_and_devices_are_refused(tmp_path, kind, words):
    member = tar_member("inside", kind, "/etc/passwd")
    refused(make_tar(tmp_path / "t.tar.gz", {"fine": b"1"}, member), f"is a {words}, not a file")


def test_links_in_zips_are_refused(tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    refused(tmp_path / "z.zip", "is a link")


@pytest.mark.parametrize("other", ["a.json", "A.JSON", "./a.json"])
def test_one_name_twice_is_refused(tmp_path, other):
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("a.json"))
        archive.addfile(tarfile.TarInfo(other))
    refused(tmp_path / "t.tar", "twice")


def test_pickles_stay_packed(tmp_path):
    files = {
        "data.pckl": b"anything",
        "graph/train.PT": b"anything",
        "x.pkl.gz": b"anything",
        "innocent.json": b"\x80\x04\x95anything",
        "good.json": b"{}",
    }
    for archive in (make_zip(tmp_path / "z", files), make_tar(tmp_path / "t", files)):
        done = unpack(archive, tmp_path / f"{archive.name}-out")
        assert content_of(done.folder) == {"good.json": b"{}"}
        assert {name for name, _ in done.left} == set(files) - {"good.json"}
        assert done.files == 1


def test_bombs_are_refused(tmp_path, monkeypatch):
    zeros = b"0" * 5_000_000
    archive = make_zip(tmp_path / "z.zip", {"zeros": zeros})
    tar = make_tar(tmp_path / "t.tar.gz", {"zeros": zeros})
    unpack(archive, tmp_path / "small enough")
    monkeypatch.setattr(module, "SMALL", 1 << 20)
    for bomb in (archive, tar):
        refused(bomb, "grows more than 200 times")
        refused(bomb, "holds more than", UnpackLimits(total=1_000_000))
    unpack(archive, tmp_path / "allowed", UnpackLimits(ratio=1e6))


def test_what_comes_after_the_end_of_a_tar_counts_too(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SMALL", 1 << 20)
    plain = make_tar(tmp_path / "t.tar", {"a": b"1"}, mode="w:").read_bytes()
    (tmp_path / "t.tar").unlink()
    (tmp_path / "t.tar.gz").write_bytes(gzip.compress(plain + bytes(50_000_000)))
    refused(tmp_path / "t.tar.gz", "grows more")


def test_too_many_files_are_refused(tmp_path):
    archive = make_zip(tmp_path / "z.zip", {f"{n}.json": b"" for n in range(20)})
    refused(archive, "more than 10 files", UnpackLimits(files=10))


def test_claims_of_a_zip_do_not_count(tmp_path):
    """A member that says it is small, and is not, is damaged: zipfile checks length and CRC."""
    archive = make_zip(tmp_path / "z.zip", {"a": b"0" * 100_000})
    content = bytearray(archive.read_bytes())
    at = content.index(struct.pack("<I", 100_000), 40)
    content[at : at + 4] = struct.pack("<I", 10)
    archive.write_bytes(content)
    try:
        done = unpack(archive, tmp_path / "out")
    except DatasetError:
        return
    assert done.size <= 10


@pytest.mark.parametrize("maker", [make_zip, make_tar])
def test_damaged_archives_are_refused(tmp_path, maker):
    noise = bytes(range(256)) * 400
    whole = maker(tmp_path / "whole", {"a": noise, "b": noise[::-1]}).read_bytes()
    (tmp_path / "whole").unlink()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut", "damaged or cut off")
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0xFF
    (tmp_path / "flipped").write_bytes(flipped)
    refused(tmp_path / "flipped", "damaged or cut off")


def test_the_checksum_at_the_end_of_a_gzip_is_read(tmp_path):
    path = make_tar(tmp_path / "t.tar.gz", {"a": b"1234"})
    content = bytearray(path.read_bytes())
    content[-6] ^= 0x01
    path.write_bytes(content)
    refused(path, "damaged or cut off")


def test_encrypted_zips_are_refused(tmp_path):
    archive = make_zip(tmp_path / "z.zip", {"a": b"secret"})
    content = bytearray(archive.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(magic) + offset] |= 1
    archive.write_bytes(content)
    refused(archive, "encrypted")


def test_a_folder_that_is_there_is_not_touched(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(StorageError, match="exists already"):
        unpack(make_zip(tmp_path / "z.zip", FILES), tmp_path / "out")


def test_a_full_disk(tmp_path, monkeypatch):
    archive = make_zip(tmp_path / "z.zip", FILES)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write_member", full)
    with pytest.raises(StorageError, match="No space left"):
        unpack(archive, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"z.zip"}


def test_pickles_are_recognised(tmp_path):
    import pickle  # Only to write them: what is recognised must be real.

    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert is_pickle_start(pickle.dumps({"a": 1}, protocol))
    for start in (b"", b"\x80", b"{}", b"\x1f\x8b", b"PK", b"\x89HDF", b"\x80\x00"):
        assert not is_pickle_start(start)
    assert is_pickle_name("data.pckl")
    assert is_pickle_name("best_model.pt")
    assert not is_pickle_name("report.pt.json")
    assert not is_pickle_name("mp-1.2.json")
    (tmp_path / "data.json").write_bytes(b"\x80\x04.")
    (tmp_path / "data.pkl").write_bytes(b"{}")
    (tmp_path / "good.json").write_bytes(b"{}")
    with pytest.raises(DatasetError, match="by its first bytes"):
        refuse_pickle(tmp_path / "data.json")
    with pytest.raises(DatasetError, match="by its name"):
        refuse_pickle(tmp_path / "data.pkl")
    refuse_pickle(tmp_path / "good.json")
