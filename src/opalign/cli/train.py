"""`opalign train`: one run, from a configuration to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opalign.cli.common import INTERRUPTED, message_console, output_console
from opalign.errors import ConfigurationError


def train(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.")],
    config: Annotated[
        Path | None,
        typer.Argument(help="Configuration (YAML); not needed with --resume.", show_default=False),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run that stands in the folder.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a key of the configuration, as in --set optimizer.learning_rate=1e-3; "
            "may be repeated.",
        ),
    ] = None,
) -> None:
    """Train a model on tables of spectra, as a configuration file says."""
    if config is None and not resume:
        raise ConfigurationError(
            "no configuration is given", cure="name a YAML file, or continue a run with --resume"
        )
    if config is None and settings:
        raise ConfigurationError(
            "--set changes a configuration, and a run keeps its own",
            cure="start a new run in another folder",
        )
    from opalign.training.config_file import read_config
    from opalign.training.run import train as run_training

    description = None if config is None else read_config(config, settings or ())
    console = output_console()
    try:
        result = run_training(description, out, resume=resume, console=console)
    except KeyboardInterrupt:
        message_console().print(
            f"Interrupted. What was reached is kept; continue with\n"
            f"  opalign train --out {out} --resume",
            markup=False,
        )
        raise typer.Exit(INTERRUPTED) from None
    if result.was_finished:
        console.print(f"The run in {out} is finished; nothing was done.", markup=False)
    lines = [f"{result.checkpoint}/  the model, with its card in README.md"]
    lines += [
        f"{result.predictions(part)}  predictions, {part} materials"
        for part in ("validation", "test")
        if result.predictions(part).is_file()
    ]
    lines += [
        f"{out / 'state' / 'history.csv'}  the learning curve",
        f"{out / 'logs'}/  the same for tensorboard --logdir",
    ]
    console.print("Written:", *(f"  {line}" for line in lines), sep="\n", markup=False)
    console.print(
        "Next:",
        f"  opalign evaluate {result.checkpoint} TABLE --out {out / 'evaluation'}",
        f"  opalign predict STRUCTURES --model {result.checkpoint} --out FOLDER",
        sep="\n",
        markup=False,
    )
