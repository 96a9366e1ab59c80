"""Figures of a cross-validation, for the card of a model that was then trained on everything."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from opalign.errors import ConfigurationError
from opalign.files import sha256
from opalign.training.config import CrossValidatedConfig, TrainingConfig
from opalign.training.config_file import differing_keys, read_config

#: Column of summary.csv → name in metrics.json.
FIGURES = {
    "materials": "materials",
    "similarity_median": "similarity_median",
    "similarity_mean": "similarity_mean",
    "mae_median": "mae_median",
    "mae_mean": "mae_mean",
    "onset_eV_absolute_error_mean": "onset_mae_eV",
    "onset_eV_r2": "onset_r2",
    "static_dielectric_relative_error_median": "static_dielectric_relative_error_median",
    "band_gap_eV_absolute_error_mean": "band_gap_mae_eV",
}

#: What may differ between the folds' runs and this one without making it another method. Tables
#: are compared by content, wherever they lie.
IRRELEVANT = (
    "data.tables",
    "data.split",
    "data.graph_cache",
    "pretraining.table",
    "cross_validated",
    "num_threads",
    "save_seconds",
)


def read_figures(
    reported: CrossValidatedConfig, config: TrainingConfig, scored_as: str | None = None
) -> list[dict[str, Any]]:
    """Return one entry per level and broadening of the method's out-of-fold figures.

    Those of the method itself, or of the mean of its members, which is scored under another name.

    Raises
    ------
    ConfigurationError
        The folder holds no finished cross-validation of this method, or its runs were configured
        otherwise than this one: its figures would be those of another model.
    """
    folder = reported.folder
    try:
        kept = read_config(folder / "runs" / reported.method / "fold_1.yaml")
        summary = pd.read_csv(folder / "summary.csv")
        tables = json.loads((folder / "plan.json").read_text(encoding="utf-8"))["tables"]
    except (OSError, ValueError, KeyError, ConfigurationError) as error:
        raise ConfigurationError(
            f"holds no finished cross-validation of a method {reported.method!r}",
            where=str(folder),
            expected=f"summary.csv and runs/{reported.method}/fold_1.yaml",
            cure="run `opalign crossvalidate` to its end, or leave out cross_validated",
        ) from error
    differing = [key for key in differing_keys(kept, config) if not key.startswith(IRRELEVANT)]
    if tables != [sha256(table) for table in config.data.tables]:
        differing.append("content of data.tables")
    if differing:
        raise ConfigurationError(
            f"was made with another {', '.join(differing)}",
            where=str(folder),
            cure="cross-validate this configuration, or leave out cross_validated",
        )
    scored_as = scored_as or reported.method
    rows = summary[summary["method"] == scored_as]
    if rows.empty:
        raise ConfigurationError(
            f"the summary has no figures of a method {scored_as!r}",
            where=str(folder),
            cure="run `opalign crossvalidate` with this configuration to its end",
        )
    return [
        {
            "level": row["level"],
            "broadening": row["broadening"],
            **{
                name: None if pd.isna(row[column]) else float(row[column])
                for column, name in FIGURES.items()
                if column in row
            },
        }
        for _, row in rows.iterrows()
    ]
