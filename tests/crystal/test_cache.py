"""The cache never returns an old graph, never breaks, and never stands in another process's way."""

import multiprocessing

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from opalign.crystal import cache as cache_module
from opalign.crystal.cache import GraphCache
from opalign.crystal.graph import build_graph
from opalign.crystal.settings import GraphSettings
from opalign.errors import StorageError

SETTINGS = GraphSettings(neighbors=6)


def rock_salt(edge=4.2):
    lattice = Lattice(edge / 2 * (np.ones((3, 3)) - np.eye(3)))
    return Structure(lattice, ["Mg", "O"], [[0] * 3, [0.5] * 3])


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def assert_equal(one, other):
    for name in ("atomic_numbers", "bond_index", "bond_image", "bond_vector"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    assert (one.volume, one.has_angles) == (other.volume, other.has_angles)


@pytest.fixture
def builds(monkeypatch):
    """Count how often a graph is built."""
    counted = []
    build = cache_module.build_graph_from_arrays

    def counting(*arguments):
        counted.append(1)
        return build(*arguments)

    monkeypatch.setattr(cache_module, "build_graph_from_arrays", counting)
    return counted


@pytest.mark.parametrize("angles", [True, False])
def test_second_time_it_comes_from_disk_and_is_the_same(tmp_path, builds, angles):
    settings = GraphSettings(neighbors=6, angles=angles)
    first = GraphCache(tmp_path).get(rock_salt(), settings)
    second = GraphCache(tmp_path).get(rock_salt(), settings)
    assert len(builds) == 1
    assert_equal(first, second)
    assert_equal(first, build_graph(rock_salt(), settings))


def test_graph_without_bonds_comes_back(tmp_path, builds):
    settings = GraphSettings(kind="radius", cutoff=1.0)
    graphs = [GraphCache(tmp_path).get(rock_salt(), settings) for _ in range(2)]
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
    graphs = GraphCache(tmp_path)
    graphs.get(rock_salt(), SETTINGS)
    changed = SETTINGS.model_copy(update=change)
    assert_equal(graphs.get(rock_salt(), changed), build_graph(rock_salt(), changed))
    assert len(builds) == 2


def test_changed_cutoff_gives_the_new_bonds(tmp_path):
    graphs = GraphCache(tmp_path)
    degree = [
        graphs.get(rock_salt(), GraphSettings(kind="radius", cutoff=cutoff)).num_bonds // 2
        for cutoff in (2.2, 3.0, 2.2)
    ]
    assert degree == [6, 18, 6]


def test_changed_structure_never_meets_an_old_graph(tmp_path, builds):
    graphs = GraphCache(tmp_path)
    moved = rock_salt()
    moved.translate_sites([0], [1e-9, 0, 0], to_unit_cell=False)
    substituted = rock_salt()
    substituted[0] = "Ca"
    reordered = Structure.from_sites(rock_salt()[::-1])
    for structure in (rock_salt(), rock_salt(4.2000001), moved, substituted, reordered):
        assert_equal(graphs.get(structure, SETTINGS), build_graph(structure, SETTINGS))
    assert len(builds) == 5


def test_format_version_is_part_of_the_key(tmp_path, builds, monkeypatch):
    GraphCache(tmp_path).get(rock_salt(), SETTINGS)
    monkeypatch.setattr(cache_module, "FORMAT_VERSION", cache_module.FORMAT_VERSION + 1)
    GraphCache(tmp_path).get(rock_salt(), SETTINGS)
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
    graphs = GraphCache(tmp_path)
    whole = graphs.get(rock_salt(), SETTINGS)
    (path,) = files(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert_equal(graphs.get(rock_salt(), SETTINGS), whole)
    assert_equal(graphs.get(rock_salt(), SETTINGS), whole)
    assert len(builds) == 2


def test_failed_write_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        GraphCache(tmp_path / "file").get(rock_salt(), SETTINGS)


def fill(folder, edges, barrier):
    graphs = GraphCache(folder)
    barrier.wait()
    for edge in edges:
        graphs.get(rock_salt(edge), SETTINGS)


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
            GraphCache(tmp_path).get(rock_salt(edge), SETTINGS),
            build_graph(rock_salt(edge), SETTINGS),
        )
    assert not builds
