"""Which bonds and angles a prediction rests on: take them out of the graph and look what changes.

Bonds of a crystal come in kinds, of the same elements and length, and a kind is taken out whole, in
both directions: what one bond loses its equivalents would make up for. The importance of a kind is
∫|Δ| dE / ∫|prediction| dE of the change Δ that its absence makes. Importances do not add up, since
bonds share what they tell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opalign.crystal import keys
from opalign.crystal.graph import CrystalGraph, build_graph, collate
from opalign.prediction.applicability import require_describable
from opalign.prediction.predictor import Predictor

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

Array = NDArray[np.float64]

#: Å and degrees: bonds and angles closer than this are of one kind.
LENGTH_STEP = 0.02
ANGLE_STEP = 2.0


@dataclass(frozen=True)
class Occluded:
    """A kind of bond or angle, and what the prediction owes to it."""

    name: str
    """``Ti–O 1.95 Å`` or ``O–Ti–O 90°``."""
    value: float
    """Length in Å or angle in degrees."""
    count: int
    """Bonds (once for both directions) or angles of this kind in the graph."""
    importance: float
    """∫|Δ| dE / ∫|prediction| dE."""


def important_bonds(
    predictor: Predictor, structure: Structure, level: str | None = None
) -> list[Occluded]:
    """Return the kinds of bonds of a structure's graph, the most important first."""
    graph, reference, place = _start(predictor, structure, level)
    names = _bond_kinds(graph)
    kinds = sorted(set(names))
    changed = [_without_bonds(graph, np.array([name != kind for name in names])) for kind in kinds]
    # One at a time: a batch would take memory with the number of kinds.
    spectra = [_prediction(predictor, predictor.run([one]), place) for one in changed]
    lengths = graph.bond_length
    found = []
    for kind, spectrum in zip(kinds, spectra, strict=True):
        own = np.array([name == kind for name in names])
        found.append(
            Occluded(
                kind,
                float(lengths[own].mean()),
                int(own.sum()) // 2,
                _importance(spectrum, reference),
            )
        )
    return sorted(found, key=lambda item: -item.importance)


def important_angles(
    predictor: Predictor, structure: Structure, level: str | None = None
) -> list[Occluded]:
    """Return the kinds of angles of a structure's line graph, the most important first.

    Empty for a network without angles.
    """
    graph, reference, place = _start(predictor, structure, level)
    if not graph.has_angles:
        return []
    import torch

    first, second = graph.angle_index
    source, target = graph.bond_index
    numbers = graph.atomic_numbers
    degrees = np.degrees(np.arccos(graph.angle_cosine))
    steps = _clusters(degrees, ANGLE_STEP)
    ends = _ordered(numbers[source[first]], numbers[target[second]])
    kinds, kind = np.unique(
        np.stack([ends[0], numbers[target[first]], ends[1], steps]), axis=1, return_inverse=True
    )
    batch = collate([graph], dtype=next(predictor.network.parameters()).dtype)
    found = []
    for number in range(kinds.shape[1]):
        kept = torch.from_numpy(kind != number)
        changed: dict[str, Any] = dict(batch)
        changed[keys.ANGLE_INDEX] = batch[keys.ANGLE_INDEX][:, kept]
        changed[keys.ANGLE_COSINE] = batch[keys.ANGLE_COSINE][kept]
        changed[keys.NUM_ANGLES] = kept.sum().reshape(1)
        with torch.inference_mode():
            output = predictor.network(
                {name: value.to(predictor.device) for name, value in changed.items()}
            )
        angle = float(degrees[kind == number].mean())
        left, middle, right = (_symbol(int(value)) for value in kinds[:3, number])
        found.append(
            Occluded(
                f"{left}–{middle}–{right} {angle:.0f}°",
                angle,
                int((kind == number).sum()),
                _importance(_prediction(predictor, output, place), reference),
            )
        )
    return sorted(found, key=lambda item: -item.importance)


def _start(
    predictor: Predictor, structure: Structure, level: str | None
) -> tuple[CrystalGraph, Array, int]:
    require_describable(
        structure.atomic_numbers, predictor.config.encoder.element_table, "structure"
    )
    graph = build_graph(structure, predictor.config.graph)
    place = 0 if level is None else predictor.levels.index(level)
    return graph, _prediction(predictor, predictor.run([graph]), place), place


def _prediction(predictor: Predictor, output: dict[str, Any], place: int) -> Array:
    key = "epsilon_imaginary" if "epsilon_imaginary" in output else "target"
    return np.asarray(output[key][0, place].cpu().numpy(), dtype=float)


def _importance(changed: Array, reference: Array) -> float:
    total = float(np.abs(reference).sum())
    return float(np.abs(changed - reference).sum()) / total if total > 0.0 else float("nan")


def _bond_kinds(graph: CrystalGraph) -> list[str]:
    """Name the kind of each bond; lengths that differ by less than a step share a name."""
    lengths = graph.bond_length
    shell = _clusters(lengths, LENGTH_STEP)
    means = np.bincount(shell, lengths) / np.bincount(shell)
    source, target = graph.bond_index
    ends = _ordered(graph.atomic_numbers[source], graph.atomic_numbers[target])
    return [
        f"{_symbol(int(a))}–{_symbol(int(b))} {means[own]:.2f} Å"
        for a, b, own in zip(ends[0], ends[1], shell, strict=True)
    ]


def _clusters(values: Array, step: float) -> NDArray[np.int64]:
    """Return numbers from 0, shared by values less than a ``step`` apart, in order."""
    order = np.argsort(values, kind="stable")
    found = np.empty(len(values), dtype=np.int64)
    found[order] = np.concatenate([[0], np.cumsum(np.diff(values[order]) > step)])
    return found


def _ordered(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Put the less electronegative element first, as chemists write it: (2, …)."""
    from pymatgen.core.periodic_table import Element

    numbers = np.unique(np.concatenate([first, second]))
    rank = np.zeros(numbers.max(initial=0) + 1, dtype=np.int64)
    names = sorted((Element.from_Z(int(number)).X, int(number)) for number in numbers)
    rank[[number for _, number in names]] = np.arange(len(names))
    swap = rank[first] > rank[second]
    return np.stack([np.where(swap, second, first), np.where(swap, first, second)])


def _without_bonds(graph: CrystalGraph, kept: NDArray[np.bool_]) -> CrystalGraph:
    return replace(
        graph,
        bond_index=graph.bond_index[:, kept],
        bond_image=graph.bond_image[kept],
        bond_vector=graph.bond_vector[kept],
    )


def _symbol(number: int) -> str:
    from ase.data import chemical_symbols

    return str(chemical_symbols[number])
