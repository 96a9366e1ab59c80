"""Compiled loops and array operations find the same classes; who gets which."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opalign.crystal import compiled
from opalign.crystal.graph import CrystalGraph, build_graph_from_arrays
from opalign.crystal.many import build_graphs
from opalign.crystal.quotient import FINEST, TOLERANCE, find_quotient
from opalign.crystal.refinement import WIDEST, Classes, distinct, find_classes
from opalign.crystal.settings import GraphSettings

#: Means of up to some ten thousand numbers below 20, added in another order.
ROUNDING = 1e-12
MEANS = ("bond_length", "angle_cosine")


@pytest.fixture(scope="module", autouse=True)
def kernels():
    pytest.importorskip("numba", reason="the compiled loops need numba")
    compiled.load_kernels()
    return compiled.loaded_quotient_kernels()


def crystal(seed, atoms=6, edge=5.0, times=(1, 1, 1), rattle=0.0):
    """Atoms on some nodes of a slightly strained grid, repeated and displaced."""
    random = np.random.default_rng(seed)
    lattice = np.diag(random.choice([0.9, 1.0, 1.1], 3) * edge)
    lattice[1, 0] = random.choice([0.0, 0.3])
    nodes = np.array(list(itertools.product([0.0, 1 / 3, 2 / 3], repeat=3)))
    cell = nodes[random.permutation(27)[:atoms]]
    numbers = random.choice([8, 12, 22], atoms)
    shifts = np.array(list(itertools.product(*(range(n) for n in times))))
    positions = (cell[None] + shifts[:, None]).reshape(-1, 3) @ lattice
    positions += random.normal(scale=rattle, size=positions.shape)
    return np.diag(times) @ lattice, positions, np.tile(numbers, len(shifts))


def arguments(graph, tolerance=TOLERANCE):
    numbers, vector = graph.atomic_numbers.astype(np.uint64), np.array(graph.bond_vector)
    return (numbers, *graph.bond_index, vector, graph.has_angles, tolerance)


def assert_same_classes(kernels, graph, tolerance=TOLERANCE):
    expected = find_classes(*arguments(graph, tolerance))
    plain, *parts = kernels.find_classes(*arguments(graph, tolerance))
    assert plain
    found = Classes(*parts)
    for name in Classes._fields:
        one, other = getattr(found, name), getattr(expected, name)
        assert one.dtype == other.dtype
        if name in MEANS:
            np.testing.assert_allclose(one, other, rtol=0, atol=ROUNDING, err_msg=name)
        else:
            np.testing.assert_array_equal(one, other, err_msg=name)
    return found


graph_settings = st.one_of(
    st.builds(
        lambda k, angles: GraphSettings(neighbors=k, angles=angles),
        st.integers(1, 14),
        st.booleans(),
    ),
    st.builds(
        lambda r, angles: GraphSettings(kind="radius", cutoff=r, angles=angles),
        st.floats(1.2, 4.5),
        st.booleans(),
    ),
)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    atoms=st.integers(1, 10),
    how=graph_settings,
    times=st.sampled_from([(1, 1, 1), (2, 1, 1), (1, 2, 2)]),
    # None; below what counts; about as much as chains of values need; plain.
    rattle=st.sampled_from([0.0, 1e-8, 1e-5, 1e-4, 0.05]),
)
def test_both_find_the_same_classes(kernels, seed, atoms, how, times, rattle):
    arrays = crystal(seed, atoms, times=times, rattle=rattle)
    assert_same_classes(kernels, build_graph_from_arrays(*arrays, how))


@pytest.mark.parametrize("tolerance", [FINEST, 1e-7, 1e-3, 0.3])
def test_whatever_the_tolerance(kernels, tolerance):
    for seed in range(4):
        graph = build_graph_from_arrays(*crystal(seed, 8, rattle=1e-4), GraphSettings())
        assert_same_classes(kernels, graph, tolerance)


def test_a_graph_of_hundreds_of_angles_to_a_bond(kernels):
    """More kinds to sort at once than are put in their places one by one."""
    graph = build_graph_from_arrays(
        *crystal(3, 12, rattle=0.03), GraphSettings(kind="radius", cutoff=6.0)
    )
    found = assert_same_classes(kernels, graph)
    assert np.bincount(found.angle_index[1]).max() > 2 * kernels.FEW


def test_lonely_atoms_and_crystals_of_nothing_else(kernels):
    lattice, positions, numbers = (
        20.0 * np.eye(3),
        [[0, 0, 0], [0, 0, 2.0], [9.0, 9.0, 9.0]],
        [8, 8, 2],
    )
    how = GraphSettings(kind="radius", cutoff=3.0)
    found = assert_same_classes(kernels, build_graph_from_arrays(lattice, positions, numbers, how))
    assert found.atom_class.tolist() == [0, 0, 1]
    alone = build_graph_from_arrays(lattice, positions[:1], [2], how)
    assert assert_same_classes(kernels, alone).bond_index.shape == (2, 0)


def test_a_supercell_has_the_classes_of_its_cell(kernels):
    how = GraphSettings()
    for seed in range(5):
        cell = assert_same_classes(kernels, build_graph_from_arrays(*crystal(seed), how))
        arrays = crystal(seed, times=(2, 1, 3))
        larger = assert_same_classes(kernels, build_graph_from_arrays(*arrays, how))
        assert larger.atom_multiplicity.tolist() == (6 * cell.atom_multiplicity).tolist()
        assert sorted(larger.bond_multiplicity) == sorted(cell.bond_multiplicity)


def test_every_real_crystal_has_the_same_classes(kernels, opalign_data):
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
    kinds = GraphSettings(), GraphSettings(kind="radius", cutoff=4.0)
    saved = [
        graph.num_angles / len(assert_same_classes(kernels, graph).angle_cosine)
        for how in kinds
        for graph in build_graphs(crystals, how)
        if graph.num_bonds
    ]
    assert np.median(saved) > 2.5


@given(st.lists(st.integers(0, 60), max_size=60), st.floats(-3.0, 3.0))
def test_values_are_told_apart_as_by_sorting_them(kernels, steps, start):
    from opalign.crystal import value_kernels

    values = np.cumsum(steps) * TOLERANCE / 4 + start
    values = np.random.default_rng(2).permutation(values)
    number, merged = value_kernels.distinct(values, np.ones(len(values)), TOLERANCE)
    expected_number, expected = distinct(values, TOLERANCE)
    assert number.tolist() == expected_number.tolist()
    np.testing.assert_allclose(merged, expected, rtol=0, atol=ROUNDING)


def test_a_chain_of_values_is_cut_where_sorting_cuts_it(kernels):
    from opalign.crystal import value_kernels

    random = np.random.default_rng(5)
    # A chain of hundreds of tolerances, a value on its own, and equal ones.
    chain = np.cumsum(random.uniform(0, 1.0, 2000)) * TOLERANCE
    values = random.permutation(np.concatenate((chain, chain[:50], [-1.0, 7.0, 7.0])))
    number, merged = value_kernels.distinct(values, np.ones(len(values)), TOLERANCE)
    expected_number, expected = distinct(values, TOLERANCE)
    assert number.tolist() == expected_number.tolist()
    assert len(merged) > np.ptp(chain) / (WIDEST * TOLERANCE)
    np.testing.assert_allclose(merged, expected, rtol=0, atol=ROUNDING)


def test_a_bond_without_its_opposite_is_left_to_array_operations(kernels):
    graph = build_graph_from_arrays(*crystal(1), GraphSettings())
    vector = graph.bond_vector.copy()
    vector[3] *= 1 + 1e-15
    uneven = CrystalGraph(
        graph.atomic_numbers, graph.bond_index, graph.bond_image, vector, graph.volume, True
    )
    assert not kernels.find_classes(*arguments(uneven))[0]
    expected, found = find_classes(*arguments(uneven)), uneven.quotient
    np.testing.assert_array_equal(found.angle_index, expected.angle_index)
    np.testing.assert_array_equal(found.angle_cosine, expected.angle_cosine)


def test_compiled_loops_serve_once_they_are_loaded(kernels, monkeypatch):
    graph = build_graph_from_arrays(*crystal(2), GraphSettings())
    seen = []
    monkeypatch.setattr(kernels, "find_classes", lambda *found: seen.append(found) or (False,))
    find_quotient(graph)
    assert len(seen) == 1
    # A grid finer than rounding tells nothing apart, and none of no width can be made.
    find_quotient(graph, tolerance=0.0)
    monkeypatch.setattr(compiled, "loaded_kernels", lambda: None)
    find_quotient(graph)
    assert len(seen) == 1


def test_arrays_that_cannot_be_written_need_no_code_of_their_own(kernels):
    graph = build_graph_from_arrays(*crystal(2), GraphSettings())
    find_quotient(graph)
    known = len(kernels.find_classes.signatures)
    for array in (graph.atomic_numbers, graph.bond_vector):
        array.flags.writeable = False
    find_quotient(graph)
    (chunked,) = build_graphs([crystal(2)], GraphSettings())
    find_quotient(chunked)
    assert len(kernels.find_classes.signatures) == known


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("plain", [False, True])
def test_graphs_come_with_their_classes_if_asked_for(threads, plain, monkeypatch):
    if plain:
        monkeypatch.setattr("opalign.crystal.many.kernels_for", lambda count: None)
    crystals = [crystal(seed, 1 + seed % 5) for seed in range(70)]
    crystals[3] = (np.zeros((3, 3)), *crystals[3][1:])
    found = list(build_graphs(crystals, GraphSettings(), threads=threads, quotients=True))
    assert not isinstance(found.pop(3), CrystalGraph)
    assert all("quotient" in vars(graph) for graph in found)
    (without,) = build_graphs(crystals[:1], GraphSettings())
    assert "quotient" not in vars(without)
    np.testing.assert_array_equal(found[0].quotient.angle_index, without.quotient.angle_index)
