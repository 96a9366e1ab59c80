"""Real structures, and their graphs in the shapes that other packages want."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from ase.data import atomic_numbers, chemical_symbols

from opalign.crystal import keys
from opalign.crystal.graph import build_graph_from_arrays

COUNT = 24


@pytest.fixture(scope="session")
def real_crystals(opalign_data):
    """Lattice, Cartesian positions and species of oxides and chalcogenides of 2 to 40 atoms."""
    path = opalign_data / "mp_oxides_chalcogenides.parquet"
    if not path.is_file():
        pytest.skip(f"OPALIGN_DATA holds no {path.name}")
    table = pq.read_table(path).to_pylist()
    crystals = []
    for row in table[:: len(table) // COUNT][:COUNT]:
        lattice = np.reshape(row["lattice"], (3, 3))
        positions = np.reshape(row["frac_coords"], (-1, 3)) @ lattice
        crystals.append((lattice, positions, list(row["species"])))
    return crystals


@pytest.fixture(scope="session")
def graphs_of(real_crystals):
    """Build the graphs of all real crystals with the settings given."""

    def build(settings):
        return [
            build_graph_from_arrays(
                lattice, positions, [atomic_numbers[symbol] for symbol in species], settings
            )
            for lattice, positions, species in real_crystals
        ]

    return build


@pytest.fixture(scope="session")
def alignn_graphs():
    """Turn a batch into the pair of graphs that alignn's pure-torch models take."""
    builder = pytest.importorskip("alignn.torch_graph_builder")
    get_node_attributes = pytest.importorskip("jarvis.core.specie").get_node_attributes

    def convert(batch):
        features = [
            get_node_attributes(chemical_symbols[number], atom_features="cgcnn")
            for number in batch[keys.ATOMIC_NUMBERS]
        ]
        graph = builder.TorchGraph(
            num_nodes=len(features),
            src=batch[keys.BOND_INDEX][0],
            dst=batch[keys.BOND_INDEX][1],
            ndata={"atom_features": torch.tensor(features, dtype=batch[keys.BOND_VECTOR].dtype)},
            edata={"r": batch[keys.BOND_VECTOR].clone()},
            batch_num_nodes=batch[keys.NUM_ATOMS],
            batch_num_edges=batch[keys.NUM_BONDS],
        )
        line_graph = builder.TorchGraph(
            num_nodes=graph.num_edges,
            src=batch[keys.ANGLE_INDEX][0],
            dst=batch[keys.ANGLE_INDEX][1],
            edata={"h": batch[keys.ANGLE_COSINE]},
        )
        return graph, line_graph

    return convert
