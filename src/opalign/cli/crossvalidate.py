"""`opalign crossvalidate`: methods and baselines on the same folds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opalign.cli.common import INTERRUPTED, message_console, output_console
from opalign.errors import ConfigurationError


def crossvalidate(
    configs: Annotated[
        list[Path], typer.Argument(help="Configurations (YAML); a method is named after its file.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")],
    table: Annotated[
        Path | None, typer.Option(help="Spectra table in place of the configurations' own.")
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Number of folds.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the folds.")] = 0,
    processes: Annotated[int, typer.Option(min=1, help="Runs side by side.")] = 2,
    validation: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.9, help="Share of training rows that choose the best epoch; 0: none."
        ),
    ] = 0.1,
    members: Annotated[
        int, typer.Option(min=1, help="Networks of each configuration, with different seeds.")
    ] = 1,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Calibrate bands and error estimates.")
    ] = False,
    broadening: Annotated[
        list[float] | None,
        typer.Option(help="Gaussian σ in eV to score at; may be repeated. Default: 0.1 and 0.3."),
    ] = None,
) -> None:
    """Cross-validate methods by formula and compare them with baselines.

    Runs that are finished are kept: the same command goes on where it was stopped.
    """
    from opalign.spectrum.broadening import Broadening
    from opalign.training.config_file import read_config
    from opalign.training.cross_validation import DEFAULT_BROADENINGS, cross_validate

    names = [path.stem for path in configs]
    if len(set(names)) < len(names):
        raise ConfigurationError(
            "two configurations have the same file name", cure="rename one: it names the method"
        )
    console = output_console()
    try:
        result = cross_validate(
            {path.stem: read_config(path) for path in configs},
            table,
            out,
            folds=folds,
            seed=seed,
            processes=processes,
            validation_fraction=validation,
            broadenings=tuple(Broadening("gaussian", width) for width in broadening)
            if broadening
            else DEFAULT_BROADENINGS,
            members=members,
            calibrate=calibrate,
            console=console,
        )
    except KeyboardInterrupt:
        message_console().print(
            "Interrupted. Finished runs are kept; the same command goes on from there.",
            markup=False,
        )
        raise typer.Exit(INTERRUPTED) from None
    console.print((out / "summary.md").read_text(encoding="utf-8"), markup=False)
    for report in result.calibrations:
        console.print(report.files[1].read_text(encoding="utf-8"), markup=False)
    written = [
        *(out / name for name in ("summary.md", "summary.csv", "per_material.csv")),
        *result.predictions.values(),
        *(path for report in result.calibrations for path in report.files),
    ]
    console.print("Written:", *(f"  {path}" for path in written), sep="\n", markup=False)
