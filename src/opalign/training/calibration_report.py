"""What a calibration is worth: a table, a figure, and the calibration itself, on disk."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator
from numpy.typing import NDArray

from opalign.files import atomic_path, write_text
from opalign.model.calibration import Calibration
from opalign.model.familiarity import INGREDIENTS
from opalign.spectrum.conformal import coverage, rank_correlation, sharpness
from opalign.training.calibration import HeldOut, Prepared, calibrate, held_out, prepare
from opalign.training.out_of_fold import OutOfFold

Array = NDArray[np.float64]

#: Nominal coverages of the reliability diagram.
NOMINAL = (0.5, 0.6, 0.7, 0.8, 0.9)
#: eV: edges of the windows that coverage is given for.
WINDOWS = (0.0, 5.0, 10.0, 15.0, 20.0)
#: Standard deviations of a normal distribution that hold 90 %: what an uncalibrated spread claims.
NORMAL_WIDTH = 1.645
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")

NOTE = """\
Bands of Im ε and expected errors, each calibrated on all folds but one and tested on that one: no
material is judged by a calibration that it was part of. Coverage and sharpness are means over
materials, at energies where prediction or reference exceeds 1 % of its maximum. Sharpness is the
mean width of a band over the mean height of the reference: narrower is better, at the same
coverage. The error is 1 − SC of Im ε; its rank correlation with the expected one is Spearman's.
"""


@dataclass(frozen=True)
class CalibrationReport:
    """What :func:`write_calibration` found and wrote."""

    calibration: Calibration
    summary: pd.DataFrame
    per_material: pd.DataFrame
    files: tuple[Path, ...]


def write_calibration(data: OutOfFold, out: Path, name: str) -> CalibrationReport:
    """Calibrate, test, and write ``calibration_NAME.json``, ``uncertainty_NAME.*`` into ``out``.

    Raises
    ------
    ConfigurationError
        There are too few materials.
    """
    calibration, measured = calibrate(data)
    prepared = {level: prepare(data, level, "epsilon_imaginary") for level in data.levels}
    reliability = {level: _reliability(data, level, prepared[level]) for level in data.levels}
    summary = pd.DataFrame(
        [
            row
            for level in data.levels
            for row in _rows(data, level, prepared[level], measured[level])
        ]
    )
    frame = pd.concat([_per_material(data, level, found) for level, found in measured.items()])
    text = calibration.model_dump_json(indent=1) + "\n"
    stem = f"uncertainty_{name}"
    files = (
        write_text(out / f"calibration_{name}.json", text),
        write_text(out / f"{stem}.md", _markdown(data, summary, calibration)),
        write_text(out / f"{stem}.csv", frame.to_csv(index=False)),
        _draw(out / f"{stem}.png", data, prepared, measured, reliability),
    )
    return CalibrationReport(calibration, summary, frame, files)


def _reliability(data: OutOfFold, level: str, prepared: Prepared) -> Array:
    """Coverage on held-out folds at each of :data:`NOMINAL`."""
    return np.array(
        [np.nanmean(held_out(data, level, prepared, nominal).coverage) for nominal in NOMINAL]
    )


def _rows(data: OutOfFold, level: str, prepared: Prepared, found: HeldOut) -> list[dict]:
    """Rows of the summary: the bands, the spread taken at its word, and the error estimate."""
    place = data.levels.index(level)
    spread = data.imaginary[:, :, place].std(axis=1, ddof=1) if data.members > 1 else 0.0
    lower = np.maximum(prepared.prediction - NORMAL_WIDTH * spread, 0.0)
    upper = prepared.prediction + NORMAL_WIDTH * spread
    center = data.ingredients[:, place]
    inside = (found.least <= found.errors) & (found.errors <= found.largest)
    rows: list[dict] = [
        {
            "level": level,
            "what": "bands, calibrated",
            "coverage": np.nanmean(found.coverage),
            "quartile_1": np.nanquantile(found.coverage, 0.25),
            "sharpness": np.nanmean(found.sharpness),
        },
        {
            "level": level,
            "what": f"spread of {data.members} members, ± {NORMAL_WIDTH} σ",
            "coverage": np.nanmean(coverage(lower, upper, prepared.truth, prepared.inside)),
            "sharpness": np.nanmean(sharpness(lower, upper, prepared.truth, prepared.inside)),
        },
        {
            "level": level,
            "what": "error, expected",
            "coverage": inside.mean(),
            "rank_correlation": rank_correlation(found.expected, found.errors),
        },
    ]
    for number, name in enumerate(INGREDIENTS):
        rows.append(
            {
                "level": level,
                "what": f"{name} alone",
                "rank_correlation": rank_correlation(center[:, number], found.errors),
            }
        )
    energies = data.grid.values
    for start, stop in itertools.pairwise(WINDOWS):
        window = prepared.inside & (energies >= start) & (energies < stop)
        if window.any():
            held = coverage(found.lower, found.upper, prepared.truth, window)
            rows.append(
                {
                    "level": level,
                    "what": f"bands, {start:g} to {stop:g} eV",
                    "coverage": np.nanmean(held),
                }
            )
    return rows


def _per_material(data: OutOfFold, level: str, found: HeldOut) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "material_id": data.ids,
            "formula": data.formulas,
            "level": level,
            "fold": data.folds,
            "coverage": found.coverage,
            "sharpness": found.sharpness,
            "error": found.errors,
            "expected_error": found.expected,
            "error_lower": found.least,
            "error_upper": found.largest,
            **{
                name.replace(" ", "_"): data.ingredients[:, data.levels.index(level), number]
                for number, name in enumerate(INGREDIENTS)
            },
        }
    )


def _markdown(data: OutOfFold, summary: pd.DataFrame, calibration: Calibration) -> str:
    lines = [
        "# Uncertainty",
        "",
        NOTE,
        f"{len(data)} materials, {calibration.folds} folds, {data.members} networks a fold; "
        f"nominal coverage {calibration.coverage:.0%}.",
        "",
        "| level | what | coverage | lower quartile | sharpness | rank correlation |",
        "|---|---|---|---|---|---|",
    ]
    for row in summary.to_dict("records"):
        cells = " | ".join(
            _number(row.get(column))
            for column in ("coverage", "quartile_1", "sharpness", "rank_correlation")
        )
        lines.append(f"| {row['level']} | {row['what']} | {cells} |")
    advice = calibration.advice
    if advice is not None:
        lines += [
            "",
            f"SC[{advice.costly}; {advice.cheap}] from the two predicted spectra: mean absolute "
            f"error {advice.mean_absolute_error:.3f} (median {advice.median_absolute_error:.3f}; "
            f"taking the mean for all: {advice.mean_predictor_error:.3f}); "
            f"{advice.agreement:.0%} of the materials get the advice that their true spectra give.",
        ]
    return "\n".join(lines) + "\n"


def _draw(
    path: Path,
    data: OutOfFold,
    prepared: Mapping[str, Prepared],
    measured: Mapping[str, HeldOut],
    reliability: Mapping[str, Array],
) -> Path:
    figure = Figure(figsize=(11.5, 3.9), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.plot([0.4, 1], [0.4, 1], color="0.6", lw=1)
    left.axhspan(0.85, 0.95, color="0.93", zorder=0)
    energies = data.grid.values
    for (level, found), color in zip(measured.items(), COLORS, strict=False):
        left.plot(NOMINAL, reliability[level], "o-", color=color, ms=4, label=level.upper())
        _scatter(middle, found, color, level)
        inside = prepared[level].inside
        truth = prepared[level].truth
        held = ((found.lower <= truth) & (truth <= found.upper) & inside).sum(axis=0)
        counts = inside.sum(axis=0)
        # Where few materials absorb, a share of them says nothing.
        enough = counts >= max(10, len(data) // 5)
        right.plot(energies[enough], (held[enough] / counts[enough]), color=color, lw=1.2)
    left.set(xlim=(0.45, 0.95), ylim=(0.4, 1.0))
    left.set_xlabel("nominal coverage")
    left.set_ylabel("coverage on held-out folds")
    left.legend(frameon=False, loc="upper left")
    ends = (
        0.8 * min(min(f.errors.min(), f.expected.min()) for f in measured.values()),
        1.2 * max(max(f.errors.max(), f.expected.max()) for f in measured.values()),
    )
    middle.plot(ends, ends, color="0.6", lw=1, zorder=1)
    middle.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    for axis in (middle.xaxis, middle.yaxis):
        axis.set_major_locator(FixedLocator([0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0]))
        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_locator(NullLocator())
    middle.set_xlabel("expected 1 − SC")
    middle.set_ylabel("true 1 − SC")
    middle.legend(loc="upper left", fontsize=8, framealpha=0.9, edgecolor="none")
    right.axhline(0.9, color="0.6", lw=1)
    right.set(xlim=(data.grid.start, data.grid.stop), ylim=(0.4, 1.0))
    right.set_xlabel("photon energy / eV")
    right.set_ylabel("share of materials inside the 90 % band")
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure)
        figure.savefig(temporary, dpi=130)
    return path


def _scatter(axis: Axes, found: HeldOut, color: str, level: str) -> None:
    correlation = rank_correlation(found.expected, found.errors)
    bars = np.abs(np.stack([found.least, found.largest]) - found.expected)
    axis.errorbar(
        found.expected,
        found.errors,
        xerr=bars,
        fmt="o",
        ms=3.5,
        color=color,
        ecolor=color,
        elinewidth=0.3,
        alpha=0.6,
        label=f"{level.upper()}, ρ = {correlation:.2f}",
    )


def _number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.3f}"
