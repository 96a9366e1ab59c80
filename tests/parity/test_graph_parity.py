"""Bonds and angles against those of other packages, on real structures."""

import numpy as np
import pytest
import torch

from opalign.crystal.settings import GraphSettings

CUTOFF = 5.0


def bond_set(source, target, image):
    rows = np.column_stack((source, target, image)).round().astype(int)
    bonds = set(map(tuple, rows.tolist()))
    assert len(bonds) == len(rows)
    return bonds


@pytest.fixture(scope="module")
def graphs(graphs_of):
    return graphs_of(GraphSettings(kind="radius", cutoff=CUTOFF))


def test_bonds_are_those_of_matscipy(real_crystals, graphs):
    neighbour_list = pytest.importorskip("matscipy.neighbours").neighbour_list
    from ase import Atoms

    assert len(graphs) >= 20
    for (lattice, positions, species), graph in zip(real_crystals, graphs, strict=True):
        atoms = Atoms(species, positions=positions, cell=lattice, pbc=True)
        source, target, image, vector = neighbour_list("ijSD", atoms, CUTOFF)
        expected = bond_set(source, target, image)
        assert bond_set(*graph.bond_index, graph.bond_image) == expected
        # The same bonds in the same order carry the same vectors.
        theirs = np.lexsort((*image.T, source, target))
        ours = np.lexsort((*graph.bond_image.T, *graph.bond_index))
        np.testing.assert_allclose(graph.bond_vector[ours], vector[theirs], atol=1e-9)


def test_bonds_and_angles_are_those_of_alignn(real_crystals, graphs):
    builder = pytest.importorskip("alignn.torch_graph_builder")
    from jarvis.core.atoms import Atoms

    torch.set_default_dtype(torch.float64)
    try:
        pairs = [
            builder.build_pure_torch_graph(
                Atoms(lattice_mat=lattice, coords=positions, elements=species, cartesian=True),
                two_body_cutoff=CUTOFF,
            )
            for lattice, positions, species in real_crystals
        ]
    finally:
        torch.set_default_dtype(torch.float32)
    for (theirs, line_graph), graph in zip(pairs, graphs, strict=True):
        source, target = theirs.src.numpy(), theirs.dst.numpy()
        images = theirs.edata["images"].numpy()
        assert bond_set(*graph.bond_index, graph.bond_image) == bond_set(source, target, images)

        ours = np.column_stack((graph.bond_index.T, graph.bond_image)).tolist()
        place = {tuple(bond): number for number, bond in enumerate(ours)}
        rows = np.column_stack((source, target, images)).astype(int).tolist()
        renumber = np.array([place[tuple(row)] for row in rows])
        first, second = renumber[line_graph.src.numpy()], renumber[line_graph.dst.numpy()]
        cosine = line_graph.edata["h"].numpy()
        order = np.lexsort((first, second))
        # Ours are sorted by the second bond, then the first.
        np.testing.assert_array_equal(graph.angle_index, np.stack((first, second))[:, order])
        np.testing.assert_allclose(graph.angle_cosine, cosine[order], atol=1e-12)
