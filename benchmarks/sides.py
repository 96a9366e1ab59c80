"""The sides of the throughput benchmark: the same work, done by each package in its own way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from alignn.models.alignn_atomwise_pure import ALIGNNAtomWisePure, ALIGNNAtomWisePureConfig
from alignn.torch_graph_builder import (
    TorchGraph,
    _line_graph_edges,
    batch_torch_graph_pairs,
    build_pure_torch_graph,
    torch_bond_cosines,
)
from jarvis.core.atoms import Atoms
from jarvis.core.specie import get_node_attributes
from pymatgen.core import Structure
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from opalign.crystal.compiled import load_kernels
from opalign.crystal.graph import CrystalGraph, collate, structure_arrays
from opalign.crystal.many import build_graphs, require_graphs
from opalign.crystal.settings import GraphSettings
from opalign.model.config import AlignnConfig, ModelConfig, VectorHeadConfig
from opalign.model.network import SpectrumModel
from opalign.model.side_by_side import side_by_side
from opalign.spectrum.grid import EnergyGrid

ELEMENT_FEATURES = 92
EMBEDDING = 64
LAYERS = 4
# alignn's reach for k nearest neighbours, Å: the default of its training configuration.
ALIGNN_REACH = 5.0
# alignn's neighbour searches; the first is its default.
ALIGNN_SEARCHES = ("torch", "matscipy")

Pair = tuple[TorchGraph, TorchGraph]


class Network:
    """A network with its optimiser, to be timed on ready batches."""

    def __init__(self, module: nn.Module, output: str, device: str = "cpu") -> None:
        self.module = module.to(device)
        self.output = output
        self.device = torch.device(device)
        self.optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())

    def train(self, batches: Sequence[object], targets: Sequence[Tensor]) -> None:
        """One optimiser step on each batch, loss: mean squared error."""
        self.module.train()
        for batch, target in zip(batches, targets, strict=True):
            self.optimizer.zero_grad(set_to_none=True)
            predicted = self.module(batch)[self.output]
            nn.functional.mse_loss(predicted.view_as(target), target).backward()
            self.optimizer.step()
        self._finish()

    def infer(self, batches: Sequence[object]) -> None:
        """Predict one batch after the other, each on all threads."""
        self.module.eval()
        for batch in batches:
            self._output(batch)
        self._finish()

    def infer_side_by_side(self, batches: Sequence[object]) -> None:
        """Predict as many batches at a time as there are threads, as Opalign's Predictor does."""
        self.module.eval()
        for _ in side_by_side(self._output, batches):
            pass

    def _output(self, batch: object) -> object:
        with torch.inference_mode():
            return self.module(batch)

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def moved(batches: Sequence[object], device: str) -> list[object]:
    """Batches of either side on a device."""

    def move(part: object) -> object:
        if isinstance(part, dict):
            return {name: value.to(device) for name, value in part.items()}
        if isinstance(part, tuple):
            return tuple(move(item) for item in part)
        return part.to(device)

    return [move(batch) for batch in batches]


class OpalignSide:
    """Opalign: build_graphs with the compiled loops, collate, SpectrumModel."""

    def __init__(
        self,
        structures: list[Structure],
        kind: str,
        neighbors: int,
        radius: float,
        angles: bool = True,
    ) -> None:
        # As wherever there are many structures; a few, as here, would not be worth the start.
        if load_kernels() is None:
            print("numba is not installed: Opalign's graphs come from array operations")
        self.structures = structures
        self.arrays = [structure_arrays(structure) for structure in structures]
        self.settings = GraphSettings(kind=kind, neighbors=neighbors, cutoff=radius, angles=angles)

    def build(self) -> list[CrystalGraph]:
        arrays = (structure_arrays(structure) for structure in self.structures)
        return list(require_graphs(build_graphs(arrays, self.settings)))

    def build_from_arrays(self) -> list[CrystalGraph]:
        return list(require_graphs(build_graphs(self.arrays, self.settings)))

    def build_batches(self, size: int, *, reduced: bool = False) -> list[dict[str, Tensor]]:
        return self.batches(self.build(), size, reduced=reduced)

    def build_batches_from_arrays(self, size: int) -> list[dict[str, Tensor]]:
        return self.batches(self.build_from_arrays(), size)

    @staticmethod
    def batches(
        graphs: Sequence[CrystalGraph], size: int, *, reduced: bool = False
    ) -> list[dict[str, Tensor]]:
        return [collate(graphs[i : i + size], reduced=reduced) for i in range(0, len(graphs), size)]

    @staticmethod
    def lengths(graphs: Sequence[CrystalGraph]) -> np.ndarray:
        return np.concatenate([graph.bond_length for graph in graphs])

    @staticmethod
    def sizes(graphs: Sequence[CrystalGraph]) -> tuple[float, float]:
        """Mean bonds and angles per structure."""
        bonds = sum(graph.num_bonds for graph in graphs)
        return bonds / len(graphs), sum(graph.num_angles for graph in graphs) / len(graphs)

    def network(self, hidden: int, outputs: int, device: str = "cpu") -> Network:
        config = ModelConfig(
            encoder=AlignnConfig(
                alignn_layers=LAYERS,
                gcn_layers=LAYERS,
                hidden_features=hidden,
                embedding_features=EMBEDDING,
                norm="layer",
                element_table="cgcnn",
            ),
            head=VectorHeadConfig(),
            graph=self.settings,
            grid=EnergyGrid(0.0, 20.0, outputs),
        )
        torch.manual_seed(0)
        return Network(SpectrumModel(config), "target", device)


class AlignnSide:
    """alignn: build_pure_torch_graph, batch_torch_graph_pairs, ALIGNNAtomWisePure."""

    def __init__(
        self, structures: list[Structure], kind: str, neighbors: int, radius: float
    ) -> None:
        self.atoms = [
            Atoms(
                lattice_mat=structure.lattice.matrix,
                coords=structure.frac_coords,
                elements=[site.specie.symbol for site in structure],
            )
            for structure in structures
        ]
        self.reach = ALIGNN_REACH if kind == "k_nearest" else radius
        self.neighbors = neighbors if kind == "k_nearest" else None
        self.search = ALIGNN_SEARCHES[0]

    def build(self) -> list[Pair]:
        return [
            build_pure_torch_graph(
                atoms=atoms,
                two_body_cutoff=self.reach,
                three_body_cutoff=self.reach,
                max_neighbors=self.neighbors,
                atom_features="cgcnn",
                use_matscipy_topology=self.search == "matscipy",
            )
            for atoms in self.atoms
        ]

    def build_batches(self, size: int) -> list[tuple[TorchGraph, TorchGraph, Tensor]]:
        return self.batches(self.build(), size)

    def adopt(self, graphs: Sequence[CrystalGraph]) -> list[Pair]:
        """Put Opalign's bonds into alignn's graphs, in the order of alignn's builder."""
        return [adopt(atoms, graph) for atoms, graph in zip(self.atoms, graphs, strict=True)]

    @staticmethod
    def batches(pairs: Sequence[Pair], size: int) -> list[tuple[TorchGraph, TorchGraph, Tensor]]:
        """Batches as the network takes them; the lattice that goes along is not looked at."""
        return [
            (*batch_torch_graph_pairs(list(pairs[i : i + size])), torch.zeros(0))
            for i in range(0, len(pairs), size)
        ]

    @staticmethod
    def lengths(pairs: Sequence[Pair]) -> np.ndarray:
        return torch.cat([graph.edata["r"].norm(dim=1) for graph, _ in pairs]).numpy()

    @staticmethod
    def sizes(pairs: Sequence[Pair]) -> tuple[float, float]:
        """Mean bonds and angles per structure."""
        bonds = sum(graph.num_edges for graph, _ in pairs)
        return bonds / len(pairs), sum(line.num_edges for _, line in pairs) / len(pairs)

    @staticmethod
    def network(hidden: int, outputs: int, device: str = "cpu") -> Network:
        config = ALIGNNAtomWisePureConfig(
            name="alignn_atomwise_pure",
            alignn_layers=LAYERS,
            gcn_layers=LAYERS,
            atom_input_features=ELEMENT_FEATURES,
            embedding_features=EMBEDDING,
            hidden_features=hidden,
            output_features=outputs,
            calculate_gradient=False,
            energy_mult_natoms=False,
            use_penalty=False,
            use_zbl=False,
            lg_on_fly=False,
        )
        torch.manual_seed(0)
        return Network(ALIGNNAtomWisePure(config), "out", device)


class PygSide:
    """torch_geometric's batches of radius graphs as OPTIMATE has them, from pymatgen's search.

    torch_geometric itself has no periodic search.
    """

    def __init__(self, structures: list[Structure], radius: float) -> None:
        self.structures = structures
        self.radius = radius

    def build(self) -> list[Data]:
        graphs = []
        for structure in self.structures:
            source, target, _, length = structure.get_neighbor_list(self.radius)
            graphs.append(
                Data(
                    x=torch.tensor(structure.atomic_numbers),
                    edge_index=torch.from_numpy(np.stack((source, target))),
                    edge_attr=torch.from_numpy(length).float(),
                )
            )
        return graphs

    def build_batches(self, size: int) -> list[Batch]:
        graphs = self.build()
        return [Batch.from_data_list(graphs[i : i + size]) for i in range(0, len(graphs), size)]

    @staticmethod
    def sizes(graphs: Sequence[Data]) -> tuple[float, float]:
        """Mean bonds and angles per structure."""
        return sum(graph.num_edges for graph in graphs) / len(graphs), 0.0


def adopt(atoms: Atoms, graph: CrystalGraph) -> Pair:
    """Put given bonds into alignn's graph and line graph, sorted by source as its builder does."""
    order = np.lexsort((graph.bond_length, graph.bond_index[0]))
    source, target = torch.from_numpy(graph.bond_index[:, order])
    vector = torch.from_numpy(graph.bond_vector[order]).float()
    features = [get_node_attributes(symbol, atom_features="cgcnn") for symbol in atoms.elements]
    crystal = TorchGraph(
        num_nodes=graph.num_atoms,
        src=source,
        dst=target,
        ndata={"atom_features": torch.tensor(features, dtype=torch.float32)},
        edata={"r": vector},
    )
    first, second = _line_graph_edges(source, target, graph.num_atoms)
    cosines = torch_bond_cosines(vector[first], vector[second])
    line = TorchGraph(num_nodes=graph.num_bonds, src=first, dst=second, edata={"h": cosines})
    return crystal, line
