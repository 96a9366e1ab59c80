"""`opalign evaluate`: a model or its predictions, held against a table."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from opalign.cli.common import output_console


class SplitPart(StrEnum):
    """Materials that can be scored."""

    test = "test"
    validation = "validation"
    train = "train"
    all = "all"


def evaluate(
    source: Annotated[
        Path, typer.Argument(help="Checkpoint folder, or a table of predictions (.parquet).")
    ],
    table: Annotated[Path, typer.Argument(help="Spectra table to compare with.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")],
    split: Annotated[
        SplitPart,
        typer.Option(
            help="Which materials of the checkpoint's own split; all: every row of the table, "
            "training materials included and labelled."
        ),
    ] = SplitPart.test,
    broadening: Annotated[
        list[float] | None,
        typer.Option(help="Also compare at this Gaussian σ in eV; may be repeated."),
    ] = None,
    band_gap_column: Annotated[
        str, typer.Option(help="Scalar of the table to compare gaps with.")
    ] = "direct_gap_eV",
) -> None:
    """Compare predicted spectra with a table: errors, similarity, onsets, figures."""
    from opalign.spectrum.broadening import Broadening
    from opalign.training.evaluate import evaluate as run_evaluation

    found = run_evaluation(
        source,
        table,
        out,
        part=split.value,
        broadenings=tuple(Broadening("gaussian", width) for width in broadening or ()),
        band_gap_column=band_gap_column,
    )
    console = output_console()
    console.print((out / "summary.md").read_text(encoding="utf-8"), markup=False)
    console.print("Written:", *(f"  {path}" for path in found.files), sep="\n", markup=False)
