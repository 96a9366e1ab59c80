"""Classes of atoms, bonds and angles: known ones, what they must satisfy, where there are none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opalign.crystal import keys
from opalign.crystal.graph import build_graph_from_arrays, collate
from opalign.crystal.quotient import TOLERANCE, find_quotient
from opalign.crystal.refinement import WIDEST, distinct
from opalign.crystal.settings import GraphSettings

ROCKSALT = (2.1 * (np.ones((3, 3)) - np.eye(3)), [[0, 0, 0], [2.1, 2.1, 2.1]], [12, 8])
RUTILE = (
    np.diag([4.6, 4.6, 2.96]),
    np.array(
        [
            [0, 0, 0],
            [0.5, 0.5, 0.5],
            [0.305, 0.305, 0],
            [0.695, 0.695, 0],
            [0.195, 0.805, 0.5],
            [0.805, 0.195, 0.5],
        ]
    )
    @ np.diag([4.6, 4.6, 2.96]),
    [22, 22, 8, 8, 8, 8],
)


def graph_of(crystal, **settings):
    return build_graph_from_arrays(*crystal, GraphSettings(**settings))


def supercell(crystal, times):
    lattice, positions, numbers = (np.asarray(part) for part in crystal)
    shifts = np.stack(np.meshgrid(*(range(n) for n in times), indexing="ij"), -1).reshape(-1, 3)
    return (
        np.diag(times) @ lattice,
        np.concatenate([positions + shift @ lattice for shift in shifts]),
        np.tile(numbers, len(shifts)),
    )


def numbers_of(quotient):
    """Everything that counts, without regard to order."""
    kinds = zip(
        np.round(quotient.angle_cosine, 6),
        quotient.angle_multiplicity,
        *np.round(quotient.bond_length[quotient.angle_index], 6),
        *quotient.bond_multiplicity[quotient.angle_index],
        strict=True,
    )
    return sorted(kinds)


def test_rock_salt():
    quotient = find_quotient(graph_of(ROCKSALT, neighbors=6))
    assert quotient.atomic_numbers.tolist() == [12, 8]
    assert quotient.atom_multiplicity.tolist() == [1, 1]
    # From anion to cation and back: six each.
    assert quotient.bond_index.tolist() == [[1, 0], [0, 1]]
    assert quotient.bond_multiplicity.tolist() == [6, 6]
    np.testing.assert_allclose(quotient.bond_length, 2.1)
    # At either end: one bond straight on, four at a right angle, one back.
    assert quotient.angle_multiplicity.tolist() == [1, 4, 1, 1, 4, 1]
    np.testing.assert_allclose(quotient.angle_cosine, [-1, 0, 1, -1, 0, 1], atol=1e-12)
    assert quotient.angle_index.tolist() == [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]


def test_rutile_has_two_kinds_of_bonds():
    quotient = find_quotient(graph_of(RUTILE, neighbors=3))
    assert quotient.atomic_numbers.tolist() == [22, 8]
    assert quotient.atom_multiplicity.tolist() == [2, 4]
    into_oxygen = quotient.bond_multiplicity[quotient.bond_index[1] == 1]
    assert sorted(into_oxygen) == [1, 2]


@pytest.mark.parametrize("kind", ["k_nearest", "radius"])
@pytest.mark.parametrize("angles", [True, False])
def test_a_supercell_has_the_classes_of_its_cell(kind, angles):
    settings = {"kind": kind, "cutoff": 4.0, "angles": angles}
    cell = find_quotient(graph_of(RUTILE, **settings))
    larger = find_quotient(graph_of(supercell(RUTILE, (2, 1, 3)), **settings))
    assert larger.atomic_numbers.tolist() == cell.atomic_numbers.tolist()
    assert larger.atom_multiplicity.tolist() == (6 * cell.atom_multiplicity).tolist()
    assert sorted(larger.bond_multiplicity) == sorted(cell.bond_multiplicity)
    assert numbers_of(larger) == numbers_of(cell)
    assert len(cell.angle_cosine) > 0 or not angles


def test_where_nothing_is_alike_there_is_nothing_to_reduce():
    lattice, positions, numbers = RUTILE
    moved = positions + np.random.default_rng(0).normal(scale=0.05, size=positions.shape)
    graph = graph_of((lattice, moved, numbers))
    quotient = find_quotient(graph)
    batch = collate([graph], reduced=True)
    whole = collate([graph])
    assert (quotient.atom_multiplicity == 1).all()
    assert (quotient.bond_multiplicity == 1).all()
    # Backtracking: a bond and its reverse make an angle of cosine one at either end, no other does.
    assert (quotient.angle_multiplicity == 1).all()
    for name in (keys.ATOMIC_NUMBERS, keys.BOND_INDEX, keys.BOND_LENGTH):
        np.testing.assert_allclose(batch[name], whole[name], atol=TOLERANCE)


def test_a_displacement_within_rounding_is_none_and_a_larger_one_is():
    lattice, positions, numbers = RUTILE
    whole = find_quotient(graph_of(RUTILE))
    for size, same in ((1e-7, True), (1e-3, False)):
        moved = np.array(positions)
        moved[2] += size * np.array([0.3, -0.5, 0.8])
        found = find_quotient(graph_of((lattice, moved, numbers)))
        assert (len(found.bond_length) == len(whole.bond_length)) is same


def test_classes_are_equitable_and_complete(opalign_data):
    """Every atom has as many bonds of a kind as its class says, every bond as many angles."""
    import pyarrow.parquet as pq
    from ase.data import atomic_numbers

    table = pq.read_table(opalign_data / "mp_oxides_chalcogenides.parquet").to_pylist()
    saved = []
    for row in table[::200]:
        lattice = np.reshape(row["lattice"], (3, 3))
        numbers = [atomic_numbers[symbol] for symbol in row["species"]]
        crystal = lattice, np.reshape(row["frac_coords"], (-1, 3)) @ lattice, numbers
        graph = graph_of(crystal)
        quotient = graph.quotient
        assert (graph.atomic_numbers == quotient.atomic_numbers[quotient.atom_class]).all()
        assert (np.bincount(quotient.atom_class) == quotient.atom_multiplicity).all()
        for atom, kind in enumerate(quotient.atom_class):
            into = graph.bond_index[1] == atom
            found = np.column_stack(
                [
                    quotient.atom_class[graph.bond_index[0, into]],
                    graph.bond_length[into].round(3),
                ]
            )
            of_class = quotient.bond_index[1] == kind
            expected = np.repeat(
                np.column_stack(
                    [quotient.bond_index[0, of_class], quotient.bond_length[of_class].round(3)]
                ),
                quotient.bond_multiplicity[of_class],
                axis=0,
            )
            np.testing.assert_allclose(
                found[np.lexsort(found.T)], expected[np.lexsort(expected.T)], atol=2e-3
            )
        bonds = quotient.bond_multiplicity * quotient.atom_multiplicity[quotient.bond_index[1]]
        angles = quotient.angle_multiplicity * bonds[quotient.angle_index[1]]
        assert bonds.sum() == graph.num_bonds
        assert angles.sum() == graph.num_angles
        assert (np.diff(quotient.bond_index[1]) >= 0).all()
        assert (np.diff(quotient.angle_index[1]) >= 0).all()
        saved.append(graph.num_angles / len(angles))
    assert np.median(saved) > 2.5


def test_an_atom_without_bonds():
    lonely = (20.0 * np.eye(3), [[0, 0, 0]], [2])
    graph = graph_of(lonely, kind="radius", cutoff=3.0)
    quotient = graph.quotient
    assert quotient.atom_class.tolist() == [0]
    assert quotient.bond_index.shape == quotient.angle_index.shape == (2, 0)
    batch = collate([graph, graph_of(ROCKSALT, neighbors=6)], reduced=True)
    assert batch[keys.NUM_ANGLES].tolist() == [0, 6]
    assert batch[keys.BOND_INDEX].min() == 1


def test_a_batch_counts_on():
    first, second = graph_of(ROCKSALT, neighbors=6), graph_of(RUTILE, neighbors=3)
    batch = collate([first, second], reduced=True)
    one, other = first.quotient, second.quotient
    classes, bonds = len(one.atomic_numbers), len(one.bond_length)
    assert batch[keys.ATOM_CLASS].tolist() == [
        *one.atom_class, *(other.atom_class + classes)
    ]  # fmt: skip
    assert (batch[keys.BOND_INDEX][:, bonds:].numpy() == other.bond_index + classes).all()
    angles = batch[keys.ANGLE_INDEX][:, len(one.angle_cosine) :]
    assert (angles.numpy() == other.angle_index + bonds).all()
    assert batch[keys.NUM_ATOMS].tolist() == [2, 6]
    assert batch[keys.ATOM_STRUCTURE].tolist() == [0, 0, 1, 1]
    assert batch[keys.ATOM_MULTIPLICITY].tolist() == [1, 1, 2, 4]


@given(st.lists(st.integers(0, 60), max_size=30))
def test_values_are_merged_by_gaps_and_never_far(steps):
    values = np.random.default_rng(1).permutation(np.cumsum(steps) * TOLERANCE / 4)
    number, merged = distinct(values, TOLERANCE)
    assert np.abs(merged[number] - values).max(initial=0.0) <= (WIDEST + 1) * TOLERANCE
    for label in range(len(merged)):
        members = values[number == label]
        assert np.ptp(members) <= WIDEST * TOLERANCE
        assert merged[label] == pytest.approx(members.mean())
    # What is alike has one number, what is far apart two.
    near = np.abs(values[:, None] - values) <= TOLERANCE / 8
    far = np.abs(values[:, None] - values) > WIDEST * TOLERANCE
    same = number[:, None] == number
    assert same[near].all()
    assert not same[far].any()
