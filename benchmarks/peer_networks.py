"""Two published ways to learn spectra: alignn itself, and OPTIMATE of torch_geometric's parts.

Hyperparameters are those published; what a publication leaves open is said here.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from alignn.models.alignn_atomwise_pure import ALIGNNAtomWisePure, ALIGNNAtomWisePureConfig
from alignn.torch_graph_builder import batch_torch_graph_pairs, build_pure_torch_graph
from alignn.utils import group_decay
from jarvis.core.atoms import Atoms
from pymatgen.core import Structure
from sides import moved
from torch import Tensor, nn
from torch_geometric.nn import GATv2Conv
from torch_geometric.nn.models.schnet import GaussianSmearing
from torch_geometric.utils import scatter, softmax

from opalign.crystal import keys
from opalign.crystal.graph import build_graph, collate
from opalign.crystal.settings import GraphSettings
from opalign.model.elements import element_table

BatchOf = Callable[[Sequence[int]], object]


@dataclass(frozen=True)
class Recipe:
    """How a peer is trained."""

    batch_size: int
    learning_rate: float
    weight_decay: float
    validation_fraction: float
    one_cycle: bool


# The recipe for spectra among alignn's examples: 4 + 4 layers of 256, 12 neighbours within 8 Å,
# angles within 3.5 Å, L1, AdamW 1e-3 with decay 1e-5 but on biases and norms, OneCycleLR, batch 4
# as in its example (32 to 64 are advised for thousands of materials), best epoch by validation.
ALIGNN_RECIPE = Recipe(4, 1e-3, 1e-5, 0.1, one_cycle=True)
ALIGNN_SIZES = {
    "alignn_layers": 4,
    "gcn_layers": 4,
    "atom_input_features": 92,
    "edge_input_features": 80,
    "triplet_input_features": 40,
    "embedding_features": 64,
    "hidden_features": 256,
}
ALIGNN_GRAPH = {"two_body_cutoff": 8.0, "three_body_cutoff": 3.5, "max_neighbors": 12}

# OPTIMATE: L1 on Im ε̄, Adam with decay 1e-4, best epoch by validation, no schedule. The rate is
# Adam's default (1e-5 is that of fine-tuning), and the batch of 128 is made 8: with 57 materials
# there would be one step an epoch. The published element vectors leave transition metals blank, so
# all 18 groups and 7 periods stand in their place.
OPTIMATE_RECIPE = Recipe(8, 1e-3, 1e-4, 0.1, one_cycle=False)
OPTIMATE_GRAPH = GraphSettings(kind="radius", cutoff=5.0, angles=False)


class PublishedOptimate(nn.Module):
    """Node network 48, 48; GATv2 of 4 × 48 and 4 × 96; vector attention; 1024 × 3; leaky ReLU."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        table = torch.tensor(element_table("group_period"), dtype=torch.float32)
        self.register_buffer("elements", table)
        self.embedding = nn.Sequential(
            nn.Linear(table.shape[1], 48), nn.LeakyReLU(), nn.Linear(48, 48), nn.LeakyReLU()
        )
        self.smearing = GaussianSmearing(0.0, 5.0, 51)
        options = {"heads": 4, "add_self_loops": False, "edge_dim": 51}
        self.convolutions = nn.ModuleList(
            [GATv2Conv(48, 48, **options), GATv2Conv(192, 96, **options)]
        )
        self.gate = nn.Linear(384, 384)
        layers: list[nn.Module] = []
        width = 384
        for size in (1024, 1024, 1024):
            layers += [nn.Linear(width, size), nn.LeakyReLU()]
            width = size
        self.output = nn.Sequential(*layers, nn.Linear(width, outputs), nn.LeakyReLU())

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Im ε̄ (B, outputs)."""
        atoms = self.embedding(self.elements[batch[keys.ATOMIC_NUMBERS]])
        bonds = self.smearing(batch[keys.BOND_LENGTH])
        for convolution in self.convolutions:
            atoms = nn.functional.leaky_relu(convolution(atoms, batch[keys.BOND_INDEX], bonds))
        structure = batch[keys.ATOM_STRUCTURE]
        weights = softmax(self.gate(atoms), structure)
        return self.output(scatter(weights * atoms, structure, reduce="sum"))


class PublishedAlignn(nn.Module):
    """alignn's own class, as its recipe for spectra sets it."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.network = ALIGNNAtomWisePure(
            ALIGNNAtomWisePureConfig(
                name="alignn_atomwise_pure",
                output_features=outputs,
                calculate_gradient=False,
                energy_mult_natoms=False,
                **ALIGNN_SIZES,
            )
        )

    def forward(self, batch: object) -> Tensor:
        """Im ε̄ (B, outputs)."""
        return self.network(batch)["out"]


def optimate_batches(structures: Sequence[Structure]) -> BatchOf:
    graphs = [build_graph(structure, OPTIMATE_GRAPH) for structure in structures]
    return lambda rows: collate([graphs[row] for row in rows])


def alignn_batches(structures: Sequence[Structure]) -> BatchOf:
    pairs = [
        build_pure_torch_graph(
            atoms=Atoms(
                lattice_mat=structure.lattice.matrix,
                coords=structure.frac_coords,
                elements=[site.specie.symbol for site in structure],
            ),
            atom_features="cgcnn",
            **ALIGNN_GRAPH,
        )
        for structure in structures
    ]
    return lambda rows: (*batch_torch_graph_pairs([pairs[row] for row in rows]), torch.zeros(0))


PEERS: dict[str, tuple[Recipe, type[nn.Module], Callable[[Sequence[Structure]], BatchOf]]] = {
    "alignn": (ALIGNN_RECIPE, PublishedAlignn, alignn_batches),
    "optimate": (OPTIMATE_RECIPE, PublishedOptimate, optimate_batches),
}


def train_peer(
    name: str,
    batch_of: BatchOf,
    spectra: np.ndarray,
    training: Sequence[int],
    validation: Sequence[int],
    test: Sequence[int],
    *,
    epochs: int,
    seed: int,
    device: str = "cpu",
) -> np.ndarray:
    """Train on ``training`` rows and predict ``test`` rows: Im ε̄ (rows, n).

    With ``validation`` rows the weights of the epoch with the lowest L1 there, otherwise the last.
    """
    recipe, network_of, _ = PEERS[name]
    torch.manual_seed(seed)
    network = network_of(spectra.shape[1]).to(device)
    make, targets = batch_of, torch.tensor(spectra, dtype=torch.float32, device=device)

    def batch_of(rows: Sequence[int]) -> object:
        (batch,) = moved([make(rows)], device)
        return batch

    steps = epochs * math.ceil(len(training) / recipe.batch_size)
    optimizer, schedule = _optimizer(network, recipe, steps)
    best, weights = math.inf, copy.deepcopy(network.state_dict())
    loss = nn.L1Loss()
    for epoch in range(epochs):
        network.train()
        order = np.random.default_rng((seed, epoch)).permutation(np.asarray(training))
        for first in range(0, len(order), recipe.batch_size):
            rows = order[first : first + recipe.batch_size].tolist()
            optimizer.zero_grad()
            loss(network(batch_of(rows)), targets[rows]).backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
        if validation:
            value = float(loss(_predict(network, batch_of, validation), targets[list(validation)]))
            if value < best:
                best, weights = value, copy.deepcopy(network.state_dict())
    if validation:
        network.load_state_dict(weights)
    return _predict(network, batch_of, test).double().cpu().numpy()


def _optimizer(
    network: nn.Module, recipe: Recipe, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler | None]:
    if not recipe.one_cycle:
        return torch.optim.Adam(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        ), None
    optimizer = torch.optim.AdamW(
        group_decay(network), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=steps, pct_start=0.3
    )


def _predict(network: nn.Module, batch_of: BatchOf, rows: Sequence[int]) -> Tensor:
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(batch_of([row])).reshape(1, -1) for row in rows])
