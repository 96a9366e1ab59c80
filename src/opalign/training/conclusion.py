"""The end of a run: predictions and figures of what was held out, and the checkpoint."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opalign.dataset.split import Split
from opalign.dataset.table import SpectraTable
from opalign.files import sha256, write_text
from opalign.model.calibration import Calibration
from opalign.model.checkpoint import save_checkpoint
from opalign.model.ensemble import Network
from opalign.model.manifest import plain
from opalign.model.reference import Reference
from opalign.training.card import model_card
from opalign.training.config import TrainingConfig
from opalign.training.data import Materials
from opalign.training.evaluate import compare
from opalign.training.further import open_further
from opalign.training.predictions import predict_materials, write_predictions

RESULT_FILE = "result.json"


@dataclass(frozen=True)
class RunResult:
    """What a run wrote."""

    folder: Path
    metrics: dict[str, Any]
    """``validation`` and ``test``: level → summary as of :mod:`opalign.training.metrics`."""
    was_finished: bool = False
    """The folder held a finished run, and nothing was done."""

    @property
    def checkpoint(self) -> Path:
        """Folder of the best weights by validation loss."""
        return self.folder / "checkpoint"

    def predictions(self, part: str) -> Path:
        """Table of predictions for ``"validation"`` or ``"test"``; absent if that part is empty."""
        return self.folder / f"predictions_{part}.parquet"


def conclude(
    config: TrainingConfig,
    tables: list[SpectraTable],
    split: Split,
    parts: dict[str, Materials],
    network: Network,
    metrics: dict[str, Any],
    out: Path,
    *,
    calibration: Calibration | None = None,
    advice: str | os.PathLike[str] | None = None,
) -> RunResult:
    """Predict, measure, and write checkpoint and figures; ``result.json`` last.

    Parameters
    ----------
    metrics
        What is known of the training already; figures of the validation and test parts join it.
    calibration, advice
        Go into the checkpoint.
    """
    metrics = dict(metrics)
    result = RunResult(out, metrics)
    for name in ("validation", "test"):
        if len(parts[name]):
            path = write_predictions(
                result.predictions(name), network, parts[name], tables, f"run {out.name}"
            )
            figures = compare(SpectraTable.open(path), tables, config.loss.band_gap_column)
            metrics[name] = {level: summary for level, (_, summary) in figures.items()}
    # In the types of JSON, so that a run just finished and one read back say the same.
    metrics = plain(metrics, "metrics")
    result = RunResult(out, metrics)
    reference = parts["train"]
    features = predict_materials(network, reference)["features"]
    further = open_further(config.data)
    training = {
        "config": _portable(config),
        "tables": [_source_of(table) for table in [*tables, *further]],
    }
    first = None if config.pretraining is None else SpectraTable.open(config.pretraining.table)
    if first is not None:
        training["pretraining_table"] = _source_of(first)
    save_checkpoint(
        result.checkpoint,
        network,
        elements={int(z) for graph in reference.graphs for z in graph.atomic_numbers},
        metrics=metrics,
        splits=split.model_dump(),
        card=model_card(config, network, tables, split, metrics, first, further, calibration),
        reference=Reference(reference.ids, reference.formulas, features.astype("float32")),
        training=training,
        calibration=calibration,
        advice=advice,
        overwrite=result.checkpoint.exists(),
    )
    text = json.dumps(metrics, indent=1, ensure_ascii=False)
    write_text(out / RESULT_FILE, text + "\n")
    return result


def _source_of(table: SpectraTable) -> dict[str, str]:
    return {
        "name": table.path.name,
        "sha256": sha256(table.path),
        "licence": table.licence,
        "source": table.source,
        "citation": table.citation,
    }


def _portable(config: TrainingConfig) -> dict[str, Any]:
    """Return the configuration without the folders of this machine: a checkpoint travels."""

    def shorten(value: Any) -> Any:
        if isinstance(value, Path):
            return value.name
        if isinstance(value, dict):
            return {key: shorten(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [shorten(item) for item in value]
        return value

    content: dict[str, Any] = shorten(config.model_dump())
    return content
