"""`opalign ladder`: from a cheap level of theory to a costly one, and which one is needed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opalign.cli.common import INTERRUPTED, message_console, output_console

if TYPE_CHECKING:
    from opalign.ladder.config import LadderConfig

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def ladder() -> None:
    """Climb from a cheap level of theory to a costly one, and learn which one is needed."""


ConfigArgument = Annotated[Path, typer.Argument(help="What to compare (YAML).")]
OutOption = Annotated[
    Path,
    typer.Option("--out", "-o", help="Folder; all commands about one climb may share it."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a key, as in steps=300; may be repeated."),
]
ProcessesOption = Annotated[
    int, typer.Option("--processes", "-j", min=1, help="Trainings side by side.")
]


@app.command()
def curve(
    config: ConfigArgument,
    out: OutOption,
    change: SetOption = None,
    processes: ProcessesOption = 2,
) -> None:
    """Error against the number of costly spectra: direct, transfer, multi-fidelity, difference.

    Finished trainings are kept: the same command goes on where it was stopped.
    """
    from opalign.ladder.curve import curve as answer

    with _interruptible():
        found = answer(_read(config, change), out, processes=processes, console=output_console())
    _print(out / "curve.md", found.files)


def _read(config: Path, change: list[str] | None) -> LadderConfig:
    from opalign.ladder.config_file import read_ladder_config

    return read_ladder_config(config, change or ())


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        message_console().print(
            "Interrupted. Finished trainings are kept; the same command goes on from there.",
            markup=False,
        )
        raise typer.Exit(INTERRUPTED) from None


def _print(table: Path, files: tuple[Path, ...]) -> None:
    console = output_console()
    console.print(table.read_text(encoding="utf-8"), markup=False)
    console.print("Written:", *(f"  {path}" for path in files), sep="\n", markup=False)
