"""Figures of the similarity of two levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from opalign.ladder.data import LadderData
from opalign.ladder.figures import COLORS, save_figure
from opalign.spectrum.plots.labels import label_points

NAMED = 8


def draw_similarity(
    path: Path, data: LadderData, frame: pd.DataFrame, metrics: dict[str, Any], kind: str
) -> Path:
    """Draw prediction against truth, and the map of the pooled features coloured by the truth."""
    figure = Figure(figsize=(9.6, 4.5), layout="constrained")
    parity, plane = figure.subplots(1, 2)
    truth, predicted = frame["similarity"].to_numpy(), frame["predicted"].to_numpy()
    seeds = frame[[c for c in frame if str(c).startswith("predicted_seed_")]].to_numpy()
    low = float(min(truth.min(), seeds.min())) - 0.03
    parity.plot([low, 1], [low, 1], color="0.6", lw=1, zorder=1)
    parity.vlines(truth, seeds.min(axis=1), seeds.max(axis=1), color=COLORS[0], alpha=0.3, lw=1)
    parity.scatter(truth, predicted, s=20, color=COLORS[0], edgecolor="white", lw=0.4, zorder=3)
    levels = f"SC[{data.config.cheap}; {data.config.costly}]"
    parity.set(xlim=(low, 1.0), ylim=(low, 1.0), aspect="equal")
    parity.set_xlabel(levels, fontsize=9)
    parity.set_ylabel("predicted, out of fold", fontsize=9)
    parity.set_title(
        f"MAE {metrics['mae']:.3f}, of the mean {metrics['mae_of_the_mean']:.3f}, "
        f"Spearman {metrics['spearman']:.2f}",
        fontsize=10,
    )
    points = plane.scatter(
        frame["map_x"], frame["map_y"], c=truth, cmap="viridis", s=28, edgecolor="white", lw=0.4
    )
    figure.colorbar(points, ax=plane, label=levels, shrink=0.85)
    plane.set_xticks([])
    plane.set_yticks([])
    plane.set_title(f"{kind} of the pooled features; named: the {NAMED} lowest", fontsize=10)
    for axis in (parity, plane):
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    formulas = list(frame["formula"])
    label_points(parity, truth, predicted, formulas, np.argsort(-np.abs(truth - predicted))[:4])
    label_points(plane, frame["map_x"], frame["map_y"], formulas, np.argsort(truth)[:NAMED])
    return save_figure(figure, path)
