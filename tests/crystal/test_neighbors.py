"""Neighbour lists against brute force, pymatgen, matscipy, and the symmetry of the crystal."""

import itertools

import numpy as np
import pytest
import spglib
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from opalign.crystal import neighbors
from opalign.crystal.neighbors import NeighborList, k_nearest_neighbors, radius_neighbors

# Å; distances this near a limit may fall on either side of it.
EDGE = 1e-6

Bond = tuple[int, int, int, int, int]


def brute_force(lattice, cartesian, cutoff):
    """Every (source, target, image) → length, by trying all images that can be near enough."""
    fractional = cartesian @ np.linalg.inv(lattice)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    reach = np.ceil(cutoff / heights + np.ptp(fractional, axis=0)).astype(int)
    images = np.array(list(itertools.product(*(range(-n, n + 1) for n in reach))))
    bonds = {}
    for i, j in itertools.product(range(len(cartesian)), repeat=2):
        lengths = np.linalg.norm(cartesian[j] - cartesian[i] + images @ lattice, axis=1)
        for n in np.flatnonzero(lengths <= cutoff):
            if i != j or images[n].any():
                bonds[(i, j, *map(int, images[n]))] = lengths[n]
    return bonds


def brute_force_k_nearest(lattice, cartesian, k, tolerance):
    count = len(cartesian)
    cutoff = 3.0
    while True:
        everything = brute_force(lattice, cartesian, cutoff)
        shells = [sorted(d for b, d in everything.items() if b[0] == i) for i in range(count)]
        if all(len(s) >= k and s[k - 1] + tolerance < cutoff - EDGE for s in shells):
            break
        cutoff *= 1.3
    limits = [s[k - 1] + tolerance for s in shells]
    assume(all(abs(d - limits[b[0]]) > EDGE for b, d in everything.items()))
    chosen = {b for b, d in everything.items() if d <= limits[b[0]]}
    return chosen | {(j, i, -x, -y, -z) for i, j, x, y, z in chosen}


def as_set(bonds: NeighborList) -> set[Bond]:
    rows = np.column_stack((bonds.source, bonds.target, bonds.image)).tolist()
    assert len(rows) == len(set(map(tuple, rows))), "a bond appears twice"
    return set(map(tuple, rows))


def lengths_of(bonds: NeighborList) -> np.ndarray:
    return np.linalg.norm(bonds.vector, axis=1)


def edge_multiset(bonds: NeighborList) -> np.ndarray:
    """Sorted lengths of all bonds: what no choice of axes, origin or order may change."""
    return np.sort(lengths_of(bonds))


@st.composite
def crystals(draw):
    """A lattice of any handedness and skew, and atoms in it and outside, none on another."""
    edges = draw(st.tuples(*[st.floats(2.2, 5.0)] * 3))
    lattice = np.diag(edges)
    lattice += np.array(draw(st.lists(st.floats(-0.4, 0.4), min_size=9, max_size=9))).reshape(3, 3)
    a, b, c = draw(st.tuples(*[st.integers(-2, 2)] * 3))
    lattice = np.array([[1, 0, 0], [a, 1, 0], [b, c, 1]]) @ lattice
    if draw(st.booleans()):
        lattice[0] *= -1
    count = draw(st.integers(1, 4))
    coordinates = st.lists(st.floats(-1.5, 2.5), min_size=3 * count, max_size=3 * count)
    cartesian = np.array(draw(coordinates)).reshape(-1, 3) @ lattice
    assume(not brute_force(lattice, cartesian, 0.6))
    return lattice, cartesian


ROCK_SALT = np.array([[0.0, 2.1, 2.1], [2.1, 0.0, 2.1], [2.1, 2.1, 0.0]])
ROCK_SALT_ATOMS = np.array([[0.0, 0.0, 0.0], [2.1, 2.1, 2.1]])


@settings(max_examples=150, deadline=None)
@given(crystals(), st.floats(1.5, 5.5))
def test_radius_agrees_with_brute_force(crystal, cutoff):
    lattice, cartesian = crystal
    expected = brute_force(lattice, cartesian, cutoff + EDGE)
    assume(all(abs(length - cutoff) > EDGE for length in expected.values()))
    bonds = radius_neighbors(lattice, cartesian, cutoff)
    assert as_set(bonds) == set(expected)
    rebuilt = cartesian[bonds.target] - cartesian[bonds.source] + bonds.image @ lattice
    np.testing.assert_allclose(bonds.vector, rebuilt, atol=1e-12)


@settings(max_examples=150, deadline=None)
@given(crystals(), st.integers(1, 14), st.sampled_from([1e-3, 0.1]))
def test_k_nearest_agrees_with_brute_force(crystal, k, tolerance):
    lattice, cartesian = crystal
    expected = brute_force_k_nearest(lattice, cartesian, k, tolerance)
    assert as_set(k_nearest_neighbors(lattice, cartesian, k, tolerance)) == expected


@settings(max_examples=100, deadline=None)
@given(crystals(), st.floats(1.5, 5.5), st.sampled_from(["MOST_IMAGES", "MOST_COMPARISONS"]))
def test_both_searches_find_the_same_bonds_in_the_same_order(crystal, cutoff, limit):
    """Small cells are searched by comparing all, others by cell lists; where they meet, no step."""
    lattice, cartesian = crystal
    lengths = brute_force(lattice, cartesian, cutoff + EDGE).values()
    assume(all(abs(length - cutoff) > EDGE for length in lengths))
    compared = radius_neighbors(lattice, cartesian, cutoff)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbors, limit, 0)
        listed = radius_neighbors(lattice, cartesian, cutoff)
    for one, other in zip(compared, listed, strict=True):
        np.testing.assert_array_equal(one, other)


def test_small_cells_are_compared_and_large_ones_listed():
    small = neighbors._compare_all(ROCK_SALT, ROCK_SALT_ATOMS, 3.0)
    assert small is not None
    assert len(small[0]) == 2 * 6 + 2 * 12
    many = np.random.default_rng(0).random((400, 3)) * 20.0
    assert neighbors._compare_all(np.eye(3) * 20.0, many, 3.0) is None
    # One atom, but a cutoff that reaches over a great many images.
    assert neighbors._compare_all(np.diag([1.0, 1.0, 40.0]), np.zeros((1, 3)), 20.0) is None


@settings(max_examples=40, deadline=None)
@given(crystals(), st.integers(1, 12))
def test_every_bond_has_its_opposite_and_bonds_are_sorted(crystal, k):
    bonds = k_nearest_neighbors(*crystal, k, 1e-3)
    forward = as_set(bonds)
    assert forward == {(j, i, -x, -y, -z) for i, j, x, y, z in forward}
    columns = np.column_stack((bonds.target, bonds.source, bonds.image)).tolist()
    assert columns == sorted(columns)
    assert np.bincount(bonds.target, minlength=len(crystal[1])).min() >= k


@settings(max_examples=40, deadline=None)
@given(crystals(), st.integers(1, 12), st.integers(-6, 6), st.integers(-6, 6))
def test_choice_of_cell_does_not_matter(crystal, k, a, b):
    """Very skewed cells of the same lattice hold the same crystal."""
    lattice, cartesian = crystal
    sheared = np.array([[1, a, a * b], [0, 1, b], [0, 0, 1]]) @ lattice
    before = k_nearest_neighbors(lattice, cartesian, k, 1e-3)
    after = k_nearest_neighbors(sheared, cartesian, k, 1e-3)
    assert len(before.source) == len(after.source)
    np.testing.assert_allclose(edge_multiset(before), edge_multiset(after), atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(crystals(), st.integers(1, 12), st.integers(0, 2**31))
def test_rotation_translation_order_and_wrapping_do_not_matter(crystal, k, seed):
    lattice, cartesian = crystal
    random = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    order = random.permutation(len(cartesian))
    hops = random.integers(-3, 4, size=cartesian.shape) @ lattice
    moved = ((cartesian + hops)[order] + random.normal(size=3)) @ rotation
    before = k_nearest_neighbors(lattice, cartesian, k, 1e-3)
    after = k_nearest_neighbors(lattice @ rotation, moved, k, 1e-3)
    assert len(before.source) == len(after.source)
    np.testing.assert_allclose(edge_multiset(before), edge_multiset(after), atol=1e-9)
    # Bond by bond: the vectors between the same atoms are the same ones, rotated.
    inverse = np.argsort(order)
    for i, j in itertools.product(range(len(cartesian)), repeat=2):
        old = before.vector[(before.source == i) & (before.target == j)] @ rotation
        new = after.vector[(after.source == inverse[i]) & (after.target == inverse[j])]
        gaps = np.linalg.norm(old[:, None] - new[None], axis=-1)
        assert len(old) == len(new)
        assert len(old) == 0 or gaps.min(axis=1).max() < 1e-9


@pytest.mark.parametrize("scaling", [(2, 1, 1), (1, 2, 3), ((1, 1, 0), (0, 2, 0), (1, 0, 2))])
@pytest.mark.parametrize("k", [4, 12, 20])
def test_supercell_repeats_the_same_bonds(scaling, k):
    structure = Structure(
        Lattice([[4.6, 0, 0], [0.3, 4.4, 0], [0.1, -0.2, 3.0]]),
        ["Ti", "O", "O"],
        [[0, 0, 0], [0.31, 0.3, 0.02], [0.7, 0.66, 0.01]],
    )
    large = structure.copy().make_supercell(scaling, in_place=False)
    times = len(large) // len(structure)
    one = k_nearest_neighbors(structure.lattice.matrix, structure.cart_coords, k, 1e-3)
    many = k_nearest_neighbors(large.lattice.matrix, large.cart_coords, k, 1e-3)
    np.testing.assert_allclose(
        np.sort(np.repeat(edge_multiset(one), times)), edge_multiset(many), atol=1e-9
    )


@pytest.mark.parametrize(("k", "degree"), [(1, 6), (6, 6), (7, 18), (12, 18), (19, 26), (27, 32)])
def test_shells_of_rock_salt_stay_whole(k, degree):
    bonds = k_nearest_neighbors(ROCK_SALT, ROCK_SALT_ATOMS, k, 1e-3)
    assert np.bincount(bonds.target).tolist() == [degree, degree]


def test_shell_tolerance_decides_what_one_shell_is():
    lattice = np.diag([3.0, 3.0, 3.05])
    atoms = np.zeros((1, 3))
    assert len(k_nearest_neighbors(lattice, atoms, 1, 1e-3).source) == 4
    assert len(k_nearest_neighbors(lattice, atoms, 1, 0.06).source) == 6


@pytest.mark.parametrize("reach", [0.5, 2.5, 2.94, 2.96, 3.0, 3.2, 9.0])
def test_first_guess_of_the_reach_does_not_matter(reach, monkeypatch):
    """Also where it finds the k-th neighbour, but not all that are in one shell with it."""
    lattice = np.diag([3.0, 3.0, 3.05])
    k = 4
    guess = 4 / 3 * np.pi * reach**3 / (k * np.linalg.det(lattice))
    monkeypatch.setattr(neighbors, "FIRST_REACH", guess)
    assert len(k_nearest_neighbors(lattice, np.zeros((1, 3)), k, 0.1).source) == 6


def test_shell_at_the_cutoff_is_in_as_a_whole():
    # Rotated, so that the six distances of 3 Å are rounded differently.
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    lattice = np.diag([3.0, 3.0, 3.0]) @ rotation
    assert len(radius_neighbors(lattice, np.zeros((1, 3)), 3.0).source) == 6


def test_bond_is_kept_if_only_one_end_chose_it():
    """A pair and a third atom: the third chooses one of the pair, which chose its partner."""
    cartesian = np.array([[0.0, 0.0, 0.0], [1.2, 0.0, 0.0], [4.5, 0.0, 0.0]])
    bonds = k_nearest_neighbors(np.eye(3) * 12.0, cartesian, 1, 1e-3)
    pairs = list(zip(bonds.source.tolist(), bonds.target.tolist(), strict=True))
    assert pairs == [(1, 0), (0, 1), (2, 1), (1, 2)]


@pytest.mark.parametrize("cutoff", [3.0, 9.0, 15.0])
def test_one_atom_cell_against_counting_lattice_points(cutoff):
    """A cutoff far beyond the cell: simple cubic, lattice points in a sphere."""
    n = int(cutoff // 2.5) + 1
    points = np.array(list(itertools.product(range(-n, n + 1), repeat=3))) * 2.5
    inside = int((np.linalg.norm(points, axis=1) <= cutoff).sum()) - 1
    bonds = radius_neighbors(np.eye(3) * 2.5, [[0.7, 0.1, 9.0]], cutoff)
    assert len(bonds.source) == inside


def test_slab_in_vacuum_has_bonds_within_the_slab_only():
    lattice = np.diag([3.0, 3.0, 60.0])
    cartesian = np.array([[0.0, 0.0, 30.0], [1.5, 1.5, 31.8]])
    bonds = k_nearest_neighbors(lattice, cartesian, 8, 1e-3)
    assert not bonds.image[:, 2].any()
    assert as_set(bonds) == brute_force_k_nearest(lattice, cartesian, 8, 1e-3)


def test_single_atom_in_a_large_box_still_finds_neighbours():
    bonds = k_nearest_neighbors(np.diag([40.0, 41.0, 42.0]), np.zeros((1, 3)), 3, 1e-3)
    assert len(bonds.source) == 4
    assert set(np.round(lengths_of(bonds), 6)) == {40.0, 41.0}


def test_no_pair_within_the_cutoff_gives_empty_arrays():
    bonds = radius_neighbors(np.eye(3) * 10.0, np.zeros((1, 3)), 5.0)
    assert [column.shape for column in bonds] == [(0,), (0,), (0, 3), (0, 3)]


def test_nearly_flat_cell_is_searched_in_no_time():
    """Three long vectors in almost one plane, repeating after 0.87 Å: reduced, it is harmless."""
    lattice = np.array([[30.0, 0.0, 0.0], [-15.0, 26.0, 0.0], [-15.0, -26.0, 0.87]])
    bonds = radius_neighbors(lattice, np.zeros((1, 3)), 5.0)
    assert len(bonds.source) == 10
    np.testing.assert_allclose(np.sort(lengths_of(bonds))[::2], 0.87 * np.arange(1, 6))


def rutile() -> Structure:
    u = 0.305
    return Structure(
        Lattice.tetragonal(4.594, 2.959),
        ["Ti", "Ti", "O", "O", "O", "O"],
        [
            [0, 0, 0],
            [0.5] * 3,
            [u, u, 0],
            [-u, -u, 0],
            [0.5 + u, 0.5 - u, 0.5],
            [0.5 - u, 0.5 + u, 0.5],
        ],
    )


def quartz() -> Structure:
    return Structure.from_spacegroup(
        "P3_221",
        Lattice.hexagonal(4.913, 5.405),
        ["Si", "O"],
        [[0.4697, 0, 0], [0.4133, 0.2672, 0.1188]],
    )


def spinel() -> Structure:
    whole = Structure.from_spacegroup(
        "Fd-3m", Lattice.cubic(8.08), ["Mg", "Al", "O"], [[1 / 8] * 3, [1 / 2] * 3, [0.2624] * 3]
    )
    return whole.get_primitive_structure()


@pytest.mark.parametrize(
    "structure", [rutile(), quartz(), spinel()], ids=["rutile", "quartz", "spinel"]
)
@pytest.mark.parametrize("k", [4, 7, 12])
def test_graph_has_the_symmetry_of_the_crystal(structure, k):
    """Every operation of the space group maps the set of bonds onto itself."""
    cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    operations = spglib.get_symmetry(cell, symprec=1e-4)
    bonds = as_set(k_nearest_neighbors(cell[0], structure.cart_coords, k, 1e-3))
    assert len(operations["rotations"]) > 1
    for rotation, shift in zip(operations["rotations"], operations["translations"], strict=True):
        offset = (cell[1] @ rotation.T + shift)[:, None] - cell[1][None]
        cells = np.rint(offset)
        partner = np.abs(offset - cells).max(axis=-1).argmin(axis=1)
        moved = cells[np.arange(len(partner)), partner].astype(int)
        images = {
            (
                int(partner[i]),
                int(partner[j]),
                *map(int, rotation @ np.array(image) + moved[j] - moved[i]),
            )
            for i, j, *image in bonds
        }
        assert images == bonds


def data_structures(folder, step=130):
    pq = pytest.importorskip("pyarrow.parquet")
    path = folder / "mp_oxides_chalcogenides.parquet"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    for row in pq.read_table(path).to_pylist()[::step]:
        lattice = np.array(row["lattice"]).reshape(3, 3)
        yield Structure(lattice, row["species"], np.array(row["frac_coords"]).reshape(-1, 3))


def test_real_crystals_agree_with_pymatgen_and_matscipy(opalign_data):
    from matscipy.neighbours import neighbour_list

    compared = 0
    for structure in data_structures(opalign_data):
        cutoff = 4.3217
        lattice, cartesian = structure.lattice.matrix, structure.cart_coords
        ours = as_set(radius_neighbors(lattice, cartesian, cutoff))
        i, j, image, _ = structure.get_neighbor_list(cutoff)
        assert ours == set(map(tuple, np.column_stack((i, j, image)).astype(int).tolist()))
        i, j, image = neighbour_list(
            "ijS", positions=cartesian, cell=lattice, pbc=[True] * 3, cutoff=cutoff
        )
        assert ours == set(map(tuple, np.column_stack((i, j, image)).tolist()))
        compared += 1
    assert compared >= 20


def test_real_crystals_k_nearest_agree_with_matscipy(opalign_data):
    from matscipy.neighbours import neighbour_list

    for structure in data_structures(opalign_data, step=170):
        lattice, cartesian, k = structure.lattice.matrix, structure.cart_coords, 12
        i, j, image, d = neighbour_list(
            "ijSd", positions=cartesian, cell=lattice, pbc=[True] * 3, cutoff=11.0
        )
        limit = np.array([np.sort(d[i == a])[k - 1] for a in range(len(cartesian))]) + 1e-3
        if (np.abs(d - limit[i]) < EDGE).any():
            continue
        keep = (d <= limit[i]) | (d <= limit[j])
        expected = np.column_stack((i, j, image))[keep].tolist()
        ours = k_nearest_neighbors(lattice, cartesian, k, 1e-3)
        assert as_set(ours) == set(map(tuple, expected))
