"""The cache never returns an old graph, never breaks, and never stands in another process's way."""

import copy
import multiprocessing

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from opalign.crystal import cache as cache_module
from opalign.crystal.cache import cached_graphs
from opalign.crystal.graph import build_graph, structure_arrays
from opalign.crystal.settings import GraphSettings
from opalign.errors import StorageError, StructureError

SETTINGS = GraphSettings(neighbors=6)


def rock_salt(edge=4.2):
    lattice = Lattice(edge / 2 * (np.ones((3, 3)) - np.eye(3)))
    return Structure(lattice, ["Mg", "O"], [[0] * 3, [0.5] * 3])


def get(folder, structure, settings):
    """Graph of one structure by way of the cache."""
    (graph,) = cached_graphs(folder, [structure_arrays(structure)], settings)
    return graph


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def assert_equal(one, other):
    for name in ("atomic_numbers", "bond_index", "bond_image", "bond_vector"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    assert (one.volume, one.has_angles) == (other.volume, other.has_angles)


@pytest.fixture
def builds(monkeypatch):
    """Count how often graphs are built."""
    counted = []
    build = cache_module.build_graphs

    def counting(*arguments, **options):
        counted.append(1)
        return build(*arguments, **options)

    monkeypatch.setattr(cache_module, "build_graphs", counting)
    return counted


@pytest.mark.parametrize("angles", [True, False])
def test_second_time_it_comes_from_disk_and_is_the_same(tmp_path, builds, angles):
    settings = GraphSettings(neighbors=6, angles=angles)
    first = get(tmp_path, rock_salt(), settings)
    second = get(tmp_path, rock_salt(), settings)
    assert len(builds) == 1
    assert_equal(first, second)
    assert_equal(first, build_graph(rock_salt(), settings))


def test_graph_without_bonds_comes_back(tmp_path, builds):
    settings = GraphSettings(kind="radius", cutoff=1.0)
    graphs = [get(tmp_path, rock_salt(), settings) for _ in range(2)]
    assert len(builds) == 1
    assert graphs[1].num_bonds == 0
    assert_equal(*graphs)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "radius"},
        {"neighbors": 7},
        {"cutoff": 4.0},
        {"shell_tolerance": 0.1},
        {"angles": False},
    ],
)
def test_changed_settings_never_meet_an_old_graph(tmp_path, builds, change):
    get(tmp_path, rock_salt(), SETTINGS)
    changed = SETTINGS.model_copy(update=change)
    assert_equal(get(tmp_path, rock_salt(), changed), build_graph(rock_salt(), changed))
    assert len(builds) == 2


def test_changed_cutoff_gives_the_new_bonds(tmp_path):
    degree = [
        get(tmp_path, rock_salt(), GraphSettings(kind="radius", cutoff=cutoff)).num_bonds // 2
        for cutoff in (2.2, 3.0, 2.2)
    ]
    assert degree == [6, 18, 6]


def test_changed_structure_never_meets_an_old_graph(tmp_path, builds):
    moved = rock_salt()
    moved.translate_sites([0], [1e-9, 0, 0], to_unit_cell=False)
    substituted = rock_salt()
    substituted[0] = "Ca"
    reordered = Structure.from_sites(rock_salt()[::-1])
    for structure in (rock_salt(), rock_salt(4.2000001), moved, substituted, reordered):
        assert_equal(get(tmp_path, structure, SETTINGS), build_graph(structure, SETTINGS))
    assert len(builds) == 5


def test_format_version_is_part_of_the_key(tmp_path, builds, monkeypatch):
    get(tmp_path, rock_salt(), SETTINGS)
    monkeypatch.setattr(cache_module, "FORMAT_VERSION", cache_module.FORMAT_VERSION + 1)
    get(tmp_path, rock_salt(), SETTINGS)
    assert len(builds) == 2


def damage_empty(content):
    return b""


def damage_cut(content):
    return content[: len(content) // 2]


def damage_flip(content):
    return content[:-40] + bytes([content[-40] ^ 1]) + content[-39:]


def damage_replace(content):
    return b"something else entirely"


@pytest.mark.parametrize("damage", [damage_empty, damage_cut, damage_flip, damage_replace])
def test_damaged_file_is_built_again(tmp_path, builds, damage):
    # Copied: what lies in a file that is cut while it is mapped takes the process with it.
    whole = copy.deepcopy(get(tmp_path, rock_salt(), SETTINGS))
    (path,) = files(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert_equal(get(tmp_path, rock_salt(), SETTINGS), whole)
    assert_equal(get(tmp_path, rock_salt(), SETTINGS), whole)
    assert len(builds) == 2


def test_failed_write_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        get(tmp_path / "file", rock_salt(), SETTINGS)


def fill(folder, edges, barrier):
    barrier.wait()
    for edge in edges:
        get(folder, rock_salt(edge), SETTINGS)


def test_processes_that_write_at_once_leave_whole_files(tmp_path, builds):
    edges = [4.0 + 0.01 * step for step in range(25)]
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    workers = [context.Process(target=fill, args=(tmp_path, edges, barrier)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    # One file per structure and nothing left over from the writing.
    assert len(files(tmp_path)) == len(edges)
    for edge in edges:
        assert_equal(
            get(tmp_path, rock_salt(edge), SETTINGS),
            build_graph(rock_salt(edge), SETTINGS),
        )
    assert not builds


def many(number):
    return [structure_arrays(rock_salt(4.0 + 0.01 * step)) for step in range(number)]


def test_a_table_is_one_file_whatever_its_length(tmp_path, builds):
    for _ in range(2):
        found = cached_graphs(tmp_path, many(30), SETTINGS, threads=2)
        assert len(found) == 30
        for graph, arrays in zip(found, many(30), strict=True):
            np.testing.assert_allclose(graph.volume, abs(np.linalg.det(arrays[0])))
    assert len(files(tmp_path)) == len(builds) == 1
    # One more, one less, another order: other tables.
    for other in (many(31), many(29), many(30)[::-1]):
        cached_graphs(tmp_path, other, SETTINGS)
    assert len(files(tmp_path)) == len(builds) == 4


@pytest.mark.parametrize(("labels", "name"), [(None, "structure 2"), (["a", "b", "c"], "b")])
def test_a_structure_without_graph_is_named_and_nothing_is_written(tmp_path, labels, name):
    crystals = many(3)
    crystals[1] = (crystals[1][0] * 0, *crystals[1][1:])
    with pytest.raises(StructureError, match="no volume") as caught:
        cached_graphs(tmp_path, crystals, SETTINGS, labels=labels)
    assert caught.value.__notes__ == [f"while making the graph of {name}"]
    assert files(tmp_path) == []
