"""Crystal graphs and batches: conventions, counts, angles, and what a batch must not change."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from opalign.crystal import keys
from opalign.crystal.graph import build_graph, build_graph_from_arrays, collate, line_graph
from opalign.crystal.settings import GraphSettings
from opalign.errors import ConfigurationError, StructureError

K4 = GraphSettings(neighbors=4)


def zinc_blende(edge=5.4):
    lattice = Lattice(edge / 2 * (np.ones((3, 3)) - np.eye(3)))
    return Structure(lattice, ["Zn", "S"], [[0] * 3, [0.25] * 3])


def random_structure(seed, atoms=5):
    random = np.random.default_rng(seed)
    lattice = np.diag([5.0, 5.5, 6.0]) + random.uniform(-1, 1, size=(3, 3))
    grid = np.array(list(itertools.product([0.0, 0.5], repeat=3)))[:atoms]
    coordinates = grid + random.uniform(-0.1, 0.1, size=(atoms, 3))
    return Structure(lattice, random.choice(["O", "Ti", "Mg"], atoms).tolist(), coordinates)


def brute_force_angles(graph):
    """Dictionary (bond into b, bond out of b) → cosine, by trying every pair of bonds."""
    source, target = graph.bond_index
    found = {}
    for p, q in itertools.product(range(graph.num_bonds), repeat=2):
        if target[p] == source[q]:
            v, w = graph.bond_vector[p], graph.bond_vector[q]
            found[(p, q)] = -(v @ w) / np.linalg.norm(v) / np.linalg.norm(w)
    return found


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 6))
def test_angles_agree_with_brute_force(seed, atoms, k):
    graph = build_graph(random_structure(seed, atoms), GraphSettings(neighbors=k))
    expected = brute_force_angles(graph)
    pairs = list(map(tuple, graph.angle_index.T.tolist()))
    assert len(pairs) == len(set(pairs)) == graph.num_angles == len(expected)
    assert set(pairs) == set(expected)
    assert pairs == sorted(pairs, key=lambda pair: (pair[1], pair[0]))
    np.testing.assert_allclose(graph.angle_cosine, [expected[pair] for pair in pairs], atol=1e-12)


def test_bond_vectors_point_from_source_to_target():
    structure = random_structure(1)
    graph = build_graph(structure, K4)
    source, target = graph.bond_index
    positions = structure.cart_coords
    expected = positions[target] + graph.bond_image @ structure.lattice.matrix - positions[source]
    np.testing.assert_allclose(graph.bond_vector, expected, atol=1e-10)
    assert (np.diff(target) >= 0).all()
    np.testing.assert_allclose(graph.bond_length, np.linalg.norm(expected, axis=1), atol=1e-10)


def test_tetrahedra_have_their_angle():
    """Zinc blende: about every atom four bonds at 109.47°, and each bond with itself at 0°."""
    graph = build_graph(zinc_blende(), K4)
    assert (graph.num_atoms, graph.num_bonds, graph.num_angles) == (2, 8, 32)
    cosines, counts = np.unique(np.round(graph.angle_cosine, 9), return_counts=True)
    np.testing.assert_allclose(cosines, [-1 / 3, 1.0], atol=1e-9)
    assert counts.tolist() == [24, 8]


def test_octahedra_have_their_angles():
    lattice = np.array([[0.0, 2.1, 2.1], [2.1, 0.0, 2.1], [2.1, 2.1, 0.0]])
    graph = build_graph_from_arrays(
        lattice, [[0, 0, 0], [2.1, 2.1, 2.1]], [12, 8], GraphSettings(neighbors=6)
    )
    cosines, counts = np.unique(np.round(graph.angle_cosine, 9) + 0.0, return_counts=True)
    np.testing.assert_allclose(cosines, [-1.0, 0.0, 1.0], atol=1e-9)
    # Six bonds into either atom, each with the opposite one, four across, and its own reverse.
    assert counts.tolist() == [12, 48, 12]


def test_reversed_bond_is_the_very_same_bond_in_the_line_graph():
    """With one atom per cell, a→b→a is the bond and its exact reverse, not any image of a."""
    graph = build_graph_from_arrays(np.eye(3) * 3.0, [[0, 0, 0]], [29], GraphSettings(neighbors=6))
    first, second = graph.angle_index
    reverse = (graph.bond_image[first] == -graph.bond_image[second]).all(axis=1)
    np.testing.assert_allclose(graph.angle_cosine[reverse], 1.0)
    assert reverse.sum() == graph.num_bonds == 6
    assert graph.num_angles == 36


def test_line_graph_agrees_with_the_one_of_alignn():
    builder = pytest.importorskip("alignn.torch_graph_builder")
    graph = build_graph(random_structure(7), GraphSettings(neighbors=6))
    source, target = (torch.from_numpy(row.copy()) for row in graph.bond_index)
    first, second = builder._line_graph_edges(source, target, graph.num_atoms)
    theirs = set(zip(first.tolist(), second.tolist(), strict=True))
    assert theirs == set(map(tuple, graph.angle_index.T.tolist()))
    vectors = torch.from_numpy(graph.bond_vector)
    ours = graph.angle_index
    cosines = builder.torch_bond_cosines(vectors[ours[0]], vectors[ours[1]])
    np.testing.assert_allclose(graph.angle_cosine, cosines.numpy(), atol=1e-12)


def test_bonds_agree_with_those_of_alignn_within_a_radius():
    builder = pytest.importorskip("alignn.torch_graph_builder")
    structure = random_structure(8)
    source, target, image, _ = builder.torch_neighbor_list(
        torch.tensor(structure.cart_coords), torch.tensor(structure.lattice.matrix), 4.7
    )
    graph = build_graph(structure, GraphSettings(kind="radius", cutoff=4.7))
    theirs = np.column_stack((source, target, image.long())).tolist()
    ours = np.column_stack((graph.bond_index.T, graph.bond_image)).tolist()
    assert sorted(ours) == sorted(theirs)


def test_arrays_and_structure_give_the_same_graph():
    structure = random_structure(2)
    one = build_graph(structure, K4)
    other = build_graph_from_arrays(
        structure.lattice.matrix, structure.cart_coords, structure.atomic_numbers, K4
    )
    np.testing.assert_array_equal(one.bond_index, other.bond_index)
    np.testing.assert_array_equal(one.atomic_numbers, structure.atomic_numbers)
    assert one.volume == pytest.approx(structure.volume)


def test_batch_has_the_keys_shapes_and_types_of_the_table():
    graphs = [build_graph(random_structure(seed, atoms), K4) for seed, atoms in [(0, 3), (1, 5)]]
    batch = collate(graphs)
    atoms, bonds = sum(g.num_atoms for g in graphs), sum(g.num_bonds for g in graphs)
    angles = sum(g.num_angles for g in graphs)
    integers, real = torch.int64, torch.float32
    expected = {
        keys.ATOMIC_NUMBERS: ((atoms,), integers),
        keys.BOND_INDEX: ((2, bonds), integers),
        keys.BOND_VECTOR: ((bonds, 3), real),
        keys.BOND_LENGTH: ((bonds,), real),
        keys.BOND_IMAGE: ((bonds, 3), integers),
        keys.ANGLE_INDEX: ((2, angles), integers),
        keys.ANGLE_COSINE: ((angles,), real),
        keys.NUM_ATOMS: ((2,), integers),
        keys.NUM_BONDS: ((2,), integers),
        keys.NUM_ANGLES: ((2,), integers),
        keys.ATOM_STRUCTURE: ((atoms,), integers),
        keys.VOLUME: ((2,), real),
    }
    assert {key: (tuple(t.shape), t.dtype) for key, t in batch.items()} == expected
    assert all(f"``{key}``" in keys.__doc__ for key in batch)


def test_batch_is_its_graphs_one_after_the_other():
    graphs = [build_graph(random_structure(seed, 2 + seed), K4) for seed in range(3)]
    batch = collate(graphs, dtype=torch.float64)
    atom = bond = angle = 0
    for index, graph in enumerate(graphs):
        n, e, t = graph.num_atoms, graph.num_bonds, graph.num_angles
        assert [int(batch[key][index]) for key in ("num_atoms", "num_bonds", "num_angles")] == [
            n,
            e,
            t,
        ]
        bonds = batch[keys.BOND_INDEX][:, bond : bond + e].numpy() - atom
        np.testing.assert_array_equal(bonds, graph.bond_index)
        angles = batch[keys.ANGLE_INDEX][:, angle : angle + t].numpy() - bond
        np.testing.assert_array_equal(angles, graph.angle_index)
        cosines = batch[keys.ANGLE_COSINE][angle : angle + t].numpy()
        np.testing.assert_allclose(cosines, graph.angle_cosine, atol=1e-12)
        lengths = batch[keys.BOND_LENGTH][bond : bond + e].numpy()
        np.testing.assert_allclose(lengths, graph.bond_length, atol=1e-12)
        assert (batch[keys.ATOM_STRUCTURE][atom : atom + n] == index).all()
        assert float(batch[keys.VOLUME][index]) == pytest.approx(graph.volume)
        atom, bond, angle = atom + n, bond + e, angle + t
    assert (torch.diff(batch[keys.BOND_INDEX][1]) >= 0).all()
    assert (torch.diff(batch[keys.ANGLE_INDEX][1]) >= 0).all()
    # The graphs can be batched again: collate must not have written into them.
    np.testing.assert_array_equal(
        collate(graphs[1:])[keys.BOND_INDEX][:, : graphs[1].num_bonds], graphs[1].bond_index
    )


def test_single_precision_cosines_are_as_good_as_single_precision_allows():
    graph = build_graph(random_structure(5), GraphSettings(neighbors=12))
    cosines = collate([graph])[keys.ANGLE_COSINE]
    # Three products of unit vectors, each rounded at 6e-8.
    np.testing.assert_allclose(cosines.numpy(), graph.angle_cosine, atol=5e-7)
    assert cosines.abs().max() <= 1.0


def test_batch_without_angles_has_none():
    batch = collate([build_graph(zinc_blende(), GraphSettings(angles=False))])
    assert not {keys.ANGLE_INDEX, keys.ANGLE_COSINE, keys.NUM_ANGLES} & batch.keys()


def test_atom_without_neighbours_has_no_bonds_but_its_place():
    lonely = build_graph_from_arrays(
        np.eye(3) * 9.0, [[0, 0, 0]], [2], GraphSettings(kind="radius", cutoff=5.0)
    )
    other = build_graph(random_structure(3), GraphSettings(kind="radius", cutoff=5.0))
    batch = collate([lonely, other, lonely])
    assert batch[keys.NUM_BONDS].tolist() == [0, other.num_bonds, 0]
    assert batch[keys.NUM_ANGLES].tolist() == [0, other.num_angles, 0]
    np.testing.assert_array_equal(batch[keys.BOND_INDEX] - 1, other.bond_index)
    alone = collate([lonely])
    assert alone[keys.BOND_VECTOR].shape == (0, 3)
    assert alone[keys.ANGLE_INDEX].shape == (2, 0)
    assert torch.isfinite(batch[keys.ANGLE_COSINE]).all()


def test_line_graph_of_no_bonds_is_empty():
    assert line_graph(np.empty((2, 0), dtype=np.int64), 3).shape == (2, 0)


def test_mixed_and_empty_batches_are_refused():
    graphs = [build_graph(zinc_blende(), GraphSettings(angles=angles)) for angles in (True, False)]
    with pytest.raises(ConfigurationError, match="with and without angles"):
        collate(graphs)
    with pytest.raises(ConfigurationError, match="at least one"):
        collate([])


def test_disordered_structure_is_refused_by_site():
    structure = Structure(Lattice.cubic(4.2), ["Mg", {"O": 0.5}], [[0] * 3, [0.5] * 3])
    with pytest.raises(StructureError, match=r"atom 2 \(O:0\.5\)"):
        build_graph(structure, K4)


@pytest.mark.parametrize("number", [0, -3, 119])
def test_atomic_number_out_of_range_is_refused(number):
    with pytest.raises(StructureError, match=f"atom 2 has atomic number {number}"):
        build_graph_from_arrays(np.eye(3) * 4, [[0, 0, 0], [2, 2, 2]], [8, number], K4)


@pytest.mark.parametrize("kind", ["k_nearest", "radius"])
def test_atoms_on_one_site_are_refused_even_without_reading(kind):
    with pytest.raises(StructureError, match=r"atom 1 .* and atom 2 .* are 0 Å apart"):
        build_graph_from_arrays(
            np.eye(3) * 4, [[0, 0, 0], [0, 0, 0]], [8, 8], GraphSettings(kind=kind)
        )


@pytest.mark.parametrize("spot", ["lattice", "position"])
def test_arrays_that_are_not_finite_are_refused(spot):
    lattice, positions = np.eye(3) * 4, np.zeros((1, 3))
    (lattice if spot == "lattice" else positions)[0, 0] = np.nan
    with pytest.raises(StructureError, match="not finite"):
        build_graph_from_arrays(lattice, positions, [8], K4)
