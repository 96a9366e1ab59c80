"""`opalign ladder`: from a cheap level of theory to a costly one, and which one is needed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opalign.cli.common import INTERRUPTED, message_console, output_console

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from opalign.dataset.table import SpectraTable

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
StrategyOption = Annotated[
    list[str] | None,
    typer.Option("--strategy", "-s", help="Only this one; may be repeated. Default: all."),
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
    strategy: StrategyOption = None,
    change: SetOption = None,
    processes: ProcessesOption = 2,
) -> None:
    """Error against the number of costly spectra: direct, transfer, multi-fidelity, difference.

    Finished trainings are kept: the same command goes on where it was stopped.
    """
    from opalign.ladder.curve import curve as answer

    options = {"strategies": strategy or (), "processes": processes}
    _answer(answer, config, change, out / "curve.md", options)


@app.command()
def cells(
    config: ConfigArgument,
    out: OutOption,
    strategy: StrategyOption = None,
    change: SetOption = None,
    processes: ProcessesOption = 2,
) -> None:
    """Error where costly spectra of small cells alone are learned from, by size of the tested cell.

    Finished trainings are kept: the same command goes on where it was stopped.
    """
    from opalign.ladder.cells import cells as answer

    options = {"strategies": strategy or (), "processes": processes}
    _answer(answer, config, change, out / "cells.md", options)


@app.command()
def similarity(
    config: ConfigArgument,
    out: OutOption,
    change: SetOption = None,
    processes: ProcessesOption = 2,
    chemistry: Annotated[
        bool,
        typer.Option(help="Also group by coordination and structure type (extra explain)."),
    ] = True,
) -> None:
    """Which level a material needs: predict how similar the two levels are, from the structure.

    Writes a checkpoint that advises on levels, and where the two levels differ most. Finished
    trainings are kept: the same command goes on where it was stopped.
    """
    from opalign.ladder.similarity import similarity as answer

    options = {
        "mapping": _map,
        "describe": _describe if chemistry else None,
        "processes": processes,
    }
    _answer(answer, config, change, out / "similarity.md", options)


@app.command()
def predictability(
    config: ConfigArgument,
    out: OutOption,
    change: SetOption = None,
    processes: ProcessesOption = 2,
) -> None:
    """Is what is hard to learn at one level hard at the other? Needs a curve, or trains its part.

    Finished trainings are kept: the same command goes on where it was stopped.
    """
    from opalign.ladder.predictability import predictability as answer

    _answer(answer, config, change, out / "predictability.md", {"processes": processes})


def _answer(
    answer: Callable[..., Any],
    config: Path,
    change: list[str] | None,
    table: Path,
    options: dict[str, Any],
) -> None:
    """Find an answer in the folder of its ``table``, and show that table and what was written."""
    from opalign.ladder.config_file import read_ladder_config

    console = output_console()
    with _interruptible():
        found = answer(
            read_ladder_config(config, change or ()), table.parent, console=console, **options
        )
    written = [*found.files]
    if hasattr(found, "checkpoint"):
        written.append(found.checkpoint)
    console.print(table.read_text(encoding="utf-8"), markup=False)
    console.print("Written:", *(f"  {path}" for path in written), sep="\n", markup=False)


def _map(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    """Return a UMAP where it can be had, otherwise principal components."""
    from opalign.errors import ConfigurationError, MissingExtraError
    from opalign.explain.maps import principal_components, umap_points

    try:
        return umap_points(features), "UMAP"
    except (ConfigurationError, MissingExtraError) as error:
        message_console().print(f"no UMAP: {error}", markup=False)
        return principal_components(features)[0], "principal components"


def _describe(table: SpectraTable) -> pd.DataFrame:
    """Structure types and coordination of the materials, where the extra is installed."""
    import pandas as pd

    from opalign.errors import MissingExtraError
    from opalign.explain.chemistry.describe import describe_materials

    try:
        found = describe_materials(table).materials
    except MissingExtraError as error:
        message_console().print(f"groups of elements and anions alone: {error}", markup=False)
        return pd.DataFrame(index=table.ids)
    return found[["prototype", "coordination_class", "cation_families", "cation_states"]]


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
