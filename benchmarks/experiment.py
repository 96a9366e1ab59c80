"""Computed and predicted spectra against measured n and k: tables and figures.

    python benchmarks/experiment.py $OPALIGN_DATA/gpaw_pbe/spectra.parquet

Takes the campaign's spectra (IPA and RPA, relaxed cells) and those in
``benchmarks/data/measured_crystals.parquet`` (cells with measured lattice constants, chosen because
their n and k were measured), further tables if any are named with ``--table``, and predictions by
the checkpoints of the repository for the same crystals. A crystal of both the first two counts
once: as computed in the measured cell, and as predicted for the relaxed one of the campaign. Every
prediction says whether the model was trained on the crystal, on another of its formula, or on
neither.

Writes ``experiment.md``, ``experiment.csv`` and ``static.csv`` to ``benchmarks/results/experiment``
and the figures to ``docs/images/``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from opalign.dataset.crystals import crystals_of
from opalign.dataset.formats.gpaw import import_gpaw
from opalign.dataset.formula import reduced_formula
from opalign.dataset.table import SpectraTable
from opalign.files import write_text
from opalign.prediction import Predictor
from opalign.spectrum.experiment import Crystal, compare, compare_statics
from opalign.spectrum.experiment.report import by_crystal, write_experiment_report
from opalign.spectrum.measured.database import database_version
from opalign.spectrum.measured.tables import (
    all_measurements,
    is_measured,
    measured_pages,
    same_crystal,
)
from opalign.spectrum.plots.experiment import plot_experiment, plot_experiment_sheet

ROOT = Path(__file__).resolve().parents[1]
EXTRA = ROOT / "benchmarks" / "data" / "measured_crystals.parquet"
RESULTS = ROOT / "benchmarks" / "results" / "experiment"
IMAGES = ROOT / "docs" / "images"
SINGLE = ("MgO-225", "SnS2-164", "TiO2-141", "WSe2-194")
"""Crystals whose own figures the documentation shows; the sheet has all."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("campaign", type=Path, help="gpaw_pbe/spectra.parquet")
    parser.add_argument("--table", type=Path, action="append", default=[])
    parser.add_argument("--checkpoint", action="append", default=None)
    parser.add_argument("--plots", type=Path, help="folder for the figures of all crystals")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        campaign = Path(scratch) / "gpaw_pbe.parquet"
        import_gpaw(arguments.campaign, campaign)
        tables = [SpectraTable.open(path) for path in (EXTRA, campaign, *arguments.table)]
        missing = without_measurement(tables[1])
        measured_cells, relaxed, *others = tables
        computed = [
            *once(crystals_of(table, wanted=is_measured) for table in (measured_cells, relaxed)),
            *(crystal for table in others for crystal in crystals_of(table, wanted=is_measured)),
        ]
        names = ("alignn", "optimate") if arguments.checkpoint is None else arguments.checkpoint
        predicted = [
            crystal
            for name in names
            for crystal in once(predictions(name, table) for table in (relaxed, measured_cells))
        ]
    measurements, problems = all_measurements()
    for problem in problems:
        print("left out:", problem)
    comparisons = compare([*computed, *predicted], measurements)
    statics = compare_statics([*computed, *predicted])
    for path in write_experiment_report(comparisons, statics, RESULTS, plots=False):
        print(path)
    report = RESULTS / "experiment.md"
    write_text(report, report.read_text(encoding="utf-8") + missing)
    groups = by_crystal(one for one in comparisons if one.crystal.spectrum.level == "rpa")
    for name, group in groups.items():
        if name in SINGLE:
            plot_experiment(group, IMAGES / f"experiment_{name}.png")
        if arguments.plots is not None:
            plot_experiment(group, arguments.plots / f"{name}.png")
    plot_experiment_sheet(list(groups.values()), IMAGES / "experiment_sheet.png")


def once(sources: Iterable[Iterable[Crystal]]) -> Iterator[Crystal]:
    """Yield the crystals of all sources but those that an earlier source had."""
    before: set[tuple[str, int]] = set()
    for source in sources:
        here = list(source)
        yield from (one for one in here if _identity(one) not in before)
        before.update(_identity(one) for one in here)


def _identity(crystal: Crystal) -> tuple[str, int]:
    return reduced_formula(crystal.formula), crystal.spacegroup


def without_measurement(table: SpectraTable) -> str:
    """Say which crystals of a table have no measured n and k in the database, and what it has."""
    whole, partly, nothing = [], [], []
    for formula, group in zip(table.formulas, table.scalar("spacegroup_number"), strict=True):
        name = f"{formula} ({int(group)})"
        uses = {
            page.use
            for page in measured_pages()
            if same_crystal(page.formula, page.spacegroup, formula, int(group))
        }
        if "spectrum" in uses:
            whole.append(name)
        elif "index" in uses:
            partly.append(name)
        else:
            nothing.append(name)
    return f"""
## What was measured of the campaign's {len(table)} crystals

Formula and space group; database refractiveindex.info {database_version()}.

- n and k, with some absorption, of the same structure ({len(whole)}): {", ".join(sorted(whole))}.
- n alone ({len(partly)}): {", ".join(sorted(partly))}.
- Nothing of the same structure ({len(nothing)}): {", ".join(sorted(nothing))}.
"""


def predictions(name: str, table: SpectraTable) -> Iterator[Crystal]:
    """Yield what a checkpoint predicts for the measured crystals of a table, level RPA."""
    predictor = Predictor.load(name)
    splits = predictor.checkpoint.splits
    trained = set(splits["train"])
    formulas = {reduced_formula(text) for text in predictor.checkpoint.reference.formulas}
    crystals = list(crystals_of(table, ("rpa",), wanted=is_measured))
    rows = {material_id: row for row, material_id in enumerate(table.ids)}
    for crystal in crystals:
        structure = table.structure(rows[crystal.material_id])
        seen = set(predictor.checkpoint.elements)
        if not {site.specie.Z for site in structure} <= seen:
            continue
        prediction = next(predictor.predict([structure], levels=["rpa"]))
        known = (
            "training material"
            if crystal.material_id in trained
            else "training formula"
            if reduced_formula(crystal.formula) in formulas
            else "unseen"
        )
        yield Crystal(
            crystal.material_id,
            crystal.formula,
            crystal.spacegroup,
            replace(prediction.spectra["rpa"], level=f"{name} (rpa)"),
            None,
            prediction.band_gap,
            known,
        )


if __name__ == "__main__":
    main()
