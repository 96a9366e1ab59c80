"""What an explanation of a table found: plain tables, kept as Parquet and JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opalign.explain.chemistry.describe import MaterialsChemistry
from opalign.explain.config import ExplainConfig
from opalign.explain.config_file import CONFIG_FILE, write_explain_config
from opalign.explain.features import LayerFeatures
from opalign.explain.groups import Groups, Labels
from opalign.explain.sentences import Sentence
from opalign.explain.targets import Array, Target
from opalign.files import write_atomically, write_text

if TYPE_CHECKING:
    import pandas as pd

#: Files of an explanation in its folder.
FEATURES_FILE = "features.parquet"
MATERIALS_FILE = "materials.parquet"
SITES_FILE = "sites.parquet"
SUMMARY_FILE = "explanation.json"


@dataclass(frozen=True, eq=False)
class Explanation:
    """Everything that a report shows; row i of any array is material i of ``features``."""

    config: ExplainConfig
    model: str
    features: LayerFeatures
    """Of the layer that the groups are made of."""
    layers: tuple[str, ...]
    target: Target
    chemistry: MaterialsChemistry
    groups: Groups
    unseen_labels: Labels | None
    """(M,) groups out of fold, −1 where there are none; None without a cross-validation."""
    enrichments: pd.DataFrame
    sentences: dict[int, list[Sentence]]
    validity: pd.DataFrame
    probes: pd.DataFrame
    maps: dict[str, Array]
    """``"pca"``, ``"umap"`` → (M, 2)."""
    variance_shares: Array
    """(2,) of the principal components."""
    similarity: Array
    """(M,) SC of the prediction, NaN where there is none."""
    similarity_of: str
    """Of which prediction: ``"out of fold"``, ``"in training"``, or empty."""
    outliers: pd.DataFrame
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Materials that were left out, and why."""
    notes: list[str] = field(default_factory=list)
    """What a reader has to know: what was not tested, and why."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time of each step."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Material ids."""
        return self.features.ids

    @property
    def formulas(self) -> tuple[str, ...]:
        """Reduced formulas."""
        return self.features.formulas

    def materials_frame(self) -> pd.DataFrame:
        """One row a material: group, map coordinates, chemistry, numbers of its spectrum."""
        frame = self.chemistry.materials.copy()
        frame.insert(1, "group", self.groups.labels)
        if self.unseen_labels is not None:
            frame.insert(2, "group_out_of_fold", self.unseen_labels)
        for name, points in self.maps.items():
            frame[f"{name}_1"], frame[f"{name}_2"] = points.T
        for name, values in self.target.numbers.items():
            frame[name] = values
        frame["similarity"] = self.similarity
        return frame

    def summary(self) -> dict[str, Any]:
        """Return what fits into JSON: settings, groups with their sentences, notes."""
        return {
            "model": self.model,
            "layer": self.features.layer,
            "layers": list(self.layers),
            "target": self.target.name,
            "materials": len(self.ids),
            "groups": [
                {
                    "group": group,
                    "ids": [self.ids[row] for row in self.groups.members(group)],
                    "formulas": [self.formulas[row] for row in self.groups.members(group)],
                    "sentences": [
                        {
                            "text": sentence.text,
                            "evidence": list(sentence.evidence),
                            "tested": sentence.tested,
                        }
                        for sentence in self.sentences.get(group, [])
                    ],
                }
                for group in range(self.groups.number)
            ],
            "number_chosen_by": self.groups.chosen_by,
            "criterion": _plain(self.groups.criterion),
            "similarity_of": self.similarity_of,
            "skipped": [list(item) for item in self.skipped],
            "chemistry_problems": [list(item) for item in self.chemistry.problems],
            "notes": list(self.notes),
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
            "config": self.config.model_dump(mode="json"),
        }

    def write(self, folder: Path) -> list[Path]:
        """Write the tables and the summary; returns the files."""
        tables = {
            MATERIALS_FILE: self.materials_frame(),
            SITES_FILE: self.chemistry.sites,
            "enrichments.parquet": self.enrichments,
            "validity.parquet": self.validity,
            "probes.parquet": self.probes,
            "outliers.parquet": self.outliers,
        }
        written = [
            write_atomically(folder / name, frame.to_parquet) for name, frame in tables.items()
        ]
        for name in ("validity", "probes"):
            text = getattr(self, name).to_csv(index=False)
            written.append(write_text(folder / f"{name}.csv", text))
        text = json.dumps(self.summary(), indent=1, ensure_ascii=False, allow_nan=False)
        written.append(write_text(folder / SUMMARY_FILE, text + "\n"))
        written.append(write_explain_config(folder / CONFIG_FILE, self.config))
        return written


def _plain(value: Any) -> Any:
    """Return plain data without NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
