"""Why ε₁ by Kramers–Kronig differs from the ε₁ that first principles give, on a whole table.

    python benchmarks/kramers_kronig_cause.py SPECTRA.parquet

Writes the figure ``docs/images/kramers_kronig.png`` and prints the tables of
docs/kramers_kronig.md. Each suspect is tried on its own, on the isotropic average of
every spectrum:

* what lies above the window: one oscillator is fitted, and the window is cut shorter on purpose;
* the frequency mesh of the engine: ε₂ is put on that mesh, its exact ε₁ computed at the nodes, both
  interpolated to the table's grid as the engine's output was, and compared with each other;
* the tail of the Lorentzian below the gap, which the table sets to zero: its weight in ε₁.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d

from opalign.dataset.formats.gpaw import import_gpaw
from opalign.dataset.table import SpectraTable
from opalign.errors import SpectrumError, StructureError
from opalign.files import atomic_path
from opalign.spectrum.broadening import broaden
from opalign.spectrum.grid import EnergyGrid
from opalign.spectrum.kramers_kronig import real_from_imaginary
from opalign.spectrum.optical import OpticalSpectrum
from opalign.spectrum.sum_check import sum_rules, valence_electron_density
from opalign.spectrum.sum_rules import fit_oscillator

LEVELS = ("ipa", "rpa")
INNER = 15.0
CUTS = (20.0, 16.0, 12.0)
CUT_INNER = 9.0
SMOOTHING = 0.2
MESH_STEP, MESH_DOUBLED = 0.03, 12.0
QUANTILES = (0.1, 0.5, 0.9, 1.0)


def engine_mesh(stop: float) -> np.ndarray:
    """GPAW's nonlinear mesh: spacing 0.03 eV at zero, twice that at 12 eV, up to ``stop``."""
    beta = (np.sqrt(2.0) - 1.0) * MESH_STEP / MESH_DOUBLED
    count = np.arange(int(stop / (MESH_STEP + beta * stop)) + 2)
    return count * MESH_STEP / (1.0 - beta * count)


def piecewise_linear_real(nodes: np.ndarray, imaginary: np.ndarray) -> np.ndarray:
    """ε₁ − 1 at ``nodes`` of an ε₂ that is linear between them and zero beyond."""
    ends = np.concatenate((nodes, [2.0 * nodes[-1] - nodes[-2]]))
    distance = ends[None, :] - nodes[:, None]
    total = ends[None, :] + nodes[:, None]
    primitive = sum(u * np.log(np.where(u != 0.0, np.abs(u), 1.0)) for u in (distance, total))
    slopes = np.diff(primitive, axis=1) / np.diff(ends)
    return np.diff(slopes, axis=1) @ imaginary[1:] / np.pi


def mesh_error(imaginary: np.ndarray, grid: EnergyGrid) -> np.ndarray:
    """Return what interpolation from the engine's mesh alone puts between ε₁ and ε₂."""
    nodes = engine_mesh(grid.stop + 1.0)
    on_mesh = np.interp(nodes, grid.values, imaginary, right=0.0)
    real = np.interp(grid.values, nodes, piecewise_linear_real(nodes, on_mesh))
    back = np.interp(grid.values, nodes, on_mesh)
    return real + 1.0 - real_from_imaginary(back, grid)


def study(spectrum: OpticalSpectrum, gap: float, density: float | None) -> dict[str, object]:
    grid, epsilon = spectrum.grid, spectrum.epsilon
    inner = grid.values <= INNER
    missing = epsilon.real - real_from_imaginary(epsilon.imag, grid)
    oscillator = fit_oscillator(epsilon.imag, grid, epsilon_real=epsilon.real)
    left = missing - oscillator.real_part(grid.values)
    smooth = gaussian_filter1d(left, SMOOTHING / grid.step)
    simulated = mesh_error(epsilon.imag, grid)
    tail = np.where(grid.values < gap, broaden(epsilon.imag, grid, spectrum.broadening, "odd"), 0.0)
    tail_effect = real_from_imaginary(tail, grid) - 1.0
    checks = sum_rules(spectrum, electron_density=density)
    row: dict[str, object] = {
        "level": spectrum.level,
        "scale": np.abs(epsilon.real).max(),
        "missing": np.abs(missing[inner]).mean(),
        "left": np.abs(left[inner]).mean(),
        "smooth": np.abs(smooth[inner]).mean(),
        "mesh": np.abs(simulated[inner]).mean(),
        "mesh_agreement": np.corrcoef(left[inner], simulated[inner])[0, 1],
        "tail": np.abs(tail_effect[inner]).mean(),
        "oscillator_energy": oscillator.energy,
        "oscillator_strength": oscillator.strength,
        "end_value": epsilon.imag[-1],
        "f_sum": checks.f_sum_error,
        "f_sum_completed": checks.completed_f_sum_error,
        "loss_sum": checks.loss_sum_error,
        "static": checks.static_error,
        "static_bare": missing[0] / -epsilon.real[0],
        "static_loss": checks.static_loss_error,
        "curve": missing,
        "fit": oscillator.real_part(grid.values),
        "simulated": simulated,
    }
    for stop in CUTS:
        part = spectrum.resampled(EnergyGrid(grid.start, stop, round(stop / grid.step) + 1))
        low = part.energies <= CUT_INNER
        lacking = part.epsilon_real - real_from_imaginary(part.epsilon_imaginary, part.grid)
        row[f"missing_{stop:g}"] = np.abs(lacking[low]).mean()
        try:
            best = fit_oscillator(
                part.epsilon_imaginary, part.grid, epsilon_real=part.epsilon_real
            ).real_part(part.energies)
            row[f"left_{stop:g}"] = np.abs((lacking - best)[low]).mean()
        except SpectrumError:
            row[f"left_{stop:g}"] = np.nan
    return row


def read(path: Path) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        table = SpectraTable.open(import_gpaw(path, Path(folder) / "table.parquet").path)
        gaps = table.scalar("direct_gap_eV")
        rows = []
        for number, (formula, gap) in enumerate(zip(table.formulas, gaps, strict=True)):
            try:
                density = valence_electron_density(table.structure(number))
            except StructureError:
                density = None
            for level in LEVELS:
                spectrum = table.spectrum(number, level).isotropic()
                rows.append({"formula": formula} | study(spectrum, float(gap), density))
    return pd.DataFrame(rows)


def quantiles(frame: pd.DataFrame, columns: dict[str, str], style: str) -> str:
    lines = ["| | level | 10 % | median | 90 % | largest |", "|---|---|---|---|---|---|"]
    for column, label in columns.items():
        for level in LEVELS:
            values = frame.loc[frame["level"] == level, column].astype(float)
            cells = " | ".join(format(values.quantile(q), style) for q in QUANTILES)
            lines.append(f"| {label} | {level.upper()} | {cells} |")
    return "\n".join(lines)


def draw(frame: pd.DataFrame, path: Path, energies: np.ndarray) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 7.4), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    (cut, distribution), (example, cause) = figure.subplots(2, 2)
    blue, orange, green, grey = "#0072B2", "#D55E00", "#009E73", "#404040"

    row = frame[(frame["level"] == "rpa") & (frame["formula"] == "MgO")]
    row = (row if len(row) else frame[frame["level"] == "rpa"]).iloc[0]
    shown = energies <= 19.0
    cut.plot(energies[shown], row["curve"][shown], color=blue, label="ε₁ − ε₁(KK)")
    cut.plot(energies[shown], row["fit"][shown], "--", color=orange, label="one oscillator above")
    cut.set(xlabel="Photon energy (eV)", ylabel="Difference", title=f"{row['formula']}, RPA")
    cut.set_ylim(0.0, 1.15 * np.max(row["curve"][shown]))
    cut.legend(frameon=False)

    bins = np.logspace(-4, 0, 41)
    for column, label, color in (
        ("missing", "ε₂ of the window alone", blue),
        ("left", "with one oscillator", orange),
        ("smooth", "and smoothed by 0.2 eV", green),
    ):
        distribution.hist(
            frame[column], bins=bins, histtype="stepfilled", alpha=0.55, color=color, label=label
        )
    distribution.set(
        xscale="log",
        xlabel="Mean |ε₁ − ε₁(KK)| up to 15 eV",
        ylabel="Spectra",
        title=f"All {len(frame)} spectra",
    )
    distribution.legend(frameon=False)

    part = (energies >= 3.0) & (energies <= 12.0)
    example.plot(
        energies[part],
        (row["curve"] - row["fit"])[part],
        color=blue,
        label="left by the oscillator",
    )
    example.plot(
        energies[part],
        row["simulated"][part],
        color=orange,
        linewidth=1.0,
        label="the frequency mesh alone, simulated",
    )
    example.set(xlabel="Photon energy (eV)", ylabel="Difference", title=f"{row['formula']}, RPA")
    example.legend(frameon=False)

    for level, color, marker in (("ipa", blue, "o"), ("rpa", orange, "^")):
        of_level = frame[frame["level"] == level]
        cause.loglog(
            of_level["mesh"],
            of_level["left"],
            marker,
            color=color,
            markersize=5,
            alpha=0.8,
            label=level.upper(),
        )
    ends = np.array([frame[["mesh", "left"]].min().min(), frame[["mesh", "left"]].max().max()])
    cause.loglog(ends, ends, color=grey, linewidth=0.8, label="equal")
    cause.set(
        xlabel="Of the frequency mesh, simulated",
        ylabel="Left by the oscillator",
        title="Mean difference up to 15 eV",
    )
    cause.legend(frameon=False)
    for axes in (cut, distribution, example, cause):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", type=Path)
    default = Path(__file__).parents[1] / "docs" / "images" / "kramers_kronig.png"
    parser.add_argument("--figure", type=Path, default=default)
    arguments = parser.parse_args()
    frame = read(arguments.table)
    differences = {
        "missing": "ε₂ of the window alone",
        "left": "with one oscillator above 20 eV",
        "smooth": "the same, smoothed by 0.2 eV",
        "mesh": "the frequency mesh alone, simulated",
        "tail": "the tail of η below the gap alone",
    }
    print(quantiles(frame, differences, ".4f"), "\n")
    cuts = {f"missing_{stop:g}": f"window to {stop:g} eV, alone" for stop in CUTS}
    cuts |= {f"left_{stop:g}": f"window to {stop:g} eV, with an oscillator" for stop in CUTS}
    print(quantiles(frame, cuts, ".4f"), "\n")
    fitted = {
        "oscillator_energy": "energy of the oscillator, eV",
        "oscillator_strength": "its part of ε₁(0)",
        "mesh_agreement": "correlation of what is left with the simulated mesh",
    }
    print(quantiles(frame, fitted, ".2f"), "\n")
    sums = {
        "static_bare": "ε₁(0) by KK of ε₂ alone",
        "static": "with the oscillator",
        "static_loss": "ε₁(0) by KK of the loss function",
        "f_sum": "f-sum up to 20 eV",
        "f_sum_completed": "f-sum with the oscillator",
        "loss_sum": "loss-sum up to 20 eV",
    }
    print(quantiles(frame, sums, "+.1%"), "\n")
    print(
        "Furthest off:", frame.nlargest(5, "left")[["formula", "level", "left", "mesh"]].to_string()
    )
    draw(frame, arguments.figure, np.linspace(0.0, 20.0, len(frame["curve"].iloc[0])))


if __name__ == "__main__":
    main()
