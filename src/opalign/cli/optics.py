"""`opalign optics`: spectra in; numbers, derived curves, figures and a page out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opalign.cli.common import (
    INTERRUPTED,
    USER_ERROR,
    counting_progress,
    message_console,
    output_console,
)
from opalign.errors import OpalignError

if TYPE_CHECKING:
    from opalign.spectrum.analysis import OpticsConfig, SpectrumReport
    from opalign.spectrum.report import ReportFolder

#: Rows of the table on the terminal, and failures named there; the files have all of them.
ROWS_SHOWN = 30
FAILURES_SHOWN = 10
#: Columns on the terminal → key of the quantity and least width, which must survive 80 characters.
COLUMNS = {
    "onset\neV": ("onset_eV", 5),
    "ε₁\nE = 0": ("static_dielectric", 5),
    "n\n{} nm": ("refractive_index_{}nm", 8),
    "SLME\n%": ("slme_percent", 5),
    "visible\nT": ("visible_transmittance", 7),
    "colour\nslab": ("colour_slab", 7),
    "colour\npowder": ("colour_powder", 7),
}
#: What each thing written is.
CONTENT = {
    "report.html": "everything on one page; open it in a browser",
    "summary.csv": "one line per spectrum: all numbers, and why some are undefined",
    "summary.json": "the same with units and notes",
    "config.json": "what was assumed",
    "csv": "ε, n, k, α, R and loss function of each spectrum",
    "plots": "the figures",
    "failures.csv": "files that gave no spectrum, and why",
}


class FigureFormat(StrEnum):
    """Formats of figures."""

    png = "png"
    svg = "svg"
    pdf = "pdf"


FilesArgument = Annotated[
    list[Path],
    typer.Argument(
        help="vasprun.xml, OUTCAR, Yambo o-*.eps*, epsilon.x, GPAW, CSV, YAML of "
        "refractiveindex.info, or a table of spectra (.parquet).",
        show_default=False,
    ),
]
LevelOption = Annotated[
    str | None,
    typer.Option(
        help="Level of theory to take; for a file that does not tell, the level it is of.",
        show_default="all",
    ),
]
MaterialOption = Annotated[
    list[str] | None,
    typer.Option("--material", help="Id of a material in a table; may be repeated."),
]
GapOption = Annotated[
    float | None,
    typer.Option("--gap", help="Direct gap in eV.", show_default="as file or table have it"),
]
ScissorOption = Annotated[
    float | None, typer.Option(help="Change the gap by this, in eV, before all else.")
]
BroadenOption = Annotated[
    float | None, typer.Option("--broaden", help="Gaussian σ of the spectra in all, in eV.")
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(help="log₁₀(α/cm⁻¹) at the onset of absorption.", show_default="2.5"),
]


def optics(
    files: FilesArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")] = Path(
        "optics"
    ),
    level: LevelOption = None,
    material: MaterialOption = None,
    structure: Annotated[
        Path | None,
        typer.Option(help="Crystal of the spectra, for optical class and electron count."),
    ] = None,
    gap: GapOption = None,
    fundamental_gap: Annotated[
        float | None, typer.Option(help="Lowest gap in eV where it is not the direct one.")
    ] = None,
    scissor: ScissorOption = None,
    broaden: BroadenOption = None,
    threshold: ThresholdOption = None,
    wavelength: Annotated[
        list[float] | None,
        typer.Option(
            help="Where n and k are given, in nm; may be repeated.",
            show_default="589.3, 1064, 1550",
        ),
    ] = None,
    thickness: Annotated[
        float | None, typer.Option(help="Of slab and solar cell, in nm.", show_default="500")
    ] = None,
    coherent: Annotated[
        bool, typer.Option("--coherent", help="Let the passes in the slab interfere: thin films.")
    ] = False,
    scattering: Annotated[
        float | None, typer.Option(help="Of the powder, in cm⁻¹.", show_default="1000")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Of the solar cell, in K.", show_default="293.15")
    ] = None,
    max_energy: Annotated[
        float | None, typer.Option(help="End of the figures' axes, in eV.", show_default="20")
    ] = None,
    figures: Annotated[FigureFormat, typer.Option(help="Format of the figures.")] = (
        FigureFormat.png
    ),
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Draw figures.")] = True,
) -> None:
    """Say all that optics can say of spectra: edge, n and k, solar cell, colour, sum rules.

    A file that cannot be used is reported and skipped. Nothing is fetched from a network.
    """
    console = message_console()
    with console.status("Loading"):
        from opalign.cli.sources import Source, open_sources
        from opalign.spectrum.analysis import analyse
        from opalign.spectrum.report import Failed, open_report_folder

        config = optics_config(
            direct_gap=gap,
            fundamental_gap=fundamental_gap,
            scissor=scissor,
            broadening=broaden,
            threshold=threshold,
            wavelengths=tuple(wavelength) if wavelength else None,
            thickness=thickness,
            coherence="coherent" if coherent else None,
            scattering=scattering,
            temperature=temperature,
            max_energy=max_energy,
        )
        folder = open_report_folder(out, config, f".{figures.value}" if plots else None)
    interrupted = False
    with counting_progress("Analysing") as progress:
        try:
            for one in open_sources(
                files, materials=material or (), level=level, structure=structure
            ):
                if not isinstance(one, Source):
                    folder.failures.append(Failed(one.source, _line(one.error)))
                    continue
                try:
                    report = analyse(
                        one.spectrum,
                        config.with_gaps(one.direct_gap, one.fundamental_gap),
                        structure=one.structure,
                        name=one.name,
                        notes=one.notes,
                    )
                except OpalignError as error:
                    folder.failures.append(Failed(one.name, _line(error)))
                    continue
                folder.add(report)
                progress(one.name)
        except KeyboardInterrupt:
            interrupted = True
    written = folder.finish()
    _print_failures(folder)
    if folder.reports:
        _print_summary(folder.reports)
    _print_written(folder, written)
    if interrupted:
        console.print(f"Interrupted after {len(folder.reports)} spectra; what is listed is whole.")
        raise typer.Exit(INTERRUPTED)
    if not folder.reports:
        console.print("[bold red]Error[/]: no file gave a spectrum.")
        raise typer.Exit(USER_ERROR)


def optics_config(**options: Any) -> OpticsConfig:
    """Return the configuration with the options that were given; None leaves a default."""
    from opalign.spectrum.analysis import OpticsConfig

    return OpticsConfig(**{key: value for key, value in options.items() if value is not None})


def _line(error: OpalignError) -> str:
    """Return the problem on one line, with the cure."""
    parts = (error.problem, error.expected and f"expected {error.expected}", error.cure)
    return "; ".join(" ".join(part.split()) for part in parts if part)


def _print_failures(folder: ReportFolder) -> None:
    console = message_console()
    for failed in folder.failures[:FAILURES_SHOWN]:
        console.print("skipped", style="yellow", end=" ")
        console.print(f"{failed.source}: {failed.reason}", markup=False)
    if (more := len(folder.failures) - FAILURES_SHOWN) > 0:
        console.print(f"… and {more} more in {folder.folder / 'failures.csv'}", markup=False)


def _print_summary(reports: list[SpectrumReport]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    first = reports[0]
    wavelength = f"{first.config.wavelengths[0]:g}"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("spectrum", no_wrap=True, overflow="ellipsis", max_width=18)
    for name, (_, width) in COLUMNS.items():
        table.add_column(name.format(wavelength), justify="right", no_wrap=True, min_width=width)
    for report in reports[:ROWS_SHOWN]:
        cells = []
        for key, _ in COLUMNS.values():
            value = report.quantity(key.format(wavelength)).value
            if isinstance(value, str):
                cells.append(Text(value, style=f"{_readable_on(value)} on {value}"))
            else:
                cells.append(Text("–" if value is None else _short(value)))
        table.add_row(report.name, *cells)
    console = output_console()
    console.print(table, soft_wrap=False)
    if (more := len(reports) - ROWS_SHOWN) > 0:
        console.print(f"… and {more} more in summary.csv")
    if len(reports) == 1:
        for note in first.notes:
            console.print(note, markup=False)


def _short(value: float) -> str:
    return "0" if abs(value) < 5e-4 else f"{value:.3g}"


def _readable_on(colour: str) -> str:
    """Return black or white, whichever can be read on a colour such as ``#FFE29B``."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 128 else "white"


def _print_written(folder: ReportFolder, written: list[Path]) -> None:
    console = output_console()
    console.print(f"\nWritten to {folder.folder}", style="bold", markup=False)
    for path in written:
        name = f"{path.name}/" if path.is_dir() else path.name
        console.print(f"  {name:<14} {CONTENT[path.name]}", markup=False)
