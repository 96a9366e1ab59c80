"""Everything that a table's materials can be grouped by: layers of networks, and the controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from opalign.dataset.table import SpectraTable
from opalign.explain.features import LayerFeatures, layers_of, read_features
from opalign.explain.out_of_fold import Fold, out_of_fold_features
from opalign.explain.targets import Target
from opalign.explain.validity import Representation, composition_features, spectra_features


@dataclass(frozen=True)
class Network:
    """A network whose layers are scored, and the files of its features."""

    name: str
    path: Path
    """Features of the table's materials."""
    folds: Sequence[Fold] = ()
    fold_paths: Sequence[Path] = ()
    role: str | None = None
    """How it differs from the explained one: ``"seed"``, ``"architecture"``; None for that one."""


def representations(
    networks: Sequence[Network],
    features: LayerFeatures,
    target: Target,
    predicted: Target | None,
    similarity_of: str,
    table: SpectraTable,
) -> list[Representation]:
    """Return every layer of the networks, then raw and predicted spectra and the composition.

    What is the same for all materials groups nothing, and is left out.

    Parameters
    ----------
    networks
        The explained one first; its layers are compared with those of the others.
    features
        Names the materials and their order.
    predicted, similarity_of
        From :func:`opalign.explain.predicted.predicted_target`.
    """
    ids, formulas = features.ids, features.formulas
    rows: list[Representation] = []
    for network in networks:
        for layer in layers_of(network.path):
            own = read_features(network.path, layer).select(ids)
            compared = {
                str(other.role): counterpart(other.path, network.path, layer).select(ids)
                for other in networks
                if other.role is not None and network.role is None
            }
            unseen = None
            if network.folds:
                unseen = out_of_fold_features(network.folds, network.fold_paths, own)
            title = f"{network.name}: {layer}"
            rows.append(Representation(title, own, unseen=unseen, compared=compared))
    shown = [("raw spectra", target)]
    if predicted is not None:
        shown.append((f"predicted spectra ({similarity_of})", predicted))
    for title, spectra in shown:
        for name, curve in spectra.curves.items():
            own = spectra_features(ids, formulas, curve.values, name)
            rows.append(Representation(f"{title}: {name}", own, "control"))
    compositions = [dict(structure.composition.as_dict()) for structure in table.structures()]
    own = composition_features(ids, formulas, compositions)
    rows.append(Representation("composition", own, "control"))
    return [row for row in rows if np.ptp(row.features.matrix, axis=0).max() > 0.0]


def counterpart(other: Path, own: Path, layer: str) -> LayerFeatures:
    """Return the other network's layer of this name, or the one as far along."""
    layers, others = layers_of(own), layers_of(other)
    if layer in others:
        return read_features(other, layer)
    place = round(layers.index(layer) / max(len(layers) - 1, 1) * (len(others) - 1))
    return read_features(other, others[place])
