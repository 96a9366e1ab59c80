"""The command `opalign`: its commands are imported when they are called or listed."""

from __future__ import annotations

import atexit
import gc
import importlib
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import opalign
from opalign.cli.common import clean_errors, show_warning

#: Name of a command → module and attribute: a function, or a Typer app with commands of its own.
COMMANDS = {
    "predict": ("opalign.cli.predict", "predict"),
    "screen": ("opalign.cli.screen", "screen"),
    "optics": ("opalign.cli.optics", "optics"),
    "experiment": ("opalign.cli.experiment", "experiment"),
    "plot": ("opalign.cli.plot", "plot"),
    "train": ("opalign.cli.train", "train"),
    "evaluate": ("opalign.cli.evaluate", "evaluate"),
    "crossvalidate": ("opalign.cli.crossvalidate", "crossvalidate"),
    "dataset": ("opalign.cli.dataset", "app"),
    "ladder": ("opalign.cli.ladder", "app"),
    "explain": ("opalign.cli.explain", "app"),
    "compute": ("opalign.cli.compute", "app"),
}


#: New objects after which Python looks for cycles among them.
OBJECTS_BETWEEN_COLLECTIONS = 100_000


class LazyGroup(TyperGroup):
    """A group that imports a command when it is asked for, and reports errors in clean words."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands, in the order in which they are used."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command; None for a name that is not one."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            module, attribute = COMMANDS[cmd_name]
            self.commands[cmd_name] = _command(
                cmd_name, getattr(importlib.import_module(module), attribute)
            )
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments name; a wrong one is told the right ones."""
        # What typer suggests from is what it has loaded.
        for name in COMMANDS if args and args[0] not in COMMANDS else ():
            self.get_command(ctx, name)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; see :func:`opalign.cli.common.clean_errors`."""
        with clean_errors():
            return super().invoke(ctx)


def _command(name: str, implementation: Any) -> Any:
    if not isinstance(implementation, typer.Typer):
        function = implementation
        implementation = typer.Typer(add_completion=False)
        implementation.command(name)(function)
    command = typer.main.get_command(implementation)
    command.name = name
    return command


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"opalign {opalign.__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print it and exit."
        ),
    ] = False,
) -> None:
    """Optical spectra of crystals from their structure."""


def main() -> None:
    """Entry point of the command `opalign`."""
    # Importing torch makes a million objects that stay until the end: to look through them for
    # cycles after every 700 more, and once again at the end, takes a second of a prediction's five.
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)
    warnings.showwarning = show_warning
    app()
