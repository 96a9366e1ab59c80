import os

import pytest

from opalign.errors import ConfigurationError, StorageError
from opalign.screening import identity
from opalign.screening.config import RANKING_KEYS, ScreenConfig
from opalign.screening.folder import Origin, open_folder
from opalign.screening.identity import identify


def write(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_file_is_told_by_its_content(tmp_path):
    path = write(tmp_path / "a.parquet", b"x" * 100)
    first = identify("Parquet", [path], path)
    os.utime(path, (1, 1))
    copy = write(tmp_path / "other" / "b.parquet", b"x" * 100)
    assert identify("Parquet", [path], path).difference(first) is None
    assert identify("Parquet", [copy], copy).difference(first) is None
    write(path, b"x" * 99 + b"y")
    assert "content differs" in identify("Parquet", [path], path).difference(first)
    write(path, b"x" * 101)
    assert "had 100 bytes, and has 101" in identify("Parquet", [path], path).difference(first)
    assert "was Parquet" in identify("ASE database", [path], path).difference(first)


def test_of_a_large_file_both_ends_count(tmp_path, monkeypatch):
    monkeypatch.setattr(identity, "END", 10)
    monkeypatch.setattr(identity, "WHOLE", 50)
    content = bytearray(range(100))
    path = write(tmp_path / "a.parquet", content)
    first = identify("Parquet", [path], path)
    assert "first and last" in first.told_by
    for place in (0, 9, 90, 99):
        changed = bytearray(content)
        changed[place] ^= 1
        write(path, changed)
        assert identify("Parquet", [path], path).difference(first)


def test_many_files_are_told_by_names_sizes_and_times(tmp_path, monkeypatch):
    monkeypatch.setattr(identity, "MOST_READ", 2)
    files = [write(tmp_path / f"{name}.cif", b"x") for name in "abc"]
    first = identify("structure files", files, tmp_path)
    assert identify("structure files", files, tmp_path) == first
    os.utime(files[1], (1, 1))
    assert "times of change differs" in identify("structure files", files, tmp_path).difference(
        first
    )
    renamed = files[2].rename(tmp_path / "d.cif")
    assert identify("structure files", [*files[:2], renamed], tmp_path).difference(first)
    assert "had 3 files, and has 2" in identify("structure files", files[:2], tmp_path).difference(
        first
    )


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(StorageError, match="cannot be read"):
        identify("Parquet", [tmp_path / "absent"], tmp_path / "absent")


@pytest.fixture
def origin(tmp_path):
    path = write(tmp_path / "in.parquet", b"x")
    return Origin(input=identify("Parquet", [path], path), model="abc")


def test_the_key_stands_for_all_that_decides_a_row(tmp_path, origin):
    config = ScreenConfig(input="a", rank_by="onset_eV")
    key = open_folder(tmp_path / "one", config, origin).key
    assert open_folder(tmp_path / "one", config, origin).key == key
    other = ScreenConfig(input="a", rank_by="onset_eV", max_sites=9)
    assert open_folder(tmp_path / "two", other, origin).key != key
    trained = origin.model_copy(update={"model": "def"})
    assert open_folder(tmp_path / "three", config, trained).key != key
    ranked = ScreenConfig(input="b", rank_by="onset_eV", top=3, descending=True)
    assert open_folder(tmp_path / "one", ranked, origin).key == key
    assert set(RANKING_KEYS) <= set(ScreenConfig.model_fields)


def test_a_folder_whose_origin_is_lost(tmp_path, origin):
    config = ScreenConfig(input="a")
    open_folder(tmp_path / "out", config, origin)
    (tmp_path / "out" / "state.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="nothing tells which input"):
        open_folder(tmp_path / "out", config, origin)


def test_a_configuration_that_was_tampered_with(tmp_path, origin):
    config = ScreenConfig(input="a")
    open_folder(tmp_path / "out", config, origin)
    (tmp_path / "out" / "screen.yaml").write_text("input: a\nwhere: onset_eV >\n")
    with pytest.raises(ConfigurationError, match="ends too early"):
        open_folder(tmp_path / "out", config, origin)


def test_a_folder_that_cannot_be_made(tmp_path, origin):
    write(tmp_path / "file", b"")
    with pytest.raises(StorageError):
        open_folder(tmp_path / "file" / "out", ScreenConfig(input="a"), origin)
