"""What each layer knows of its sites: oxidation state, coordination, anion and geometry."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from opalign.errors import DatasetError
from opalign.explain.features import READOUT, SiteFeatures, layers_of, read_site_features
from opalign.explain.probes import Kind, probe

if TYPE_CHECKING:
    import pandas as pd

#: Column of the chemistry of sites → kind of probe, and what it is called.
PROBED: dict[str, tuple[Kind, str]] = {
    "oxidation_state": ("class", "oxidation state"),
    "coordination_number": ("class", "coordination number"),
    "motif": ("class", "coordination motif"),
    "anion": ("class", "anion around"),
    "mean_bond": ("number", "mean bond length"),
    "angle_spread": ("number", "spread of the angles"),
}


def probe_layers(
    features: Path, sites: pd.DataFrame, *, layers: Iterable[str] | None = None, seed: int = 0
) -> pd.DataFrame:
    """Probe every layer for every property of the cation sites.

    Parameters
    ----------
    features
        File of features with that of the sites beside it.
    sites
        From :func:`opalign.explain.chemistry.describe.describe_materials`.

    Returns
    -------
    pandas.DataFrame
        One row per layer and property that can be probed: ``layer``, ``property``, ``measure``,
        ``score``, ``control`` (the element alone), ``gain``, ``gain_error``, ``chance``, ``sites``,
        ``formulas``.
    """
    import pandas as pd

    rows = []
    chosen = [layer for layer in layers or layers_of(features) if layer != READOUT]
    for layer in chosen:
        found = read_site_features(features, layer)
        matched, own = _matched(found, sites)
        for column, (kind, name) in PROBED.items():
            target = [None if value != value else value for value in own[column]]
            try:
                result = probe(
                    found.matrix[matched],
                    target,
                    found.atomic_numbers[matched],
                    list(own["formula"]),
                    kind,
                    seed=seed,
                )
            except DatasetError:
                # A table of one anion, say, has nothing to ask.
                continue
            rows.append(
                {
                    "layer": layer,
                    "property": name,
                    "measure": "balanced accuracy" if kind == "class" else "R²",
                    "score": result.score,
                    "control": result.control,
                    "gain": result.gain,
                    "gain_error": result.error,
                    "chance": result.chance,
                    "sites": result.sites,
                    "formulas": result.formulas,
                }
            )
    return pd.DataFrame(rows, columns=_COLUMNS)


_COLUMNS = (
    "layer",
    "property",
    "measure",
    "score",
    "control",
    "gain",
    "gain_error",
    "chance",
    "sites",
    "formulas",
)


def _matched(features: SiteFeatures, sites: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """Rows of the features that belong to sites with a chemistry, and those sites."""
    place = {
        key: row for row, key in enumerate(zip(features.ids, features.sites.tolist(), strict=True))
    }
    keys = list(zip(sites["material_id"], sites["site"], strict=True))
    known = [key in place for key in keys]
    rows = np.array([place[key] for key in keys if key in place], dtype=np.int64)
    return rows, sites[known]
