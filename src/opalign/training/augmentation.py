"""Small changes of a crystal's geometry, drawn anew in every step, with the targets kept.

Strain has no trace and therefore, to first order, keeps the volume, on which Im ε and the gap
hang: a strain of 1 % that changed the volume would move a gap by some tenths of an eV, more than
the training error, and teach the network not to look. What is left moves the isotropic average of a
cubic crystal in second order only. Displacements are those of a snapshot at finite temperature.
Amplitudes of 1 % and 0.03 Å change spectra by less than networks trained on tens of materials err.

The graph keeps its bonds, only their vectors change, so no neighbour list is made anew.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from opalign.crystal import keys
from opalign.training.config import AugmentationConfig


def perturb(
    graph: dict[str, Tensor], config: AugmentationConfig | None, seed: int, step: int
) -> dict[str, Tensor]:
    """Strain and rattle the structures of a batch, as follows from seed and step alone.

    Bond vectors, lengths and angle cosines change; images of an atom in other cells move with it.
    Returns a new batch that shares what has not changed.
    """
    if config is None or not changes_geometry(config):
        return graph
    vectors = graph[keys.BOND_VECTOR]
    # Drawn on the CPU, so that every device gets the same.
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    atoms, structures = len(graph[keys.ATOMIC_NUMBERS]), len(graph[keys.NUM_ATOMS])
    moved = torch.randn((atoms, 3), generator=generator, dtype=vectors.dtype) * config.rattle
    strain = traceless_strain(structures, config.strain, generator, vectors.dtype)
    moved, strain = moved.to(vectors.device), strain.to(vectors.device)
    source, target = graph[keys.BOND_INDEX]
    vectors = vectors + (moved.index_select(0, target) - moved.index_select(0, source))
    of_bond = strain.index_select(0, graph[keys.ATOM_STRUCTURE].index_select(0, source))
    vectors = vectors + (of_bond @ vectors.unsqueeze(-1)).squeeze(-1)
    lengths = vectors.norm(dim=-1)
    changed = {keys.BOND_VECTOR: vectors, keys.BOND_LENGTH: lengths}
    if keys.ANGLE_INDEX in graph:
        directions = vectors / lengths.unsqueeze(-1)
        first, second = graph[keys.ANGLE_INDEX]
        cosine = -(directions.index_select(0, first) * directions.index_select(0, second)).sum(-1)
        changed[keys.ANGLE_COSINE] = cosine.clamp(-1.0, 1.0)
    return {**graph, **changed}


def changes_geometry(config: AugmentationConfig | None) -> bool:
    """Whether anything moves, so that nothing in a crystal stays alike."""
    return config is not None and bool(config.strain or config.rattle)


def traceless_strain(
    count: int, deviation: float, generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    """Symmetric matrices (count, 3, 3) without trace, off-diagonals of this deviation."""
    draws = torch.randn((count, 3, 3), generator=generator, dtype=dtype)
    symmetric = (draws + draws.transpose(1, 2)) / math.sqrt(2.0) * deviation
    trace = symmetric.diagonal(dim1=1, dim2=2).mean(-1)
    return symmetric - trace.view(-1, 1, 1) * torch.eye(3, dtype=dtype)
