"""Where a new material stands among the groups of a table that was explained."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opalign.errors import ConfigurationError
from opalign.explain.chemistry.describe import state_name
from opalign.explain.chemistry.structure import StructureChemistry
from opalign.explain.explanation import FEATURES_FILE, MATERIALS_FILE, SITES_FILE, SUMMARY_FILE
from opalign.explain.features import LayerFeatures, read_features
from opalign.explain.groups import Labels, assign
from opalign.explain.outliers import nearest_distances
from opalign.prediction.applicability import FAR_SHARE
from opalign.prediction.predictor import Predictor

if TYPE_CHECKING:
    import pandas as pd

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Placement:
    """The group that a material falls into."""

    group: int
    """Number of the group, from 0."""
    layer: str
    distance: float
    """To the group's centroid, relative to the median of its members' distances to it."""
    second: int | None
    """Next nearest group; None where there is only one."""
    second_distance: float
    """To the centroid of the second one, relative to that of the first."""
    members: tuple[str, ...]
    """Formulas of the group, the nearest to the material first."""
    sentences: tuple[str, ...]
    """What sets the group apart."""
    doubts: tuple[str, ...]
    """What the materials that were explained have nothing like."""

    def summary(self) -> dict[str, Any]:
        """Return it as JSON has it; groups count from 1, as in the report."""
        return {
            "group": self.group + 1,
            "layer": self.layer,
            "distance": self.distance if np.isfinite(self.distance) else None,
            "second_group": None if self.second is None else self.second + 1,
            "second_distance": self.second_distance if np.isfinite(self.second_distance) else None,
            "members": list(self.members),
            "sentences": list(self.sentences),
            "outside": list(self.doubts),
        }


@dataclass(frozen=True, eq=False)
class Explained:
    """A table that was explained, as far as a new material needs it."""

    features: LayerFeatures
    labels: Labels
    """(M,) groups; −1 is in none."""
    sentences: Mapping[int, tuple[str, ...]]
    sites: pd.DataFrame
    """Cation sites, as :mod:`opalign.explain.chemistry.describe` has them."""
    table: Path
    """Where the table was."""

    @property
    def layer(self) -> str:
        """Layer that the groups are made of."""
        return self.features.layer

    def place(self, vector: Vector, formula: str, chemistry: StructureChemistry) -> Placement:
        """Put a material with features ``vector`` (D,) of this layer into the nearest group."""
        matrix, labels = self.features.matrix, self.labels
        nearest, distances = assign(matrix, labels, vector[None, :])
        group = int(nearest[0])
        order = np.argsort(distances[0])
        own = np.flatnonzero(labels == group)
        spread = np.linalg.norm(matrix[own] - matrix[own].mean(axis=0), axis=1)
        typical = float(np.median(spread))
        first = float(distances[0, group])
        second = int(order[1]) if len(order) > 1 else None
        by_nearness = own[np.argsort(np.linalg.norm(matrix[own] - vector, axis=1))]
        return Placement(
            group=group,
            layer=self.layer,
            distance=first / typical if typical > 0.0 else float("nan"),
            second=second,
            second_distance=float(distances[0, second]) / first
            if second is not None and first > 0.0
            else float("nan"),
            members=tuple(dict.fromkeys(self.features.formulas[row] for row in by_nearness)),
            sentences=self.sentences.get(group, ()),
            doubts=(*self._far(vector, formula), *self._new(chemistry)),
        )

    def _far(self, vector: Vector, formula: str) -> list[str]:
        matrix, formulas = self.features.matrix, self.features.formulas
        others = np.array([name != formula for name in formulas])
        if not others.any():
            return []
        own = float(np.linalg.norm(matrix[others] - vector, axis=1).min())
        among = nearest_distances(matrix, formulas)
        among = among[np.isfinite(among)]
        if len(among) == 0 or own <= np.quantile(among, FAR_SHARE):
            return []
        return [
            f"in layer {self.layer} it is farther from every explained material of another formula "
            f"than {FAR_SHARE:.0%} of them are from one another"
        ]

    def _new(self, chemistry: StructureChemistry) -> list[str]:
        """Say which surroundings and states of its cations no explained material has."""
        sites = self.sites
        around = set(zip(sites["element"], sites["coordination_number"], strict=True))
        states = set(zip(sites["element"], sites["oxidation_state"], strict=True))
        known = set(sites["element"])
        found: dict[str, None] = {}
        for site in chemistry.sites:
            if site.element not in known:
                found[f"no explained material has {site.element} as a cation"] = None
                continue
            if (site.element, site.coordination_number) not in around:
                text = f"{site.element} with {site.coordination_number} neighbours"
                found[f"no explained material has {text}"] = None
            state = site.oxidation_state
            if state is not None and (site.element, state) not in states:
                found[f"no explained material has {state_name(site.element, state)}"] = None
        return list(found)


def read_explained(folder: str | os.PathLike[str], predictor: Predictor) -> Explained:
    """Read what ``opalign explain table`` wrote.

    Raises
    ------
    ConfigurationError
        If the folder holds no explanation, or one of another model.
    """
    import pandas as pd

    folder = Path(folder)
    try:
        summary = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
        materials = pd.read_parquet(folder / MATERIALS_FILE, columns=["group"])
        sites = pd.read_parquet(folder / SITES_FILE)
        model, layer = summary["model"], summary["layer"]
        sentences = {
            item["group"]: tuple(sentence["text"] for sentence in item["sentences"])
            for item in summary["groups"]
        }
        table = Path(summary["config"]["table"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            "holds no explanation of a table",
            where=str(folder),
            expected="a folder that `opalign explain table` wrote",
            cure="explain a table with this model first, or leave it out",
        ) from error
    if model != predictor.name:
        raise ConfigurationError(
            f"explains {model}, not {predictor.name}",
            where=str(folder),
            cure="take the same model, or explain the table with this one",
        )
    features = read_features(folder / FEATURES_FILE, layer).select(list(materials.index))
    labels = materials["group"].to_numpy(dtype=np.int64)
    return Explained(features, labels, sentences, sites, table)
