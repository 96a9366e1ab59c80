import gzip
import io
import json
import math
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opalign.dataset.formats import json_entries as module
from opalign.dataset.formats.json_entries import iterate_entries, json_files
from opalign.errors import DatasetError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def entries(tmp_path):
    def read(content, name="set.json", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return list(iterate_entries(path, **options))

    return read


def found(entries):
    return [entry for _, entry in entries]


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(VALUES, max_size=6),
    chunk=st.integers(1, 50),
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
)
def test_lists_are_split_as_json_reads_them(values, chunk, indent, ascii_only):
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", chunk)
        texts = list(module._texts(module._Scanner(io.StringIO(text), 10_000)))
    assert [json.loads(piece) for _, piece in texts] == values
    assert [place for place, _ in texts] == [f"entry {n}" for n in range(len(values))]


@settings(max_examples=100, deadline=None)
@given(values=st.dictionaries(st.text(), VALUES, max_size=5), chunk=st.integers(1, 50))
def test_objects_are_split_by_name(values, chunk):
    # A name before all others that is none of an entry's keys.
    text = json.dumps({"zz first": 0, **values})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", chunk)
        texts = list(module._texts(module._Scanner(io.StringIO(text), 10_000)))
    if isinstance(values.get("entries"), list):
        return
    assert [json.loads(piece) for _, piece in texts][1:] == list(values.values())


def test_the_four_layouts(entries):
    entry = {"@class": "ComputedStructureEntry", "data": {"mat_id": "a"}, "structure": {}}
    assert found(entries(json.dumps(entry))) == [entry]
    assert found(entries(json.dumps([entry, entry]))) == [entry, entry]
    assert found(entries(json.dumps({"entries": [entry, 3]}))) == [entry, 3]
    named = entries(json.dumps({"agm1": entry, "agm2": entry}))
    assert found(named) == [entry, entry]
    assert named[1][0].endswith("set.json, 'agm2'")
    assert found(entries("[]")) == found(entries(" {} ")) == []
    packed = gzip.compress(json.dumps([entry]).encode())
    assert found(entries(packed, name="set.json.gz")) == [entry]


def test_nan_is_read_and_left_to_the_reader(entries):
    (value,) = found(entries('[{"a": NaN, "b": -Infinity}]'))
    assert math.isnan(value["a"])
    assert value["b"] == -math.inf


@pytest.mark.parametrize("broken", ['{"a" 1}', "nope", '{"a": tru}', "1e", "{1: 2}", '"\x01"'])
def test_one_broken_entry_spoils_itself_alone(entries, broken):
    first, middle, last = found(entries(f'[{{"a": 1}}, {broken}, {{"b": 2}}]'))
    assert (first, last) == ({"a": 1}, {"b": 2})
    assert isinstance(middle, DatasetError)
    assert "entry 1" in str(middle)


@pytest.mark.parametrize(
    "content",
    [
        '[{"a": 1}, {"b": [1, 2',
        '[{"a": 1}, "cut',
        '[{"a": 1},',
        '[{"a": 1} {"b": 2}]',
        '[{"a": 1}] x',
    ],
)
def test_what_ends_too_early_gives_what_was_whole(entries, content):
    first, *_, last = found(entries(content))
    assert first == {"a": 1}
    assert isinstance(last, DatasetError)


@pytest.mark.parametrize(
    "content", ["", "   ", "text", "123", b"\xff\xfe[1]", '{"a": 1, 2}', "{1: 2}", '{"a": 1', "]"]
)
def test_what_is_no_json_is_told(entries, content):
    *_, last = found(entries(content))
    assert isinstance(last, DatasetError)
    assert "set.json" in str(last)


def test_a_broken_gzip_is_told(entries):
    packed = gzip.compress(json.dumps([[1] * 1000] * 50).encode())
    *_, last = found(entries(packed[:40], name="cut.json.gz"))
    assert isinstance(last, DatasetError)


def test_deep_and_endless_entries_are_refused_in_bounded_memory(entries):
    deep = "[" * 100_000 + "]" * 100_000
    (error,) = found(entries(f"[{deep}]"))
    assert "nested too deeply" in str(error)
    (error,) = found(entries('["' + "x" * 5000 + '"]', longest=1000))
    (bound,) = found(
        entries('{"data": 1, "more": "' + "x" * 900 + '", "y": "' + "x" * 900 + '"}', longest=1000)
    )
    for refused in (error, bound):
        assert "more than 1,000 characters" in str(refused)


def test_huge_integers_do_not_stop_the_reader(entries):
    number = "9" * 5000
    first, second = found(entries(f"[{number}, 1]"))
    assert isinstance(first, DatasetError)
    assert second == 1


def test_a_long_file_is_not_held_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 1 << 16)
    path = tmp_path / "long.json"
    entry = json.dumps({"values": [0.123456] * 2000})
    path.write_text("[" + ",".join([entry] * 200) + "]")
    assert path.stat().st_size > 4e6
    tracemalloc.start()
    number = sum(1 for _ in iterate_entries(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert number == 200
    # A few chunks of 64 KiB, and one entry of 20 kB as text and as 2,000 numbers.
    assert peak < 0.5e6


def test_json_files_below_folders(tmp_path):
    for name in ("b.json", "a/c.JSON", "a/d.json.gz", "a/readme.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"{}")
    names = [path.name for path in json_files([tmp_path, tmp_path / "b.json"])]
    assert names == ["c.JSON", "d.json.gz", "b.json", "b.json"]
    (tmp_path / "e.json").write_bytes(b"\x80\x04.")
    with pytest.raises(DatasetError, match="pickle"):
        json_files([tmp_path / "e.json"])
    with pytest.raises(DatasetError, match="missing"):
        json_files([tmp_path / "absent"])
