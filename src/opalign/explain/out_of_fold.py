"""Features and groups of a material from networks that have never seen its spectrum.

A network's features know the spectra that it was trained on, and so do groups made from them: that
such groups differ in their spectra proves little. A cross-validation has, for every material, one
network that has seen neither it nor another material of its formula. Those networks speak different
languages: each one's features are brought into the frame of the network that is explained by the
orthogonal map, scale and shift that fit best (Procrustes; P. H. Schönemann, Psychometrika 31, 1,
1966) over the materials *outside* the fold. A held-out material then joins the group whose
centroid, computed without its own formula, is nearest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from opalign.errors import ConfigurationError, DatasetError
from opalign.explain.features import (
    LayerFeatures,
    checked_layer,
    extract_features,
    feature_layers,
    layers_of,
    read_features,
)
from opalign.explain.groups import Groups, Labels, Matrix
from opalign.files import sha256
from opalign.prediction import load_model
from opalign.prediction.result import Failure

if TYPE_CHECKING:
    from opalign.dataset.table import SpectraTable

#: Directions in which two networks' features have less than this share of the largest covariance
#: are noise, and left out of the map between them.
LEAST_COVARIANCE = 1e-3

NO_GROUP = -1
"""Label of a material that no network of the cross-validation has left out."""


@dataclass(frozen=True)
class Fold:
    """A network of a cross-validation and what it has not seen."""

    number: int
    checkpoint: Path
    held_out: tuple[str, ...]


def read_folds(folder: str | os.PathLike[str], method: str | None = None) -> list[Fold]:
    """Return the networks of a finished ``opalign crossvalidate`` run.

    Raises
    ------
    ConfigurationError
        If the folder holds none, several methods and none is named, or a fold is unfinished.
    """
    folder = Path(folder)
    runs = folder / "runs"
    try:
        plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        held_out = [tuple(fold["test"]) for fold in plan["folds"]]
        methods = sorted(path.name for path in runs.iterdir() if path.is_dir())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            "holds no cross-validation",
            where=str(folder),
            expected="a folder that `opalign crossvalidate` wrote",
            cure="run it first, or leave it out: tests on spectra are then descriptive",
        ) from error
    if method is None and len(methods) == 1:
        method = methods[0]
    if method not in methods:
        raise ConfigurationError(
            f"has no method {method!r}" if method else "has several methods, and none was named",
            where=str(runs),
            expected=", ".join(methods),
        )
    folds = [
        Fold(number, runs / method / f"fold_{number}" / "checkpoint", ids)
        for number, ids in enumerate(held_out, start=1)
    ]
    for fold in folds:
        if not (fold.checkpoint / "config.json").is_file():
            raise ConfigurationError(
                f"fold {fold.number} is not finished",
                where=str(fold.checkpoint),
                cure="run `opalign crossvalidate` again: it goes on where it was stopped",
            )
    return folds


def fold_features(
    folds: Sequence[Fold],
    table: SpectraTable,
    work: str | os.PathLike[str],
    *,
    on_failure: Callable[[Failure], None],
) -> list[Path]:
    """Extract the features of all materials by each fold's network into ``work``.

    Files that are there already for the same weights and the same table are kept.
    """
    paths = []
    table_key = sha256(table.path)[:8]
    for fold in folds:
        predictor = load_model(fold.checkpoint, device="cpu")
        key = f"{predictor.checkpoint.identifier}_{table_key}"
        path = Path(work) / f"fold_{fold.number}_{key}.parquet"
        if not path.is_file() or layers_of(path) != feature_layers(predictor):
            extract_features(predictor, table, path, on_failure=on_failure)
        paths.append(path)
    return paths


def out_of_fold_features(
    folds: Sequence[Fold], paths: Sequence[Path], reference: LayerFeatures
) -> LayerFeatures:
    """Return features of each material of ``reference`` by the network that has not seen it.

    Parameters
    ----------
    folds, paths
        The networks and their files of features.
    reference
        Features of the network that is explained; its frame is that of the result. Materials that
        no fold holds out are left out.

    Raises
    ------
    ConfigurationError
        If the networks have no layer of this name: they are of another architecture.
    DatasetError
        If a fold leaves too few materials to fit the map with.
    """
    place = {material_id: row for row, material_id in enumerate(reference.ids)}
    found: dict[int, Matrix] = {}
    for fold, path in zip(folds, paths, strict=True):
        checked_layer(reference.layer, layers_of(path), str(path))
        own = read_features(path, reference.layer)
        hidden = set(fold.held_out) & place.keys()
        hidden_formulas = {reference.formulas[place[material_id]] for material_id in hidden}
        own = own.select([material_id for material_id in reference.ids if material_id in own.ids])
        outside = np.array([formula not in hidden_formulas for formula in own.formulas])
        rows = np.array([place[material_id] for material_id in own.ids])
        if outside.sum() < 3:
            raise DatasetError(
                f"only {int(outside.sum())} materials lie outside fold {fold.number}",
                where=str(path),
                expected="a cross-validation of the table that is explained",
            )
        mapped = procrustes(own.matrix[outside], reference.matrix[rows[outside]], own.matrix)
        for row, material_id, values in zip(rows, own.ids, mapped, strict=True):
            if material_id in hidden:
                found[int(row)] = values
    kept = sorted(found)
    if not kept:
        raise DatasetError(
            "the cross-validation holds out no material of the table",
            expected="a cross-validation of the table that is explained",
        )
    return LayerFeatures(
        tuple(reference.ids[row] for row in kept),
        tuple(reference.formulas[row] for row in kept),
        reference.layer,
        "out of fold",
        np.array([found[row] for row in kept]),
    )


def procrustes(source: Matrix, target: Matrix, values: Matrix) -> Matrix:
    """Map ``values`` as the orthogonal map, scale and shift that take ``source`` to ``target``.

    Parameters
    ----------
    source, target
        (M, D) and (M, E), row by row the same materials.
    values
        (K, D) what is mapped.

    Returns
    -------
    ndarray
        (K, E). Directions that ``source`` and ``target`` do not share are lost.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    centred = source - source_mean
    left, strengths, right = np.linalg.svd(centred.T @ (target - target_mean), full_matrices=False)
    shared = strengths > LEAST_COVARIANCE * strengths[0] if len(strengths) else []
    rotation = left[:, shared] @ right[shared]
    spread = float(((centred @ rotation) ** 2).sum())
    scale = float(strengths[shared].sum()) / spread if spread > 0.0 else 1.0
    return target_mean + scale * (values - source_mean) @ rotation


def out_of_fold_groups(groups: Groups, reference: LayerFeatures, unseen: LayerFeatures) -> Labels:
    """Return the groups (M,) of materials by features that don't know their spectra.

    Each goes to the nearest centroid of the groups, computed without the materials of its own
    formula; :data:`NO_GROUP` where there are no such features. A group that consists of one formula
    has no other material, so that one joins another.

    Parameters
    ----------
    groups, reference
        The groups that are shown, and the features that they were made of.
    unseen
        From :func:`out_of_fold_features`.
    """
    place = {material_id: row for row, material_id in enumerate(reference.ids)}
    formulas = np.array(reference.formulas)
    labels = np.full(len(reference), NO_GROUP)
    number = groups.number
    inside = groups.labels >= 0
    sums = np.zeros((number, reference.matrix.shape[1]))
    np.add.at(sums, groups.labels[inside], reference.matrix[inside])
    counts = np.bincount(groups.labels[inside], minlength=number).astype(float)
    for material_id, formula, values in zip(
        unseen.ids, unseen.formulas, unseen.matrix, strict=True
    ):
        own = np.flatnonzero((formulas == formula) & inside)
        other_sums, other_counts = sums.copy(), counts.copy()
        np.subtract.at(other_sums, groups.labels[own], reference.matrix[own])
        np.subtract.at(other_counts, groups.labels[own], 1.0)
        there = other_counts > 0.5
        centres = other_sums[there] / other_counts[there, None]
        nearest = np.argmin(((centres - values) ** 2).sum(axis=1))
        labels[place[material_id]] = np.flatnonzero(there)[nearest]
    return labels
