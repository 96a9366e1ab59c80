"""Compiled loops and array operations give one and the same graph, and one and the same refusal."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from opalign.crystal import compiled, keys
from opalign.crystal.graph import CrystalGraph, build_graph_from_arrays, collate
from opalign.crystal.many import CHUNK, build_graphs
from opalign.crystal.settings import GraphSettings
from opalign.errors import StructureError

K12 = GraphSettings(neighbors=12)
RADIUS = GraphSettings(kind="radius", cutoff=4.0)


@pytest.fixture(scope="module", autouse=True)
def kernels():
    pytest.importorskip("numba", reason="the compiled loops need numba")
    return compiled.load_kernels()


@pytest.fixture
def uncompiled(monkeypatch):
    """Take the compiled loops away, as where numba is not installed."""
    monkeypatch.setattr("opalign.crystal.many.kernels_for", lambda count: None)
    monkeypatch.setattr("opalign.crystal.graph.loaded_kernels", lambda: None)


def crystal(seed, atoms=6, edge=5.0, skew=0.3):
    """Atoms near the nodes of a grid, some of them given in a neighbouring cell."""
    random = np.random.default_rng(seed)
    lattice = np.diag(random.uniform(0.8, 1.3, 3) * edge)
    lattice += random.uniform(-skew, skew, (3, 3)) * edge / 3
    nodes = np.array(list(itertools.product([0.0, 1 / 3, 2 / 3], repeat=3)))
    nodes = nodes[random.permutation(27)[:atoms]]
    fractional = nodes + random.uniform(-0.06, 0.06, nodes.shape)
    fractional += random.integers(-2, 3, nodes.shape)
    numbers = random.choice([8, 12, 22, 34], atoms)
    return lattice, fractional @ lattice, numbers


def plain_outcome(arrays, graph_settings):
    try:
        return build_graph_from_arrays(*arrays, graph_settings)
    except StructureError as error:
        return error


def assert_same(one, other):
    np.testing.assert_array_equal(one.atomic_numbers, other.atomic_numbers)
    np.testing.assert_array_equal(one.bond_index, other.bond_index)
    np.testing.assert_array_equal(one.bond_image, other.bond_image)
    # Sums of numbers below 100 Å in another order: a few units in the last place.
    np.testing.assert_allclose(one.bond_vector, other.bond_vector, rtol=0, atol=1e-12)
    assert one.volume == pytest.approx(other.volume, rel=1e-14)
    assert one.has_angles == other.has_angles
    for name in ("atomic_numbers", "bond_index", "bond_image", "bond_vector"):
        assert getattr(one, name).dtype == getattr(other, name).dtype


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 20),
    st.one_of(
        st.builds(
            lambda k, tolerance: GraphSettings(neighbors=k, shell_tolerance=tolerance),
            st.integers(1, 30),
            st.sampled_from([0.0, 1e-3, 0.2]),
        ),
        st.builds(lambda r: GraphSettings(kind="radius", cutoff=r), st.floats(1.0, 6.0)),
    ),
    st.floats(0.0, 1.0),
)
def test_compiled_and_plain_graphs_agree(kernels, seed, atoms, graph_settings, skew):
    several = [crystal(seed + shift, atoms, edge=4.0 + shift, skew=skew) for shift in range(3)]
    for found, arrays in zip(build_graphs(several, graph_settings), several, strict=True):
        expected = plain_outcome(arrays, graph_settings)
        if isinstance(expected, StructureError):
            assert str(found) == str(expected)
        else:
            assert_same(found, expected)


def test_opposite_bonds_are_opposite_to_the_last_bit():
    (graph,) = build_graphs([crystal(3, 12)], K12)
    bonds = {}
    source, target = graph.bond_index
    for bond in range(graph.num_bonds):
        key = (int(source[bond]), int(target[bond]), *graph.bond_image[bond].tolist())
        bonds[key] = graph.bond_vector[bond]
    for (i, j, x, y, z), vector in bonds.items():
        np.testing.assert_array_equal(bonds[j, i, -x, -y, -z], -vector)


def test_a_shell_at_the_cutoff_is_whole_and_a_first_reach_too_short_grows():
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    cubic = (np.eye(3) * 3.0 @ rotation, np.zeros((1, 3)), np.array([29]))
    at_cutoff = GraphSettings(kind="radius", cutoff=3.0)
    box = (np.diag([20.0, 21.0, 22.0]), np.zeros((1, 3)), np.array([2]))
    nearest = GraphSettings(neighbors=3)
    assert next(build_graphs([cubic], at_cutoff)).num_bonds == 6
    assert next(build_graphs([box], nearest)).num_bonds == 4


def unusable():
    lattice, cartesian, numbers = crystal(0)
    close = cartesian.copy()
    close[1] = close[0] + 0.1
    flat = lattice.copy()
    flat[2] = lattice[0] + lattice[1]
    return {
        "no atoms": (lattice, np.empty((0, 3)), np.empty(0, dtype=int)),
        "two atoms on one site": (lattice, close, numbers),
        "no volume": (flat, cartesian, numbers),
        "not a number": (lattice * np.nan, cartesian, numbers),
        "position not a number": (lattice, cartesian * np.inf, numbers),
        "far from the origin": (lattice, cartesian + 1e7, numbers),
        "tiny cell": (lattice / 20, cartesian / 20, numbers),
        "huge cell": (lattice * 100, cartesian * 100, numbers),
        "element 0": (lattice, cartesian, numbers * 0),
        "element 119": (lattice, cartesian, numbers * 0 + 119),
        "positions too few": (lattice, cartesian[1:], numbers),
        "lattice of two": (lattice[:2], cartesian, numbers),
    }


@pytest.mark.parametrize("name", unusable())
@pytest.mark.parametrize("graph_settings", [K12, RADIUS], ids=["k_nearest", "radius"])
def test_what_is_refused_is_refused_in_the_same_words(name, graph_settings):
    bad = unusable()[name]
    before, found, after = build_graphs([crystal(1), bad, crystal(2)], graph_settings)
    with pytest.raises(StructureError) as refused:
        build_graph_from_arrays(*bad, graph_settings)
    assert isinstance(found, StructureError)
    assert str(found) == str(refused.value)
    # Its neighbours in the chunk are none the worse.
    assert_same(before, build_graph_from_arrays(*crystal(1), graph_settings))
    assert_same(after, build_graph_from_arrays(*crystal(2), graph_settings))


def test_what_the_loops_leave_to_others_has_its_graph(kernels):
    """A very skewed cell, and one with more atoms than comparing all of them is good for."""
    lattice, cartesian, numbers = crystal(5)
    sheared = (np.array([[1, 7, 0], [0, 1, 0], [9, 0, 1]]) @ lattice, cartesian, numbers)
    grid = np.array(list(itertools.product(range(12), repeat=3))) * 2.2
    large = (np.eye(3) * 26.4, grid, np.full(1728, 12))
    first = np.array([0, len(numbers), len(numbers) + 1728])
    volumes, *_ = kernels.build_bonds(
        np.stack((sheared[0], large[0])),
        np.concatenate((cartesian, grid)), first, 12, 0.0, 1e-3,
    )  # fmt: skip
    assert np.isnan(volumes).all()
    for found, arrays in zip(build_graphs([sheared, large], K12), [sheared, large], strict=True):
        assert_same(found, build_graph_from_arrays(*arrays, K12))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("count", [0, 1, CHUNK, 5 * CHUNK + 3])
def test_one_outcome_per_crystal_in_order(count, threads):
    crystals = [crystal(seed, 1 + seed % 5) for seed in range(count)]
    if count > 1:
        crystals[-2] = unusable()["element 0"]
    found = list(build_graphs(iter(crystals), K12, threads=threads))
    assert len(found) == count
    for outcome, arrays in zip(found, crystals, strict=True):
        if isinstance(outcome, CrystalGraph):
            np.testing.assert_array_equal(outcome.atomic_numbers, arrays[2])
    assert sum(isinstance(one, StructureError) for one in found) == (count > 1)


@pytest.mark.parametrize("threads", [1, 2])
def test_crystals_are_read_as_they_are_needed(threads):
    taken = []

    def endless():
        for seed in itertools.count():
            taken.append(seed)
            yield crystal(seed % 7)

    stream = build_graphs(endless(), K12, threads=threads)
    for _ in range(10):
        next(stream)
    stream.close()
    assert len(taken) <= compiled.WORTHWHILE + (threads + 2) * CHUNK


@pytest.mark.usefixtures("uncompiled")
def test_without_numba_everything_works():
    several = [crystal(0), unusable()["no volume"], crystal(1)]
    first, error, second = build_graphs(several, K12)
    assert_same(first, build_graph_from_arrays(*crystal(0), K12))
    assert "no volume" in str(error)
    assert_same(second, build_graph_from_arrays(*crystal(1), K12))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_and_plain_batches_agree(dtype, request):
    graphs = [build_graph_from_arrays(*crystal(seed, 1 + 2 * seed), K12) for seed in range(4)]
    lonely = (np.eye(3) * 9.0, np.zeros((1, 3)), np.array([2]))
    graphs.insert(2, build_graph_from_arrays(*lonely, GraphSettings(kind="radius", cutoff=5.0)))
    fast = collate(graphs, dtype)
    request.getfixturevalue("uncompiled")
    plain = collate(graphs, dtype)
    assert fast.keys() == plain.keys()
    for key, values in plain.items():
        assert fast[key].dtype == values.dtype
        if key == keys.ANGLE_COSINE:
            # A compiler may add three products in another order.
            limit = 4 * torch.finfo(dtype).eps
            torch.testing.assert_close(fast[key], values, rtol=0, atol=limit)
        else:
            assert torch.equal(fast[key], values), key


def test_a_batch_of_nothing_but_lonely_atoms():
    lonely = (np.eye(3) * 9.0, np.zeros((1, 3)), np.array([2]))
    batch = collate(list(build_graphs([lonely] * 3, GraphSettings(kind="radius", cutoff=5.0))))
    assert batch[keys.ANGLE_INDEX].shape == (2, 0)
    assert batch[keys.NUM_ATOMS].tolist() == [1, 1, 1]


def test_every_real_crystal_has_the_same_graph(opalign_data):
    pq = pytest.importorskip("pyarrow.parquet")
    from ase.data import atomic_numbers

    path = opalign_data / "mp_oxides_chalcogenides.parquet"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    crystals = []
    for row in pq.read_table(path).to_pylist()[::20]:
        lattice = np.reshape(row["lattice"], (3, 3))
        cartesian = np.reshape(row["frac_coords"], (-1, 3)) @ lattice
        crystals.append((lattice, cartesian, [atomic_numbers[one] for one in row["species"]]))
    for graph_settings in (K12, RADIUS):
        for found, arrays in zip(build_graphs(crystals, graph_settings), crystals, strict=True):
            assert_same(found, build_graph_from_arrays(*arrays, graph_settings))
