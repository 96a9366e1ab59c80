"""A file of graphs gives back what was written, whole, or says that it cannot."""

import hashlib
import itertools

import numpy as np
import pyarrow as pa
import pytest

from opalign.crystal import packed
from opalign.crystal.graph import build_graph_from_arrays, collate
from opalign.crystal.packed import PackedGraphs, write_graphs
from opalign.crystal.settings import GraphSettings
from opalign.errors import StorageError, StructureError

SETTINGS = GraphSettings(neighbors=6)
RADIUS = GraphSettings(kind="radius", cutoff=2.9, angles=False)


def graph(size, settings=SETTINGS):
    lattice = np.diag([3.0 + 0.01 * size, 3.1, 3.3 * size])
    cartesian = [[9.1, 0.2, 3.3 * atom] for atom in range(size)]
    return build_graph_from_arrays(lattice, cartesian, range(8, 8 + size), settings)


def assert_equal(one, other):
    for name in ("atomic_numbers", "bond_index", "bond_image", "bond_vector"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    assert (one.volume, one.has_angles) == (other.volume, other.has_angles)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(packed, "BLOCK", 4)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("count", [1, 4, 11])
@pytest.mark.parametrize("settings", [SETTINGS, RADIUS], ids=["k_nearest", "radius"])
def test_graphs_come_back_as_they_were(tmp_path, count, settings):
    graphs = [graph(1 + number % 3, settings) for number in range(count)]
    found = PackedGraphs.open(write_graphs(tmp_path / "a.graphs", iter(graphs), settings))
    assert len(found) == count
    assert found.settings == settings
    for one, other in zip(found, graphs, strict=True):
        assert_equal(one, other)
    batch, expected = collate(list(found)), collate(graphs)
    assert all((batch[key] == expected[key]).all() for key in expected)


@pytest.mark.usefixtures("small_blocks")
def test_a_choice_is_in_the_order_asked_for(tmp_path):
    graphs = [graph(1 + number % 5) for number in range(11)]
    found = PackedGraphs.open(write_graphs(tmp_path / "a.graphs", graphs, SETTINGS))
    rows = [9, 0, 0, 5]
    chosen = found.select(rows)
    assert len(chosen) == 4
    for one, row in zip(chosen, rows, strict=True):
        assert_equal(one, graphs[row])
    assert_equal(chosen.select([3])[0], graphs[5])
    assert_equal(found[-1], graphs[-1])
    assert [len(one.atomic_numbers) for one in found[2:8:3]] == [3, 1]
    with pytest.raises(IndexError):
        found[11]


def test_what_was_found_out_about_a_graph_stays_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "KEPT", 2)
    graphs = [graph(1 + number) for number in range(4)]
    found = PackedGraphs.open(write_graphs(tmp_path / "a.graphs", graphs, SETTINGS))
    first = found[3]
    assert found.select([3])[0] is first
    assert found[1] is found[1]
    for row in range(4):
        assert_equal(found[row], graphs[row])
    assert len(found._kept) == 2
    # Four were asked for since: it has been given up, and is read again.
    assert [one.num_atoms for one in (found[0], found[1])] == [1, 2]
    assert found[3] is not first


def test_no_graph_and_graphs_without_bonds(tmp_path):
    assert len(PackedGraphs.open(write_graphs(tmp_path / "none.graphs", [], SETTINGS))) == 0
    lonely = GraphSettings(kind="radius", cutoff=1.0)
    path = write_graphs(tmp_path / "a.graphs", [graph(2, lonely)] * 2, lonely)
    for found in PackedGraphs.open(path):
        assert_equal(found, graph(2, lonely))


@pytest.mark.usefixtures("small_blocks")
def test_writing_holds_one_block_at_a_time(tmp_path):
    alive = []

    def stream():
        for number in range(12):
            made = graph(1)
            alive.append(number)
            yield made

    writes = []
    batch = packed._record_batch

    def counting(graphs, schema):
        writes.append((len(graphs), len(alive)))
        return batch(graphs, schema)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "_record_batch", counting)
        write_graphs(tmp_path / "a.graphs", stream(), SETTINGS)
    assert writes == [(4, 4), (4, 8), (4, 12)]


def test_an_error_on_the_way_leaves_nothing(tmp_path):
    def failing():
        yield graph(1)
        raise StructureError("breaks off")

    with pytest.raises(StructureError, match="breaks off"):
        write_graphs(tmp_path / "a.graphs", failing(), SETTINGS)
    assert list(tmp_path.iterdir()) == []


def damages():
    return {
        "empty": lambda content: b"",
        "header alone": lambda content: content[:64],
        "cut": lambda content: content[: len(content) // 2],
        "longer": lambda content: content + b"\0",
        "flipped in a vector": lambda content: flipped(content, len(content) // 2),
        "flipped in the hash": lambda content: flipped(content, 20),
        "another kind": lambda content: b"PAR1" + content[4:],
        "text": lambda content: b"something else entirely",
    }


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("name", damages())
def test_damage_is_noticed_at_once(tmp_path, name):
    path = write_graphs(tmp_path / "a.graphs", [graph(2)] * 5, SETTINGS)
    path.write_bytes(damages()[name](path.read_bytes()))
    with pytest.raises(StorageError, match=r"a\.graphs: is no whole file of graphs"):
        PackedGraphs.open(path)


def test_an_absent_file(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        PackedGraphs.open(tmp_path / "a.graphs")


def forged(path, change):
    """Write a file whose hash is right and whose content somebody has thought up."""
    schema = packed._schema().with_metadata({b"settings": SETTINGS.model_dump_json()})
    rows = packed._record_batch([graph(2), graph(3)], schema).to_pylist()
    change(rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
    content = sink.getvalue().to_pybytes()
    header = b"opalign graphs 1" + hashlib.sha256(content).digest()
    path.write_bytes(header + len(content).to_bytes(8, "little") + bytes(8) + content)


def lead_nowhere(rows):
    rows[0]["source"][3] = 2


def lead_below(rows):
    rows[1]["target"][0] = -1


def drop_vector(rows):
    rows[0]["vector"].pop()


def name_element_zero(rows):
    rows[0]["atomic_numbers"][0] = 0


def leave_gap(rows):
    rows[0]["image"] = None


@pytest.mark.parametrize(
    "change", [lead_nowhere, lead_below, drop_vector, name_element_zero, leave_gap]
)
def test_a_stranger_cannot_reach_beyond_the_arrays(tmp_path, change):
    forged(tmp_path / "plain.graphs", lambda rows: None)
    assert len(PackedGraphs.open(tmp_path / "plain.graphs")) == 2
    forged(tmp_path / "forged.graphs", change)
    with pytest.raises(StorageError, match="no whole file of graphs"):
        PackedGraphs.open(tmp_path / "forged.graphs")


def test_a_file_stays_small(tmp_path):
    """Bonds take 44 bytes each; what else there is is small beside them."""
    graphs = [graph(1 + number % 5) for number in range(600)]
    path = write_graphs(tmp_path / "a.graphs", graphs, SETTINGS)
    bonds = sum(one.num_bonds for one in graphs)
    assert path.stat().st_size < 1.3 * 44 * bonds + 64 * len(graphs)
    found = PackedGraphs.open(path)
    for row in itertools.chain(range(0, 600, 97), [511, 512, 599]):
        assert_equal(found[row], graphs[row])
