"""`opalign screen`: many structures in; a table of what was asked of each, and the best, out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opalign.cli.common import INTERRUPTED, LOG_INTERVAL, message_console, output_console

if TYPE_CHECKING:
    from opalign.screening.run import ScreenReport, Tally

#: Rows of the best on the terminal, columns of quantities there, and reasons of failures.
ROWS_SHOWN, COLUMNS_SHOWN, REASONS_SHOWN = 20, 4, 8
CONTENT = {
    "parts/": "one row for every structure of the input, in its order (Parquet)",
    "top.csv": "the best, with their quantities",
    "summary.json": "counts, ranges, reasons of failures, speed",
    "screen.yaml": "the configuration, for --config",
}


class Diversity(StrEnum):
    """What the best are to differ in."""

    none = "none"
    composition = "composition"
    features = "features"


class Precision(StrEnum):
    """Of the network's numbers."""

    half = "half"
    single = "single"
    double = "double"


def screen(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="INPUT",
            help="Parquet table (or a folder of them), folder of structure files, ASE database "
            "(.db), extended XYZ, …",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Argument(help="Folder to write into.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Name of a model or path of its folder.", show_default="optimate"),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(help="Level of theory, such as rpa.", show_default="the model's highest"),
    ] = None,
    quantity: Annotated[
        list[str] | None,
        typer.Option(
            "--quantity", "-q",
            help="What to keep of each spectrum, such as onset_eV, refractive_index_589nm, "
            "absorption_2eV_per_cm or slme_500nm_percent; may be repeated. A wrong one names all.",
            show_default="the summary of predict",
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            help="Condition on quantities, such as 'onset_eV > 1.5 and static_dielectric < 8'. "
            "What does not meet it is marked as filtered."
        ),
    ] = None,
    elements: Annotated[
        str | None, typer.Option(help="Allowed elements, as in Ba,Ti,O; others are filtered.")
    ] = None,
    require: Annotated[str | None, typer.Option(help="Elements that must all be there.")] = None,
    exclude: Annotated[str | None, typer.Option(help="Elements that must not be there.")] = None,
    min_sites: Annotated[int | None, typer.Option(min=1, help="Fewest atoms of a cell.")] = None,
    max_sites: Annotated[int | None, typer.Option(min=1, help="Most atoms of a cell.")] = None,
    rank_by: Annotated[
        str | None, typer.Option(help="Quantity by which the best are listed in top.csv.")
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="How many of the best.", show_default="50")
    ] = None,
    descending: Annotated[
        bool | None,
        typer.Option("--descending/--ascending", help="Largest or smallest first.",
                     show_default="ascending"),
    ] = None,
    diversity: Annotated[
        Diversity | None,
        typer.Option(
            help="Make the best differ from one another in composition, or in what the network "
            "makes of them (features).",
            show_default="none",
        ),
    ] = None,
    diversity_weight: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="0: rank alone; 1: difference alone.",
                     show_default="0.5"),
    ] = None,
    spectra: Annotated[
        bool | None,
        typer.Option("--spectra/--no-spectra", help="Keep ε of every structure: about 6 kB each.",
                     show_default="no-spectra"),
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Of the network.", show_default="single")
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Workers; as many as there are cores, say.")
    ] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    ray: Annotated[
        bool, typer.Option("--ray", help="Workers are Ray actors (extra scale).")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster: auto, or HOST:PORT.", show_default="this machine"),
    ] = None,
    num_gpus: Annotated[
        float, typer.Option(min=0.0, help="Ray: GPUs of each worker, such as 1 or 0.5.")
    ] = 0.0,
    config: Annotated[
        Path | None, typer.Option(help="Configuration (YAML), such as an earlier screen.yaml.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE",
                     help="Any key of the configuration, as in --set rows_per_part=20000."),
    ] = None,
) -> None:  # fmt: skip
    """Screen any number of structures by their predicted spectra.

    Every structure of INPUT becomes one row of OUT/parts: with the quantities asked for, or with
    the reason why there are none. Nothing is held in memory, so that the number does not matter.
    Stopped or killed, the same command goes on where it was.

        opalign screen candidates.parquet out/screen --where "onset_eV > 3" --rank-by
        static_dielectric --descending --top 20 --processes 8
    """
    from opalign.screening.config_file import screen_config

    given: dict[str, Any] = {
        "input": None if source is None else str(source),
        "model": model,
        "level": level,
        "quantities": tuple(quantity) if quantity else None,
        "where": where,
        "elements": _symbols(elements),
        "require": _symbols(require),
        "exclude": _symbols(exclude),
        "min_sites": min_sites,
        "max_sites": max_sites,
        "rank_by": rank_by,
        "top": top,
        "descending": descending,
        "diversity": None if diversity is None else diversity.value,
        "diversity_weight": diversity_weight,
        "spectra": spectra,
        "precision": None if precision is None else precision.value,
    }
    given = {key: value for key, value in given.items() if value is not None}
    if source is not None and out is None and config is not None:
        # `opalign screen OUT --config FILE`: the input stands in the file.
        out = Path(given.pop("input"))
    if out is None:
        raise typer.BadParameter("an input and a folder to write into are needed")
    chosen = screen_config(config, given, settings or ())
    console = message_console()
    try:
        with _progress() as notify, console.status("Loading the model"):
            from opalign.screening.config import Execution
            from opalign.screening.run import screen as run

            engine = "ray" if ray or address else "processes" if processes > 1 else "serial"
            execution = Execution(
                engine=engine, processes=processes, device=device, address=address,
                num_gpus=num_gpus,
            )  # fmt: skip
            report = run(chosen, out, execution, on_progress=notify)
    except KeyboardInterrupt:
        console.print(f"Interrupted. Finished parts are kept in {out}; the same command goes on.")
        raise typer.Exit(INTERRUPTED) from None
    _print_best(report, chosen.rank_by)
    _print_counts(report)
    _print_written(report)


def _symbols(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(text.replace(",", " ").split())


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[Tally], None]]:
    """Show the rows done: a bar on a terminal, a line now and then in a log."""
    console = message_console()
    if not console.is_terminal:
        last = time.monotonic()

        def log(tally: Tally) -> None:
            nonlocal last
            if time.monotonic() - last >= LOG_INTERVAL:
                last = time.monotonic()
                console.print(f"Screening: {_words(tally)}", markup=False)

        yield log
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("Screening"), BarColumn(), TextColumn("{task.fields[words]}"),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, words="")
        yield lambda tally: bar.update(
            task, total=tally.total, completed=tally.done, words=_words(tally)
        )


def _words(tally: Tally) -> str:
    of = "" if tally.total is None else f" of {tally.total}"
    rate = "" if tally.rate is None else f", {_number(tally.rate)} a second"
    left = ""
    if tally.rate and tally.total is not None:
        left = f", {_duration((tally.total - tally.done) / tally.rate)} left"
    counts = ", ".join(f"{count} {status}" for status, count in tally.counts.items() if count)
    return f"{tally.done}{of} ({counts}){rate}{left}"


def _print_best(report: ScreenReport, rank_by: str | None) -> None:
    if report.top is None or rank_by is None or not report.top.num_rows:
        return
    from rich import box
    from rich.table import Table

    names = [rank_by, *(n for n in report.summary["quantities_of_ok_rows"] if n != rank_by)]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=f"The best by {rank_by}",
                  title_justify="left", title_style="bold")  # fmt: skip
    for name in ("", "material", "formula"):
        table.add_column(name, overflow="ellipsis", no_wrap=True, max_width=18)
    for name in names[:COLUMNS_SHOWN]:
        table.add_column(name, justify="right", overflow="fold", min_width=8)
    for place, row in enumerate(report.top.slice(0, ROWS_SHOWN).to_pylist(), start=1):
        numbers = ["–" if row[n] is None else f"{row[n]:.4g}" for n in names[:COLUMNS_SHOWN]]
        table.add_row(str(place), row["material_id"].replace("[", r"\["), row["formula"], *numbers)
    output_console().print(table, soft_wrap=False)
    if (more := report.top.num_rows - ROWS_SHOWN) > 0:
        output_console().print(f"… and {more} more in {report.folder / 'top.csv'}", markup=False)


def _print_counts(report: ScreenReport) -> None:
    console, tally = output_console(), report.tally
    console.print(f"\n{tally.done} structures", style="bold", end=": ")
    console.print(", ".join(f"{count} {status}" for status, count in tally.counts.items()))
    for reason, count in list(report.summary["reasons"].items())[:REASONS_SHOWN]:
        console.print(f"  {count} × {reason}", markup=False)
    if report.repeated_ids:
        console.print(
            f"  {report.repeated_ids} ids had occurred before: @ and the number of the row follow "
            "them"
        )
    if tally.resumed:
        console.print(f"  {tally.resumed} of them had been finished by an earlier run")
    if tally.rate is not None:
        hours = [f"10⁶ would take {_duration(1e6 / tally.rate)}",
                 f"10⁸ {_duration(1e8 / tally.rate)}"]  # fmt: skip
        console.print(
            f"  {_number(tally.rate)} structures a second on these workers: " + ", ".join(hours)
        )


def _print_written(report: ScreenReport) -> None:
    console = output_console()
    console.print(f"\nWritten to {report.folder}", style="bold", markup=False)
    for name, content in CONTENT.items():
        if (report.folder / name.rstrip("/")).exists():
            console.print(f"  {name:<14} {content}", markup=False)
    best = "take the structures in top.csv" if report.top is not None else "pick structures"
    console.print(
        f'\nNext: pandas.read_parquet("{report.folder / "parts"}") reads all rows; {best} and look '
        "at them with opalign predict, whose warnings tell how far to trust them.",
        markup=False,
    )


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10.0 else f"{value:.2g}"


def _duration(seconds: float) -> str:
    for unit, size in (("years", 31_557_600.0), ("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2.0 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
