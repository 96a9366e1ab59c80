"""`opalign predict`: structures in; spectra, figures and a summary out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from opalign.cli.common import (
    INTERRUPTED,
    USER_ERROR,
    counting_progress,
    message_console,
    output_console,
)

if TYPE_CHECKING:
    from opalign.prediction.predictor import Precision, Predictor
    from opalign.prediction.report import Report
    from opalign.prediction.result import Failure, Prediction

#: Rows of the table on the terminal, and failures named there; the files have all of them.
ROWS_SHOWN = 30
FAILURES_SHOWN = 10
#: Columns of numbers on the terminal and their least widths, which must survive 80 characters.
NUMBER_COLUMNS = {
    "onset\neV": 5,
    "gap\neV": 5,
    "ε₁\nE = 0": 5,
    "n\n589 nm": 6,
    "α vis.\ncm⁻¹": 6,
}
#: Columns that some models fill: their key in the summary, and their least width.
FURTHER_COLUMNS = {"expected_similarity": ("SC\nexp.", 4), "needed_level": ("needs\nlevel", 5)}
#: Up to this many materials each get their advice in words on the terminal.
ADVICE_SHOWN = 5
NO_BANDS = (
    "This model gives no bands and expects no errors: it was not calibrated (see "
    "`opalign crossvalidate --calibrate`)."
)

#: What each thing written is.
CONTENT = {
    "spectra.parquet": "all spectra with their structures, for opalign.SpectraTable.open",
    "summary.csv": "one line per material: onset, gap, n, expected error, advice, warnings",
    "csv": "ε, n, k, α, R, loss function and bands of each material, one file per level",
    "plots": "a figure of each material",
    "failures.csv": "structures that gave no spectrum, and why",
}


def predict(
    structures: Annotated[
        list[Path],
        typer.Argument(
            help="Files or folders: CIF, POSCAR, extended XYZ, pymatgen JSON, …", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("predictions"),
    model: Annotated[
        str | None,
        typer.Option(help="Name of a model or path of its folder.", show_default="optimate"),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(help="Level of theory, such as rpa or ipa.", show_default="all of the model"),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Structures at a time; changes speed, not results.")
    ] = 16,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        str,
        typer.Option(help="double; single, faster, within 1e-5 or so; half, within 1e-2."),
    ] = "double",
    beside: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Table of computed spectra: name and draw the nearest of its materials.",
            show_default=False,
        ),
    ] = None,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Draw figures.")] = True,
) -> None:
    """Predict the optical spectra of crystals.

    A structure that cannot be used is reported and skipped.
    """
    from opalign.prediction.drawing import FigureProcesses

    console = message_console()
    with FigureProcesses(None if plots else 0) as drawing:
        # Its imports take as long as those of the network, and there are several cores.
        drawing.start()
        with console.status("Loading the model"):
            from opalign.prediction.predictor import Predictor
            from opalign.prediction.report import write_predictions
            from opalign.prediction.result import Prediction

            predictor = Predictor.load(model, device, cast("Precision", precision))
            computed = None
            if beside is not None:
                from opalign.prediction.beside import ComputedMaterials

                computed = ComputedMaterials.open(predictor, beside)
        with counting_progress("Predicting") as progress:

            def done(outcome: Prediction | Failure) -> None:
                progress(outcome.id if isinstance(outcome, Prediction) else outcome.file)

            report = write_predictions(
                predictor,
                structures,
                out,
                levels=None if level is None else (level,),
                batch_size=batch_size,
                plots=plots,
                drawing=drawing,
                beside=computed,
                on_progress=done,
            )
    _print_failures(report)
    if report.rows:
        _print_summary(report, predictor)
    _print_written(report)
    if report.interrupted:
        console.print(f"Interrupted after {len(report.rows)} structures; what is listed is whole.")
        raise typer.Exit(INTERRUPTED)
    if not report.rows:
        console.print("[bold red]Error[/]: no structure gave a spectrum.")
        raise typer.Exit(USER_ERROR)
    _print_next(report, plots)


def _print_failures(report: Report) -> None:
    console = message_console()
    for failure in report.failures[:FAILURES_SHOWN]:
        console.print("skipped", style="yellow", end=" ")
        console.print(f"{failure.file}: {failure.reason}", markup=False)
    if (more := len(report.failures) - FAILURES_SHOWN) > 0:
        console.print(f"… and {more} more in {report.folder / 'failures.csv'}", markup=False)


def _print_summary(report: Report, predictor: Predictor) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    level = report.rows[0]["level"]
    further = [key for key in FURTHER_COLUMNS if any(row[key] is not None for row in report.rows)]
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=f"{len(report.rows)} predicted · {level.upper()} · {predictor.config.broadening}",
        title_justify="left",
        title_style="bold",
        caption=_caption(further),
        caption_justify="left",
    )
    table.add_column("material", no_wrap=True, overflow="ellipsis", max_width=18 - 4 * len(further))
    for name, width in NUMBER_COLUMNS.items():
        table.add_column(name, justify="right", no_wrap=True, min_width=width)
    for key in further:
        name, width = FURTHER_COLUMNS[key]
        table.add_column(name, justify="right", no_wrap=True, min_width=width)
    nearest_width = (17, 14, 9)[len(further)]
    table.add_column(
        "nearest\nmaterial", overflow="ellipsis", no_wrap=True, max_width=nearest_width
    )
    table.add_column("dis-\ntance", justify="right", no_wrap=True, min_width=5)
    for row in report.rows[:ROWS_SHOWN]:
        mark = "yellow" if row["warnings"] else ""
        distance = _number(row["relative_distance"], ".1f")
        table.add_row(
            Text(row["id"], style=mark),
            _number(row["onset_eV"], ".2f"),
            _number(row["band_gap_eV"], ".2f"),
            _number(row["static_dielectric"], ".2f"),
            _number(row["refractive_index_589nm"], ".2f"),
            _number(row["largest_visible_absorption_per_cm"], ".0e"),
            *(_shown(row[key]) for key in further),
            Text(_nearest(row["nearest_training_materials"], len(further))),
            Text(distance + (" !" if mark else "  "), style=mark),
        )
    console = output_console()
    console.print(table, soft_wrap=False)
    if (more := len(report.rows) - ROWS_SHOWN) > 0:
        console.print(f"… and {more} more in {report.folder / 'summary.csv'}", markup=False)
    warned = [row for row in report.rows if row["warnings"]]
    for row in warned[:FAILURES_SHOWN]:
        console.print("!", style="bold yellow", end=" ")
        console.print(f"{row['id']}: {row['warnings']}", markup=False)
    if (more := len(warned) - FAILURES_SHOWN) > 0:
        console.print(f"! … and {more} more with warnings in summary.csv")
    _print_advice(report)
    _print_beside(report)
    if predictor.checkpoint.calibration is None:
        console.print(NO_BANDS, markup=False)


def _caption(further: list[str]) -> str:
    lines = ["distance to the nearest training material; 1 is typical among themselves"]
    if "expected_similarity" in further:
        lines.append("SC: expected similarity with a calculation; its interval is in summary.csv")
    if "needed_level" in further:
        lines.append("needs level: how costly a level of theory this material asks for")
    return "\n".join(lines)


def _print_advice(report: Report) -> None:
    """Say in words which level each material needs, or how many need which."""
    advised = [row for row in report.rows if row["advice"]]
    console = output_console()
    if len(advised) <= ADVICE_SHOWN:
        for row in advised:
            similarity = _number(row["similarity_between_levels"], ".2f")
            if row["similarity_between_levels_error"] is not None:
                similarity += f" ± {row['similarity_between_levels_error']:.2f}"
            console.print(f"{row['id']}: {row['advice']} (SC {similarity})", markup=False)
        return
    counts: dict[str, int] = {}
    for row in advised:
        words = row["advice"].partition(":")[0]
        counts[words] = counts.get(words, 0) + 1
    for words, count in sorted(counts.items(), key=lambda item: -item[1]):
        console.print(f"{words}: {count} materials", markup=False)


def _print_beside(report: Report) -> None:
    """Say which computed material is nearest to each, where a table of them was given."""
    found = [row for row in report.rows if row["nearest_computed_material"]]
    console = output_console()
    for row in found[:ROWS_SHOWN]:
        console.print(
            f"{row['id']}: nearest computed material {row['nearest_computed_material']}, "
            f"distance {row['distance_to_computed']:.1f}",
            markup=False,
        )
    if (more := len(found) - ROWS_SHOWN) > 0:
        console.print(f"… and {more} more in summary.csv")


def _print_written(report: Report) -> None:
    if not report.written:
        return
    console = output_console()
    console.print(f"\nWritten to {report.folder}", style="bold", markup=False)
    for path in report.written:
        name = f"{path.name}/" if path.is_dir() else path.name
        console.print(f"  {name:<16} {CONTENT[path.name]}", markup=False)


def _print_next(report: Report, plots: bool) -> None:
    look = f"look at {report.folder / 'plots' / report.rows[0]['id']}.png, and " if plots else ""
    output_console().print(
        f"\nNext: {look}before you trust a number, read its warnings and nearest training "
        "materials in summary.csv.",
        markup=False,
    )


def _nearest(materials: str, further: int) -> str:
    """Return id and formula of the nearest material; the formula alone where room is short."""
    first = materials.partition(";")[0]
    return first.partition("(")[2].rstrip(")") if further > 1 else first


def _shown(value: float | str | None) -> str:
    return value.upper() if isinstance(value, str) else _number(value, ".2f")


def _number(value: float | None, digits: str) -> str:
    return "–" if value is None or value != value else f"{value:{digits}}"
