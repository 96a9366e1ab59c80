"""`opalign dataset catalog` and `opalign dataset fetch`: public sets, listed and brought in."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opalign.cli.common import LOG_INTERVAL, counting_progress, message_console

if TYPE_CHECKING:
    from opalign.dataset.catalog import CatalogueEntry
    from opalign.dataset.download import Progress
    from opalign.dataset.fetch import Fetched, Watch

#: Lines of what was left out or skipped that are shown; a set may have thousands.
SHOWN = 10


def show_catalog(
    name: Annotated[str | None, typer.Argument(help="One set, to read all about it.")] = None,
) -> None:
    """List the public sets that can be fetched: contents, licence, size, what is unknown."""
    from opalign.dataset.catalog import CATALOGUE, find_entry

    if name is not None:
        _print_entry(find_entry(name))
        return
    for entry in CATALOGUE.values():
        typer.echo(f"{entry.name}: {entry.title}")
        typer.echo(f"    {_facts(entry)}")
    typer.echo("Next: opalign dataset catalog NAME, or opalign dataset fetch NAME")


def fetch_set(
    name: Annotated[str, typer.Argument(help="Set to fetch, as `opalign dataset catalog` has it.")],
    folder: Annotated[
        Path | None, typer.Option("--to", help="Folder to keep it in.  [default: data/NAME]")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Table to write.  [default: NAME.parquet in that folder]")
    ] = None,
    download_only: Annotated[
        bool, typer.Option("--download-only", help="Download and unpack, write no table.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no server: check what is there, and read it.")
    ] = False,
    figshare: Annotated[
        str | None, typer.Option(help="Address of figshare's API, where a mirror stands in for it.")
    ] = None,
    github: Annotated[
        str | None, typer.Option(help="Address of GitHub's archives, likewise.")
    ] = None,
) -> None:
    """Download a public set, check and unpack it, and write a table out of it.

    Stopped, it goes on where it was when called again; called once more, it checks what is there.
    """
    from opalign.dataset.catalog import find_entry
    from opalign.dataset.fetch import fetch, make_table
    from opalign.dataset.sources import FIGSHARE_API, GITHUB_ARCHIVES, Servers

    entry = find_entry(name)
    folder = folder or Path("data") / entry.name
    with watching() as watch:
        fetched = fetch(
            entry,
            folder,
            servers=Servers(figshare or FIGSHARE_API, github or GITHUB_ARCHIVES),
            watch=watch,
            offline=offline,
        )
    _print_fetched(entry, fetched)
    if download_only:
        typer.echo(f"Next: opalign dataset fetch {entry.name} --to {folder} --offline")
        return
    out = table or folder / f"{entry.name}.parquet"
    with counting_progress(f"reading {entry.name}") as done:
        report = make_table(entry, fetched, out, done)
    _print_some([f"left out {where}: {why}" for where, why in report.skipped], "left out")
    for note in report.notes:
        typer.echo(note, err=True)
    left_out = f", {len(report.skipped)} left out" if report.skipped else ""
    typer.echo(f"wrote {report.path}: {report.rows} materials{left_out}")
    typer.echo(f"Next: opalign dataset info {report.path}")


def _print_entry(entry: CatalogueEntry) -> None:
    from opalign.dataset.catalog import UNKNOWN

    typer.echo(f"{entry.name}: {entry.title}")
    typer.echo(f"contents: {entry.contents}")
    for source in entry.sources:
        typer.echo(f"source: {source.url}")
    typer.echo(f"cite: {entry.citation or UNKNOWN}")
    typer.echo(f"levels: {', '.join(entry.levels) or 'none, scalars alone'}")
    typer.echo(_facts(entry))
    typer.echo("checksum: recorded at the first download, checked ever after")
    for question in entry.unknown:
        typer.echo(f"unknown: {question}")


def _facts(entry: CatalogueEntry) -> str:
    from opalign.dataset.catalog import UNKNOWN, FigshareArticle

    asked = any(isinstance(source, FigshareArticle) for source in entry.sources)
    until = f"{UNKNOWN} until figshare is asked" if asked else UNKNOWN
    materials = UNKNOWN if entry.num_materials is None else f"{entry.num_materials:,}"
    size = until if entry.size is None else f"{entry.size / 2**20:,.0f} MiB"
    return f"materials: {materials}; licence: {entry.licence or until}; size: {size}"


def _print_fetched(entry: CatalogueEntry, fetched: Fetched) -> None:
    from opalign.dataset.catalog import UNKNOWN

    new = f"{len(fetched.downloaded)} downloaded, " if fetched.downloaded else ""
    files = "1 file" if len(fetched.files) == 1 else f"{len(fetched.files)} files"
    typer.echo(f"{fetched.folder}: {files}, {new}all as recorded")
    licences = {source.licence for source in fetched.lock.sources if source.licence}
    typer.echo(f"licence: {entry.licence or '; '.join(sorted(licences)) or UNKNOWN}")
    _print_some([f"not taken {name}: {why}" for name, why in fetched.left], "not taken")


def _print_some(lines: list[str], what: str) -> None:
    for line in lines[:SHOWN]:
        typer.echo(line, err=True)
    if len(lines) > SHOWN:
        typer.echo(f"{len(lines) - SHOWN} more {what}", err=True)


@contextlib.contextmanager
def watching() -> Iterator[Watch]:
    """Show what is done with which file, and how far it is: bars on a terminal, lines in a log."""
    console = message_console()
    if not console.is_terminal:
        yield _logged
        return
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:

        def watch(action: str, name: str) -> Progress:
            for task in bars.task_ids:
                bars.remove_task(task)
            task = bars.add_task(f"{action} {name.replace('[', chr(92) + '[')}", total=None)
            return lambda done, whole: bars.update(task, completed=done, total=whole)

        yield watch


def _logged(action: str, name: str) -> Progress:
    console = message_console()
    console.print(f"{action} {name}", markup=False)
    last = time.monotonic()

    def log(done: int, whole: int | None) -> None:
        nonlocal last
        if time.monotonic() - last >= LOG_INTERVAL:
            last = time.monotonic()
            of = "" if not whole else f" of {whole / 2**20:,.0f} MiB ({100 * done / whole:.0f} %)"
            console.print(f"{name}: {done / 2**20:,.0f}{of or ' MiB'}", markup=False)

    return log
