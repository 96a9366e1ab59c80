"""Explain a table: from a checkpoint and a table to groups in chemical terms."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from opalign.dataset.table import SpectraTable
from opalign.errors import ConfigurationError, DatasetError, OpalignError
from opalign.explain.chemistry.describe import MaterialsChemistry, describe_materials
from opalign.explain.config import ExplainConfig, OtherModel
from opalign.explain.enrichment import enrichments
from opalign.explain.explanation import FEATURES_FILE, Explanation
from opalign.explain.features import (
    LayerFeatures,
    checked_layer,
    extract_features,
    feature_layers,
    read_features,
)
from opalign.explain.groups import Groups, checked_matrix, density_groups
from opalign.explain.kept_features import kept_features
from opalign.explain.maps import FEWEST_FOR_UMAP, principal_components, umap_points
from opalign.explain.number import group_materials
from opalign.explain.out_of_fold import (
    Fold,
    fold_features,
    out_of_fold_features,
    out_of_fold_groups,
    read_folds,
)
from opalign.explain.outliers import outliers
from opalign.explain.predicted import predicted_target, similarity_to
from opalign.explain.properties import chemical_properties, spectral_properties
from opalign.explain.representations import Network, representations
from opalign.explain.sentences import group_sentences
from opalign.explain.site_probes import probe_layers
from opalign.explain.targets import (
    Target,
    absorption_target,
    band_edge_shares,
    list_target,
    pdos_target,
)
from opalign.explain.validity import Truth, validity_table
from opalign.prediction import load_model
from opalign.prediction.predictor import Predictor
from opalign.prediction.result import Failure

if TYPE_CHECKING:
    import pandas as pd
from numpy.typing import NDArray

Progress = Callable[[str], None]

#: Classifications that groups are compared with in the validity table → column of the chemistry.
CLASSES = {
    "anion": "anion",
    "cation_family": "cation_families",
    "coordination": "coordination_class",
    "prototype": "prototype",
}


def explain_table(
    config: ExplainConfig, out: str | os.PathLike[str], progress: Progress = lambda _: None
) -> Explanation:
    """Group the materials of a table by what a network makes of them, and say what the groups are.

    Writes features, tables and a summary into ``out``; what took long (features, chemistry) is kept
    there by content, and used again. :func:`opalign.explain.report.write_report` shows the result.

    Raises
    ------
    DatasetError
        If the table has no structures, fewer than two materials that the network can describe, or
        spectra that are all equal.
    ConfigurationError
        If the layer does not exist, or there are more groups than materials.
    """
    run = _Run(config, Path(out), progress)
    return run.explain()


class _Run:
    """One explanation in the making."""

    def __init__(self, config: ExplainConfig, out: Path, progress: Progress) -> None:
        self.config, self.out, self.progress = config, out, progress
        self.encoder: type = type(None)
        self.seconds: dict[str, float] = {}
        self.notes: list[str] = []
        self.skipped: list[tuple[str, str]] = []

    def explain(self) -> Explanation:
        config = self.config
        predictor = load_model(config.model)
        self.encoder = type(predictor.config.encoder)
        available = feature_layers(predictor)
        where = str(predictor.checkpoint.folder)
        layer = checked_layer(config.layer or available[0], available, where)
        whole = SpectraTable.open(config.table)
        with self._step("features"):
            path = self.out / FEATURES_FILE
            count = self._counter("features", len(whole))
            self.skipped += kept_features(predictor, whole, path, self.out / "cache", on_done=count)
        features = read_features(path, layer)
        checked_matrix(features.matrix, str(config.table))
        table = whole.select(features.ids)
        with self._step("spectra"):
            target = self._target(table, predictor)
        _require_different(target, table)
        with self._step("chemistry"):
            described = self._counter("chemistry", len(table))
            chemistry = describe_materials(
                table,
                cache=self.out / "cache",
                processes=config.processes,
                on_done=lambda: described(""),
            )
        with self._step("groups"):
            groups = self._group(features)
        folds = self._folds()
        with self._step("out-of-fold features"):
            fold_paths = self._fold_paths(folds, table, "explained")
            unseen = self._unseen(folds, fold_paths, features)
            unseen_labels = None if unseen is None else out_of_fold_groups(groups, features, unseen)
        with self._step("enrichments"):
            states = band_edge_shares(
                table, dict(zip(features.ids, chemistry.materials["anion"], strict=True))
            )
            properties = chemical_properties(chemistry.materials)
            properties += spectral_properties(target, states)
            found = enrichments(
                groups.labels,
                features.formulas,
                properties,
                unseen_labels=unseen_labels,
                level=config.significance,
            )
            sentences = group_sentences(found, groups.labels, features.formulas)
        with self._step("predictions"):
            predicted, similarity_of = predicted_target(
                predictor, table, target, config.cross_validation, config.cross_validation_method
            )
            similarity = similarity_to(predicted, target)
        with self._step("validity"):
            validity = self._validity(
                path,
                features,
                target,
                predicted,
                similarity_of,
                chemistry,
                groups,
                table,
                (folds, fold_paths),
            )
        with self._step("probes"):
            probes = probe_layers(path, chemistry.sites, seed=config.seed)
        with self._step("map"):
            maps, shares = self._maps(features)
        far = outliers(features.matrix, chemistry.materials, 1.0 - similarity)
        explanation = Explanation(
            config=config,
            model=predictor.name,
            features=features,
            layers=available,
            target=target,
            chemistry=chemistry,
            groups=groups,
            unseen_labels=unseen_labels,
            enrichments=found,
            sentences=sentences,
            validity=validity,
            probes=probes,
            maps=maps,
            variance_shares=shares,
            similarity=similarity,
            similarity_of=similarity_of,
            outliers=far,
            skipped=self.skipped,
            notes=self.notes,
            seconds=self.seconds,
        )
        explanation.write(self.out)
        return explanation

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        self.progress(name)
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started

    def _counter(self, name: str, total: int) -> Callable[[str], None]:
        """Return what to call after each of many materials, so that progress shows how many."""
        done = 0

        def count(_: str) -> None:
            nonlocal done
            done += 1
            self.progress(f"{name}: {done} of {total} materials")

        return count

    def _skip(self, failure: Failure) -> None:
        self.skipped.append((failure.file, failure.reason))

    def _target(self, table: SpectraTable, predictor: Predictor) -> Target:
        chosen = self.config.target
        if chosen.kind == "pdos":
            return pdos_target(table)
        if chosen.kind == "list":
            return list_target(
                table,
                str(chosen.column),
                chosen.start,
                chosen.stop,
                label=chosen.label,
                x_label=chosen.x_label,
            )
        level = chosen.level or next(
            (name for name in predictor.levels if name in table.levels), predictor.levels[0]
        )
        return absorption_target(table, level)

    def _group(self, features: LayerFeatures) -> Groups:
        config = self.config
        if config.method == "hdbscan":
            groups = density_groups(features.ids, features.matrix, smallest=config.smallest)
            if groups.number == 0:
                raise DatasetError(
                    f"no {config.smallest} materials are alike enough to make a group",
                    where=str(config.table),
                    cure="ask for a smaller smallest group, or take Ward's method",
                )
            return groups
        return group_materials(
            features.ids,
            features.formulas,
            features.matrix,
            number=config.number,
            distance=config.distance,
            criterion=config.criterion,
            seed=config.seed,
        )

    def _folds(self) -> list[Fold]:
        config = self.config
        if config.cross_validation is not None:
            return read_folds(config.cross_validation, config.cross_validation_method)
        self.notes.append(
            "No cross-validation was given, so what groups say about spectra is description: the "
            "network may have been trained on them."
        )
        return []

    def _fold_paths(self, folds: list[Fold], table: SpectraTable, name: str) -> list[Path]:
        if not folds:
            return []
        return fold_features(
            folds, table, self.out / "cache" / "folds" / name, on_failure=lambda _: None
        )

    def _unseen(
        self, folds: list[Fold], paths: list[Path], features: LayerFeatures
    ) -> LayerFeatures | None:
        if not folds:
            return None
        unseen = out_of_fold_features(folds, paths, features)
        if len(unseen) < len(features):
            self.notes.append(
                f"{len(features) - len(unseen)} materials are in no fold of the cross-validation; "
                "they are left out of tests on spectra."
            )
        return unseen

    def _validity(
        self,
        path: Path,
        features: LayerFeatures,
        target: Target,
        predicted: Target | None,
        similarity_of: str,
        chemistry: MaterialsChemistry,
        groups: Groups,
        table: SpectraTable,
        own_folds: tuple[list[Fold], list[Path]],
    ) -> pd.DataFrame:
        config = self.config
        number = config.validity_groups or min(groups.number, len(features) // 2)
        truth = Truth(
            features.ids,
            features.formulas,
            {name: curve.values for name, curve in target.curves.items()},
            dict(target.numbers),
            {name: list(chemistry.materials[column]) for name, column in CLASSES.items()},
        )
        explained = Network(_short(config.model), path, *own_folds)
        others = [
            self._other(other, place, table) for place, other in enumerate(config.other_models)
        ]
        rows = representations(
            [explained, *others], features, target, predicted, similarity_of, table
        )
        return validity_table(rows, truth, number, draws=config.draws, seed=config.seed)

    def _other(self, other: OtherModel, place: int, table: SpectraTable) -> Network:
        path = self.out / "cache" / f"features_{place}.parquet"
        missing: list[str] = []
        predictor = load_model(other.model)
        extract_features(
            predictor, table, path, on_failure=lambda failure: missing.append(failure.file)
        )
        if missing:
            raise ConfigurationError(
                f"{other.model} cannot describe {missing[0]} and {len(missing) - 1} others",
                expected="networks that describe the same materials",
                cure="leave this network out of other_models",
            )
        same = type(predictor.config.encoder) is self.encoder
        folds: list[Fold] = []
        if other.cross_validation is not None:
            folds = read_folds(other.cross_validation, other.method)
        return Network(
            other.name or _short(other.model),
            path,
            folds,
            self._fold_paths(folds, table, f"other_{place}"),
            other.role or ("seed" if same else "architecture"),
        )

    def _maps(self, features: LayerFeatures) -> tuple[dict[str, np.ndarray], np.ndarray]:
        config = self.config
        points, shares = principal_components(features.matrix)
        maps = {"pca": points}
        if len(features) < FEWEST_FOR_UMAP:
            self.notes.append(f"Fewer than {FEWEST_FOR_UMAP} materials: no UMAP.")
            return maps, shares
        try:
            maps["umap"] = umap_points(
                features.matrix,
                neighbors=config.map_neighbors,
                minimum_distance=config.map_minimum_distance,
                seed=config.seed,
            )
        except OpalignError as error:
            self.notes.append(f"No UMAP: {error.problem}.")
        return maps, shares


def _require_different(target: Target, table: SpectraTable) -> None:
    if all(_are_equal(curve.values) for curve in target.curves.values()):
        raise DatasetError(
            f"all {len(target.ids)} spectra of {target.name} are equal, so there is nothing to "
            "explain",
            where=str(table.path),
            cure="check how the table was made",
        )


def _are_equal(values: NDArray[np.float64]) -> bool:
    """Whether the rows (M, n) differ by no more than what single precision leaves of equal ones."""
    return bool(np.ptp(values, axis=0).max() <= 1e-6 * np.abs(values).max(initial=0.0))


def _short(name: str) -> str:
    """Name a model by its folder; a run calls that of its checkpoint always the same."""
    parts = Path(name).parts
    named = [part for part in parts if part != "checkpoint"]
    return "/".join(named[-2:]) if parts[-1:] == ("checkpoint",) else Path(name).name or name
