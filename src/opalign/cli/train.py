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
    members: Annotated[
        int | None,
        typer.Option(
            min=2, help="Train an ensemble of so many networks.", show_default="one network"
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Members of an ensemble trained side by side.")
    ] = 2,
    advice: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoint of a similarity model, to go along with an ensemble.",
            show_default=False,
        ),
    ] = None,
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
    from opalign.training.ensemble_run import is_ensemble, train_ensemble
    from opalign.training.run import train as run_training

    description = None if config is None else read_config(config, settings or ())
    console = output_console()
    ensemble = members is not None or (resume and is_ensemble(out))
    if advice is not None and not ensemble:
        raise ConfigurationError(
            "--advice goes along with an ensemble", cure="add --members, or leave it out"
        )
    try:
        if ensemble:
            result = train_ensemble(
                description,
                out,
                members=members,
                processes=processes,
                resume=resume,
                advice=advice,
                console=console,
            )
        else:
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
    if ensemble:
        lines.append(f"{out / 'members'}/  the runs of the members")
    else:
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
